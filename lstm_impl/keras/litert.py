"""Export a Keras model to LiteRT (TensorFlow Lite) with the runtime's own LSTM operator.

LiteRT has no operator for a GRU, so a GRU becomes a loop.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from lstm_impl.backends.others import litert, litert_fused
from lstm_impl.call import Tensor
from lstm_impl.keras.base import SIGMOID, TANH, Weights, one_mask
from lstm_impl.keras.conversion import is_accelerated
from lstm_impl.keras.layer import GRU, LSTM
from lstm_impl.spec import UnsupportedError

Arrays = list[npt.NDArray[np.generic]]

PRECISIONS = ("float32", "int8")

LARGEST_INT8_ERROR = 0.1
"""The largest accepted rms error of a file with int8 activations, relative to the outputs' rms.

One layer has an error of 1 to 2%. For models with two LSTMs, the converter of TensorFlow 2.21
sometimes makes files with an error of 12 to 500%.
"""

_COMPARED_SAMPLES = 20
"""The number of samples on which files are compared. More would not change the decision."""


def export_litert(
    model: Any,
    batch_size: int = 1,
    steps: int | None = None,
    *,
    precision: str = "float32",
    samples: Iterable[Any] | None = None,
    fused: bool = True,
    print_fn: Callable[[str], object] | None = print,
) -> bytes:
    """Convert a Keras model to a LiteRT file for inference on phones and microcontrollers.

    Each LSTM becomes LiteRT's operator ``UNIDIRECTIONAL_SEQUENCE_LSTM`` if the converter can do it.
    Any other LSTM and each GRU becomes a WHILE loop, and ``print_fn`` is called with the reason. If
    the file has any loop, even that of another layer, all LSTMs become loops. In such a file, the
    operator of TensorFlow 2.21 computes wrong outputs.

    The operator keeps its state from one call of an interpreter to the next. Call
    ``interpreter.reset_all_variables()`` before each new sequence.

    Parameters
    ----------
    model : keras.Model
        A built Keras 3 model on TensorFlow. It is not changed.
    batch_size : int
        The sequences in a call of the converted model. The operator needs a fixed number.
    steps : int or None
        The timesteps in a call, for models that leave the number open. None takes the model's own
        number.
    precision : str
        ``float32``, or ``int8`` for weights and activations in 8 bits, with inputs and outputs in
        float32. If the converter cannot quantize the activations, or if the outputs would be wrong,
        only the weights are in 8 bits, and ``print_fn`` is called with the reason and the error.
    samples : iterable or None
        Inputs from which the ranges of activations are found. They are required for ``int8``. Each
        is an array ``[batch_size, ...]``, or a list of arrays for a model with several inputs. 100
        to 200 typical inputs are enough.
    fused : bool
        False converts every LSTM to a loop. Measure both: for some sizes the loop is faster
        (``docs/litert.md``).
    print_fn : callable or None
        A function that is called with one line for each LSTM and GRU. None prints nothing.

    Returns
    -------
    bytes
        The content of a ``.tflite`` file.

    Raises
    ------
    TypeError
        If ``model`` is not a Keras 3 model.
    ValueError
        If the model is not built, a size is not known, the precision is unknown, or samples are
        missing or have other shapes than the inputs.
    UnsupportedError
        If a layer computes in a type that the converter does not take, such as float16.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"the model is of type {type(model).__name__}; expected a Keras 3 model")
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision == "int8" and samples is None:
        raise ValueError(
            "precision='int8' needs samples: typical inputs by which the ranges of the "
            "activations are found"
        )
    for layer in model._flatten_layers():
        if layer.compute_dtype in ("float16", "bfloat16", "float64"):
            raise UnsupportedError(
                f"layer {layer.name!r} computes in {layer.compute_dtype}, and LiteRT's converter "
                "takes float32: make the model with the dtype policy float32"
            )
    specs = _input_specs(model, batch_size, steps)
    calibration = None
    if precision == "int8" and samples is not None:
        # All samples are checked before the conversion, which takes long.
        calibration = [_check_sample(sample, specs) for sample in samples]
        if not calibration:
            raise ValueError("samples is empty; expected typical inputs of the model")

    tell = print_fn or (lambda line: None)
    conversion = _Conversion(model, specs)
    content = conversion.convert(fused)
    if calibration is None:
        conversion.tell(tell)
        return content
    if litert.operators(content)["WHILE"]:
        # TensorFlow 2.21's converter ends the process with a segmentation fault in this case.
        reason = "the converter cannot quantize the activations of a loop"
    else:
        quantized = conversion.convert(fused, calibration)
        error = _rms_error(quantized, content, calibration)
        if error <= LARGEST_INT8_ERROR:
            conversion.tell(tell)
            tell(f"int8: weights and activations, rms error {error:.2%} on the samples")
            return quantized
        reason = f"with activations in int8 the rms error on the samples is {error:.0%}"
    quantized = conversion.convert(fused=False, weights_in_int8=True)
    error = _rms_error(quantized, content, calibration)
    conversion.tell(tell)
    tell(f"int8: weights only, rms error {error:.2%} on the samples, because {reason}")
    return quantized


class _Conversion:
    """Convert one model, and remember what became of its layers.

    Parameters
    ----------
    model
        The model.
    specs
        The inputs of the converted model, by name.
    """

    def __init__(self, model: Any, specs: Mapping[str, tf.TensorSpec]) -> None:
        self.model = model
        self.specs = specs
        self.lines: dict[str, str] = {}

    def convert(
        self,
        fused: bool,
        calibration: Sequence[Arrays] | None = None,
        weights_in_int8: bool = False,
    ) -> bytes:
        """Convert the model, and remember what became of each LSTM and GRU.

        Parameters
        ----------
        fused
            Whether LSTMs become LiteRT's operator.
        calibration
            The inputs with which activations are quantized to int8. None leaves them in float32.
        weights_in_int8
            Whether weights are quantized to int8.

        Returns
        -------
        bytes
            The content of the file.
        """
        how = calibration, weights_in_int8
        content = self._convert("" if fused else "fused=False", *how)
        found = litert.operators(content)
        if found[litert_fused.OPERATOR] and found["WHILE"]:
            content = self._convert(_MIXED, *how)
        return content

    def _convert(
        self, why_loops: str, calibration: Sequence[Arrays] | None, weights_in_int8: bool
    ) -> bytes:
        """Convert the model once.

        ``why_loops`` is the reason why no LSTM may become the operator, or an empty string.
        """
        self.lines = {}

        def configure(converter: Any) -> None:
            if calibration is not None or weights_in_int8:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if calibration is not None:
                converter.representative_dataset = lambda: iter(calibration)

        def predict(**inputs: Tensor) -> Any:
            values = [inputs[name] for name in self.specs]
            outputs = self.model(values if len(values) > 1 else values[0], training=False)
            return tuple(tf.nest.flatten(outputs))

        with _marking_layers(self.model, why_loops, self.lines):
            return litert_fused.convert_saved_model(predict, self.specs, configure)

    def tell(self, print_fn: Callable[[str], object]) -> None:
        """Print what became of each LSTM and GRU in the last conversion."""
        for line in self.lines.values() or [f"{self.model.name}: it has no LSTM and no GRU"]:
            print_fn(line)


def _rms_error(content: bytes, exact: bytes, inputs: Sequence[Arrays]) -> float:
    """Return the rms difference of the outputs of two files, relative to the rms of the second."""
    runners = []
    for each in (content, exact):
        interpreter = litert.open_interpreter(each, None)
        interpreter.allocate_tensors()
        runners.append((interpreter, interpreter.get_signature_runner()))
    differences, outputs = 0.0, 0.0
    for arrays in inputs[:_COMPARED_SAMPLES]:
        results = []
        for interpreter, run in runners:
            # Without this, the operator would begin with the state after the last sample.
            interpreter.reset_all_variables()
            named = {f"input_{number}": array for number, array in enumerate(arrays)}
            results.append(run(**named))
        for name, expected in results[1].items():
            differences += float(np.sum(np.square(results[0][name] - expected)))
            outputs += float(np.sum(np.square(expected)))
    return math.sqrt(differences / outputs) if outputs else math.inf if differences else 0.0


def _input_specs(model: Any, batch_size: int, steps: int | None) -> dict[str, tf.TensorSpec]:
    """Return the inputs of the converted model by name, with all sizes."""
    for name, value in (("batch_size", batch_size), ("steps", steps)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; expected a positive number")
    if not (model.built and getattr(model, "inputs", None)):
        raise ValueError(
            f"the inputs of the model {model.name!r} are not known: give it a keras.Input, or make "
            "a functional model of it"
        )
    specs = {}
    for number, each in enumerate(model.inputs):
        first, *rest = each.shape
        if first not in (None, batch_size):
            raise ValueError(
                f"batch_size is {batch_size}; expected {first}, the batch size of the input "
                f"{each.name!r}"
            )
        sizes = [steps if axis == 0 and size is None else size for axis, size in enumerate(rest)]
        if None in sizes:
            hint = "say how many timesteps it gets by steps" if steps is None else "give it a size"
            raise ValueError(f"input {each.name!r} has the shape {tuple(each.shape)}: {hint}")
        specs[f"input_{number}"] = tf.TensorSpec(
            (batch_size, *sizes), each.dtype, f"input_{number}"
        )
    return specs


def _check_sample(sample: Any, specs: Mapping[str, tf.TensorSpec]) -> Arrays:
    """Return a sample as one array for each input, or raise ValueError if a shape is wrong."""
    values = list(sample) if isinstance(sample, list | tuple) else [sample]
    if len(values) != len(specs):
        raise ValueError(f"a sample has {len(values)} arrays; the model has {len(specs)} inputs")
    arrays = [
        np.asarray(value, spec.dtype.as_numpy_dtype)
        for value, spec in zip(values, specs.values(), strict=True)
    ]
    for array, spec in zip(arrays, specs.values(), strict=True):
        if array.shape != tuple(spec.shape):
            raise ValueError(
                f"a sample has the shape {array.shape}; the model's input has {tuple(spec.shape)}"
            )
    return arrays


# -- Keras's layers while the model is traced

_LAYERS = (keras.layers.LSTM, keras.layers.GRU, LSTM, GRU)
"""The classes whose computation is known. Those that ``accelerate`` makes are known too."""

_NO_GRU = "LiteRT has no operator for a GRU"

_MIXED = "the operator computes wrong outputs in a file that also has a loop"
"""TensorFlow 2.21: an LSTM before a SimpleRNN was wrong by 0.05 in outputs of up to 1."""


@contextlib.contextmanager
def _marking_layers(model: Any, why_loops: str, lines: dict[str, str]) -> Iterator[None]:
    """Let the LSTM layers of a model call marked functions during a block.

    In this block, a layer of this package that does not call such a function runs Keras's loop.
    ``lines`` receives a line about each LSTM and GRU, by name.
    """
    changed: list[tuple[Any, type[Any]]] = []
    try:
        for layer in model._flatten_layers():
            kind, name = type(layer), layer.path or layer.name
            known = kind in _LAYERS or is_accelerated(layer)
            cell = getattr(layer, "cell", None)
            if isinstance(layer, keras.layers.LSTM | keras.layers.GRU) and known:
                changed.append((layer, kind))
                # The layer keeps its attributes, including its weights and its name.
                layer.__class__ = _marked_class(kind, why_loops, lines)
            elif isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
                recurrent = "an LSTM" if isinstance(layer, keras.layers.LSTM) else "a GRU"
                lines[name] = (
                    f"{name}: as its class computes it, because {kind.__qualname__} may compute "
                    f"something other than {recurrent}"
                )
            elif isinstance(cell, keras.layers.LSTMCell):
                lines[name] = (
                    f"{name}: a WHILE loop, because it is an {kind.__qualname__} of an LSTMCell; "
                    "keras.layers.LSTM can become the operator"
                )
            elif isinstance(cell, keras.layers.GRUCell):
                lines[name] = f"{name}: a WHILE loop, because {_NO_GRU}"
        yield
    finally:
        for layer, before in changed:
            layer.__class__ = before


def _marked_class(before: type[Any], why_loops: str, lines: dict[str, str]) -> type[Any]:
    """Return a subclass of a layer's class whose loop over time is a marked function."""

    class MarkedLayer(before):  # type: ignore[misc]  # Keras has no types
        def call(
            self,
            sequences: Tensor,
            initial_state: Any = None,
            mask: Any = None,
            training: bool = False,
        ) -> Any:
            self._exported_state = initial_state is not None
            # Keras's method calls inner_loop. That of this package may not.
            return keras.layers.RNN.call(self, sequences, initial_state, mask, training)

        def inner_loop(
            self, sequences: Tensor, initial_state: Any, mask: Any, training: bool = False
        ) -> tuple[Tensor, Tensor, list[Tensor]]:
            obstacle = _obstacle(self, sequences, mask)
            reason = obstacle if why_loops == _MIXED and obstacle else why_loops or obstacle
            name = self.path or self.name
            if reason:
                lines[name] = f"{name}: a WHILE loop, because {reason}"
                last, outputs, states = keras.layers.RNN.inner_loop(
                    self, sequences, initial_state, mask, training
                )
                return last, outputs, list(states)
            lines[name] = f"{name}: {litert_fused.OPERATOR}"
            # The weights are passed as tensors, because the converter crashes on variables.
            weights = [tf.identity(each) for each in Weights.of(self.cell)]
            x = tf.reverse(sequences, [1]) if self.go_backwards else sequences
            last, outputs = litert_fused.fused_layer(x, *initial_state, *weights, batch_major=True)
            # Keras does not read the state after the loop, since _obstacle has excluded such
            # layers.
            return last, outputs, list(initial_state)

    return MarkedLayer


def _obstacle(layer: Any, sequences: Tensor, mask: Any) -> str:
    """Return why a layer cannot become LiteRT's operator, or an empty string."""
    if isinstance(layer, keras.layers.GRU):
        return _NO_GRU
    if one_mask(mask) is not None:
        return "the operator takes no mask"
    if layer._exported_state:
        return "the operator takes no initial state"
    if layer.stateful:
        return "Keras keeps the state of a stateful layer itself"
    if layer.return_state:
        return "the converter replaces no layer whose final state is read"
    if layer.activation not in TANH or layer.recurrent_activation not in SIGMOID:
        return "the operator has the activations tanh and sigmoid"
    if not sequences.shape.is_fully_defined() or 0 in sequences.shape:
        return f"its input has the shape {tuple(sequences.shape)}, and the operator needs all sizes"
    return ""
