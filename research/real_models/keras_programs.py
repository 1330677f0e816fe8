"""Make the models of Keras callable as they are, accelerated and compiled by XLA."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import lstm_impl.keras
from lstm_impl import LSTMSpec, build, get_backend
from lstm_impl.weights import LayerWeights, LSTMWeights
from research.real_models.networks import Case
from research.real_models.ways import AFTER, BEFORE, ONNXRUNTIME, XLA, Builders, Way

LEARNING_RATE = 1e-6
"""The learning rate of the timed training steps. The weights then hardly change, so that all steps
compute alike."""


@dataclass(frozen=True)
class KerasProgram:
    """Compute a model of Keras on TensorFlow.

    Attributes
    ----------
    make
        A function that returns a new model with the package's weights.
    inputs
        A function that returns the input of the model for a case.
    recurrent
        A function that returns a model of the recurrent layers, which shares the layers of the
        given model, and the input of these layers for an input of the model.
    threads
        The number of threads of ONNX Runtime. The other ways use the process's settings.
    network
        The network of the recurrent layers, and their canonical weights.
    final
        Whether the last recurrent layer returns its final output only.
    predict
        The call in inference, of a model and its input. The default is ``predict_on_batch``.
    """

    make: Callable[[], Any]
    inputs: Callable[[Case], Any]
    recurrent: Callable[[Any, Any], tuple[Any, Any]]
    threads: int
    network: Callable[[Any], tuple[LSTMSpec, LSTMWeights]]
    final: bool = False
    predict: Callable[[Any, Any], Any] = lambda model, x: model.predict_on_batch(x)

    def builders(self, case: Case, part: str) -> Builders:
        """Return the functions that make the ways of a case and a part of the model."""
        found: dict[str, Callable[[], Way]] = {
            BEFORE: partial(self._build, case, part),
            AFTER: partial(self._build, case, part, accelerated=True),
        }
        if part == "whole" and case.mode == "inference":
            found[XLA] = partial(self._build, case, part, compiled=True)
        if part == "recurrent" and case.mode == "inference":
            found[ONNXRUNTIME] = partial(self._build_onnx, case)
        return found

    def _build(
        self, case: Case, part: str, accelerated: bool = False, compiled: bool = False
    ) -> Way:
        model, x = self.make(), self.inputs(case)
        predict = self.predict
        if part == "recurrent":
            model, x = self.recurrent(model, x)
            predict = _predict_on_batch
        if accelerated:
            build()  # `accelerate` would not wait until the kernels are compiled.
            lines: list[str] = []
            lstm_impl.keras.accelerate(model, print_fn=lines.append)
            if kept := [line for line in lines if " is now " not in line]:
                raise RuntimeError("; ".join(kept))
        optimizer = keras.optimizers.SGD(LEARNING_RATE)
        model.compile(optimizer=optimizer, loss="mse", jit_compile=compiled)
        if case.mode == "inference":
            run = partial(predict, model, x)
            return Way(run, lambda: keras.tree.flatten(run()))
        wanted = _draw_targets(model, x)
        target = wanted if len(wanted) > 1 else wanted[0]
        gradients = tf.function(partial(_differentiate, model), jit_compile=compiled)
        return Way(
            partial(model.train_on_batch, x, target),
            lambda: [each.numpy() for each in gradients(x, wanted)],
        )

    def compute_exactly(self, case: Case, part: str) -> list[Any]:
        """Return the results of the model as it is, computed in float64."""
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        try:
            model, x = self.make(), self.inputs(case)
            if part == "recurrent":
                model, x = self.recurrent(model, x)
            x = keras.tree.map_structure(_to_double, x)
            if case.mode == "inference":
                return [each.numpy() for each in keras.tree.flatten(model(x))]
            return [each.numpy() for each in _differentiate(model, x, _draw_targets(model, x))]
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")

    def _build_onnx(self, case: Case) -> Way:
        model = self.make()
        _, x = self.recurrent(model, self.inputs(case))
        spec, weights = self.network(model)
        backend = get_backend("onnxruntime")
        backend.use_threads(self.threads)
        runner = backend.build(spec, weights, batch_major=True)
        parts = x if isinstance(x, list) else [x]
        run = partial(_run_layers, runner, parts, self.final)
        return Way(run, run)


def _to_double(x: Any) -> Any:
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def _draw_targets(model: Any, x: Any) -> list[Any]:
    """Return a target for each output of a model, in the type of the output."""
    draw = np.random.default_rng(1)
    outputs = [each.numpy() for each in keras.tree.flatten(model(x))]
    return [draw.normal(size=each.shape).astype(np.float32).astype(each.dtype) for each in outputs]


def _predict_on_batch(model: Any, x: Any) -> Any:
    return model.predict_on_batch(x)


def _run_layers(runner: Any, parts: Sequence[Any], final: bool) -> list[Any]:
    """Return the outputs of the last layer in all timesteps, or its final outputs."""
    found = [runner.forward(each) for each in parts]
    if final:
        directions = runner.spec.num_directions
        return [np.concatenate(list(state.h[-directions:]), -1) for _, state in found]
    return [y for y, _ in found]


def _differentiate(model: Any, x: Any, wanted: Sequence[Any]) -> list[Any]:
    """Return the loss and the gradients of the weights."""
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(model(x, training=True))
        loss = tf.add_n(
            [tf.reduce_mean((y - to) ** 2) for y, to in zip(outputs, wanted, strict=True)]
        )
    gradients = tape.gradient(loss, model.trainable_variables)
    return [loss, *map(tf.convert_to_tensor, gradients)]  # An embedding's gradient is sparse.


def _read_weights(layers: Sequence[Sequence[Any]]) -> LSTMWeights:
    """Return the canonical weights of layers of Keras, each of which lists its directions."""
    return LSTMWeights(
        tuple(tuple(LayerWeights(*cell.get_weights()) for cell in layer) for layer in layers)
    )


# The models


WORDS = ("language", "model", "letter", "sequence", "memory", "recurrent", "kernel", "weight")


def make_chars2vec_50(folder: Path, threads: int) -> KerasProgram:
    """Return the model eng_50 of chars2vec, for one-hot letters [batch, letters, 59]."""
    return _make_chars2vec(threads, 50)


def make_chars2vec_300(folder: Path, threads: int) -> KerasProgram:
    """Return the model eng_300 of chars2vec, for one-hot letters [batch, letters, 59]."""
    return _make_chars2vec(threads, 300)


def _make_chars2vec(threads: int, units: int) -> KerasProgram:
    package = importlib.import_module("chars2vec")
    letters = package.load_model(f"eng_{units}").char_to_ix

    def make() -> Any:
        return package.load_model(f"eng_{units}").embedding_model

    def inputs(case: Case) -> Any:
        x = np.zeros((case.batch, case.steps, len(letters)), np.float32)
        for row in range(case.batch):
            word = (WORDS[row % len(WORDS)] + str(row))[: case.steps]
            for place, letter in enumerate(word, case.steps - len(word)):
                x[row, place, letters[letter]] = 1.0
        return x

    def recurrent(model: Any, x: Any) -> tuple[Any, Any]:
        return model, x  # The model has no other layers.

    def network(model: Any) -> tuple[LSTMSpec, LSTMWeights]:
        layers = [[each] for each in model.layers if each.weights]
        return LSTMSpec(len(letters), units, num_layers=2), _read_weights(layers)

    def predict(model: Any, x: Any) -> Any:
        return model.predict(x, verbose=0)

    return KerasProgram(make, inputs, recurrent, threads, network, True, predict)


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of an HDF5 file, by the last two parts of their names."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found["/".join(name.removesuffix(":0").split("/")[-2:])] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def convert_cudnn(kernel: Any, recurrent: Any, bias: Any) -> list[Any]:
    """Return the weights of a layer ``LSTM`` from those of a layer ``CuDNNLSTM`` of Keras 2.

    cuDNN reads each gate's matrix in the other order of rows and columns, and adds two biases.
    """
    units = recurrent.shape[0]
    kernels = [each.T.reshape(each.shape, order="F") for each in np.split(kernel, 4, 1)]
    recurrents = [each.T for each in np.split(recurrent, 4, 1)]
    return [np.hstack(kernels), np.hstack(recurrents), bias[: 4 * units] + bias[4 * units :]]


def make_textgenrnn(folder: Path, threads: int) -> KerasProgram:
    """Return the model of textgenrnn, for the numbers of characters [batch, 40]."""
    arrays = read_arrays(folder / "textgenrnn" / "textgenrnn_weights.hdf5")
    characters, width = arrays["embedding/embeddings"].shape

    def make() -> Any:
        text = keras.Input((40,), dtype="int32")
        embedding = keras.layers.Embedding(characters, width)
        first, second = (keras.layers.LSTM(128, return_sequences=True) for _ in range(2))
        score, output = keras.layers.Dense(1, use_bias=False), keras.layers.Dense(characters)
        x = embedding(text)
        one = first(x)
        together = keras.layers.Concatenate()([x, one, second(one)])
        attention = keras.layers.Softmax(axis=1)(score(together))
        average = keras.ops.sum(together * attention, axis=1)
        model = keras.Model(text, keras.layers.Softmax()(output(average)))
        embedding.set_weights([arrays["embedding/embeddings"]])
        for name, layer in (("rnn_1", first), ("rnn_2", second)):
            parts = ("kernel", "recurrent_kernel", "bias")
            layer.set_weights(convert_cudnn(*(arrays[f"{name}/{part}"] for part in parts)))
        score.set_weights([arrays["attention/attention_W"]])
        output.set_weights([arrays["output/kernel"], arrays["output/bias"]])
        return model

    def inputs(case: Case) -> Any:
        draw = np.random.default_rng(0)
        return draw.integers(1, characters, (case.batch, case.steps)).astype(np.int32)

    def lstms(model: Any) -> list[Any]:
        return [each for each in model.layers if isinstance(each, keras.layers.LSTM)]

    def recurrent(model: Any, x: Any) -> tuple[Any, Any]:
        first, second = lstms(model)
        between = keras.Model(first.input, second.output)
        return between, keras.Model(model.input, first.input).predict_on_batch(x)

    def network(model: Any) -> tuple[LSTMSpec, LSTMWeights]:
        return LSTMSpec(width, 128, num_layers=2), _read_weights([[each] for each in lstms(model)])

    return KerasProgram(make, inputs, recurrent, threads, network)


def make_deepac(folder: Path, threads: int) -> KerasProgram:
    """Return the sensitive LSTM model of deepac, for one-hot nucleotides [batch, 250, 4]."""
    arrays = read_arrays(folder / "deepac" / "builtin" / "weights" / "nn-img-sensitive-lstm.h5")

    def make() -> Any:
        reads = keras.Input((250, 4))
        recurrent = keras.layers.Bidirectional(keras.layers.LSTM(384))
        dense = keras.layers.Dense(1)
        # The other strand is read in the other direction, with the complements of its letters.
        strands = [reads, keras.ops.flip(reads, (1, 2))]
        scores = [dense(recurrent(each)) for each in strands]
        model = keras.Model(reads, keras.ops.sigmoid(scores[0] + scores[1]))
        weights: list[Any] = []
        for direction in ("forward", "backward"):
            parts = ("kernel", "recurrent_kernel", "bias")
            given = (arrays[f"{direction}_cu_dnnlstm_1/{part}"] for part in parts)
            weights += convert_cudnn(*given)
        recurrent.set_weights(weights)
        dense.set_weights([arrays["dense_1/kernel"], arrays["dense_1/bias"]])
        return model

    def inputs(case: Case) -> Any:
        draw = np.random.default_rng(0)
        return np.eye(4, dtype=np.float32)[draw.integers(0, 4, (case.batch, case.steps))]

    def layer(model: Any) -> Any:
        (found,) = (each for each in model.layers if isinstance(each, keras.layers.Bidirectional))
        return found

    def recurrent(model: Any, x: Any) -> tuple[Any, Any]:
        strands = [keras.Input((250, 4)) for _ in range(2)]
        both = keras.Model(strands, [layer(model)(each) for each in strands])
        return both, [x, np.ascontiguousarray(x[:, ::-1, ::-1])]

    def network(model: Any) -> tuple[LSTMSpec, LSTMWeights]:
        found = layer(model)
        directions = [found.forward_layer, found.backward_layer]
        return LSTMSpec(4, 384, bidirectional=True), _read_weights([directions])

    return KerasProgram(make, inputs, recurrent, threads, network, final=True)
