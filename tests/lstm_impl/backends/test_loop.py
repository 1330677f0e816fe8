"""The layer over a loop, and its gradient by hand."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from lstm_impl import LSTMSpec, UnsupportedError, Workload, get_backend
from lstm_impl.backends.tensorflow.backend import PaddingMask
from lstm_impl.backends.tensorflow.loop import LoopBackend
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import built
from tests.lstm_impl.backends.layers import both_ways, check_layer, layer

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


@both_ways
@pytest.mark.parametrize("name", ["static_unroll+preproject", "static_unroll+hoisted"])
def test_the_input_product_may_stand_before_the_loop(
    name: str, padded: bool, reverse: bool
) -> None:
    check_layer(name, padded, reverse)


@both_ways
def test_the_gradient_by_hand_is_the_tape_s(padded: bool, reverse: bool) -> None:
    x, h, c, cell, lengths, _ = layer(padded, reverse).given(tf.constant)
    padding = None if lengths is None else PaddingMask.of(x, lengths)
    inputs = [x, h, c, *cell]

    def gradients(name: str) -> Any:
        backend = get_backend(name)
        assert isinstance(backend, LoopBackend)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y, *last = backend.layer(x, (h, c), cell, padding, reverse)
            # Into the padding flows something too, which must reach nothing.
            losses = [tf.reduce_sum(tf.exp(y)), *(tf.reduce_sum(each * each) for each in last)]
        return tape.gradient(losses, inputs)

    by_hand, by_tape = gradients("static_unroll+hoisted"), gradients("static_unroll")
    for ours, theirs in zip(by_hand, by_tape, strict=True):
        assert error(ours, theirs) < 1e-6


def test_what_is_hoisted_is_preprojected_already() -> None:
    with pytest.raises(UnsupportedError, match=r"drop \+preproject"):
        get_backend("scan+preproject+hoisted")
