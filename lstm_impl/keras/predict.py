"""Make ``predict_on_batch`` and ``predict`` of a Keras model take little more time than its graph.

Keras's own ``predict_on_batch`` takes as long as a small layer to find and call its graph. It also
copies arrays twice on their way in and once on their way out. Keras's own ``predict`` builds a
pipeline of ``tf.data`` in each call, which takes tens of milliseconds. Importing this module
imports TensorFlow.
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
"""The largest number of shapes and types of batches that a model remembers."""

FUSED = "LstmImplFusedLstm"
"""The beginning of the names of the fused ops."""

OPTIONS = {"disable_model_pruning": False, "disable_meta_optimizer": False}
"""The options of TensorFlow's graph optimizer if a user has not changed them."""


class PredictOnBatch:
    """Replace the method ``predict_on_batch`` of a model.

    From the third batch of the same shapes and types on, NumPy arrays go directly to the graph that
    Keras traced for them. Keras's method computes all other batches. It also computes batches under
    a tape, in a distribution strategy, compiled by XLA, or without a graph.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._by_keras = functools.partial(type(model).predict_on_batch, model)
        self._known: tuple[Any, dict[Any, Callable[[Any], Any] | None]] = (None, {})

    def __call__(self, x: Any) -> Any:
        """Return the outputs for one batch, as Keras's method does."""
        kind = type(x)
        members = x.values() if kind is dict else x if kind in (list, tuple) else (x,)
        function = self._model.predict_function  # It is None at first and after compile().
        if not _is_usual() or any(type(each) is not np.ndarray for each in members):
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


class Predict:
    """Replace the method ``predict`` of a model.

    Keras's method computes the first call with arrays of given shapes and types, so that Keras
    traces its graph for any number of sequences. From the second call on, NumPy arrays are cut into
    batches here, and ``PredictOnBatch`` computes each batch. Keras's method also computes data
    sets, generators, tensors, and everything that ``PredictOnBatch`` leaves to Keras. Callbacks are
    called in the same way as by Keras.
    """

    def __init__(self, model: Any, on_batch: PredictOnBatch) -> None:
        self._model = model
        self._on_batch = on_batch
        self._by_keras = functools.partial(type(model).predict, model)
        self._known: tuple[Any, set[Any]] = (None, set())

    def __call__(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Return the outputs for all sequences, in the form of Keras's method."""
        size = KERAS_BATCH_SIZE if batch_size is None else batch_size
        key = self._describe(x, size, steps)
        function = self._model.predict_function
        if key is None or function is not self._known[0] or key not in self._known[1]:
            outputs = self._by_keras(x, batch_size, verbose, steps, callbacks)
            self._remember(key)
            return outputs
        # Like Keras, cast arrays of double precision once, before they are cut into batches.
        arrays = keras.tree.map_structure(_as_keras_stores, x)
        members = keras.tree.flatten(arrays)
        count = len(members[0])
        batches = -(-count // size)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(
                callbacks,
                add_progbar=verbose != 0,
                verbose=verbose,
                epochs=1,
                steps=batches,
                model=self._model,
            )
        self._model.stop_predicting = False
        callbacks.on_predict_begin()
        found: list[list[Any]] = []
        for number in range(batches):
            part = slice(number * size, (number + 1) * size)
            callbacks.on_predict_batch_begin(number)
            outputs = self._on_batch(keras.tree.map_structure(lambda each, p=part: each[p], arrays))
            found.append(keras.tree.flatten(outputs))
            callbacks.on_predict_batch_end(number, {"outputs": outputs})
            if self._model.stop_predicting:
                break
        callbacks.on_predict_end()
        joined = [np.concatenate(parts) for parts in zip(*found, strict=True)]
        return keras.tree.pack_sequence_as(outputs, joined)

    def _describe(self, x: Any, size: Any, steps: int | None) -> Any:
        """Return the shapes and types of arrays, or None if Keras must compute the call."""
        kind = type(x)
        members = list(x.values()) if kind is dict else list(x) if kind in (list, tuple) else [x]
        if (
            steps is not None
            or type(size) is not int
            or size < 1
            or self._model.steps_per_execution != 1
            or not members
            or any(type(each) is not np.ndarray or each.ndim == 0 for each in members)
            or len({len(each) for each in members}) != 1
            or len(members[0]) == 0
            or any(each.dtype.str not in _NUMBERS for each in members)
            or not _is_usual()
        ):
            return None
        names = tuple(x) if kind is dict else ()
        return kind, names, *((each.shape[1:], each.dtype.str) for each in members)

    def _remember(self, key: Any) -> None:
        """Remember that the present graph of Keras has taken arrays of these shapes and types."""
        function = self._model.predict_function
        if self._known[0] is not function or len(self._known[1]) > MOST_BATCHES:
            self._known = function, set()
        if key is not None:
            self._known[1].add(key)


KERAS_BATCH_SIZE = 32
"""The batch size of Keras's ``predict`` if the caller gives none."""

_NUMBERS = ("<f4", "<f8", "<i4", "<i8", "|i1", "|u1", "|b1")
"""The types of arrays that Keras puts into batches unchanged, or casts to its float type."""


def _as_keras_stores(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array in the type that it has in Keras's batches."""
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _is_usual() -> bool:
    """Return whether a call here is not recorded, not distributed and not part of a graph."""
    if tf.config.functions_run_eagerly() or tf.distribute.has_strategy():
        return False
    return tf.executing_eagerly() and not recorded()


def _direct(model: Any, function: Any, x: Any) -> Callable[[Any], Any] | None:
    """Return a function that calls the graph of Keras's predict function for such batches.

    Return None if there is no such graph, or if it cannot be called directly.
    """
    options = tf.config.optimizer
    if (
        not isinstance(function, tf.types.experimental.PolymorphicFunction)
        or model.jit_compile
        or model.distribute_strategy is not tf.distribute.get_strategy()
        or any(each.device_type != "CPU" for each in tf.config.list_logical_devices())
        # TensorFlow optimizes the op below with its default options.
        or options.get_jit()
        or options.get_experimental_options() != OPTIONS
    ):
        return None
    graph = function.get_concrete_function([(tf.nest.map_structure(tf.constant, x),)])
    structure, captured = graph.structured_outputs, graph.captured_inputs
    outputs = tf.nest.flatten(structure)
    if list(map(id, outputs)) != list(map(id, graph.outputs)):
        return None  # Ragged or sparse outputs consist of several tensors.
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
    """Return an array as a tensor, which shares the memory of the array if that is allowed."""
    if lent and array.size and array.dtype.str in ("<f4", "<f8") and array.flags.carray:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def _can_be_lent(given: Tensor) -> bool:
    """Return whether only fused ops read an input of a graph.

    Fused ops accept any alignment. Other ops of TensorFlow may end the process if the memory is not
    aligned.
    """
    # Keras slices the first step for a dropout mask, which is not used in inference.
    used = (
        each
        for each in given.consumers()
        if each.type != "StridedSlice" or each.outputs[0].consumers()
    )
    return all(each.type.startswith((FUSED, "Shape")) for each in used)


def _is_alone(output: Tensor) -> bool:
    """Return whether nothing else reads the memory of an output, which a fused op made."""
    while output.op.type == "Identity":
        (output,) = output.op.inputs
        if len(output.consumers()) > 1:
            return False
    return bool(output.op.type.startswith(FUSED))
