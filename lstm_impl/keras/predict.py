"""Let a Keras model's ``predict_on_batch`` take little more time than its graph.

Keras's own takes as long as a small layer to find its graph and to call it, and copies arrays twice
on their way in and once on their way out. Importing this module imports TensorFlow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from lstm_impl.backends.tensorflow.second_gradient import recorded
from lstm_impl.call import Tensor

MOST_BATCHES = 1_000
"""Shapes and types of batches that a model remembers: there may be any number of them."""

FUSED = "LstmImplFusedLstm"
"""The beginning of the fused ops' names."""

OPTIONS = {"disable_model_pruning": False, "disable_meta_optimizer": False}
"""Of TensorFlow's graph optimizer, where a user has chosen none."""


class PredictOnBatch:
    """Stand in for a model's method ``predict_on_batch``.

    From the third batch of the same shapes and types on, NumPy arrays go to the graph that Keras
    traced for them. Other batches, and all under a tape, in a distribution strategy, compiled by
    XLA or without a graph, take Keras's method.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._by_keras = functools.partial(type(model).predict_on_batch, model)
        self._known: tuple[Any, dict[Any, Callable[[Any], Any] | None]] = (None, {})

    def __call__(self, x: Any) -> Any:
        """Return the outputs for one batch, as Keras's method does."""
        kind = type(x)
        members = x.values() if kind is dict else x if kind in (list, tuple) else (x,)
        function = self._model.predict_function  # None at first and after compile()
        if not _usual() or any(type(each) is not np.ndarray for each in members):
            return self._by_keras(x)
        if self._known[0] is not function or len(self._known[1]) > MOST_BATCHES:
            self._known = function, {}
        calls = self._known[1]
        key = kind, *(x if kind is dict else ()), *((each.shape, each.dtype) for each in members)
        if key not in calls:
            calls[key] = None
            return self._by_keras(x)
        call = calls[key] or _direct(self._model, function, x) or self._by_keras
        calls[key] = call
        return call(x)


def _usual() -> bool:
    """Return whether a graph called here is neither recorded, nor distributed, nor in another."""
    if tf.config.functions_run_eagerly() or tf.distribute.has_strategy():
        return False
    return tf.executing_eagerly() and not recorded()


def _direct(model: Any, function: Any, x: Any) -> Callable[[Any], Any] | None:
    """Return a call of the graph of Keras's predict function for such batches, if it has one."""
    options = tf.config.optimizer
    if (
        not isinstance(function, tf.types.experimental.PolymorphicFunction)
        or model.jit_compile
        or model.distribute_strategy is not tf.distribute.get_strategy()
        or any(each.device_type != "CPU" for each in tf.config.list_logical_devices())
        # The op below is optimized by TensorFlow's defaults.
        or options.get_jit()
        or options.get_experimental_options() != OPTIONS
    ):
        return None
    graph = function.get_concrete_function([(tf.nest.map_structure(tf.constant, x),)])
    structure, captured = graph.structured_outputs, graph.captured_inputs
    outputs = tf.nest.flatten(structure)
    if list(map(id, outputs)) != list(map(id, graph.outputs)):
        return None  # ragged or sparse ones are of several tensors
    dtypes, alone = [each.dtype for each in outputs], list(map(_is_alone, outputs))
    lent = list(map(_can_be_lent, graph.inputs[: len(graph.inputs) - len(captured)]))
    numbers = tf.nest.pack_sequence_as(structure, range(len(outputs)))

    def call(x: Any) -> Any:
        given = [*map(_placed, tf.nest.flatten(x), lent), *captured]
        made = tf.raw_ops.StatefulPartitionedCall(args=given, Tout=dtypes, f=graph)
        pairs = zip(made, alone, strict=True)
        found = [each.__array__() if its_own else each.numpy() for each, its_own in pairs]
        return keras.tree.map_structure(found.__getitem__, numbers)

    return call


def _placed(array: npt.NDArray[Any], lent: bool) -> Tensor:
    """Return an array as a tensor, in the array's own memory if it can be lent."""
    if lent and array.size and array.dtype.str in ("<f4", "<f8") and array.flags.carray:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def _can_be_lent(given: Tensor) -> bool:
    """Return whether only fused ops read an input of a graph: they take any alignment, where
    TensorFlow's may end the process."""
    # Keras's slice of the first step, for a dropout mask, is unused in inference.
    used = (
        each
        for each in given.consumers()
        if each.type != "StridedSlice" or each.outputs[0].consumers()
    )
    return all(each.type.startswith((FUSED, "Shape")) for each in used)


def _is_alone(output: Tensor) -> bool:
    """Return whether an output's memory is its own: a fused op's, that nothing else reads."""
    while output.op.type == "Identity":
        (output,) = output.op.inputs
        if len(output.consumers()) > 1:
            return False
    return bool(output.op.type.startswith(FUSED))
