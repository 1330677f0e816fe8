"""Let the gate check a file: an ONNX model, a SavedModel, or a library with our C interface."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lstm_impl.backends.fused_cpu.c_interface import CELLS, KernelError, Kernels
from lstm_impl.backends.others.numpy_fused import NumPyFusedModel
from lstm_impl.call import Tensor
from lstm_impl.cell import Cell
from lstm_impl.checking.arrays import TensorFlowArrays
from lstm_impl.checking.function import TargetBackend, TargetModel
from lstm_impl.checking.layers import LayerBackend, infer_spec, match_parameters
from lstm_impl.checking.layout import CallLayout, TargetError
from lstm_impl.spec import FloatArray, LSTMSpec, Refusal, RefusalReason
from lstm_impl.workload import Workload

LIBRARIES = (".so", ".dylib", ".dll")
"""The file name suffixes of shared libraries."""


class LibraryModel(NumPyFusedModel, TargetModel):
    """Compute the layers of a network with the functions of another shared library."""

    backend: LibraryBackend

    def _load_kernels(self) -> Kernels:
        return self.backend.kernels

    def probe(self, workload: Workload) -> bool:
        return True


class LibraryBackend(TargetBackend):
    """Check a shared library that exports the functions of ``lstm_impl/native/c_api.h``."""

    model = LibraryModel

    def __init__(self, label: str, kernels: Kernels) -> None:
        super().__init__(label)
        self.kernels = kernels

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.cell.name not in CELLS:
            return RefusalReason(f"the C interface has no {spec.cell.name}", Refusal.NO_CELL)
        if spec.dtype != "float32":
            text = f"a library is checked in float32, not {spec.dtype}"
            return RefusalReason(text, Refusal.NO_DTYPE)
        return super().refusal(spec, workload)


def load_library(path: Path) -> LibraryBackend:
    """Load a shared library as a backend.

    Raises
    ------
    TargetError
        If the library cannot be loaded, or if it lacks a function of the C interface.
    """
    try:
        return LibraryBackend(str(path), Kernels(ctypes.CDLL(str(path.resolve()))))
    except (OSError, KernelError) as error:
        raise TargetError(f"{path} cannot be used: {error}") from error
    except AttributeError as error:
        missing = str(error).rpartition("undefined symbol: ")[2]
        raise TargetError(
            f"{path} does not export {missing}; expected the functions of "
            "lstm_impl/native/c_api.h. To check a library with other functions, write a Python "
            "function that calls it through ctypes"
        ) from error


# -- ONNX

WEIGHT_INPUTS = slice(1, 4)
"""The positions at which ONNX's LSTM and GRU operators take W, R and B."""


@dataclass(frozen=True)
class OnnxFile:
    """Hold an ONNX model whose layers are LSTM or GRU operators.

    Attributes
    ----------
    path
        The file.
    model
        The model as ``onnx`` loaded it.
    nodes
        The operators, one for each layer.
    spec
        The sizes of the network.
    takes_state
        Whether the graph has inputs for the initial states.
    """

    path: Path
    model: Any
    nodes: Sequence[Any]
    spec: LSTMSpec
    takes_state: bool


def load_onnx(path: Path, cell: Cell, dtype: str) -> OnnxFile:
    """Load an ONNX model, and read the sizes of its network from its constants.

    Raises
    ------
    TargetError
        If the file is no ONNX model, has no operators of this cell, or does not keep their weights
        as constants; or if ``onnx`` or ``onnxruntime`` is not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        from onnx import numpy_helper
    except ImportError as error:
        raise TargetError(
            f"{path} needs ONNX Runtime; run pip install onnx onnxruntime ({error})"
        ) from error
    try:
        model = onnx.load(str(path))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise TargetError(f"{path} cannot be read as an ONNX model: {first}") from error
    kind = "LSTM" if cell.name == "lstm" else "GRU"
    nodes = [node for node in model.graph.node if node.op_type == kind]
    if not nodes:
        found = ", ".join(sorted({node.op_type for node in model.graph.node}))
        raise TargetError(f"{path} has only the operators {found}; expected {kind}")
    shapes = {each.name: numpy_helper.to_array(each).shape for each in model.graph.initializer}
    for node in nodes:
        names = list(node.input)[WEIGHT_INPUTS]
        if len(names) < 3 or any(name not in shapes for name in names):
            raise TargetError(
                f"{path}: the operator {node.name or kind} takes W, R and B from {names}; expected "
                "three constants of the model"
            )
    directions, _, inputs = shapes[nodes[0].input[1]]
    hidden = shapes[nodes[0].input[2]][-1]
    spec = LSTMSpec(int(inputs), int(hidden), len(nodes), directions == 2, dtype, cell)
    initial = {each.name for each in model.graph.initializer}
    given = [each.name for each in model.graph.input if each.name not in initial]
    return OnnxFile(path, model, nodes, spec, len(given) > 1)


class OnnxFunction:
    """Call an ONNX model as a function of x, the states and weights.

    The weights replace the model's constants, so a session is made whenever they change.
    """

    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self._kept: tuple[list[Any], Any] | None = None

    def __call__(
        self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | None
    ) -> list[FloatArray]:
        session = self._session(list(weights))
        names = [each.name for each in session.get_inputs()]
        given = dict(zip(names, (x, *states), strict=False))
        outputs = [each.name for each in session.get_outputs()]
        results = zip(outputs, session.run(None, given), strict=True)
        return [self._join_directions(name, array) for name, array in results]

    def _join_directions(self, name: str, array: FloatArray) -> FloatArray:
        """Return y with both directions side by side on its last axis.

        An operator's own output is ``[T, D, B, H]``. If the model moves its axes, the directions
        are already next to the units.
        """
        if array.ndim != 4:
            return array
        if any(name == node.output[0] for node in self._file.nodes):
            array = array.transpose(0, 2, 1, 3)
        first, second = array.shape[:2]
        return np.ascontiguousarray(array).reshape(first, second, -1)

    def _session(self, weights: list[Any]) -> Any:
        """Return a session whose constants are these weights. The latest session is kept."""
        import onnxruntime
        from onnx import numpy_helper

        kept = self._kept
        if kept is not None and all(a is b for a, b in zip(kept[0], weights, strict=True)):
            return kept[1]
        spec, model = self._file.spec, type(self._file.model)()
        model.CopyFrom(self._file.model)
        by_name = {each.name: each for each in model.graph.initializer}
        cells = [weights[first : first + 4] for first in range(0, len(weights), 4)]
        for number, node in enumerate(self._file.nodes):
            first = number * spec.num_directions
            parts = cells[first : first + spec.num_directions]
            arrays = (
                np.stack([cell[0] for cell in parts]),
                np.stack([cell[1] for cell in parts]),
                np.stack([np.concatenate(cell[2:]) for cell in parts]),
            )
            for name, array in zip(list(node.input)[WEIGHT_INPUTS], arrays, strict=True):
                by_name[name].CopyFrom(numpy_helper.from_array(array, name))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._kept = weights, session
        return session


def make_onnx_backend(file: OnnxFile, batch_major: bool) -> LayerBackend:
    """Return an ONNX model as a backend."""
    gates = "iofg" if file.spec.cell.name == "lstm" else "zrn"
    states = file.spec.cell.states if file.takes_state else ()
    layout = CallLayout(
        batch_major, gates, 2, True, leading_axis=True, arguments=("x", *states, "weights")
    )
    made = LayerBackend(str(file.path), "numpy", layout, OnnxFunction(file), True)
    made.no_gradients = "ONNX Runtime only infers"
    return made


# -- SavedModel

SIGNATURE = "serving_default"
"""The name of the SavedModel signature that is checked."""


class SavedModelFunction:
    """Call the default signature of a SavedModel after setting its variables to the weights."""

    def __init__(
        self, loaded: Any, function: Any, variables: Sequence[Any], inputs: Sequence[str]
    ) -> None:
        # The signature holds only weak references to the variables, so the model must stay alive.
        self._loaded = loaded
        self._function, self._variables, self._inputs = function, variables, inputs

    def __call__(
        self, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | None
    ) -> list[Any]:
        for variable, value in zip(self._variables, weights, strict=True):
            variable.assign(value)
        given = dict(zip(self._inputs, (x, *states), strict=False))
        results = self._function(**given)
        return [results[name] for name in sorted(results)]


class SavedModelBackend(LayerBackend):
    """Check a SavedModel without gradients."""

    no_gradients = "TensorFlow's tape cannot follow the assignment of a SavedModel's variables"


class ForwardTensorFlowArrays(TensorFlowArrays):
    """Use TensorFlow's tensors without gradients."""

    differentiates = False


def load_saved_model(
    folder: Path, cell: Cell, dtype: str, layout: CallLayout
) -> tuple[SavedModelBackend, LSTMSpec]:
    """Load a SavedModel of one layer as a backend, and return it with its sizes.

    The model's inputs must be x, which is the only input with three axes, and optionally the
    initial states. TensorFlow sorts inputs by name. Therefore the name of h must come after that of
    c in the alphabet, as in ``h0`` and ``c0``.

    Raises
    ------
    TargetError
        If TensorFlow is not installed, or if the signature, its inputs or its variables are not
        those of one layer.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise TargetError(
            f"{folder} needs TensorFlow; run pip install tensorflow ({error})"
        ) from error
    loaded = tf.saved_model.load(str(folder))
    if SIGNATURE not in loaded.signatures:
        found = ", ".join(loaded.signatures) or "none"
        raise TargetError(f"{folder} has the signatures {found}; expected {SIGNATURE}")
    function = loaded.signatures[SIGNATURE]
    variables = {each.name: each for each in function.variables}
    shapes = {name: tuple(each.shape) for name, each in variables.items()}
    spec = infer_spec(list(shapes.values()), cell, dtype)
    if spec is None:
        raise TargetError(
            f"{folder} has variables of the shapes {list(shapes.values())}; expected one kernel, "
            "one recurrent kernel and one bias"
        )
    names, layout = match_parameters(str(folder), shapes, spec, layout)
    given = function.structured_input_signature[1]
    sequences = [name for name, each in given.items() if len(each.shape) == 3]
    rest = sorted(name for name in given if name not in sequences[:1])
    has_state = len(rest) == len(cell.states)
    if len(sequences) == 0 or (rest and not has_state):
        written = ", ".join(f"{name} {tuple(each.shape)}" for name, each in given.items())
        raise TargetError(
            f"{folder} takes {written}; expected x with three axes, and either all initial states "
            "or none"
        )
    # A call takes h before c, whereas the sorted inputs have c before h.
    states = list(reversed(rest)) if len(rest) == 2 else rest
    arguments = ("x", *(cell.states if has_state else ()), "weights")
    layout = replace(layout, arguments=arguments)
    own = [variables[name] for name in names]
    saved = SavedModelFunction(loaded, function, own, [sequences[0], *states])
    made = SavedModelBackend(str(folder), "tensorflow", layout, saved, False)
    made.kind = ForwardTensorFlowArrays
    return made, spec
