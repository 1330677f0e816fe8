"""Test a training of the echo task: loss, optimizers, steps and the carried state."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from bench.echo.task import Bits, EchoSettings, Float64
from bench.echo.training import (
    DivergedError,
    Parameters,
    Training,
    adagrad,
    build_model,
    softmax_loss,
)
from tests.bench.echo.made_models import Spy

SMALL = EchoSettings(bits=1500, window=15)  # 20 windows an epoch


def train(settings: EchoSettings, windows: int) -> Training:
    training = Training(settings, build_model(settings))
    training.until(windows)
    return training


# -- training


def test_step_applies_adagrad_to_the_gradient_of_the_loss() -> None:
    """Check input to updated weight by finite differences of the loss."""
    settings = EchoSettings(bits=60, batch=2, window=4, units=2, layers=2, dtype="float64")
    training = train(settings, 2)
    before, state = training.parameters, training.state
    window = training.step()

    model = build_model(settings)

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
    return training._optimizer_state


def spied(settings: EchoSettings, windows: int) -> tuple[Spy, Training]:
    spy = Spy(build_model(settings))
    training = Training(settings, cast("Any", spy))
    training.until(windows)
    return spy, training


def test_step_carries_the_state_and_resets_it_at_each_epoch() -> None:
    spy, _ = spied(SMALL, 22)
    for number in range(22):
        if number % 20 == 0:
            assert not spy.given[number].h.any()
            assert not spy.given[number].c.any()
        else:
            assert spy.given[number] is spy.returned[number - 1]
        assert spy.upstream[number][1] is spy.given[number]  # the gradient starts where y did


def test_step_with_reset_state_starts_from_zero() -> None:
    spy, _ = spied(replace(SMALL, reset_state=True), 5)
    assert not any(state.h.any() or state.c.any() for state in spy.given)


def test_step_dropout_masks_follow_the_seed_and_keep_the_bits() -> None:
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


def test_step_diverging_raises_with_the_window() -> None:
    settings = replace(SMALL, dtype="float64", learning_rate=1e308)
    with (
        np.errstate(all="ignore"),
        pytest.raises(DivergedError, match=r"window [1-5]: .*Reduce the learning rate"),
    ):
        train(settings, 5)


def test_training_default_settings_learn_the_echo() -> None:
    settings = EchoSettings()
    training = train(settings, settings.windows_per_epoch)
    assert np.mean(training.losses[-50:]) < 0.02
    assert np.mean(training.accuracies[-50:]) == 1.0


def test_training_window_as_long_as_the_echo_does_not_learn() -> None:
    settings = EchoSettings(bits=21_000, window=3)
    # More updates than those that have learned it with the default window.
    assert settings.windows_per_epoch > 2 * EchoSettings().windows_per_epoch
    training = train(settings, settings.windows_per_epoch)
    assert np.mean(training.losses[-50:]) > 0.6


# -- the head


def test_softmax_loss_gradients_match_finite_differences() -> None:
    rng = np.random.default_rng(0)
    y, kernel = rng.normal(size=(3, 2, 4)), rng.normal(size=(4, 2))
    bias = rng.normal(size=2)
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


def test_softmax_loss_is_the_cross_entropy_without_overflow() -> None:
    y = np.array([[[1.0]], [[1.0]]])
    targets: Bits = np.array([[1], [0]], np.uint8)
    found = softmax_loss(y, targets, np.array([[0.0, 1.0]]), np.zeros(2))
    one = 1.0 / (1.0 + np.exp(-1.0))
    assert found.loss == pytest.approx(-(np.log(one) + np.log(1.0 - one)) / 2)
    np.testing.assert_allclose(found.ones, one)
    huge = softmax_loss(y, targets, np.array([[0.0, 5000.0]]), np.zeros(2))
    assert huge.loss == pytest.approx(2500.0)


# -- what is learned, at the start


def test_initial_biases_spread_time_constants_up_to_the_memory() -> None:
    settings = EchoSettings(units=200, memory=20)
    found = Parameters.initial(settings, np.random.default_rng(0))
    ((cell,),) = found.lstm.layers
    i, f, g, o = np.split(cell.bias, 4)
    spread = np.exp(f)
    np.testing.assert_array_equal(i, -f)
    assert 1 <= spread.min() < 2
    assert 19 < spread.max() <= 20
    plain = Parameters.initial(replace(settings, memory=0), np.random.default_rng(0))
    ((without,),) = plain.lstm.layers
    np.testing.assert_array_equal(without.bias[2 * 200 :], np.concatenate([g, o]))
    assert not np.array_equal(without.bias[: 2 * 200], cell.bias[: 2 * 200])


def test_initial_head_is_within_its_limit_in_any_precision() -> None:
    settings = EchoSettings(units=16)
    found = Parameters.initial(settings, np.random.default_rng(1))
    assert found.kernel.shape == (16, 2)
    assert 0.2 < np.abs(found.kernel).max() <= 0.25
    assert not found.bias.any()
    half = Parameters.initial(replace(settings, dtype="float16"), np.random.default_rng(1))
    for one, other in zip(found.arrays(), half.arrays(), strict=True):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)


# -- optimizers


def test_adagrad_step_equals_its_definition() -> None:
    moved, sums = adagrad(
        [np.array([1.0, -2.0])], [np.array([0.1, 0.1])], [np.array([0.3, 0.0])], 0.5
    )
    np.testing.assert_allclose(sums[0], [0.19, 0.1])  # as TensorFlow's ResourceApplyAdagrad
    np.testing.assert_allclose(moved[0], [1.0 - 0.5 * 0.3 / np.sqrt(0.19), -2.0])
