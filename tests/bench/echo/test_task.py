"""The echo and copy memory: what goes in, what should come out, and the best possible loss."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.echo.settings import ALPHABET, COPY_INPUTS, EchoSettings
from bench.echo.task import (
    COIN_TOSS,
    Float64,
    best_possible_loss,
    draw,
    draw_copy_series,
    draw_series,
    encode,
    memoryless_loss,
)

# -- the echo


def test_the_target_is_the_bit_of_echo_steps_earlier_along_the_whole_stream() -> None:
    settings = EchoSettings(bits=103, echo=4, batch=5, window=10)
    x, y = draw_series(settings, np.random.default_rng(1))
    assert x.shape == y.shape == (20, 5)  # three bits are left over
    np.testing.assert_array_equal(y[4:], x[:-4])
    np.testing.assert_array_equal(y[:4, 1:], x[-4:, :-1])  # from the series before
    np.testing.assert_array_equal(y[:4, 0], 0)


def test_bits_are_balanced_and_new_in_each_epoch() -> None:
    rng = np.random.default_rng(0)
    first, second = (draw_series(EchoSettings(), rng)[0] for _ in range(2))
    assert abs(first.mean() - 0.5) < 0.01  # 4.5 standard deviations of 50,000 tosses
    assert 0.45 < np.mean(first == second) < 0.55


# -- copy memory


@given(
    st.integers(1, 9).flatmap(lambda d: st.tuples(st.just(d), st.integers(1, d))),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_a_symbol_is_wanted_so_many_steps_later_and_the_mark_says_when(
    distance: tuple[int, int], batch: int, seed: int
) -> None:
    echo, symbols = distance
    settings = EchoSettings(
        task="copy", bits=60 * batch, echo=echo, symbols=symbols, batch=batch, window=10
    )
    x, y = draw_copy_series(settings, np.random.default_rng(seed))
    assert x.shape == y.shape == (60, batch)
    mark = ALPHABET + 1
    wanted = y > 0
    np.testing.assert_array_equal(y[echo:][wanted[echo:]], x[:-echo][wanted[echo:]])
    assert y.max() <= ALPHABET
    # The mark stands at the first of the symbols that are wanted one after another.
    first = wanted & ~np.vstack([np.zeros((1, batch), bool), wanted[:-1]])
    np.testing.assert_array_equal((x == mark)[1:], first[1:])
    for series in range(batch):
        asked = np.flatnonzero(x[:, series] == mark)
        assert set(np.diff(asked)) <= {settings.period}
    # In a period: so many symbols are shown and wanted, and one mark.
    period = settings.period
    assert (wanted[:period].sum(axis=0) == symbols).all()
    assert ((x[:period] > 0).sum(axis=0) == symbols + 1).all()


def test_series_of_copy_memory_begin_at_places_of_their_own() -> None:
    settings = EchoSettings(task="copy", bits=6400, echo=9, batch=64, window=10)
    x, _ = draw_copy_series(settings, np.random.default_rng(0))
    assert len(set((x == ALPHABET + 1).argmax(axis=0))) == settings.period
    # All symbols, about as often as one another.
    counts = np.bincount(x.ravel(), minlength=COPY_INPUTS)[1:-1]
    assert counts.min() > 0.7 * counts.max()


def test_the_task_that_is_named_is_drawn_and_encoded_for_the_network() -> None:
    echo = EchoSettings(bits=500, dtype="float64")
    copy = EchoSettings(task="copy", bits=500)
    for settings in (echo, copy):
        inputs, _ = draw(settings, np.random.default_rng(3))
        encoded = encode(settings, inputs)
        assert encoded.shape == (100, 5, settings.spec.input_size)
        assert encoded.dtype == settings.dtype
        if settings.task == "echo":
            np.testing.assert_array_equal(encoded[..., 0], inputs)
        else:
            np.testing.assert_array_equal(encoded.argmax(axis=-1), inputs)
            np.testing.assert_array_equal(encoded.sum(axis=-1), 1)


# -- the best possible loss


def test_each_bit_counts_once_whatever_the_stride() -> None:
    for stride in (1, 2, 5, 6):
        settings = EchoSettings(bits=500, window=6, stride=stride)
        counts = np.zeros(settings.timesteps, int)
        for number in range(settings.windows_per_epoch):
            start = number * settings.step
            counts[start : start + 6][settings.counted(number)] += 1
        assert set(counts[: start + 6]) == {1}


def brute_force_best(settings: EchoSettings) -> Float64:
    """By enumeration: the best guess for each thing that looks alike, from many drawn epochs."""
    rng = np.random.default_rng(5)
    windows, length = settings.windows_per_epoch, settings.window
    counts: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}
    seen: list[list[tuple[tuple[int, ...], int]]] = [[] for _ in range(windows)]
    for _ in range(400):
        x, y = draw_series(settings, rng)
        for number in range(windows):
            start = number * settings.step
            counted = settings.counted(number)
            for position in range(length)[counted]:
                t = start + position
                first = start if settings.reset_state else 0
                for series in range(settings.batch):
                    # What the network can tell apart: how far it has come, and the bit itself
                    # where it has seen it.
                    bit = int(x[t - settings.echo, series]) if t - settings.echo >= first else -1
                    look = (t - first, bit)
                    counts.setdefault(look, np.zeros(2))[y[t, series]] += 1
                    seen[number].append((look, int(y[t, series])))
    probability = {look: count / count.sum() for look, count in counts.items()}
    return np.array(
        [np.mean([-np.log(probability[look][bit]) for look, bit in window]) for window in seen]
    )


@pytest.mark.parametrize(
    "settings",
    [
        EchoSettings(bits=60, batch=5, echo=3, window=4),
        EchoSettings(bits=60, batch=3, echo=5, window=4),
        EchoSettings(bits=60, batch=3, echo=3, window=4, reset_state=True),
        EchoSettings(bits=60, batch=3, echo=2, window=5, stride=2, reset_state=True),
        EchoSettings(bits=60, batch=3, echo=3, window=5, stride=2),
        EchoSettings(bits=60, batch=5, echo=15, window=4),
        EchoSettings(bits=60, batch=1, echo=2, window=4),
        EchoSettings(bits=60, batch=1, echo=2, window=5, stride=2, reset_state=True),
    ],
    ids=["carried", "longer than a window", "reset", "reset, overlapping", "overlapping",
         "longer than a series", "one series",
         "one series, reset, overlapping"],
)  # fmt: skip
def test_best_possible_loss_is_what_enumeration_finds(settings: EchoSettings) -> None:
    np.testing.assert_allclose(best_possible_loss(settings), brute_force_best(settings), atol=0.03)


def test_best_possible_loss_of_the_tutorial_is_three_unknown_steps_of_the_first_window() -> None:
    best = best_possible_loss(EchoSettings())
    # Of five series the first one's targets are 0, the others' are coin tosses: P(0) = 0.6.
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert best[0] == pytest.approx(3 / 15 * entropy)
    assert not best[1:].any()


def test_best_possible_loss_with_a_reset_state_is_paid_in_every_window() -> None:
    best = best_possible_loss(EchoSettings(bits=500_000, batch=50, reset_state=True))
    np.testing.assert_allclose(best[1:], 3 / 15 * COIN_TOSS, rtol=1e-3)
    assert best_possible_loss(EchoSettings(echo=0, reset_state=True)).max() == 0.0


def test_without_memory_copy_memory_costs_a_guess_at_each_symbol() -> None:
    assert memoryless_loss(EchoSettings()) == COIN_TOSS == math.log(2)
    copy = EchoSettings(task="copy", echo=6, symbols=2)
    assert memoryless_loss(copy) == pytest.approx(2 * math.log(4) / 8)


def test_the_best_loss_of_copy_memory_is_paid_where_the_symbol_was_not_seen() -> None:
    carried = EchoSettings(task="copy", bits=150, echo=3, window=6)
    guess = memoryless_loss(carried)
    np.testing.assert_allclose(best_possible_loss(carried), [guess / 2, 0, 0, 0, 0])
    reset = EchoSettings(task="copy", bits=150, echo=3, window=6, reset_state=True)
    np.testing.assert_allclose(best_possible_loss(reset), [guess / 2] * 5)
    long = EchoSettings(task="copy", bits=150, echo=8, window=6)
    guess = memoryless_loss(long)
    np.testing.assert_allclose(best_possible_loss(long), [guess, guess / 3, 0, 0, 0])


@given(
    st.sampled_from(["echo", "copy"]),
    st.integers(1, 20),
    st.integers(1, 9).flatmap(lambda k: st.tuples(st.just(k), st.integers(1, k))),
    st.integers(1, 5),
    st.booleans(),
)
def test_the_best_possible_is_never_worse_than_to_know_nothing(
    task: str, echo: int, windows: tuple[int, int], batch: int, reset: bool
) -> None:
    window, stride = windows
    settings = EchoSettings(
        task=task,
        bits=30 * batch,
        echo=echo,
        window=window,
        stride=stride,
        batch=batch,
        reset_state=reset,
    )
    best = best_possible_loss(settings)
    assert best.shape == (settings.windows_per_epoch,)
    assert np.all(best >= 0)
    # Over the epoch: where windows look alike, one may cost more and another less.
    counted = [settings.counted(number) for number in range(len(best))]
    mean = np.average(best, weights=[each.stop - each.start for each in counted])
    assert mean <= memoryless_loss(settings) + 1e-12
