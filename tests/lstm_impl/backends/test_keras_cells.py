"""What Keras's layers leave undone, with a layer in their place that does it as they do."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

from lstm_impl import Call, LSTMSpec, LSTMState, LSTMWeights, Workload, reference
from lstm_impl.backends.keras.cells import Arrays, make_layers, through_keras
from tests.lstm_impl.backends.built import ready

DEEP = LSTMSpec(3, 4, 2, True)
WEIGHTS = LSTMWeights.random(DEEP, seed=1)

NUMPY = Arrays(
    swap=lambda each: np.swapaxes(each, 0, 1),
    upto=lambda lengths, x: np.arange(x.shape[1])[None, :] < lengths[:, None],
    reverse=lambda y: y[:, ::-1],
    zero=lambda y, valid: np.where(valid[:, :, None], y, 0.0),
    join=lambda parts: np.concatenate(parts, axis=-1),
    stack=np.stack,
)


def as_keras(row: int, x: Any, h: Any, c: Any, valid: Any) -> tuple[Any, Any, Any]:
    """A layer's outputs as it computes them: backwards in that order, and on padding the output
    and the state before, repeated."""
    kernel, recurrent_kernel, bias = WEIGHTS.cells()[row]
    outputs, y = [], np.zeros_like(h)
    steps = range(x.shape[1])
    for t in reversed(steps) if row % 2 else steps:
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
        c_new = reference.sigmoid(f) * c + reference.sigmoid(i) * np.tanh(g)
        h_new = reference.sigmoid(o) * np.tanh(c_new)
        alive = np.ones((len(x), 1), bool) if valid is None else valid[:, t, None]
        h, c, y = (np.where(alive, *each) for each in ((h_new, h), (c_new, c), (h_new, y)))
        outputs.append(y)
    return np.stack(outputs, axis=1), h, c


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("min_length", [None, 1])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_network_of_such_layers_is_the_reference_s(
    batch_major: bool, min_length: int | None, dropout: float
) -> None:
    workload = Workload(3, 5, "training", min_length=min_length, dropout=dropout)
    inputs = workload.inputs(DEEP)
    x = NUMPY.swap(inputs.x) if batch_major else inputs.x
    call = Call(x, inputs.state.h, inputs.state.c, inputs.lengths, inputs.masks)
    y, h, c = through_keras(DEEP, call, as_keras, NUMPY, batch_major)
    wanted, state = reference.forward(
        DEEP, WEIGHTS, inputs.x, LSTMState(call.h, call.c), inputs.lengths, inputs.masks
    )
    np.testing.assert_allclose(NUMPY.swap(y) if batch_major else y, wanted, atol=1e-6)
    np.testing.assert_allclose(h, state.h, atol=1e-6)
    np.testing.assert_allclose(c, state.c, atol=1e-6)


def test_keras_s_own_functions_do_the_same_to_arrays() -> None:
    ready("keras")
    from keras import ops

    theirs = Arrays.of_keras(ops)
    y = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    valid = np.array([[True, True, False], [True, False, False]])
    for name, arguments in {
        "swap": (y,),
        "upto": (np.array([2, 1], np.int32), y),
        "reverse": (y,),
        "zero": (y, valid),
        "join": ([y, 2 * y],),
        "stack": ([y, 2 * y],),
    }.items():
        given = [ops.convert_to_tensor(each) for each in arguments]
        if isinstance(arguments[0], list):
            given = [[ops.convert_to_tensor(each) for each in arguments[0]]]
        found = ops.convert_to_numpy(getattr(theirs, name)(*given))
        np.testing.assert_array_equal(found, getattr(NUMPY, name)(*arguments), err_msg=name)


class Variable:
    def assign(self, array: Any) -> None:
        self.value = array


class Layer:
    """Keras's ``LSTM`` as far as it is asked."""

    def __init__(self, units: int, **arguments: Any) -> None:
        self.units, self.arguments = units, arguments

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.shape = shape
        self.trainable_variables = [Variable(), Variable(), Variable()]


@pytest.mark.parametrize(("dtype", "policy"), [("tf32", "float32"), ("mixed_float16",) * 2])
def test_layers_are_made_in_the_order_of_the_state_s_rows(dtype: str, policy: str) -> None:
    keras = types.SimpleNamespace(layers=types.SimpleNamespace(LSTM=Layer))
    spec = LSTMSpec(3, 4, 2, True, dtype=dtype)
    weights = LSTMWeights.random(spec, seed=1)
    layers = make_layers(keras, spec, weights, unroll=True)
    assert [each.arguments["go_backwards"] for each in layers] == [False, True, False, True]
    assert [each.shape for each in layers] == [(None, None, width) for width in (3, 3, 8, 8)]
    for each, cell in zip(layers, weights.cells(), strict=True):
        assert (each.units, each.arguments["dtype"], each.arguments["unroll"]) == (4, policy, True)
        assert each.arguments["return_sequences"]
        assert each.arguments["return_state"]
        for variable, array in zip(each.trainable_variables, cell, strict=True):
            np.testing.assert_array_equal(variable.value, array)
