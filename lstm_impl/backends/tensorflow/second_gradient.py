"""Give custom gradients a second gradient and forward mode, which TensorFlow does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lstm_impl.call import Tensor, Tensors

Plain = Callable[..., Sequence[Tensor]]
"""Compute outputs from inputs with ops that TensorFlow can differentiate any number of times."""


def twice_differentiable(
    plain: Plain,
    forward: Callable[[Tensors, Tensors], tuple[Sequence[Tensor], Any]],
    backward: Callable[[Any, Tensors, Tensors, Tensors], Sequence[Tensor]],
    inputs: Sequence[Tensor],
    constants: Sequence[Tensor] = (),
) -> Sequence[Tensor]:
    """Compute ``forward`` with ``backward`` as its gradient, and ``plain`` for the second.

    Parameters
    ----------
    plain
        A function of the inputs and constants that TensorFlow can differentiate any number of
        times.
    forward
        A function of inputs and constants that returns the outputs, and what ``backward`` needs.
    backward
        A function of what ``forward`` kept, of inputs, constants and upstream gradients, that
        returns the gradients of the inputs.
    inputs
        The inputs, which have gradients.
    constants
        The inputs that have no gradients.
    """
    import tensorflow as tf

    def layer(*inputs: Tensor) -> tuple[Tensors, Callable[..., Any]]:
        outputs, kept = forward(own(inputs), own(constants))

        def gradient(*upstream: Tensor) -> Any:
            found = backward(kept, own(inputs), own(constants), own(upstream))
            return with_gradient(plain, inputs, upstream, found, constants=constants)

        return guarded(outputs), gradient

    made: Sequence[Tensor] = tf.custom_gradient(layer)(*inputs)
    return made


def with_gradient(
    plain: Plain,
    inputs: Sequence[Tensor],
    upstream: Sequence[Tensor],
    found: Sequence[Tensor],
    first: int = 0,
    constants: Sequence[Tensor] = (),
) -> list[Tensor]:
    """Make ``found``, the gradients of ``inputs`` from position ``first`` on, differentiable."""
    import tensorflow as tf

    if tf.executing_eagerly() and not recorded():
        return list(found)  # No tape is open, so nobody can differentiate them.

    # TensorFlow has no public function for this. Its own gradients in forward mode use this one.
    from tensorflow.python.eager.forwardprop_util import push_forwardprop_state

    count, end = len(inputs), len(inputs) + len(upstream)

    def gradients(*everything: Tensor) -> tuple[list[Tensor], Callable[..., Any]]:
        def second(*flowing: Tensor) -> Any:
            given, sources = everything[:count], list(everything[:end])
            # Inside forward mode, tapes record only if its state is set aside.
            with push_forwardprop_state():
                with tf.GradientTape() as outer:
                    outer.watch(sources)
                    with tf.GradientTape() as inner:
                        inner.watch(given)
                        outputs = plain(*given, *everything[end:])
                    again = _gradient(inner, outputs, given, everything[count:end])
                found = _gradient(outer, again[first : first + len(flowing)], sources, flowing)
                return [*found, *[None] * len(constants)]

        return list(found), second

    everything = [*inputs, *upstream, *constants]
    # The tensors must belong to this graph, and still be recorded.
    made = tf.custom_gradient(gradients)(
        *(everything if tf.executing_eagerly() else map(tf.identity, everything))
    )
    return list(made) if isinstance(made, list | tuple) else [made]


def own(tensors: Sequence[Tensor]) -> Tensors:
    """Return copies of tensors with which a custom gradient can compute."""
    import tensorflow as tf

    return tuple(map(tf.identity if is_in_vectorized_map() else tf.stop_gradient, tensors))


def guarded(outputs: Sequence[Tensor]) -> Tensors:
    """Return outputs of a custom gradient that raise an error if the gradient was dropped."""
    import tensorflow as tf

    if tf.executing_eagerly() or is_in_vectorized_map():
        return tuple(outputs)
    message = "tf.vectorized_map drops this gradient; trace the function inside of it"
    return tuple(tf.raw_ops.PreventGradient(input=each, message=message) for each in outputs)


def is_in_vectorized_map() -> bool:
    """Return whether the graph that is being traced is in the body of ``tf.vectorized_map``."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    # TensorFlow has no public function for this. It traces the body under this name.
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        if "loop_body" in graph.get_name_scope().split("/"):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _gradient(
    tape: Any, targets: Sequence[Tensor], sources: Sequence[Tensor], upstream: Sequence[Tensor]
) -> Any:
    """Return the gradients of a tape, with zeros for sources that are not connected."""
    import tensorflow as tf

    zero = tf.UnconnectedGradients.ZERO
    return tape.gradient(list(targets), list(sources), list(upstream), zero)


def is_in_forward_mode(tensors: Sequence[Tensor]) -> bool:
    """Return whether a ``tf.autodiff.ForwardAccumulator`` watches one of the tensors."""
    # TensorFlow has no public function for this. Its own functions call this one.
    from tensorflow.python.eager import forwardprop_util

    return bool(forwardprop_util.pack_tangents(list(tensors)).tangents)


def recorded() -> bool:
    """Return whether a gradient tape is open."""
    # TensorFlow has no public function for this. Its own custom gradients call this one.
    from tensorflow.python.eager import record

    return bool(record.could_possibly_record())
