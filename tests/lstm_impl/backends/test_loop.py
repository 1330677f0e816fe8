"""The layer over a loop, and its gradient by hand."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from lstm_impl import LSTMSpec, Workload
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import built

tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


@pytest.mark.parametrize("name", ["while_loop+hoisted", "static_unroll+hoisted"])
def test_a_hand_written_gradient_can_be_differentiated_again(name: str) -> None:
    spec = LSTMSpec(3, 4, dtype="float64")
    inputs = Workload(2, 3).inputs(spec)
    given = [tf.constant(array) for array in (inputs.x, inputs.state.h, inputs.state.c)]

    def second(model: Any, x: Any, h: Any, c: Any) -> Any:
        with tf.GradientTape() as outer:
            outer.watch([x, h, c])
            with tf.GradientTape() as inner:
                inner.watch([x, h, c])
                y, _ = model(x, (h, c))
                loss = tf.reduce_sum(y * y)
            first = inner.gradient(loss, [x, h])
            total = tf.add_n([tf.reduce_sum(each * each) for each in first])
        return outer.gradient(total, [x, h, c, *model.variables])

    by_hand = functools.partial(second, built(name, spec))
    if name != "while_loop+hoisted":  # whose loop is differentiated twice in the layer's graph
        by_hand = tf.function(by_hand, autograph=False)
    # By the plain ops of each step, whose gradients are all TensorFlow's own.
    by_tape = functools.partial(second, built("static_unroll", spec))
    for ours, theirs in zip(by_hand(*given), by_tape(*given), strict=True):
        assert error(ours, theirs) < 1e-12
