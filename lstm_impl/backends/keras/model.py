"""Run ``keras_model`` and ``lstm_impl_model``: a Keras model of one layer, as users call it.

``keras_model`` is ``model(x)``, ``keras_model+predict`` is ``model.predict(x)``, and so on
(``PATHS``). ``lstm_impl_model`` is the same model after ``lstm_impl.keras.accelerate``. Arrays are
batch-major, as in Keras. Time-major ones are transposed once, before they are first used.

A training call returns only its loss. The gate gets the outputs and gradients from a separate call,
and the updated weights from the call itself.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

import lstm_impl.cuda as cuda
from lstm_impl.availability import AVAILABLE, Availability, UnavailableError
from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.keras.cells import PACKAGE, KerasThree
from lstm_impl.backends.onnx.graph import build_graph
from lstm_impl.backends.onnx.runtime import OnnxRuntime
from lstm_impl.backends.others import litert
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.model import profile
from lstm_impl.call import Call, Outputs, RawGradients, Request, Results, Tensor, Upstream
from lstm_impl.cell import GRU, Cell
from lstm_impl.evidence import Evidence
from lstm_impl.model import NO_RESETS, Model
from lstm_impl.optimizer import LEARNING_RATE
from lstm_impl.spec import FloatArray, LSTMSpec, Refusal, RefusalReason, UnsupportedError
from lstm_impl.weights import LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Workload

MOST_PLACED = 1_000
"""The most arrays that are kept in Keras's layout. That is enough for two sets of inputs of some
hundred windows."""


def name_inputs(cell: Cell) -> tuple[str, ...]:
    """Return the names of the inputs: ``[B, T, in]``, and the initial states ``[B, H]``."""
    return ("x", *cell.states)


def name_outputs(cell: Cell) -> tuple[str, ...]:
    """Return the names of the model's outputs ``[B, T, H]`` and final states ``[B, H]``."""
    return ("y", *(f"{each}_n" for each in cell.states))


Infer: TypeAlias = Callable[..., tuple[Tensor, ...]]
"""Compute y and the final states from x and the initial states."""

Train: TypeAlias = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
"""Update the weights once, from the inputs and the gradient of each output by name, and return the
loss."""


@dataclass(frozen=True)
class Path:
    """Describe one way to call a Keras model.

    Attributes
    ----------
    written
        The call, as a user would write it.
    host
        Whether inputs and outputs are NumPy arrays instead of TensorFlow's tensors.
    infers, trains
        Whether the call computes outputs, and whether it updates the weights.
    exported
        Whether the call runs a copy of the model, with the weights of the time of the copy.
    cpu_only
        Whether that copy runs only on the CPU.
    """

    written: str
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
"""The calls by the option in the backend's name. Without an option it is the plain call."""


def make_layer(keras: Any, spec: LSTMSpec) -> Any:
    """Make a layer of Keras that returns its outputs and its final states."""
    how = {"return_sequences": True, "return_state": True, "dtype": spec.dtype}
    if isinstance(spec.cell, GRU):
        return keras.layers.GRU(spec.hidden_size, reset_after=spec.cell.reset_after, **how)
    return keras.layers.LSTM(spec.hidden_size, **how)


def make_model(keras: Any, layer: Any, spec: LSTMSpec) -> Any:
    """Make a functional model of one layer, with its states as inputs and outputs."""
    names = name_inputs(spec.cell)
    x = keras.Input((None, spec.input_size), name="x")
    states = [keras.Input((spec.hidden_size,), name=name) for name in names[1:]]
    outputs = layer(x, initial_state=states)
    return keras.Model(
        dict(zip(names, (x, *states), strict=True)),
        dict(zip(name_outputs(spec.cell), outputs, strict=True)),
    )


def flow(keras: Any) -> Any:
    """Return a loss whose gradient is the target: ``sum(output * target)``."""

    class Flow(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types.
        def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
            return y_true * y_pred

    return Flow(reduction="sum")


# -- inference


def build_infer(path: str, model: Any, cell: Cell) -> Infer:
    """Return a function that infers with one of the model's own calls in TensorFlow."""
    import tensorflow as tf

    inputs, outputs = name_inputs(cell), name_outputs(cell)

    def order_outputs(found: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return tuple(found[name] for name in outputs)

    def named(*given: Tensor) -> dict[str, Tensor]:
        return dict(zip(inputs, given, strict=True))

    if path == "predict":
        return lambda x, *states: order_outputs(
            model.predict(named(x, *states), batch_size=len(x), verbose=0)
        )
    if path == "predict_on_batch":
        return lambda *given: order_outputs(model.predict_on_batch(named(*given)))

    def call(*given: Tensor) -> tuple[Tensor, ...]:
        return order_outputs(model(named(*given), training=False))

    if path == "function":
        traced: Infer = tf.function(call, autograph=False)
        return traced
    return call


def by_signature(model: Any, cell: Cell) -> Infer:
    """Save and load the model, and return a function that infers with its serving signature."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        loaded = tf.saved_model.load(folder)
    serve = loaded.signatures["serving_default"]
    inputs, outputs = name_inputs(cell), name_outputs(cell)

    def infer(*given: Tensor) -> tuple[Tensor, ...]:
        found = serve(**dict(zip(inputs, given, strict=True)))
        return tuple(found[name] for name in outputs)

    # The signature refers to the variables of the loaded object, which must therefore stay alive.
    infer.loaded = loaded  # type: ignore[attr-defined]
    return infer


def convert(model: Any, shape: tuple[int, ...], spec: LSTMSpec) -> bytes:
    """Convert the model to LiteRT for an input of one shape ``[B, T, in]``."""
    import tensorflow as tf

    # The weights become constants. The converter would keep variables, which its loops cannot read.
    trained, other = (
        [tf.constant(each.numpy()) for each in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )

    def call(**given: Tensor) -> tuple[Tensor, ...]:
        outputs, _ = model.stateless_call(trained, other, given, training=False)
        return tuple(outputs[name] for name in name_outputs(spec.cell))

    shapes = dict.fromkeys(name_inputs(spec.cell), (shape[0], spec.hidden_size)) | {"x": shape}
    return litert.convert(call, shapes)


def by_onnx(spec: LSTMSpec, weights: LSTMWeights, threads: int) -> Infer:
    """Return a function that infers with an ONNX graph of one operator, on NumPy arrays.

    ``threads`` is the number of ONNX Runtime's threads. 0 lets it choose.
    """
    import onnxruntime

    graph = build_graph(spec, weights, batch_major=True, lengths=False, masks=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = spec.cell.states

    def infer(x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        given = {f"{name}0": each[None] for name, each in zip(names, states, strict=True)}
        y, *last = session.run(("y", *names), {"x": x, **given})
        # The axes of the operator's outputs are [B, direction, T, H] and [direction, B, H].
        return y[:, 0], *(each[0] for each in last)

    return infer


# -- training


def build_train(path: str, model: Any, cell: Cell) -> Train:
    """Return a function that trains with one of the calls. The model is compiled with ``flow``."""
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
            names = name_outputs(cell)
            made = [tf.cast(outputs[name], tf.float32) * upstream[name] for name in names]
            loss = tf.add_n([tf.reduce_sum(each) for each in made])
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    if path == "function":
        traced: Train = tf.function(step, autograph=False)
        return traced
    return step


def observe(model: Any, cell: Cell) -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Any]:
    """Return a function that computes outputs and weight gradients."""
    import tensorflow as tf

    def look(inputs: Mapping[str, Tensor], upstream: Mapping[str, Tensor]) -> Any:
        weights = [each.value for each in model.trainable_variables]
        with tf.GradientTape() as tape:
            found = model(inputs, training=True)
            outputs = tuple(found[name] for name in name_outputs(cell))
        pairs = zip(name_outputs(cell), outputs, strict=True)
        flowing = [tf.cast(upstream[name], each.dtype) for name, each in pairs]
        return outputs, tape.gradient(outputs, weights, output_gradients=flowing)

    traced: Callable[..., Any] = tf.function(look, autograph=False)
    return traced


# -- the model and its backends


class CalledModelModel(Model):
    """Run a Keras model in the way that the backend's option names."""

    backend: CalledModel
    steps_return_loss = True

    def _open(self, weights: LSTMWeights) -> None:
        import keras
        import tensorflow as tf

        spec, backend, device = self.spec, self.backend, self.device
        self._tf = tf
        name = "/CPU:0" if device == "cpu" else f"/GPU:{cuda.gpu_index(device)}"
        # Without a GPU, calls need no context for the device, which would take time.
        gpus = bool(tf.config.list_physical_devices("GPU"))
        self._placing: Callable[[], contextlib.AbstractContextManager[object]] = (
            functools.partial(tf.device, name) if gpus else contextlib.nullcontext
        )
        self._sequence = _Placed(self._to_batch_major)
        self._state = _Placed(lambda tensor: tensor[0])
        self._exported: dict[tuple[int, ...], Infer] = {}
        self._before: LSTMWeights | None = None
        path = "".join(backend.options)
        with self._placing():
            self._layer = make_layer(keras, spec)
            self._model = self.backend.finished(make_model(keras, self._layer, spec))
            if self.backend.path.trains:
                losses = {name: flow(keras) for name in name_outputs(spec.cell)}
                self._model.compile(keras.optimizers.SGD(LEARNING_RATE), loss=losses)
                self._train_call = build_train(path, self._model, spec.cell)
                self._look = observe(self._model, spec.cell)
            if self.backend.path.infers and not self.backend.path.exported:
                self._infer_call = build_infer(path, self._model, spec.cell)
        self._set_weights(weights)

    # -- arrays

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        if self.backend.path.host:
            return np.ascontiguousarray(array, dtype=np.float32)
        with self._placing():
            return self._tf.identity(self._tf.constant(array, self._tf.float32))

    def _to_batch_major(self, sequence: Tensor) -> Tensor:
        """Convert a sequence in the model's layout to ``[B, T, F]``."""
        if self.batch_major:
            return sequence
        if self.backend.path.host:
            return np.ascontiguousarray(np.swapaxes(sequence, 0, 1))
        with self._placing():
            return self._tf.transpose(sequence, [1, 0, 2])

    def _to_host(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        array = np.asarray(tensor).copy()
        if array.ndim == 2:  # This is a state. In Keras it has no axis of layers.
            return array[None]
        return array if self.batch_major else np.swapaxes(array, 0, 1)

    def _given(self, call: Call) -> tuple[Tensor, ...]:
        """Return x, h and c in Keras's layout."""
        # The state that a previous call returned is in Keras's layout already.
        states = (each if each.ndim == 2 else self._state(each) for each in call.states)
        return self._sequence(call.x), *states

    # -- inference

    def _infer(self, call: Call) -> Outputs:
        given = self._given(call)
        run = self._export(given[0].shape) if self.backend.path.exported else self._infer_call
        with self._placing():
            return Outputs.from_flat(run(*given))

    def _export(self, shape: tuple[int, ...]) -> Infer:
        """Return the function of the exported model for an input ``[B, T, in]``."""
        key = tuple(shape) if "litert" in self.backend.options else ()
        if key not in self._exported:
            threads = self.backend.threads
            if key:
                run = litert.make_runner(self._converted(key), threads)
                names = name_inputs(self.spec.cell)
                self._exported[key] = lambda *given: tuple(
                    run(dict(zip(names, given, strict=True)))
                )
            elif "onnx" in self.backend.options:
                self._exported[key] = by_onnx(self.spec, self.get_weights(), threads or 0)
            else:
                with self._placing():
                    self._exported[key] = by_signature(self._model, self.spec.cell)
        return self._exported[key]

    def _converted(self, shape: tuple[int, ...]) -> bytes:
        return convert(self._model, shape, self.spec)

    def _trace_ahead(self, request: Request) -> None:
        given = self._given(request.call)
        if self.backend.path.exported:
            self._export(given[0].shape)
        elif "function" in self.backend.options:  # Keras traces its loops in their first call.
            step: tuple[Any, Any] = self._infer_call, given
            if request.upstream is not None:
                step = self._train_call, self._step_arguments(request.call, request.upstream)
            with self._placing():
                step[0].get_concrete_function(*step[1])

    # -- training

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        raise UnsupportedError(
            f"{self.backend.name}: {self.backend.path.written} always updates the weights; name an "
            "optimizer"
        )

    def _start_optimizer(self, name: str) -> None:
        """Do nothing, because SGD keeps nothing between steps."""

    def _step_arguments(
        self, call: Call, upstream: Upstream
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        flowing = (self._sequence(upstream.dy), *map(self._state, upstream.dstates))
        return (
            dict(zip(name_inputs(self.spec.cell), self._given(call), strict=True)),
            dict(zip(name_outputs(self.spec.cell), flowing, strict=True)),
        )

    def _train_and_update(
        self, optimizer: str, gradients: str, call: Call, upstream: Upstream
    ) -> RawGradients:
        inputs, flowing = self._step_arguments(call, upstream)
        with self._placing():
            loss = self._train_call(inputs, flowing)
        if self._before is None:
            # A timed call returns nothing but the loss.
            return RawGradients(loss, (), None, None, None)
        # The outputs and gradients are computed again, with the weights that the call began with.
        after = self.get_weights()
        self._assign(self._before)
        with self._placing():
            (y, *states), weights = self._look(inputs, flowing)
        self._assign(after)
        return RawGradients(y, tuple(states), None, None, weights)

    def _host_results(self, raw: Outputs | RawGradients) -> Results:
        if isinstance(raw, RawGradients):
            return {"loss": np.reshape(np.asarray(raw.y, np.float32), (1, 1, 1))}
        return super()._host_results(raw)

    def forward_and_gradients(
        self, *given: Any, optimizer: str | None = None, **more: Any
    ) -> tuple[FloatArray, LSTMState, LSTMGradients]:
        self._before = self.get_weights() if optimizer else None
        try:
            return super().forward_and_gradients(*given, optimizer=optimizer, **more)
        finally:
            self._before = None

    # -- weights

    def _host_weights(self, raw: Any, gradient: bool = True) -> LSTMWeights:
        arrays = [np.asarray(each.numpy(), np.float32) for each in raw]
        return self.backend.unpack(self.spec, arrays)

    def get_weights(self) -> LSTMWeights:
        return self._host_weights(self._model.trainable_variables)

    def _set_weights(self, weights: LSTMWeights) -> None:
        self._assign(weights)
        self._exported.clear()

    def _assign(self, weights: LSTMWeights) -> None:
        arrays = self.backend.pack(self.spec, weights)
        for variable, array in zip(self._model.trainable_variables, arrays, strict=True):
            variable.assign(array)

    def synchronize(self) -> None:
        self._tf.test.experimental.sync_devices()

    # -- evidence

    def evidence(self, workload: Workload) -> Evidence:
        """Return the ops of one call from TensorFlow's profiler, or the exported operators."""
        one = workload.first_window()
        by_name = {"call": self.backend.path.written, "device": self.device}
        if "onnx" in self.backend.options:
            operator = "GRU" if isinstance(self.spec.cell, GRU) else "LSTM"
            return Evidence("exported graph", details={**by_name, "operators": [operator]})
        if "litert" in self.backend.options:
            ops = litert.operators(
                self._converted((one.batch, one.timesteps, self.spec.input_size))
            )
            by_name["interpreter"] = litert.interpreter_name()
            return Evidence("converted model", ops, details={**by_name, "loops": ops["WHILE"]})
        step = self._warmed(one)
        found = profile(step.run, step.synchronize)
        details = {**found.details, **by_name, **self.backend.explain(self._layer)}
        if self.backend.path.host:
            # With the setting "auto", Keras decides whether XLA compiles its loops.
            details["jit_compile"] = bool(self._model.jit_compile)
        return Evidence(found.source, found.ops, found.kernels, details)


class CalledModel(KerasThree):
    """Run a Keras model of one LSTM or GRU layer through one of ``PATHS``."""

    framework = "tensorflow"
    model = CalledModelModel
    packages = (*TensorFlowBackend.packages, PACKAGE)
    gpu = TensorFlowBackend.gpu
    optimizers: ClassVar[tuple[str, ...]] = ("sgd",)
    flags: ClassVar[tuple[str, ...]] = tuple(filter(None, PATHS))
    listed = tuple(f"+{each}" if each else "" for each in PATHS)

    def conflict(self) -> str:
        if len(self.options) > 1:
            return "a model is called in one way; leave all options but one out"
        return ""

    @property
    def path(self) -> Path:
        """The way in which the model is called."""
        return PATHS["".join(self.options)]

    @property
    def hides_nan(self) -> bool:
        """Whether a NaN becomes a number, as it does in ONNX Runtime."""
        return "onnx" in self.options

    def finished(self, model: Any) -> Any:
        """Return the Keras model in the form in which it is called."""
        return model

    def explain(self, layer: Any) -> Mapping[str, Any]:
        """Return details for the evidence about what computed the calls of a layer.

        Keras's own layer does not report this, so there are none. A subclass whose layer reports it
        returns the backend of each kind of call, by names such as ``training``.
        """
        return {}

    def availability(self, device: str = "cpu") -> Availability:
        if self.path.cpu_only and device != "cpu":
            return Availability(
                False, f"{self.name}: the exported model runs only on the CPU; use --device cpu"
            )
        return super().availability(device)

    def tools(self, device: str) -> Availability:
        for package in OnnxRuntime.packages if "onnx" in self.options else ():
            if not (installed := package.availability(device)):
                return installed
        return AVAILABLE

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if reason := self.cell_refusal(spec):
            return reason
        if spec.num_layers > 1 or spec.bidirectional:
            return "its model has one layer in one direction"
        if spec.dtype not in ("float32", "mixed_bfloat16"):
            text = f"its model is of float32 or mixed_bfloat16, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        if self.path.exported and spec.dtype != "float32":
            text = f"its model is exported in float32, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        if workload is None:
            return ""
        if workload.min_length is not None:
            return "its model takes no lengths"
        if workload.reset_rate:
            return NO_RESETS
        if not workload.training:
            return "" if self.path.infers else f"{self.path.written} trains, and returns no outputs"
        if not self.path.trains:
            text = f"{self.path.written} only infers; it computes no gradients"
            return RefusalReason(text, Refusal.NO_GRADIENTS)
        if workload.optimizer is None:
            text = f"{self.path.written} updates the weights: name an optimizer, sgd"
            return RefusalReason(text, Refusal.NO_OPTIMIZER)
        if workload.gradients != "weights":
            text = f"{self.path.written} differentiates the weights alone"
            return RefusalReason(text, Refusal.NO_GRADIENTS)
        if workload.window is not None:
            return f"{self.path.written} returns no state for the next window"
        return super().refusal(spec, workload)


class KerasModel(CalledModel):
    """Call a model of ``keras.layers.LSTM`` or ``keras.layers.GRU``."""

    strategy = "keras_model"
    summary = "a Keras model of one LSTM or GRU, by the call that a user makes"


class LstmImplModel(CalledModel):
    """Call the same model after ``lstm_impl.keras.accelerate``."""

    strategy = "lstm_impl_model"
    summary = "the same Keras model after lstm_impl.keras.accelerate"

    def finished(self, model: Any) -> Any:
        import lstm_impl.keras

        with contextlib.suppress(UnavailableError):  # The layer reports it, and uses other code.
            library.build()  # This compiles now, and not in the background of the timed calls.
        return lstm_impl.keras.accelerate(model, print_fn=None)

    def explain(self, layer: Any) -> Mapping[str, Any]:
        made = layer.explain().choices
        return {"computed_by": sorted({choice.backend for _, choice in made})}


class _Placed:
    """Convert arrays to Keras's layout, each only once and not in every call."""

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        self._make = make
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        known = self._kept.get(id(tensor))
        # The original is kept too, so that no other array can get the same id.
        if known is None:
            while len(self._kept) >= MOST_PLACED:
                del self._kept[next(iter(self._kept))]
            known = self._kept[id(tensor)] = (tensor, self._make(tensor))
        return known[1]
