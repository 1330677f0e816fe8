"""Find the object that a target names: a function, a framework's layer, or a file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lstm_impl.cell import Cell
from lstm_impl.checking.arrays import KINDS, detect_kinds
from lstm_impl.checking.files import (
    LIBRARIES,
    load_library,
    load_onnx,
    load_saved_model,
    make_onnx_backend,
)
from lstm_impl.checking.function import FunctionBackend, TargetBackend
from lstm_impl.checking.layers import (
    construct_layer,
    detect_framework,
    is_factory,
    make_layer_backend,
    read_layer_spec,
)
from lstm_impl.checking.layout import CallLayout, TargetError, read_arguments
from lstm_impl.checking.litert import load_litert, make_litert_backend
from lstm_impl.spec import LSTMSpec


@dataclass(frozen=True)
class Declaration:
    """Hold what the user declared about a target. None means that the check finds it out.

    Attributes
    ----------
    layout
        One of ``LAYOUTS``.
    batch_major, gates, biases, transposed, arguments, returned
        As in ``CallLayout``. They take precedence over the layout.
    arrays
        One of ``KINDS``.
    backward
        A function that takes the target's arguments and the gradients of its results, and returns
        the gradients of the arguments; or the name of such a function.
    hides_nan
        Whether a NaN in the input may become a number.
    device
        ``cpu`` or ``gpu:0``.
    dtype
        The precision in which the target computes.
    """

    layout: str = "canonical"
    batch_major: bool | None = None
    gates: str | None = None
    biases: int | None = None
    transposed: bool | None = None
    arguments: Sequence[str] | None = None
    returned: Sequence[str] | None = None
    arrays: str | None = None
    backward: str | Callable[..., Any] | None = None
    hides_nan: bool = False
    device: str = "cpu"
    dtype: str = "float32"

    def call_layout(self, cell: Cell, layout: str | None = None) -> CallLayout:
        """Return the layout of a call. Raise TargetError if it does not fit the cell."""
        made = CallLayout.named(layout or self.layout, cell)
        given: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("batch_major", "gates", "biases", "transposed")
            if getattr(self, name) is not None
        }
        made = replace(made, **given).with_defaults(cell)
        if self.returned is not None:
            made = replace(made, returned=tuple(self.returned))
        if self.arguments is not None:
            made = replace(made, arguments=tuple(self.arguments))
        made.check(cell)
        return made


@dataclass(frozen=True)
class Target:
    """Hold a target that was found, and how it is called.

    Attributes
    ----------
    label
        The name of the target in messages.
    how
        The way in which the target is called, in words.
    backend
        A function that makes a backend of the target for a network.
    spec
        The only network that the target computes, or None if it computes all networks of its cell.
    padded
        Whether the target takes lengths.
    layers
        Whether the target takes several layers and two directions.
    shape
        The only batch and timesteps that the target takes, or None if it takes any.
    notes
        What the user should know about how the target was found.
    """

    label: str
    how: str
    backend: Callable[[LSTMSpec], TargetBackend]
    spec: LSTMSpec | None = None
    padded: bool = False
    layers: bool = False
    shape: tuple[int, int] | None = None
    notes: Sequence[str] = field(default_factory=tuple)


def find_object(name: str) -> Any:
    """Import the object that ``module:object`` or ``file.py:object`` names.

    The object may be a dotted path of attributes.

    Raises
    ------
    TargetError
        If the object does not exist, or if its module cannot be imported.
    """
    module, colon, path = name.rpartition(":")
    if not colon or not module or not path:
        raise TargetError(
            f"{name!r} names no target; expected module:callable, file.py:callable, a file that "
            "ends in .onnx or .so, or the folder of a SavedModel"
        )
    try:
        found = _load_file(Path(module)) if module.endswith(".py") else _import(module)
    except TargetError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise TargetError(
            f"{module} cannot be imported: {type(error).__name__}: {first}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            names = ", ".join(each for each in vars(found) if not each.startswith("_"))
            raise TargetError(f"{module} has no {part!r}; it has {names or 'nothing'}")
        found = getattr(found, part)
    return found


def _import(module: str) -> Any:
    # A console script starts with its own folder in sys.path, not with the user's.
    if (here := str(Path.cwd())) not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(module)


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise TargetError(f"the file {path} does not exist")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The file may import other files in its folder.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


FILES = (".onnx", ".tflite", *LIBRARIES)
"""How the names of files that are checked end."""


def load_target(target: object, cell: Cell, declared: Declaration) -> Target:
    """Return the target that a name, a function, a layer or a file stands for.

    Raises
    ------
    TargetError
        If the object cannot be checked. The message says why in one line.
    """
    label = target if isinstance(target, str) else _name_target(target)
    if isinstance(target, str) and Path(target).suffix in FILES:
        return load_file_target(Path(target), cell, declared)
    if isinstance(target, str) and (Path(target) / "saved_model.pb").is_file():
        layout = declared.call_layout(cell)
        made, spec = load_saved_model(Path(target), cell, declared.dtype, layout)
        how = f"a SavedModel, {describe_layout(made.layout, 'tensorflow')}"
        return Target(target, how, lambda _: made, spec)
    found = find_object(target) if isinstance(target, str) else target
    if detect_framework(found) or is_factory(found):
        return make_layer_target(label, found, cell, declared)
    if callable(found):
        return make_function_target(label, found, cell, declared)
    raise TargetError(
        f"{label} is an object of type {type(found).__name__}; expected a function or a layer"
    )


def _name_target(target: object) -> str:
    module = getattr(target, "__module__", None) or type(target).__module__
    name = getattr(target, "__qualname__", None) or type(target).__qualname__
    return f"{module}:{name}"


def make_function_target(
    label: str, function: Callable[..., Any], cell: Cell, declared: Declaration
) -> Target:
    """Return a function as a target."""
    layout = declared.call_layout(cell)
    if declared.arguments is None:
        layout = read_arguments(function, cell, layout)
        layout.check(cell)
    kind = _choose_array_kind(label, function, declared)
    backward = declared.backward
    if isinstance(backward, str):
        backward = find_object(backward)

    def make(spec: LSTMSpec) -> FunctionBackend:
        return FunctionBackend(label, function, KINDS[kind], layout, backward, declared.hides_nan)

    return Target(label, describe_layout(layout, kind), make, padded="lengths" in layout.arguments)


def load_file_target(path: Path, cell: Cell, declared: Declaration) -> Target:
    """Return an ONNX model, a LiteRT file or a shared library as a target."""
    if not path.is_file():
        raise TargetError(f"the file {path} does not exist")
    if path.suffix == ".onnx":
        file = load_onnx(path, cell, declared.dtype)
        batch_major = bool(declared.batch_major)
        how = "an ONNX model in ONNX Runtime, whose constants are replaced"
        return Target(str(path), how, lambda _: make_onnx_backend(file, batch_major), file.spec)
    if path.suffix == ".tflite":
        layout = declared.call_layout(cell)
        lite = load_litert(path, cell, declared.dtype, layout)
        how = (
            f"a LiteRT file, whose constants are replaced, {describe_layout(lite.layout, 'numpy')}"
        )
        shape = lite.batch, lite.timesteps
        return Target(str(path), how, lambda _: make_litert_backend(lite), lite.spec, shape=shape)
    library = load_library(path)
    how = "a shared library with the functions of lstm_impl/native/c_api.h"
    return Target(str(path), how, lambda _: library, padded=True, layers=True)


def make_layer_target(label: str, found: Any, cell: Cell, declared: Declaration) -> Target:
    """Return an instance, a class or a factory of a framework's layer as a target."""
    layout = declared.call_layout(cell)
    framework = detect_framework(found)
    is_class = isinstance(found, type)
    if framework and not is_class:
        spec = read_layer_spec(found, cell, declared.dtype)
        if spec is None and framework != "keras":
            raise TargetError(
                f"the sizes of {label} cannot be read; expected attributes input_size and "
                "hidden_size, or the kernels of exactly one layer among its parameters"
            )
        if spec is None:
            units = int(found.units)
            spec = LSTMSpec(BUILT_INPUT, units, 1, False, declared.dtype, cell)
        how = f"an existing layer of {framework}"
        return Target(
            label,
            how,
            lambda spec: make_layer_backend(label, found, spec, layout, declared.hides_nan),
            spec,
        )
    if not framework and not any(inspect.signature(found).parameters):
        return make_layer_target(label, found(), cell, declared)

    def make(spec: LSTMSpec) -> FunctionBackend:
        layer = construct_layer(label, found, framework, spec)
        return make_layer_backend(label, layer, spec, layout, declared.hides_nan)

    takes = inspect.signature(found).parameters if is_class or not framework else {}
    deep = framework == "torch" and _takes_layers(takes)
    how = f"a class of {framework}" if framework else "a function that makes a layer"
    return Target(label, f"{how}, constructed for each network", make, layers=deep)


BUILT_INPUT = 5
"""The number of features for which a Keras layer is built that was not built before."""


def _takes_layers(parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Return whether a constructor takes the number of layers and directions, or any arguments."""
    kinds = [each.kind for each in parameters.values()]
    any_number = inspect.Parameter.VAR_POSITIONAL in kinds
    return any_number or {"num_layers", "bidirectional"} <= parameters.keys()


def _choose_array_kind(label: str, function: Callable[..., Any], declared: Declaration) -> str:
    if declared.arrays is not None:
        if declared.arrays not in KINDS:
            raise TargetError(f"arrays is {declared.arrays!r}; expected one of {', '.join(KINDS)}")
        return declared.arrays
    kinds = detect_kinds(function)
    if len(kinds) > 1:
        raise TargetError(
            f"{label} uses {' and '.join(kinds)}; name the kind of arrays that it takes with "
            "--arrays"
        )
    return kinds[0] if kinds else "numpy"


def describe_layout(layout: CallLayout, kind: str) -> str:
    """Describe in one line how a function is called."""
    axes = "batch-major" if layout.batch_major else "time-major"
    kernels = "[G*H, in]" if layout.transposed else "[in, G*H]"
    biases = "one bias" if layout.biases == 1 else "two biases"
    return (
        f"called with ({', '.join(layout.arguments)}) as {kind} arrays: {axes}, kernels {kernels}, "
        f"gates {layout.gates}, {biases}"
    )
