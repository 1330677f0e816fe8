"""The echo task: data, head, Adagrad, carried state, checkpoints, the best loss and the bound."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import lstm_impl
from bench.windows.learning.parameters import INITIAL_ACCUMULATOR, Parameters, adagrad, softmax_loss
from bench.windows.learning.rounding import LINEAR_LIMIT, curve_bound, reference_curve
from bench.windows.learning.settings import EchoSettings, SettingsError
from bench.windows.learning.task import COIN_TOSS, Bits, Float64, best_possible_loss, draw_series
from bench.windows.learning.training import (
    Checkpoint,
    CheckpointError,
    DivergedError,
    Training,
    model_of,
)
from lstm_impl import LSTMState, LSTMWeights

slow = pytest.mark.slow
SMALL = EchoSettings(bits=1500, window=15)  # 20 windows an epoch


def train(settings: EchoSettings, windows: int) -> Training:
    training = Training(settings, model_of(settings))
    training.until(windows)
    return training


# -- settings


def test_the_defaults_are_the_tutorials() -> None:
    settings = EchoSettings()
    assert (settings.bits, settings.echo, settings.batch) == (50_000, 3, 5)
    assert (settings.window, settings.units, settings.learning_rate) == (15, 4, 0.3)
    assert settings.timesteps == 10_000
    assert settings.windows_per_epoch == 666  # 50000 // 5 // 15


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"bits": 0}, "bits", "integer of at least 1"),
        ({"bits": 10.0}, "bits", "integer"),
        ({"echo": -1}, "echo", "at least 0"),
        ({"echo": 50_000}, "echo", "less than the 50000 bits"),
        ({"batch": 60_000}, "batch", "at most the 50000 bits"),
        ({"window": 10_001}, "window", "at most 10000, the timesteps of each series"),
        ({"stride": 16}, "stride", "would skip bits"),
        ({"stride": 0}, "stride", "at least 1"),
        ({"units": True}, "units", "integer"),
        ({"layers": 0}, "layers", "integer"),
        ({"dropout": 1.0, "layers": 2}, "dropout", "less than 1"),
        ({"dropout": 0.5}, "dropout", "at least 2 layers"),
        ({"learning_rate": 0.0}, "learning_rate", "positive"),
        ({"learning_rate": float("nan")}, "learning_rate", "positive"),
        ({"learning_rate": "fast"}, "learning_rate", "positive"),
        ({"seed": -1}, "seed", "at least 0"),
        ({"dtype": "float8"}, "dtype", "float32"),
        ({"reset_state": 1}, "reset_state", "True or False"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(
    options: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        EchoSettings(**options)
    assert caught.value.field == field


def test_settings_survive_plain_data_and_unknown_or_missing_ones_are_named() -> None:
    settings = EchoSettings(bits=100, stride=2, layers=2, dropout=0.25)
    data = json.loads(json.dumps(asdict(settings)))
    assert EchoSettings.from_dict(data) == settings
    with pytest.raises(SettingsError, match="colour is unknown"):
        EchoSettings.from_dict({**data, "colour": "red"})
    del data["echo"]
    with pytest.raises(SettingsError, match="echo is missing"):
        EchoSettings.from_dict(data)


# -- data


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


# -- head and optimizer


def test_the_heads_gradients_are_those_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    y, kernel, bias = rng.normal(size=(3, 2, 4)), rng.normal(size=(4, 2)), rng.normal(size=2)
    targets: Bits = rng.integers(0, 2, (3, 2), dtype=np.uint8)
    found = softmax_loss(y, targets, kernel, bias)
    for array, gradient in ((y, found.dy), (kernel, found.dkernel), (bias, found.dbias)):
        numeric = np.empty_like(array)
        for place in np.ndindex(array.shape):
            keep, sides = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = keep + step
                sides.append(softmax_loss(y, targets, kernel, bias).loss)
            array[place] = keep
            numeric[place] = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(gradient, numeric, atol=1e-9)


def test_the_loss_is_the_cross_entropy_of_the_softmax_and_does_not_overflow() -> None:
    y = np.array([[[1.0]], [[1.0]]])
    targets: Bits = np.array([[1], [0]], np.uint8)
    found = softmax_loss(y, targets, np.array([[0.0, 1.0]]), np.zeros(2))
    one = 1.0 / (1.0 + np.exp(-1.0))
    assert found.loss == pytest.approx(-(np.log(one) + np.log(1.0 - one)) / 2)
    np.testing.assert_allclose(found.ones, one)
    huge = softmax_loss(y, targets, np.array([[0.0, 5000.0]]), np.zeros(2))
    assert huge.loss == pytest.approx(2500.0)


def test_adagrad_is_tensorflows() -> None:
    """Against its definition by hand; against TensorFlow's own op in test_echo_backends."""
    moved, sums = adagrad(
        [np.array([1.0, -2.0])], [np.array([0.1, 0.1])], [np.array([0.3, 0.0])], 0.5
    )
    np.testing.assert_allclose(sums[0], [0.19, 0.1])
    np.testing.assert_allclose(moved[0], [1.0 - 0.5 * 0.3 / np.sqrt(0.19), -2.0])


# -- training


def test_a_step_is_adagrad_on_the_gradient_of_the_windows_loss() -> None:
    """The whole chain, input to moved weight, by finite differences of the loss."""
    settings = EchoSettings(bits=60, batch=2, window=4, units=2, layers=2, dtype="float64")
    training = train(settings, 2)
    before, state = training.parameters, training.state
    window = training.step()

    model = model_of(settings)

    def loss(parameters: Parameters) -> float:
        model.set_weights(parameters.lstm)
        y, _ = model.forward(window.inputs[..., None].astype(float), state)
        return softmax_loss(
            np.asarray(y, np.float64), window.targets, parameters.kernel, parameters.bias
        ).loss

    assert loss(before) == pytest.approx(window.loss, rel=1e-12)
    flat = [array.copy() for array in before.arrays()]
    gradients: list[Float64] = []
    for array in flat:
        gradient = np.empty_like(array)
        for place in np.ndindex(array.shape):
            keep, sides = array[place], []
            for step in (1e-5, -1e-5):
                array[place] = keep + step
                sides.append(loss(Parameters.from_arrays(settings.spec, flat)))
            array[place] = keep
            gradient[place] = (sides[0] - sides[1]) / 2e-5
        gradients.append(gradient)
    earlier = train(settings, 2)
    expected, _ = adagrad(earlier.parameters.arrays(), accumulators(earlier), gradients, 0.3)
    for name, new, want in zip(
        [*before.lstm.names(), "kernel", "bias"],
        training.parameters.arrays(),
        expected,
        strict=True,
    ):
        np.testing.assert_allclose(new, want, atol=1e-8, err_msg=name)


def accumulators(training: Training) -> list[Float64]:
    return training._accumulators


def test_accumulators_start_at_tensorflows_value() -> None:
    assert INITIAL_ACCUMULATOR == 0.1
    assert all(np.all(array == 0.1) for array in accumulators(train(SMALL, 0)))


class Spy:
    """A model that notes the state that each window was given."""

    def __init__(self, model: lstm_impl.Model) -> None:
        self.model, self.spec = model, model.spec
        self.given: list[LSTMState] = []
        self.asked: list[tuple[npt.NDArray[np.floating], LSTMState]] = []
        self.returned: list[LSTMState] = []
        self.masks: list[npt.NDArray[np.floating] | None] = []

    def set_weights(self, weights: LSTMWeights) -> None:
        self.model.set_weights(weights)

    def forward(
        self, x: Any, state: LSTMState | None = None, *, masks: Any = None
    ) -> tuple[npt.NDArray[np.floating], LSTMState]:
        y, following = self.model.forward(x, state, masks=masks)
        assert state is not None
        self.given.append(state)
        self.returned.append(following)
        self.masks.append(masks)
        return y, following

    def gradients(
        self, x: Any, dy: Any, state: LSTMState | None = None, *, masks: Any = None
    ) -> lstm_impl.LSTMGradients:
        assert state is not None
        self.asked.append((dy, state))
        return self.model.gradients(x, dy, state, masks=masks)


def spied(settings: EchoSettings, windows: int) -> tuple[Spy, Training]:
    spy = Spy(model_of(settings))
    training = Training(settings, spy)
    training.until(windows)
    return spy, training


def test_state_is_carried_over_windows_and_zero_at_each_epoch() -> None:
    spy, _ = spied(SMALL, 22)
    for number in range(22):
        if number % 20 == 0:
            assert not spy.given[number].h.any()
            assert not spy.given[number].c.any()
        else:
            assert spy.given[number] is spy.returned[number - 1]
        assert spy.asked[number][1] is spy.given[number]  # the gradient starts where y did


def test_reset_state_starts_every_window_from_zero() -> None:
    spy, _ = spied(replace(SMALL, reset_state=True), 5)
    assert not any(state.h.any() or state.c.any() for state in spy.given)


def test_overlapping_windows_carry_the_state_on_the_way_and_count_new_steps_only() -> None:
    settings = EchoSettings(bits=500, window=6, stride=2, dtype="float64")
    assert settings.windows_per_epoch == (100 - 6) // 2 + 1
    spy, _ = spied(settings, 3)
    # Two forward passes a window: to the next window's start, and on to the end.
    assert spy.given[2] is spy.returned[0]
    assert spy.given[4] is spy.returned[2]
    assert spy.asked[1][1] is spy.given[2]
    assert np.all(np.any(spy.asked[0][0] != 0, axis=-1))
    assert not spy.asked[1][0][:4].any()
    assert np.all(np.any(spy.asked[1][0][4:] != 0, axis=-1))


def test_each_bit_counts_once_whatever_the_stride() -> None:
    for stride in (1, 2, 5, 6):
        settings = EchoSettings(bits=500, window=6, stride=stride)
        counts = np.zeros(settings.timesteps, int)
        for number in range(settings.windows_per_epoch):
            start = number * settings.step
            counts[start : start + 6][settings.counted(number)] += 1
        assert set(counts[: start + 6]) == {1}


def test_overlapping_windows_predict_the_whole_window() -> None:
    window = train(EchoSettings(bits=500, window=6, stride=2), 2).step()
    assert window.ones.shape == window.inputs.shape == (6, 5)
    assert np.all((window.ones > 0) & (window.ones < 1))


def test_dropout_masks_come_from_the_seed_and_leave_the_bits_alone() -> None:
    wet = replace(SMALL, layers=2)
    dry = replace(wet, dropout=0.5)
    spy, dropped = spied(dry, 4)
    again, _ = spied(dry, 4)
    assert all(mask is not None for mask in spy.masks)
    for one, other in zip(spy.masks, again.masks, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert not np.array_equal(np.asarray(spy.masks[0]), np.asarray(spy.masks[1]))
    plain = train(wet, 4)
    assert dropped.last is not None
    assert plain.last is not None
    np.testing.assert_array_equal(dropped.last.inputs, plain.last.inputs)
    assert dropped.losses != plain.losses


def test_the_seed_decides_the_curve() -> None:
    assert train(SMALL, 5).losses == train(SMALL, 5).losses
    assert train(SMALL, 5).losses != train(replace(SMALL, seed=1), 5).losses


def test_a_training_that_diverges_says_so() -> None:
    settings = replace(SMALL, dtype="float64", learning_rate=1e308)
    with (
        np.errstate(all="ignore"),
        pytest.raises(DivergedError, match=r"window [1-5]: .*lower the learning rate"),
    ):
        train(settings, 5)


def test_a_model_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden_size=4.*hidden_size=8"):
        Training(replace(SMALL, units=8), model_of(SMALL))


def test_the_echo_is_learned_with_the_default_settings() -> None:
    settings = EchoSettings()
    training = train(settings, 2 * settings.windows_per_epoch)
    assert np.mean(training.losses[-50:]) < 0.01
    assert np.mean(training.accuracies[-50:]) == 1.0


def test_a_window_no_longer_than_the_echo_learns_next_to_nothing() -> None:
    settings = EchoSettings(bits=21_000, window=3)
    # More updates than those that have learned it with the default window.
    assert settings.windows_per_epoch > 2 * EchoSettings().windows_per_epoch
    training = train(settings, settings.windows_per_epoch)
    assert np.mean(training.losses[-50:]) > 0.6


# -- the best possible loss


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
    ],
    ids=["carried", "longer than a window", "reset", "reset, overlapping", "overlapping",
         "longer than a series", "one series"],
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


def test_no_training_beats_the_best_possible_loss_for_long() -> None:
    settings = EchoSettings(bits=5_000, reset_state=True, window=6)
    windows = settings.windows_per_epoch
    losses = train(settings, 6 * windows).losses[-2 * windows :]
    assert np.mean(losses) > np.mean(best_possible_loss(settings))


# -- checkpoints


@cache
def undisturbed(settings: EchoSettings) -> Training:
    return train(settings, 45)


RESUMED = {
    "plain": SMALL,
    "dropout": replace(SMALL, layers=2, dropout=0.5),
    "overlapping": replace(SMALL, stride=4),
    "reset": replace(SMALL, reset_state=True, dtype="float64"),
}
# Before the first window, in an epoch, at the end of one, and in the second.
PLACES = (0, 7, 20, 33)
USUAL = {*itertools.product(["plain"], PLACES), ("dropout", 33), ("overlapping", 7), ("reset", 20)}


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        pytest.param(
            RESUMED[name], at, id=f"{name} at {at}", marks=() if (name, at) in USUAL else slow
        )
        for name, at in itertools.product(RESUMED, PLACES)
    ],
)
def test_a_resumed_training_goes_on_bit_for_bit(
    settings: EchoSettings, at: int, tmp_path: Path
) -> None:
    whole = undisturbed(settings)
    first = train(settings, at)
    first.save(tmp_path / "deep" / "echo.npz", {"epochs": 3})
    checkpoint = Checkpoint.read(tmp_path / "deep" / "echo.npz")
    assert checkpoint.extra == {"epochs": 3}
    second = Training.load(checkpoint, model_of(settings))
    assert second.windows_done == at
    assert (second.last is None) == (at == 0)
    second.until(45)
    assert second.losses == whole.losses
    assert second.accuracies == whole.accuracies
    for one, other in zip(
        [*second.parameters.arrays(), *accumulators(second), second.state.h, second.state.c],
        [*whole.parameters.arrays(), *accumulators(whole), whole.state.h, whole.state.c],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_the_last_window_is_kept_in_a_checkpoint(tmp_path: Path) -> None:
    training = train(SMALL, 3)
    training.save(tmp_path / "echo.npz")
    last = Training.load(Checkpoint.read(tmp_path / "echo.npz"), model_of(SMALL)).last
    assert last is not None
    assert training.last is not None
    assert (last.loss, last.accuracy) == (training.last.loss, training.last.accuracy)
    assert last.counted == training.last.counted
    np.testing.assert_array_equal(last.ones, training.last.ones)


def test_a_checkpoint_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "echo.npz"
    training = train(SMALL, 2)
    training.save(path)
    before = path.read_bytes()
    training.step()

    def full(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        training.save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["echo.npz"]


def test_a_file_that_is_no_checkpoint_gives_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "echo.npz"
    train(SMALL, 2).save(path)
    whole = path.read_bytes()
    contents: Sequence[bytes] = [b"", b"no zip", whole[: len(whole) // 2], whole[:100], whole[:-30]]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            Checkpoint.read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        Checkpoint.read(tmp_path / "none.npz")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match="one bare array"):
        Checkpoint.read(tmp_path / "bare.npy")


def test_damage_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "echo.npz"
    train(SMALL, 2).save(path)
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    read = 0
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            Checkpoint.read(path)
            read += 1  # a byte that nobody reads, such as a file's time stamp
        except CheckpointError:
            pass
    assert read < 40


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("about", np.asarray('{"schema": 99}'), "schema is 99"),
        ("about", np.asarray("{"), "no whole checkpoint"),
        ("losses", np.zeros((2, 2)), "losses have shape"),
        ("state.h", np.zeros((1, 5, 3)), "state's shape"),
        ("state.c", np.full((1, 5, 4), np.nan), "state.c holds NaN"),
        ("parameter.0", np.zeros((2, 16)), "kernel has shape"),
        ("accumulator.3", np.zeros((4, 3)), "the head has shapes"),
        ("last.ones", np.zeros((15, 4)), "last window"),
        ("parameter.1", None, "no 'parameter.1'"),
    ],
)
def test_a_checkpoint_with_a_wrong_part_names_it(
    name: str, value: npt.NDArray[Any] | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "echo.npz"
    train(SMALL, 2).save(path)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    del arrays[name]
    if value is not None:
        arrays[name] = value
    np.savez(path, allow_pickle=False, **arrays)
    with pytest.raises(CheckpointError, match=says):
        Checkpoint.read(path)


# -- the bound on the curve


def test_the_bound_grows_with_roundoff_and_ends_where_chaos_begins() -> None:
    single = curve_bound(SMALL, 50)
    assert single.shape == (50,)
    assert np.all(np.diff(single) >= 0)
    assert 1e-9 < single[0] < single[-1] < 1e-4
    double = curve_bound(replace(SMALL, dtype="float64"), 25)
    np.testing.assert_allclose((double - 4 * 2.0**-52) / (single[:25] - 4 * 2.0**-52), 2.0**-29)
    wild = curve_bound(replace(SMALL, dtype="bfloat16", learning_rate=3.0), 60)
    chaos = int(np.isinf(wild).argmax())
    assert 0 < chaos < 60
    assert np.all(np.isinf(wild[chaos:]))
    assert np.all(wild[:chaos] <= LINEAR_LIMIT)


class Wrong(Spy):
    """A model with one mistake."""

    def __init__(self, model: lstm_impl.Model, mistake: str) -> None:
        super().__init__(model)
        self.mistake = mistake

    def set_weights(self, weights: LSTMWeights) -> None:
        if self.mistake == "forget bias dropped":
            weights = weights.map(lambda a: np.where(a > 1.2, 0.0, a) if a.ndim == 1 else a)
        self.model.set_weights(weights)

    def forward(
        self, x: Any, state: LSTMState | None = None, *, masks: Any = None
    ) -> tuple[npt.NDArray[np.floating], LSTMState]:
        y, following = super().forward(x, state, masks=masks)
        if self.mistake == "h not carried":
            following = LSTMState(h=np.zeros_like(following.h), c=following.c)
        return y, following

    def gradients(
        self, x: Any, dy: Any, state: LSTMState | None = None, *, masks: Any = None
    ) -> lstm_impl.LSTMGradients:
        found = super().gradients(x, dy, state, masks=masks)
        if self.mistake == "one gradient a little too large":
            found = replace(found, weights=found.weights.map(lambda a: a * 1.0001))
        return found


@pytest.fixture(scope="module")
def judged() -> tuple[Float64, Float64]:
    """What thirty windows lose, and by how much rounding may change that."""
    reference = reference_curve(SMALL, 30)
    return reference, curve_bound(SMALL, 30, reference=reference)


def test_rounding_to_single_precision_stays_within_the_bound(
    judged: tuple[Float64, Float64],
) -> None:
    reference, bound = judged
    deviation = np.abs(np.array(train(SMALL, 30).losses) - reference)
    assert deviation.max() > 0.0
    assert np.all(deviation <= bound)


@pytest.mark.parametrize(
    "mistake", ["forget bias dropped", "h not carried", "one gradient a little too large"]
)
def test_the_bound_is_tight_enough_to_catch_a_wrong_model(
    mistake: str, judged: tuple[Float64, Float64]
) -> None:
    training = Training(SMALL, Wrong(model_of(SMALL), mistake))
    reference, bound = judged
    assert np.any(np.abs(training.until(30) - reference) > bound)
