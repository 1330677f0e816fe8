"""The ops of ``fused_cpu``, and one direction of one layer by them, forward and backward."""

from __future__ import annotations

import functools
import logging
from typing import Any, NamedTuple

import lstm_impl.backends.fused_cpu.library as fused_cpu_library
from lstm_impl.availability import AVAILABLE, Availability, UnavailableError
from lstm_impl.backends.tensorflow.backend import PaddingMask
from lstm_impl.backends.tensorflow.loop import LayerInputs, by_loop
from lstm_impl.backends.tensorflow.loops import WhileLoop
from lstm_impl.backends.tensorflow.second_gradient import with_gradient
from lstm_impl.call import Outputs, Tensor, Tensors, Upstream
from lstm_impl.spec import UnsupportedError

logger = logging.getLogger(__name__)

NOT_COMPILED = (
    "XLA cannot compile its op: leave jit_compile=True out, or use while_loop+hoisted+xla"
)

NO_SECOND_GRADIENT = (
    "the gradient of fused_cpu is an op that has no gradient itself, and tf.vectorized_map drops "
    "the loop that has one; use while_loop+hoisted for a second gradient there"
)


class Kept(NamedTuple):
    """What a layer keeps for its gradient: what it read, and its op's outputs."""

    x: Tensor
    y: Tensor
    gates: Tensor
    cells: Tensor
    hidden: Tensor


class InputGradients(NamedTuple):
    """Gradients of the input and the initial state; None where they are not requested."""

    dx: Tensor
    dh: Tensor
    dc: Tensor


class FusedLayer:
    """One direction of one layer: the ops, with what does not change from call to call.

    row: which of the states ``[rows, B, H]`` that it is given is its own. reverse: the steps are
    read from the last to the first; outputs stand at the step they belong to. batch_major: of
    input and output.

    parameters are kernel ``[in, 4H]``, recurrent kernel ``[H, 4H]`` and bias ``[4H]``, or outside a
    graph the handles of their variables; padding is integer lengths ``[B]``, a bool mask ``[T, B]``
    that is False where a step is left out, or None.
    """

    def __init__(self, row: int = 0, reverse: bool = False, batch_major: bool = False) -> None:
        module = ops()
        self._inference = module.lstm_impl_fused_lstm
        self._training = module.lstm_impl_fused_lstm_training
        self._gradient = module.lstm_impl_fused_lstm_grad
        self._input_gradient = module.lstm_impl_fused_lstm_input_grad
        self._layout = {"batch_major": True} if batch_major else {}
        # Each attribute that an op is reported, its default too, takes half a microsecond.
        given = {"row": row, "reverse": reverse}
        self._attributes = {name: each for name, each in given.items() if each} | self._layout

    def infer(
        self, x: Tensor, h: Tensor, c: Tensor, parameters: Tensors, padding: Tensor | None
    ) -> Outputs:
        """Outputs ``[T, B, H]`` and final states ``[1, B, H]``, and nothing kept."""
        check_not_compiled()
        read = (x, h, c, *parameters, as_padding(padding))
        return Outputs(*self._inference(*read, **self._attributes))

    def train(
        self, x: Tensor, h: Tensor, c: Tensor, parameters: Tensors, padding: Tensor | None
    ) -> tuple[Outputs, Kept]:
        """The same, and what ``backward`` needs."""
        check_not_compiled()
        read = (x, h, c, *parameters, as_padding(padding))
        y, h_last, c_last, *kept = self._training(*read, **self._attributes)
        return Outputs(y, h_last, c_last), Kept(x, y, *kept)

    def backward(
        self,
        kept: Kept,
        h: Tensor,
        c: Tensor,
        parameters: Tensors,
        padding: Tensor | None,
        upstream: Upstream,
        of_input: bool = True,
        of_state: bool = True,
        last: bool = False,
    ) -> tuple[InputGradients, list[Tensor]]:
        """Gradients of x, h and c (``[1, B, H]``) and of the parameters; upstream's states have
        rows as h and c do. last: what was kept is not needed again, and may be written over.
        """
        dz, dh, dc, *weights = self._gradient(
            kept.x,
            h,
            c,
            parameters[1],
            as_padding(padding),
            *kept[1:],
            *upstream,
            state=of_state,
            overwrite=last,
            **self._attributes,
        )
        dx = self._input_gradient(kept.x, parameters[0], dz, **self._layout) if of_input else None
        return InputGradients(dx, *((dh, dc) if of_state else (None, None))), weights


def as_padding(padding: Tensor | None) -> Tensor:
    """As the ops take it: int32 or bool."""
    import tensorflow as tf

    if padding is None:
        # Of the graph that is being traced: a loop's gradient cannot capture what was made outside.
        return _no_padding() if tf.executing_eagerly() else tf.zeros([0], tf.int32)
    padding = tf.convert_to_tensor(padding)
    return padding if padding.dtype == tf.bool else tf.cast(padding, tf.int32)


@functools.cache
def _no_padding() -> Tensor:
    """Made once, which takes as long as a small op."""
    import tensorflow as tf

    with tf.device("/CPU:0"):
        return tf.zeros([0], tf.int32)


def check_not_compiled() -> None:
    """Raise UnsupportedError where the graph that is being traced is one for XLA."""
    if compiled_by_xla():
        raise UnsupportedError(f"fused_cpu: {NOT_COMPILED}")


def compiled_by_xla() -> bool:
    """Whether XLA compiles, as a whole, the graph that is being traced."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    # TensorFlow has no public way to ask; its own loops ask this before they are built.
    from tensorflow.python.ops import control_flow_util

    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


@functools.cache
def loaded() -> Availability:
    """Return whether the library can be made and loaded, trying it once; warn where it cannot."""
    try:
        ops()
    except UnavailableError as error:
        logger.warning("%s; TensorFlow's own ops compute in its place", error)
        return Availability(False, str(error).removeprefix("fused_cpu: "))
    return AVAILABLE


@functools.cache
def ops() -> Any:
    """The ops, as a module, compiled first where they have not been."""
    import tensorflow as tf

    module = fused_cpu_library.load()

    def refuse(op: Any, *upstream: Tensor) -> Any:
        raise UnsupportedError(NO_SECOND_GRADIENT)

    tf.RegisterGradient("LstmImplFusedLstm")(_gradient_of_inference)
    tf.RegisterGradient("LstmImplFusedLstmTraining")(
        lambda op, *upstream: _gradient(op, [op.outputs[0], *op.outputs[3:]], upstream[:3])
    )
    for kind in ("Grad", "InputGrad"):
        tf.RegisterGradient(f"LstmImplFusedLstm{kind}")(refuse)
    return module


def _gradient_of_inference(op: Any, *upstream: Tensor) -> list[Tensor | None]:
    """Nothing was kept: the forward pass is computed again."""
    given = {name: op.get_attr(name) for name in ("row", "reverse", "batch_major")}
    y, _, _, *kept = ops().lstm_impl_fused_lstm_training(*op.inputs, **given)
    return _gradient(op, [y, *kept], upstream)


def _gradient(op: Any, kept: Tensors, upstream: Tensors) -> list[Tensor | None]:
    """Gradients of all that an op of the forward pass has read; their own are a plain loop's."""
    import tensorflow as tf

    x, h, c, *parameters, padding = op.inputs
    row, reverse, batch_major = map(op.get_attr, ("row", "reverse", "batch_major"))
    layer = FusedLayer(0, reverse, batch_major)
    states = h[row : row + 1], c[row : row + 1]
    (dx, dh, dc), weights = layer.backward(
        Kept(x, *kept), *states, parameters, padding, Upstream(*upstream)
    )

    def plain(x: Tensor, h: Tensor, c: Tensor, *rest: Tensor) -> Tensors:
        *parameters, padding = rest
        x = tf.transpose(x, [1, 0, 2]) if batch_major else x
        outputs = by_loop(
            WhileLoop(), LayerInputs(x, h[0], c[0], *parameters), _steps(x, padding), reverse
        )
        y, h, c = outputs
        return (tf.transpose(y, [1, 0, 2]) if batch_major else y), h[None], c[None]

    inputs = [x, *states, *parameters]
    dh, dc, *weights = with_gradient(plain, inputs, upstream, [dh, dc, *weights], 1, [padding])
    # By itself, for a graph that does not need it computes it not.
    (dx,) = with_gradient(plain, inputs, upstream, [dx], 0, [padding])
    around = [[row, h.shape[0] - row - 1], [0, 0], [0, 0]]
    if h.shape[0] > 1:
        dh, dc = tf.pad(dh, around), tf.pad(dc, around)
    return [dx, dh, dc, *weights, None]


def _steps(x: Tensor, padding: Tensor) -> Tensor | None:
    """The mask ``[T, B, 1]`` of an op's ``padding``."""
    import tensorflow as tf

    if padding.shape == [0]:
        return None
    return padding[:, :, None] if padding.dtype == tf.bool else PaddingMask.of(x, padding).mask
