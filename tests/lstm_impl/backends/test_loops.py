"""Test TensorFlow's loops over time: any number of steps, and their graphs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, get_backend, reference
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import SPEC, built

tf = pytest.importorskip("tensorflow", reason="they are TensorFlow's: pip install '.[cpu]'")


@pytest.mark.parametrize("name", ["partial_unroll@3", "partial_unroll@7", "scan", "while_loop"])
def test_loop_of_any_number_of_timesteps_equals_the_reference(name: str) -> None:
    """Test fewer timesteps than an iteration has, as many, and a rest of none, one and two."""
    model = built(name)
    for timesteps in (1, 2, 3, 6, 7, 8):
        x = np.random.default_rng(timesteps).standard_normal((timesteps, 2, 3))
        expected, state = reference.forward(SPEC, model.get_weights(), x)
        y, last = model.forward(x)
        assert error(y, expected) < 1e-5
        assert error(last.c, state.c) < 1e-5


@pytest.mark.parametrize(
    ("name", "timesteps", "outside", "inside"),
    [
        ("static_unroll", 7, 7, 0),
        *(("while_loop", timesteps, 0, 1) for timesteps in (7, None)),
        ("scan", None, 0, 1),
        # One more is for the rest after the last iteration.
        *(("partial_unroll@5", timesteps, 0, 5 + 1) for timesteps in (7, None)),
    ],
)
def test_graph_of_a_loop_has_this_many_copies_of_the_step(
    name: str, timesteps: int | None, outside: int, inside: int
) -> None:
    model = built(name)
    traced = tf.function(lambda x: model(x)[0], autograph=False)
    concrete = traced.get_concrete_function(tf.TensorSpec([timesteps, 2, 3]))
    graph = concrete.graph.as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def]
    # A step has two, of the candidate and of the cell.
    found = [sum(node.op == "Tanh" for node in each) for each in (graph.node, nodes)]
    assert found == [2 * outside, 2 * inside]


@pytest.mark.parametrize("name", ["while_loop+hoisted", "static_unroll+hoisted"])
def test_hand_written_gradient_can_be_differentiated_again(name: str) -> None:
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
    # By the plain ops of each step, whose gradients are TensorFlow's.
    by_tape = functools.partial(second, built("static_unroll", spec))
    for ours, theirs in zip(by_hand(*given), by_tape(*given), strict=True):
        assert error(ours, theirs) < 1e-12


# XLA takes no stacks of length zero, which the loops of a gradient would need.
@pytest.mark.parametrize("timesteps", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_partial_unroll_with_xla_without_a_full_iteration_or_rest_passes(timesteps: int) -> None:
    result = gate(built("partial_unroll@4+xla"), Workload(2, timesteps, "training"))
    assert result.passed, result.describe()


def test_static_unroll_of_unknown_timesteps_raises() -> None:
    model = built("static_unroll")
    function = tf.function(
        lambda x: model(x)[0], input_signature=[tf.TensorSpec([None, 2, 3])], autograph=False
    )
    with pytest.raises(UnsupportedError, match="number of timesteps when it is traced"):
        function.get_concrete_function()


def test_static_unroll_with_xla_of_bidirectional_float64_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = LSTMSpec(3, 5, bidirectional=True, dtype="float64")
    backend = get_backend("static_unroll+xla")
    with pytest.raises(UnsupportedError, match="wrongly"):
        backend.build(spec, LSTMWeights.random(spec))
    monkeypatch.setattr(type(backend), "refusal", TensorFlowBackend.refusal)
    result = gate(built("static_unroll+xla", spec), Workload(4, 7, "inference"))
    # The release candidates of 2.22 compile it rightly.
    repaired = tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 22)
    assert result.passed == repaired, "with all TensorFlows that are supported: allow it again"


pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


def test_gate_of_the_gradient_registered_for_blocklstmv2_fails() -> None:
    result = gate(built("block_lstm+registered"), Workload(2, 6, "training"))
    assert not result.passed
    assert "dx" in result.describe()
    assert result.errors["y"] <= result.bounds["y"]  # the forward pass is right
