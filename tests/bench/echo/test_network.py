"""The parameters, the softmax layer with its loss, and the two optimizers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from bench.echo.network import Parameters, adagrad, adam, softmax_loss
from bench.echo.task import Bits, EchoSettings

# -- the head


def test_the_heads_gradients_are_those_of_its_loss() -> None:
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


def test_the_loss_is_the_cross_entropy_of_the_softmax_and_does_not_overflow() -> None:
    y = np.array([[[1.0]], [[1.0]]])
    targets: Bits = np.array([[1], [0]], np.uint8)
    found = softmax_loss(y, targets, np.array([[0.0, 1.0]]), np.zeros(2))
    one = 1.0 / (1.0 + np.exp(-1.0))
    assert found.loss == pytest.approx(-(np.log(one) + np.log(1.0 - one)) / 2)
    np.testing.assert_allclose(found.ones, one)
    huge = softmax_loss(y, targets, np.array([[0.0, 5000.0]]), np.zeros(2))
    assert huge.loss == pytest.approx(2500.0)


# -- what is learned, at the start


def test_a_unit_begins_with_a_time_constant_of_up_to_the_memory() -> None:
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


def test_the_head_begins_within_its_limit_and_the_precision_changes_nothing() -> None:
    settings = EchoSettings(units=16)
    found = Parameters.initial(settings, np.random.default_rng(1))
    assert found.kernel.shape == (16, 2)
    assert 0.2 < np.abs(found.kernel).max() <= 0.25
    assert not found.bias.any()
    half = Parameters.initial(replace(settings, dtype="float16"), np.random.default_rng(1))
    for one, other in zip(found.arrays(), half.arrays(), strict=True):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)


def test_parameters_come_back_from_their_arrays_and_others_are_refused() -> None:
    settings = EchoSettings()
    found = Parameters.initial(settings, np.random.default_rng(1))
    again = Parameters.from_arrays(settings.spec, found.arrays())
    for one, other in zip(found.arrays(), again.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    *lstm, kernel, bias = found.arrays()
    for arrays in ([*lstm, kernel.T, bias], [*lstm, kernel, bias[:1]]):
        with pytest.raises(ValueError, match=r"softmax layer has shapes .*; expected \(4, 2\)"):
            Parameters.from_arrays(settings.spec, arrays)


# -- optimizers


def test_adam_is_the_papers_algorithm() -> None:
    rng = np.random.default_rng(2)
    value = [rng.normal(size=3), rng.normal(size=(2, 2))]
    moments = [np.zeros_like(each) for each in (*value, *value)]
    first, second = ([np.zeros_like(each) for each in value] for _ in range(2))
    expected = [each.copy() for each in value]
    for step in range(1, 5):
        gradients = [rng.normal(size=each.shape) for each in value]
        value, moments = adam(value, moments, gradients, 0.1, step)
        for place, gradient in enumerate(gradients):
            first[place] = 0.9 * first[place] + 0.1 * gradient
            second[place] = 0.999 * second[place] + 0.001 * gradient**2
            corrected = first[place] / (1 - 0.9**step)
            expected[place] = expected[place] - 0.1 * corrected / (
                np.sqrt(second[place] / (1 - 0.999**step)) + 1e-8
            )
    for got, want in itertools.chain(
        zip(value, expected, strict=True), zip(moments, [*first, *second], strict=True)
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_adagrad_is_the_step_of_tensorflows_own_op() -> None:
    tf = pytest.importorskip("tensorflow", reason="compares with TensorFlow's op")
    rng = np.random.default_rng(0)
    values, sums = [rng.normal(size=(3, 4))], [np.full((3, 4), 0.1)]
    variable = tf.Variable(values[0], dtype=tf.float64)
    accumulator = tf.Variable(sums[0], dtype=tf.float64)
    for _ in range(5):
        gradient = rng.normal(size=(3, 4))
        values, sums = adagrad(values, sums, [gradient], 0.3)
        tf.raw_ops.ResourceApplyAdagrad(
            var=variable.handle,
            accum=accumulator.handle,
            lr=tf.constant(0.3, tf.float64),
            grad=tf.constant(gradient, tf.float64),
        )
    np.testing.assert_allclose(values[0], variable.numpy(), rtol=1e-13)
    np.testing.assert_allclose(sums[0], accumulator.numpy(), rtol=1e-13)
