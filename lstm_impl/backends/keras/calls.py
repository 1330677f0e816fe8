"""Call a Keras model in each way that users do, as a function of its inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lstm_impl.backends.onnx.graph import build_graph
from lstm_impl.backends.others import litert
from lstm_impl.call import Tensor
from lstm_impl.spec import LSTMSpec
from lstm_impl.weights import LSTMWeights

INPUTS, OUTPUTS = ("x", "h", "c"), ("y", "h_n", "c_n")
"""Names in the model: the input ``[B, T, in]`` and the initial state ``[B, H]``; the outputs
``[B, T, H]`` and the final state."""

Infer: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Compute y and the final h and c from x, h and c."""

Train: TypeAlias = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
"""Update the weights once, from the inputs and each output's gradient by name; return the loss."""


@dataclass(frozen=True)
class Path:
    """One of the calls.

    words: as a user would write it. host: whether inputs and outputs are NumPy arrays, else
    TensorFlow's tensors. infers, trains: what it is for. exported: whether it runs a copy of the
    model with the weights at that time. cpu_only: whether that copy runs on the CPU.
    """

    words: str
    host: bool = False
    infers: bool = True
    trains: bool = False
    exported: bool = False
    cpu_only: bool = False


PATHS: Mapping[str, Path] = {
    "": Path("model(x)", trains=True),
    "function": Path("tf.function of model(x)", trains=True),
    "predict": Path("model.predict", host=True),
    "predict_on_batch": Path("model.predict_on_batch", host=True),
    "signature": Path("a SavedModel's signature", exported=True),
    "litert": Path("converted to LiteRT", host=True, exported=True, cpu_only=True),
    "onnx": Path("as an ONNX graph in ONNX Runtime", host=True, exported=True, cpu_only=True),
    "fit": Path("model.fit on one batch", host=True, infers=False, trains=True),
    "train_on_batch": Path("model.train_on_batch", host=True, infers=False, trains=True),
}
"""By the option in the backend's name; without one it is the plain call."""


def make_model(keras: Any, layer: Any, spec: LSTMSpec) -> Any:
    """Make a functional model of one LSTM layer, with its state as input and output."""
    x = keras.Input((None, spec.input_size), name="x")
    h, c = (keras.Input((spec.hidden_size,), name=name) for name in INPUTS[1:])
    outputs = layer(x, initial_state=[h, c])
    return keras.Model(
        dict(zip(INPUTS, (x, h, c), strict=True)), dict(zip(OUTPUTS, outputs, strict=True))
    )


def flow(keras: Any) -> Any:
    """Return a loss whose gradient is the target: ``sum(output * target)``."""

    class Flow(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
        def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
            return y_true * y_pred

    return Flow(reduction="sum")


def _in_order(found: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    y, h, c = (found[name] for name in OUTPUTS)
    return y, h, c


# -- inference


def infer_by(path: str, model: Any) -> Infer:
    """Infer by one of the model's own calls in TensorFlow."""
    import tensorflow as tf

    if path == "predict":
        return lambda x, h, c: _in_order(
            model.predict({"x": x, "h": h, "c": c}, batch_size=len(x), verbose=0)
        )
    if path == "predict_on_batch":
        return lambda x, h, c: _in_order(model.predict_on_batch({"x": x, "h": h, "c": c}))

    def call(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _in_order(model({"x": x, "h": h, "c": c}, training=False))

    if path == "function":
        traced: Infer = tf.function(call, autograph=False)
        return traced
    return call


def signature(model: Any) -> Infer:
    """Infer by the serving signature of the model after saving and loading it."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        loaded = tf.saved_model.load(folder)
    serve = loaded.signatures["serving_default"]

    def infer(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _in_order(serve(x=x, h=h, c=c))

    # The loaded object has the variables and must live as long as its signature.
    infer.loaded = loaded  # type: ignore[attr-defined]
    return infer


def convert(model: Any, shape: tuple[int, ...], hidden: int) -> bytes:
    """Convert the model to LiteRT for an input of one shape ``[B, T, in]``."""
    import tensorflow as tf

    # As constants: the converter would keep variables, which its loops cannot read.
    trained, other = (
        [tf.constant(each.numpy()) for each in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )

    def call(**given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs, _ = model.stateless_call(trained, other, given, training=False)
        return _in_order(outputs)

    state = (shape[0], hidden)
    return litert.convert(call, dict(zip(INPUTS, (shape, state, state), strict=True)))


def by_litert(converted: bytes, threads: int | None) -> Infer:
    """Run what was converted in LiteRT's interpreter."""
    run = litert.make_runner(converted, threads)

    def infer(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, h, c = run({"x": x, "h": h, "c": c})
        return y, h, c

    return infer


def onnx(spec: LSTMSpec, weights: LSTMWeights, threads: int) -> Infer:
    """Infer by an ONNX graph of one LSTM operator with the model's weights, from arrays to arrays.

    threads: 0 leaves them to ONNX Runtime.
    """
    import onnxruntime

    graph = build_graph(spec, weights, batch_major=True, lengths=False, masks=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def infer(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, h, c = session.run(("y", "h", "c"), {"x": x, "h0": h[None], "c0": c[None]})
        # The operator's axes are [B, direction, T, H] and [direction, B, H].
        return y[:, 0], h[0], c[0]

    return infer


# -- training


def train_by(path: str, model: Any) -> Train:
    """Train by one of the calls; the model is compiled with ``flow``."""
    import tensorflow as tf

    if path == "fit":
        return lambda inputs, upstream: model.fit(
            inputs, upstream, batch_size=len(inputs["x"]), shuffle=False, verbose=0
        ).history["loss"][0]
    if path == "train_on_batch":
        return lambda inputs, upstream: model.train_on_batch(inputs, upstream, return_dict=True)[
            "loss"
        ]

    def step(inputs: Mapping[str, Tensor], upstream: Mapping[str, Tensor]) -> Tensor:
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = tf.add_n([tf.reduce_sum(outputs[name] * upstream[name]) for name in OUTPUTS])
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    if path == "function":
        traced: Train = tf.function(step, autograph=False)
        return traced
    return step


def observe(model: Any) -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Any]:
    """Return the model's outputs and weight gradients, which no training call returns."""
    import tensorflow as tf

    def look(inputs: Mapping[str, Tensor], upstream: Mapping[str, Tensor]) -> Any:
        weights = [each.value for each in model.trainable_variables]
        with tf.GradientTape() as tape:
            outputs = _in_order(model(inputs, training=True))
        flowing = [upstream[name] for name in OUTPUTS]
        return outputs, tape.gradient(outputs, weights, output_gradients=flowing)

    traced: Callable[..., Any] = tf.function(look, autograph=False)
    return traced
