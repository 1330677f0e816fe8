"""Test the echo task: settings, series and the best possible loss."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm_impl
from bench.cli.command_line import UsageError
from bench.echo import task

# -- settings


def test_settings_defaults_are_those_of_the_tutorial() -> None:
    settings = task.EchoSettings()
    assert (settings.bits, settings.echo, settings.batch) == (50_000, 3, 5)
    assert (settings.window, settings.units, settings.learning_rate) == (15, 4, 0.3)
    assert settings.timesteps == 10_000
    assert settings.windows_per_epoch == 666  # 50000 // 5 // 15


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"echo": 50_000}, "echo", "less than the 50000 bits"),
        ({"batch": 60_000}, "batch", "at most the 50000 bits"),
        ({"window": 10_001}, "window", "at most 10000, the timesteps of each series"),
        ({"dropout": 1.0, "layers": 2}, "dropout", "less than 1"),
        ({"dropout": 0.5}, "dropout", "at least 2 layers"),
        ({"learning_rate": 0.0}, "learning_rate", "positive"),
        ({"learning_rate": float("nan")}, "learning_rate", "positive"),
        ({"dtype": "float8"}, "dtype", "float32"),
    ],
)
def test_settings_impossible_value_names_the_field(
    options: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(task.SettingsError, match=message) as caught:
        task.EchoSettings(**options)
    assert caught.value.field == field


def test_check_backend_unable_backend_raises_the_reason() -> None:
    numpy = lstm_impl.get_backend("numpy")
    task.check_backend(numpy, "cpu", task.EchoSettings())
    with pytest.raises(UsageError, match=r"^--backend numpy on gpu:0: NumPy computes on the CPU"):
        task.check_backend(numpy, "gpu:0", task.EchoSettings())

    class Refusing(type(numpy)):  # type: ignore[misc]
        def refusal(self, spec: lstm_impl.LSTMSpec, workload: Any = None) -> str:
            return "it can only infer" if workload.training else ""

    with pytest.raises(UsageError, match="cannot train this: it can only infer"):
        task.check_backend(Refusing(), "cpu", task.EchoSettings())


# -- the series


def test_draw_series_target_is_the_bit_of_echo_steps_earlier() -> None:
    settings = task.EchoSettings(bits=103, echo=4, batch=5, window=10)
    x, y = task.draw_series(settings, np.random.default_rng(1))
    assert x.shape == y.shape == (20, 5)  # three bits are left over
    np.testing.assert_array_equal(y[4:], x[:-4])
    np.testing.assert_array_equal(y[:4, 1:], x[-4:, :-1])  # from the series before
    np.testing.assert_array_equal(y[:4, 0], 0)


def test_draw_series_bits_are_balanced_and_new_in_each_epoch() -> None:
    rng = np.random.default_rng(0)
    first, second = (task.draw_series(task.EchoSettings(), rng)[0] for _ in range(2))
    assert abs(first.mean() - 0.5) < 0.01  # 4.5 standard deviations of 50,000 tosses
    assert 0.45 < np.mean(first == second) < 0.55


# -- the best possible loss


def brute_force_best(settings: task.EchoSettings) -> task.Float64:
    """Enumerate many epochs: the best guess for each observation that looks identical."""
    rng = np.random.default_rng(5)
    windows, length = settings.windows_per_epoch, settings.window
    counts: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}
    seen: list[list[tuple[tuple[int, ...], int]]] = [[] for _ in range(windows)]
    for _ in range(400):
        x, y = task.draw_series(settings, rng)
        for number in range(windows):
            start = number * length
            for position in range(length):
                t = start + position
                first = start if settings.reset_state else 0
                for series in range(settings.batch):
                    # The network can distinguish the timesteps since the state was zero, and
                    # the bit itself where it has seen it.
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
        task.EchoSettings(bits=60, batch=5, echo=3, window=4),
        task.EchoSettings(bits=60, batch=3, echo=5, window=4),
        task.EchoSettings(bits=60, batch=3, echo=3, window=4, reset_state=True),
        task.EchoSettings(bits=60, batch=5, echo=15, window=4),
        task.EchoSettings(bits=60, batch=1, echo=2, window=4),
    ],
    ids=["carried", "longer than a window", "reset", "longer than a series", "one series"],
)  # fmt: skip
def test_best_possible_loss_equals_enumeration(settings: task.EchoSettings) -> None:
    np.testing.assert_allclose(
        task.best_possible_loss(settings), brute_force_best(settings), atol=0.03
    )


def test_best_possible_loss_of_the_tutorial_is_in_the_first_window() -> None:
    best = task.best_possible_loss(task.EchoSettings())
    # Of five series the first one's targets are 0, the others' are coin tosses: P(0) = 0.6.
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert best[0] == pytest.approx(3 / 15 * entropy)
    assert not best[1:].any()


def test_best_possible_loss_with_reset_state_is_in_every_window() -> None:
    best = task.best_possible_loss(task.EchoSettings(bits=500_000, batch=50, reset_state=True))
    np.testing.assert_allclose(best[1:], 3 / 15 * task.COIN_TOSS, rtol=1e-3)
    assert task.best_possible_loss(task.EchoSettings(echo=0, reset_state=True)).max() == 0.0


@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_best_possible_loss_is_at_most_a_coin_toss(
    echo: int, window: int, batch: int, reset: bool
) -> None:
    settings = task.EchoSettings(
        bits=30 * batch, echo=echo, window=window, batch=batch, reset_state=reset
    )
    best = task.best_possible_loss(settings)
    assert best.shape == (settings.windows_per_epoch,)
    assert np.all(best >= 0)
    # Over the epoch: where windows look alike, one may cost more and another less.
    assert best.mean() <= task.COIN_TOSS + 1e-12
