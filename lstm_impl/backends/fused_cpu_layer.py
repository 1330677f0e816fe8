"""The ops of ``fused_cpu``, and one direction of one layer by them, forward and backward."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from lstm_impl.backends import fused_cpu_library
from lstm_impl.call import Outputs, Tensor, Tensors, Upstream
from lstm_impl.spec import UnsupportedError

NOT_COMPILED = (
    "XLA cannot compile its op: leave jit_compile=True out, or use while_loop+hoisted+xla"
)

NO_SECOND_GRADIENT = (
    "the gradient of fused_cpu is an op that has no gradient itself; for a second one use "
    "while_loop+hoisted, or lstm_impl.keras.LSTM, which computes it by a loop"
)


class Kept(NamedTuple):
    """What a layer keeps for its gradient: what it read, and its op's outputs."""

    x: Tensor
    y: Tensor
    gates: Tensor
    cells: Tensor
    hidden: Tensor


class InputGradients(NamedTuple):
    """Gradients of the input and the initial state; None where they are not asked for."""

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
        # Each attribute that an op is told, its default too, takes half a microsecond.
        given = {"row": row, "reverse": reverse}
        self._attributes = {name: each for name, each in given.items() if each} | self._layout

    def infer(
        self, x: Tensor, h: Tensor, c: Tensor, parameters: Tensors, padding: Tensor | None
    ) -> Outputs:
        """Outputs ``[T, B, H]`` and final states ``[1, B, H]``, and nothing kept.

        Raises UnsupportedError in a graph that XLA compiles, as ``train`` does.
        """
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
        kernel, recurrent_kernel, _ = parameters
        dz, dh, dc, *weights = self._gradient(
            kept.x,
            h,
            c,
            recurrent_kernel,
            as_padding(padding),
            *kept[1:],
            *upstream,
            state=of_state,
            overwrite=last,
            **self._attributes,
        )
        dx = None
        if of_input:
            dx = self._input_gradient(kept.x, kernel, dz, **self._layout)
        return InputGradients(dx, *((dh, dc) if of_state else (None, None))), weights


def as_padding(padding: Tensor | None) -> Tensor:
    """As the ops take it: int32 or bool."""
    if padding is None:
        return _no_padding()
    import tensorflow as tf

    padding = tf.convert_to_tensor(padding)
    return padding if padding.dtype == tf.bool else tf.cast(padding, tf.int32)


@functools.cache
def _no_padding() -> Tensor:
    """No lengths and no mask; made once, which takes as long as a small op."""
    import tensorflow as tf

    with tf.init_scope(), tf.device("/CPU:0"):
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
def ops() -> Any:
    """The ops, as a module, compiled first where they have not been.

    Also to be called before a SavedModel that holds them is loaded. Raises UnavailableError, with
    the reason, where they cannot be compiled or loaded.
    """
    import tensorflow as tf

    module = fused_cpu_library.load()

    def refuse(op: Any, *upstream: Tensor) -> Any:
        raise UnsupportedError(NO_SECOND_GRADIENT)

    # What is differentiable is made so by hand above, where it is known what was kept.
    for kind in ("", "Training", "Grad", "InputGrad"):
        tf.RegisterGradient(f"LstmImplFusedLstm{kind}")(refuse)
    return module
