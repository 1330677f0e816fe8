"""One direction of one layer, to which a backend's own is held by itself: what it is given, and
what the reference makes of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, reference
from lstm_impl.backends.tensorflow.backend import PaddingMask, TensorFlowBackend
from lstm_impl.backends.tensorflow.loop import LoopBackend
from lstm_impl.call import Outputs, Tensor, Tensors
from lstm_impl.proof.comparison import error
from lstm_impl.weights import LayerWeights
from tests.lstm_impl.backends.built import ready

SPEC = LSTMSpec(3, 5, bidirectional=True)
WEIGHTS = LSTMWeights.random(SPEC, seed=1)

both_ways = pytest.mark.parametrize(
    ("padded", "reverse"), [(False, False), (True, True)], ids=["forwards", "padded_and_backwards"]
)
"""What a layer is told beside its numbers: whether there is padding, and which way it reads."""


class Layer(NamedTuple):
    """x ``[T, B, in]``, h and c ``[B, H]``, a cell's weights, lengths ``[B]``, and the outputs.

    cell: of ``LayerWeights``, the kernel, the recurrent kernel and the bias.
    """

    x: Tensor
    h: Tensor
    c: Tensor
    cell: Tensors
    lengths: Tensor | None
    wanted: Outputs

    def given(self, tensor: Callable[[Any], Any]) -> Layer:
        """The same as a framework's tensors."""
        x, h, c, cell, lengths, _ = self
        lengths = None if lengths is None else tensor(lengths.astype(np.int32))
        x, h, c, *cell = map(tensor, (x, h, c, *cell))
        return self._replace(x=x, h=h, c=c, cell=cell, lengths=lengths)

    def check(self, found: Any) -> None:
        """found: outputs ``[T, B, H]`` and the final h and c ``[B, H]``."""
        for ours, theirs in zip(found, self.wanted, strict=True):
            assert error(np.asarray(ours), theirs) < 1e-5


def layer(padded: bool, reverse: bool) -> Layer:
    """One of both directions."""
    inputs = Workload(4, 6, min_length=2 if padded else None).inputs(SPEC)
    y, state = reference.forward(SPEC, WEIGHTS, inputs.x, inputs.state, inputs.lengths)
    row, size = int(reverse), SPEC.hidden_size
    y = y[..., row * size :][..., :size]
    (cells,) = WEIGHTS.layers
    wanted = Outputs(y, state.h[row], state.c[row])
    h, c = inputs.state.h[row], inputs.state.c[row]
    return Layer(inputs.x, h, c, tuple(cells[row]), inputs.lengths, wanted)


# -- TensorFlow's


def tensors(spec: LSTMSpec, batch: int, timesteps: int) -> tuple[Tensor, Tensor, Tensor]:
    """An input and a state for a layer."""
    import tensorflow as tf

    inputs = Workload(batch, timesteps).inputs(spec)
    x, h, c = map(tf.constant, (inputs.x, inputs.state.h, inputs.state.c))
    return x, h, c


def check_layer(name: str, padded: bool, reverse: bool) -> None:
    """A backend's layer by itself, op by op, against the reference."""
    import tensorflow as tf

    backend = ready(name)
    assert isinstance(backend, TensorFlowBackend)
    given = layer(padded, reverse)
    x, h, c, _, lengths, _ = given.given(tf.constant)
    parameters = [tf.constant(array) for array in backend.to_layout(LayerWeights(*given.cell))]
    padding = None if lengths is None else PaddingMask.of(x, lengths)
    given.check(backend.layer(x, (h, c), parameters, padding, reverse))


def _step(carry: Any, slices: Any) -> Any:
    """Two sums that fade, of different shapes; put out are the first, and what was read."""
    import tensorflow as tf

    (a, b), (x, factor) = carry, slices
    return (tf.tanh(a) + x * factor, 0.5 * b + factor), (a, -x)


def _scan(name: str, x: Tensor, factor: Tensor, reverse: bool = False) -> Any:
    import tensorflow as tf

    backend = ready(name)
    assert isinstance(backend, LoopBackend)
    like = tf.zeros([2])
    return backend.scan(_step, (like, tf.zeros([])), (x, factor), (like, like), reverse)


def check_scan(name: str, timesteps: int, reverse: bool) -> None:
    """How a strategy loops, with a step that is no LSTM's, against a loop in Python."""
    import tensorflow as tf

    draw = np.random.default_rng(timesteps).standard_normal
    x, factor = draw((timesteps, 2)).astype(np.float32), draw(timesteps).astype(np.float32)
    a, b = np.zeros(2), 0.0
    before = np.zeros((timesteps, 2))
    for t in reversed(range(timesteps)) if reverse else range(timesteps):
        before[t] = a
        a, b = np.tanh(a) + x[t] * factor[t], 0.5 * b + factor[t]
    (last_a, last_b), (first, second) = _scan(name, tf.constant(x), tf.constant(factor), reverse)
    for ours, wanted in ((last_a, a), (last_b, b), (first, before), (second, -x)):
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


def copies(name: str, timesteps: int | None) -> tuple[int, int]:
    """How many copies of the step are in a graph that loops so: beside its loops, and in them."""
    import tensorflow as tf

    traced = tf.function(lambda x, factor: _scan(name, x, factor), autograph=False)
    specs = tf.TensorSpec([timesteps, 2]), tf.TensorSpec([timesteps])
    graph = traced.get_concrete_function(*specs).graph.as_graph_def()
    inside = [node for function in graph.library.function for node in function.node_def]
    of_each = [sum(node.op == "Tanh" for node in nodes) for nodes in (graph.node, inside)]
    return of_each[0], of_each[1]
