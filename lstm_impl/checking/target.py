"""Find what a target names: a function, a framework's layer, or a file."""

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
    onnx_backend,
    saved_model_backend,
)
from lstm_impl.checking.function import FunctionBackend, TargetBackend
from lstm_impl.checking.layers import (
    construct,
    detect_framework,
    is_factory,
    layer_backend,
    layer_spec,
)
from lstm_impl.checking.layout import CallLayout, TargetError, read_arguments
from lstm_impl.spec import LSTMSpec


@dataclass(frozen=True)
class Declared:
    """What a user says of a target; None is found out.

    layout: one of ``LAYOUTS``. batch_major, gates, biases, transposed, arguments, returned: as in
    ``CallLayout``, in place of the layout's. arrays: one of ``KINDS``. backward: a function that
    takes what the target takes and the gradients of its results, and returns gradients of the
    arguments. hides_nan: whether NaN in an input may become a number. device: ``cpu`` or ``gpu:0``.
    dtype: the precision in which it computes.
    weights: a file with the weights of a target that does not show them.
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
        """Return the layout of a call. Raises TargetError if it does not fit the cell."""
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
    """A target that was found.

    label: its name. how: how it is called, in words. backend: makes a backend of it for a spec.
    spec: the only network that it computes, None if it computes any of its cell. padded: whether it
    takes lengths. layers: whether it takes several layers and two directions.
    """

    label: str
    how: str
    backend: Callable[[LSTMSpec], TargetBackend]
    spec: LSTMSpec | None = None
    padded: bool = False
    layers: bool = False
    notes: Sequence[str] = field(default_factory=tuple)


def find_object(name: str) -> Any:
    """Import ``module:object`` or ``file.py:object``; the object may be an attribute path.

    Raises TargetError if it does not exist or its import fails.
    """
    module, colon, path = name.rpartition(":")
    if not colon or not module or not path:
        raise TargetError(
            f"{name!r} is no target; expected module:callable, file.py:callable, or a file that "
            "ends in .onnx or .so, or a SavedModel's folder"
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
    # The console script has the folder of its own file there, not the user's.
    if (here := str(Path.cwd())) not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(module)


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The file may import other files of its folder.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def load_target(target: object, cell: Cell, declared: Declared) -> Target:
    """Return the target that a name, a function, a layer or a file is.

    Raises TargetError, in one line, for what cannot be checked.
    """
    label = target if isinstance(target, str) else _label(target)
    if isinstance(target, str) and Path(target).suffix in (".onnx", *LIBRARIES):
        return file_target(Path(target), cell, declared)
    if isinstance(target, str) and (Path(target) / "saved_model.pb").is_file():
        layout = declared.call_layout(cell)
        made, spec = saved_model_backend(Path(target), cell, declared.dtype, layout)
        how = f"a SavedModel, {describe_layout(made.layout, 'tensorflow')}"
        return Target(target, how, lambda _: made, spec)
    found = find_object(target) if isinstance(target, str) else target
    if detect_framework(found) or is_factory(found):
        return layer_target(label, found, cell, declared)
    if callable(found):
        return function_target(label, found, cell, declared)
    raise TargetError(f"{label} is a {type(found).__name__}; expected a function or a layer")


def _label(target: object) -> str:
    module = getattr(target, "__module__", None) or type(target).__module__
    name = getattr(target, "__qualname__", None) or type(target).__qualname__
    return f"{module}:{name}"


def function_target(
    label: str, function: Callable[..., Any], cell: Cell, declared: Declared
) -> Target:
    """Return a function as a target."""
    layout = declared.call_layout(cell)
    if declared.arguments is None:
        layout = read_arguments(function, cell, layout)
        layout.check(cell)
    kind = _array_kind(label, function, declared)
    backward = declared.backward
    if isinstance(backward, str):
        backward = find_object(backward)

    def make(spec: LSTMSpec) -> FunctionBackend:
        return FunctionBackend(label, function, KINDS[kind], layout, backward, declared.hides_nan)

    return Target(label, describe_layout(layout, kind), make, padded="lengths" in layout.arguments)


def file_target(path: Path, cell: Cell, declared: Declared) -> Target:
    """Return an ONNX model or a shared library as a target."""
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    if path.suffix == ".onnx":
        file = load_onnx(path, cell, declared.dtype)
        batch_major = bool(declared.batch_major)
        how = "an ONNX model in ONNX Runtime, whose constants are replaced"
        return Target(str(path), how, lambda _: onnx_backend(file, batch_major), file.spec)
    library = load_library(path)
    how = "a shared library with the functions of lstm_impl/native/c_api.h"
    return Target(str(path), how, lambda _: library, padded=True, layers=True)


def layer_target(label: str, found: Any, cell: Cell, declared: Declared) -> Target:
    """Return a framework's layer as a target: an instance, a class, or what makes one."""
    layout = declared.call_layout(cell)
    framework = detect_framework(found)
    is_class = isinstance(found, type)
    if framework and not is_class:
        spec = layer_spec(found, cell, declared.dtype)
        if spec is None and framework != "keras":
            raise TargetError(
                f"the sizes of {label} cannot be read; expected input_size and hidden_size, or the "
                "kernels of one layer among its parameters"
            )
        if spec is None:
            units = int(found.units)
            spec = LSTMSpec(BUILT_INPUT, units, 1, False, declared.dtype, cell)
        how = f"a layer of {framework} that was made"
        return Target(
            label,
            how,
            lambda spec: layer_backend(label, found, spec, layout, declared.hides_nan),
            spec,
        )
    if not framework and not any(inspect.signature(found).parameters):
        return layer_target(label, found(), cell, declared)

    def make(spec: LSTMSpec) -> FunctionBackend:
        layer = construct(label, found, framework, spec)
        return layer_backend(label, layer, spec, layout, declared.hides_nan)

    takes = inspect.signature(found).parameters if is_class or not framework else {}
    deep = framework == "torch" and _takes_layers(takes)
    how = f"a class of {framework}" if framework else "a function that makes a layer"
    return Target(label, f"{how}, constructed for each network", make, layers=deep)


BUILT_INPUT = 5
"""Features of a Keras layer that was not built."""


def _takes_layers(parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Return whether a constructor takes layers and directions, by name or whatever it is given."""
    kinds = [each.kind for each in parameters.values()]
    any_number = inspect.Parameter.VAR_POSITIONAL in kinds
    return any_number or {"num_layers", "bidirectional"} <= parameters.keys()


def _array_kind(label: str, function: Callable[..., Any], declared: Declared) -> str:
    if declared.arrays is not None:
        if declared.arrays not in KINDS:
            raise TargetError(f"arrays is {declared.arrays!r}; expected one of {', '.join(KINDS)}")
        return declared.arrays
    kinds = detect_kinds(function)
    if len(kinds) > 1:
        raise TargetError(
            f"{label} uses {' and '.join(kinds)}; say which arrays it takes with --arrays"
        )
    return kinds[0] if kinds else "numpy"


def describe_layout(layout: CallLayout, kind: str) -> str:
    """Return how a function is called, in one line."""
    axes = "batch-major" if layout.batch_major else "time-major"
    kernels = "[G*H, in]" if layout.transposed else "[in, G*H]"
    biases = "one bias" if layout.biases == 1 else "two biases"
    return (
        f"called with ({', '.join(layout.arguments)}) as {kind} arrays: {axes}, kernels {kernels}, "
        f"gates {layout.gates}, {biases}"
    )


def as_mapping(declared: Declared) -> Mapping[str, Any]:
    """Return what was declared, for a record."""
    return {name: value for name, value in vars(declared).items() if value is not None}
