"""The parameters, the softmax layer with its loss, and the two optimizers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.echo.network import Parameters, adagrad, softmax_loss
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


# -- optimizers


def test_adagrad_is_its_definition() -> None:
    moved, sums = adagrad(
        [np.array([1.0, -2.0])], [np.array([0.1, 0.1])], [np.array([0.3, 0.0])], 0.5
    )
    np.testing.assert_allclose(sums[0], [0.19, 0.1])  # as TensorFlow's ResourceApplyAdagrad
    np.testing.assert_allclose(moved[0], [1.0 - 0.5 * 0.3 / np.sqrt(0.19), -2.0])
