"""Run ``litert``: a TensorFlow loop converted to LiteRT (TensorFlow Lite), in its interpreter."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstm_impl.availability import Package, UnavailableError
from lstm_impl.backend import Backend
from lstm_impl.backends.inference_model import InferenceModel, input_shapes
from lstm_impl.backends.others import litert_fused
from lstm_impl.backends.others.framework import LITERT
from lstm_impl.backends.tensorflow.loops import WhileLoop
from lstm_impl.call import Call, Outputs, Request, Tensor
from lstm_impl.cell import DEFAULT
from lstm_impl.evidence import Evidence
from lstm_impl.model import Model, Stream
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason, UnsupportedError
from lstm_impl.workload import Workload

Runner: TypeAlias = Callable[[Mapping[str, Tensor]], list[Tensor]]
"""Run a converted model on inputs by name, and return its outputs."""


class LiteRTModel(InferenceModel):
    """Keep an interpreter for each shape and combination of optional inputs, made on first use."""

    def convert(self, inputs: dict[str, tuple[int, ...]]) -> bytes:
        """Convert the network to LiteRT, for inputs x, h, c (and lengths, masks) by shape."""
        import tensorflow as tf

        loop = WhileLoop([each for each in self.backend.options if each in WhileLoop.flags])
        spec = self.spec
        parameters = [tf.constant(array) for array in loop.pack(spec, self._weights)]

        def network(**arguments: Tensor) -> tuple[Tensor, ...]:
            call = Call.from_names(spec.cell.states, **arguments)
            if self.batch_major:
                call = call._replace(x=tf.transpose(call.x, [1, 0, 2]))
            y, states = loop.stack(spec, call, parameters, training=False)
            return (tf.transpose(y, [1, 0, 2]) if self.batch_major else y), *states

        return convert(network, inputs)

    def make_runner(self, model: bytes) -> Runner:
        """Return a function that runs a converted model on inputs by name."""
        return make_runner(model, self.backend.threads)

    def _made(self, inputs: dict[str, npt.NDArray[np.generic]]) -> Runner:
        key = input_shapes(inputs)
        if key not in self._ready:
            model = self.convert({name: array.shape for name, array in inputs.items()})
            self._ready[key] = self.make_runner(model)
        made: Runner = self._ready[key]
        return made

    # -- what Model needs

    def _infer(self, call: Call) -> Outputs:
        inputs = call.by_name(self.spec.cell.states)
        return Outputs.from_flat(self._made(inputs)(inputs))

    def _trace_ahead(self, request: Request) -> None:
        self._made(request.call.by_name(self.spec.cell.states))

    def evidence(self, workload: Workload) -> Evidence:
        """Return the operators of the converted model, including those inside its loops."""
        call = Stream(self, workload.first_window()).request().call
        given = call.by_name(self.spec.cell.states)
        ops = operators(self.convert({name: each.shape for name, each in given.items()}))
        details = {
            "device": self.device,
            "interpreter": interpreter_name(),
            "threads": self.backend.threads or 1,
            "loops": ops["WHILE"],
        }
        return Evidence("converted model", ops, details=details)


class FusedLiteRTModel(LiteRTModel):
    """Run LiteRT's own LSTM operator for each layer and direction.

    The operator keeps its states in variables of the interpreter. They are written before each call
    and read after it.
    """

    def convert(self, inputs: dict[str, tuple[int, ...]]) -> bytes:
        """Convert the network to LiteRT for an input x of this shape.

        Raises
        ------
        UnsupportedError
            If there are lengths or masks, which the operator does not take.
        """
        import tensorflow as tf

        for name in ("lengths", "masks"):
            if name in inputs:
                raise UnsupportedError(f"{self.backend.name}: the fused operator takes no {name}")
        loop, spec = litert_fused.FusedLoop(), self.spec
        parameters = [tf.constant(array) for array in loop.pack(spec, self._weights)]
        batch = inputs["x"][0 if self.batch_major else 1]
        zeros = tf.zeros([spec.state_layers, batch, spec.hidden_size])

        def network(x: Tensor) -> Tensor:
            x = tf.transpose(x, [1, 0, 2]) if self.batch_major else x
            y, _ = loop.stack(spec, Call(x, (zeros, zeros)), parameters, training=False)
            return tf.transpose(y, [1, 0, 2]) if self.batch_major else y

        specs = {"x": tf.TensorSpec(inputs["x"], tf.float32, "x")}
        return litert_fused.convert_saved_model(network, specs, lambda converter: None)

    def make_runner(self, model: bytes) -> Runner:
        """Return a function that also writes and reads the states of the operators."""
        return make_stateful_runner(model, self.backend.threads)


class LiteRT(Backend):
    """Convert ``while_loop`` to LiteRT.

    The option ``+preproject`` converts the loop that computes the input product of all timesteps
    before it starts. The option ``+fused`` converts the network to LiteRT's own LSTM operator.
    """

    strategy = "litert"
    framework = "litert"
    summary = "a TensorFlow loop converted to LiteRT (TensorFlow Lite), inference only"
    flags = ("preproject", "fused")
    devices = ("cpu",)
    elsewhere = "LiteRT runs on the CPU here: its GPU delegates are for phones"
    packages = (
        Package("tensorflow", "TensorFlow, which holds LiteRT's converter,", LITERT.install),
    )
    listed = ("", "+preproject", "+fused")
    cells = None

    @property
    def model(self) -> type[Model]:  # type: ignore[override]  # which one depends on the options
        return FusedLiteRTModel if "fused" in self.options else LiteRTModel

    def conflict(self) -> str:
        if {"preproject", "fused"} <= set(self.options):
            return (
                "the fused operator computes the input product itself; leave +preproject or "
                "+fused out"
            )
        return ""

    def cell_refusal(self, spec: LSTMSpec) -> str:
        if "fused" in self.options and spec.cell != DEFAULT:
            text = f"LiteRT's fused operator is an LSTM, not the cell {spec.cell.name}"
            return RefusalReason(text, Refusal.NO_CELL)
        return super().cell_refusal(spec)

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        if "fused" not in self.options or evidence["ops"].get(litert_fused.OPERATOR):
            return ""
        return "LiteRT's fused operator is not in the model that ran"

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if workload is not None and workload.training:
            text = "LiteRT only infers; it computes no gradients"
            return RefusalReason(text, Refusal.NO_GRADIENTS)
        if spec.dtype != "float32":
            text = f"LiteRT's loop is converted in float32 only, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        if "fused" in self.options and workload is not None and workload.min_length is not None:
            return "LiteRT's fused operator takes no lengths"
        return super().refusal(spec, workload)


def convert(function: Callable[..., Any], shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Convert a function of TensorFlow's tensors for inputs of these shapes, by name."""
    import tensorflow as tf

    specs = {
        name: tf.TensorSpec(shape, tf.int32 if name == "lengths" else tf.float32, name)
        for name, shape in shapes.items()
    }
    traced = tf.function(function, autograph=False)
    concrete = traced.get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], traced)
    return bytes(converter.convert())


def make_stateful_runner(model: bytes, threads: int | None) -> Runner:
    """Return a function that runs a model of fused operators on x, h and c.

    The function returns y and the final h and c, ``[L*D, B, H]`` each.
    """
    interpreter = open_interpreter(model, threads)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    (result,) = interpreter.get_output_details()
    variables = tuple(zip(*litert_fused.find_states(model), strict=True))

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        interpreter.set_tensor(given["index"], inputs["x"])
        for places, state in zip(variables, (inputs["h"], inputs["c"]), strict=True):
            for place, row in zip(places, state, strict=True):
                interpreter.set_tensor(place, row)
        interpreter.invoke()
        states = [
            np.stack([interpreter.get_tensor(each) for each in places]) for places in variables
        ]
        return [interpreter.get_tensor(result["index"]), *states]

    return run


def make_runner(model: bytes, threads: int | None) -> Runner:
    """Return a function that runs a converted model on inputs by name."""
    interpreter = open_interpreter(model, threads)
    interpreter.allocate_tensors()
    # These are looked up once, because looking them up takes longer than a small network. A
    # converter may write ``x`` as ``serving_default_x:0``.
    places = {
        each["name"].partition(":")[0].removeprefix("serving_default_"): each["index"]
        for each in interpreter.get_input_details()
    }
    outputs = [each["index"] for each in interpreter.get_output_details()]

    def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        for name, place in places.items():
            interpreter.set_tensor(place, inputs[name])
        interpreter.invoke()
        return [interpreter.get_tensor(each) for each in outputs]

    return run


def interpreter_name() -> str:
    """Return the name and the version of the package whose interpreter runs here."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"
    import tensorflow as tf

    return f"tf.lite {tf.__version__}"


def open_interpreter(model: bytes, threads: int | None) -> Any:
    """Open an interpreter of a converted model. Raise UnavailableError if none is installed."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_content=model, num_threads=threads)
    import tensorflow as tf

    if not hasattr(tf.lite, "Interpreter"):
        raise UnavailableError(
            f"TensorFlow {tf.__version__} no longer has a LiteRT interpreter; "
            "run pip install ai-edge-litert"
        )
    with warnings.catch_warnings():
        # TensorFlow announces that its interpreter moves to the package ai_edge_litert.
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        return tf.lite.Interpreter(model_content=model, num_threads=threads)


def operators(model: bytes) -> Counter[str]:
    """Count the operators of a converted model, in all its subgraphs."""
    from tensorflow.lite.python import schema_py_generated as schema

    kinds = vars(schema.BuiltinOperator).items()
    names = {code: name for name, code in kinds if not name.startswith("_")}
    root = schema.Model.GetRootAs(model, 0)
    found: Counter[str] = Counter()
    for subgraph in (root.Subgraphs(k) for k in range(root.SubgraphsLength())):
        for each in (subgraph.Operators(k) for k in range(subgraph.OperatorsLength())):
            code = root.OperatorCodes(each.OpcodeIndex())
            # Codes up to 127 are in the old field of one byte. The newer field is 0 in old models.
            found[names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]] += 1
    return found
