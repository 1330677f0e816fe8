"""Models that are compiled with their weights: when that is to be done anew. No framework."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_impl import Call, LSTMWeights, Outputs, Workload
from lstm_impl.backends.inference_model import InferenceModel, shapes_of
from lstm_impl.backends.others.numpy_loop import NumPyLoop
from tests.lstm_impl.backends.built import SPEC


class Compiled(InferenceModel):
    """Counts what it compiles; it computes a constant of its weights."""

    made: int = 0

    def _infer(self, call: Call) -> Outputs:
        key = shapes_of(call.given())
        if key not in self._ready:
            self.made += 1
            self._ready[key] = float(self.get_weights().arrays()[0][0, 0])
        y = np.full((*call.x.shape[:2], self.spec.hidden_size), self._ready[key], np.float32)
        return Outputs(y, call.h, call.c)

    def evidence(self, workload: Workload) -> dict[str, Any]:
        return {}


def test_what_was_compiled_serves_calls_of_its_shape_until_the_weights_change() -> None:
    first, second = (LSTMWeights.random(SPEC, seed) for seed in (1, 2))
    model = Compiled(NumPyLoop(), SPEC, "cpu", False, first)
    x = np.ones((4, 2, 3))
    for _ in range(2):
        assert np.all(model.forward(x)[0] == first.arrays()[0][0, 0])
    assert model.made == 1
    model.forward(x[:3])
    model.forward(x, None, [4, 2])
    assert model.made == 3
    model.set_weights(second)
    assert np.all(model.forward(x)[0] == second.arrays()[0][0, 0])
    assert model.made == 4
    for ours, theirs in zip(model.get_weights().arrays(), second.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_shapes_are_in_the_order_of_a_call_whatever_is_left_out() -> None:
    x, state, lengths = np.ones((4, 2, 3)), np.ones((1, 2, 5)), np.ones(2)
    assert shapes_of({"lengths": lengths, "x": x, "c": state, "h": state}) == (
        (4, 2, 3),
        (1, 2, 5),
        (1, 2, 5),
        (2,),
        None,
    )


def test_arrays_are_copied_into_single_precision_and_lengths_into_whole_numbers() -> None:
    model = Compiled(NumPyLoop(), SPEC, "cpu", False, LSTMWeights.random(SPEC))
    turned = np.swapaxes(np.arange(6.0).reshape(2, 3), 0, 1)
    placed = model._to_device(turned)
    assert placed.dtype == np.float32
    assert placed.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(placed, turned)
    assert model._to_device(np.array([4, 2])).dtype == np.int32
