"""Let the gate check a layer of PyTorch, Keras or Flax.

Each of these frameworks can call a layer as a pure function of its parameters. A layer is therefore
checked like any function. In addition, it may have several layers and two directions, and its
parameters reveal the layout of its weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lstm_impl.call import Tensor
from lstm_impl.cell import Cell
from lstm_impl.checking.arrays import KINDS
from lstm_impl.checking.function import FunctionBackend
from lstm_impl.checking.layout import CallLayout, TargetError, get_shape
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

Compute = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor], Tensor | None], object]
"""A function of x, the states, the arrays of weights, and the lengths or None. It returns results
in whatever structure the layer nests them."""

SUFFIXES = {1: ("",), 2: ("", "_reverse")}
"""The suffixes of PyTorch's parameter names, for one and for two directions."""


class LayerBackend(FunctionBackend):
    """Present a framework's layer to the gate as a backend."""

    def __init__(
        self, label: str, kind: str, layout: CallLayout, compute: Compute, nan_is_hidden: bool
    ) -> None:
        super().__init__(label, compute, KINDS[kind], layout, None, nan_is_hidden)
        self._compute = compute

    def compute(
        self,
        spec: LSTMSpec,
        x: Tensor,
        states: Sequence[Tensor],
        weights: Sequence[Tensor],
        lengths: Tensor | None,
    ) -> object:
        return self._compute(x, states, weights, lengths)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        return ""


def detect_framework(target: object) -> str:
    """Return the framework of a layer or of a class of layers: ``torch``, ``keras`` or ``flax``.

    The result is empty for any other object. The names of the base classes decide, so that no
    framework is imported.
    """
    kind = target if isinstance(target, type) else type(target)
    bases = {f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__}
    if "torch.nn.modules.module.Module" in bases:
        return "torch"
    if any(name.startswith("keras.") and name.endswith(".Layer") for name in bases):
        return "keras"
    if any(name.startswith("flax.nnx.") and name.endswith(".Module") for name in bases):
        return "flax"
    return ""


def select_accepted(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments among the given ones that a function takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return dict(given)
    names = {each.name for each in parameters}
    return {name: value for name, value in given.items() if name in names}


CONSTRUCTOR = ("input_size", "hidden_size", "num_layers", "bidirectional", "batch_first", "units")
"""The parameters by which a factory may take sizes."""


def is_factory(function: object) -> bool:
    """Return whether a function makes a layer, because it requires no argument except sizes."""
    if isinstance(function, type) or detect_framework(function) or not callable(function):
        return False
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [each.name for each in parameters if each.default is inspect.Parameter.empty]
    return all(name in CONSTRUCTOR for name in required)


def construct_layer(label: str, make: Callable[..., Any], framework: str, spec: LSTMSpec) -> Any:
    """Construct a layer of the given sizes, with the arguments of the framework's own LSTM.

    Raises
    ------
    TargetError
        If the class or the factory does not accept the sizes.
    """
    sizes: dict[str, Any] = {
        "input_size": spec.input_size,
        "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers,
        "bidirectional": spec.bidirectional,
    }
    try:
        if framework == "keras":
            how = {"return_sequences": True, "return_state": True}
            return make(spec.hidden_size, **select_accepted(make, how))
        if framework == "flax":
            from flax import nnx

            return make(spec.input_size, spec.hidden_size, rngs=nnx.Rngs(0))
        if framework == "torch":
            deep = {"num_layers": spec.num_layers, "bidirectional": spec.bidirectional}
            rest = {} if spec.num_layers == 1 and not spec.bidirectional else deep
            return make(spec.input_size, spec.hidden_size, **rest)
        return make(**select_accepted(make, {**sizes, "units": spec.hidden_size}))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        written = ", ".join(f"{name}={value}" for name, value in sizes.items())
        raise TargetError(
            f"{label} cannot be constructed with {written}: {type(error).__name__}: {first}"
        ) from error


def make_layer_backend(
    label: str, layer: Any, spec: LSTMSpec, layout: CallLayout, hides_nan: bool
) -> LayerBackend:
    """Return a layer as a backend.

    Raises
    ------
    TargetError
        If the object is no layer of a known framework, or if its parameters do not fit the network.
    """
    framework = detect_framework(layer)
    if not framework:
        raise TargetError(
            f"{label} made an object of type {type(layer).__name__}; expected a torch.nn.Module, a "
            "Keras layer or a Flax module"
        )
    made = {"torch": _make_torch_backend, "keras": _make_keras_backend, "flax": _make_flax_backend}[
        framework
    ]
    return made(label, layer, spec, layout, hides_nan)


def read_layer_spec(layer: Any, cell: Cell, dtype: str) -> LSTMSpec | None:
    """Read the sizes of an existing layer. Return None if they cannot be read."""
    framework = detect_framework(layer)
    if framework == "torch":
        if hasattr(layer, "hidden_size") and hasattr(layer, "input_size"):
            layers = int(getattr(layer, "num_layers", 1))
            both = bool(getattr(layer, "bidirectional", False))
            return LSTMSpec(layer.input_size, layer.hidden_size, layers, both, dtype, cell)
        shapes = [get_shape(each) for each in layer.parameters()]
    elif framework == "keras":
        if not layer.built:
            return None
        shapes = [tuple(each.shape) for each in layer.weights]
    else:
        shapes = [shape for _, shape in _list_flax_parameters(_wrap_flax_module(layer))]
    return infer_spec(shapes, cell, dtype)


def infer_spec(shapes: Sequence[tuple[int, ...]], cell: Cell, dtype: str) -> LSTMSpec | None:
    """Infer the sizes of one layer from the shapes of its arrays.

    The result is None if the shapes do not fit. The recurrent kernel is recognised first: it is the
    matrix that has as many times more columns than rows as the cell has gates.
    """
    gates = len(cell.gates)
    matrices = [each for each in shapes if len(each) == 2]
    for number, matrix in enumerate(matrices):
        small, large = sorted(matrix)
        if large == gates * small:
            others = matrices[:number] + matrices[number + 1 :]
            for other in others:
                if large in other:
                    inputs = other[0] if other[1] == large else other[1]
                    return LSTMSpec(inputs, small, 1, False, dtype, cell)
    return None


# -- PyTorch


def _make_torch_backend(
    label: str, module: Any, spec: LSTMSpec, layout: CallLayout, hides_nan: bool
) -> LayerBackend:
    import torch

    layout = replace(layout, batch_major=bool(getattr(module, "batch_first", layout.batch_major)))
    shapes = {name: get_shape(each) for name, each in module.named_parameters()}
    names, layout = _match_torch_parameters(label, shapes, spec, layout)
    parameters = list(inspect.signature(module.forward).parameters.values())
    takes_state = len(parameters) > 1
    arguments = ("x", *spec.cell.states) if takes_state else ("x",)
    layout = replace(layout, leading_axis=True, arguments=(*arguments, "weights"))

    def compute(
        x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | None
    ) -> object:
        given = dict(zip(names, weights, strict=True))
        initial = states[0] if len(states) == 1 else tuple(states)
        rest = (initial,) if takes_state else ()
        return torch.func.functional_call(module, given, (x, *rest))

    return LayerBackend(label, "torch", layout, compute, hides_nan)


def _match_torch_parameters(
    label: str, shapes: Mapping[str, tuple[int, ...]], spec: LSTMSpec, layout: CallLayout
) -> tuple[list[str], CallLayout]:
    """Return the names of all layers' parameters in order, and the layout that they imply."""
    before = [name.removesuffix("weight_ih_l0") for name in shapes if name.endswith("weight_ih_l0")]
    if not before:
        return match_parameters(label, shapes, spec, layout)
    biases = ("bias_ih_", "bias_hh_") if f"{before[0]}bias_ih_l0" in shapes else ()
    if not biases:
        raise TargetError(f"{label} has no biases; construct it with bias=True")
    names = [
        f"{before[0]}{part}l{number}{suffix}"
        for number in range(spec.num_layers)
        for suffix in SUFFIXES[spec.num_directions]
        for part in ("weight_ih_", "weight_hh_", *biases)
    ]
    if set(names) != set(shapes):
        raise TargetError(
            f"{label} has the parameters {_format_parameters(shapes)}; expected "
            f"{', '.join(sorted(names))}"
        )
    return names, replace(layout, transposed=True, biases=2)


def _format_parameters(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


RECURRENT = ("recurrent", "hh", "dense_h", "hidden", "state")
"""Parts of names that identify a recurrent kernel where its shape is that of the kernel."""


def match_parameters(
    label: str, shapes: Mapping[str, tuple[int, ...]], spec: LSTMSpec, layout: CallLayout
) -> tuple[list[str], CallLayout]:
    """Find the parameters of one layer by their shapes, and return their names and their layout.

    Names decide only where the kernel and the recurrent kernel have the same shape.

    Raises
    ------
    TargetError
        If the shapes are not those of one layer. The message lists the shapes that were found.
    """
    columns, inputs, size = spec.gate_columns, spec.input_size, spec.hidden_size
    expected = (
        f"expected one kernel [{inputs}, {columns}], one recurrent kernel [{size}, {columns}], "
        f"both perhaps transposed, and one or two biases [{columns}]"
    )
    problem = TargetError(f"{label} has the parameters {_format_parameters(shapes)}; {expected}")
    if spec.num_layers > 1 or spec.bidirectional:
        raise problem
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    biases = [name for name, shape in shapes.items() if shape == (columns,)]
    if len(matrices) != 2 or len(biases) not in (1, 2) or len(shapes) != 2 + len(biases):
        raise problem
    transposed = all(shapes[name][0] == columns for name in matrices)
    if not transposed and not all(shapes[name][1] == columns for name in matrices):
        raise problem
    rows = {name: shapes[name][1 if transposed else 0] for name in matrices}
    if inputs != size:
        recurrent = [name for name in matrices if rows[name] == size]
    else:
        recurrent = [name for name in matrices if any(part in name for part in RECURRENT)]
    if len(recurrent) != 1 or sorted(rows.values()) != sorted((inputs, size)):
        raise problem
    (kernel,) = set(matrices) - set(recurrent)
    ordered = sorted(biases, key=lambda name: any(part in name for part in RECURRENT))
    made = replace(layout, transposed=transposed, biases=len(biases))
    return [kernel, recurrent[0], *ordered], made


# -- Keras


def _make_keras_backend(
    label: str, layer: Any, spec: LSTMSpec, layout: CallLayout, hides_nan: bool
) -> LayerBackend:
    import keras

    if not layer.built:
        layer.build((None, None, spec.input_size))
    kind = keras.backend.backend()
    if kind not in KINDS:
        raise TargetError(f"Keras runs on {kind}; set KERAS_BACKEND to one of {', '.join(KINDS)}")
    variables = list(layer.trainable_variables)
    own = [tuple(each.shape) for each in variables]
    columns, size = spec.gate_columns, spec.hidden_size
    second = len(spec.cell.parameters) == 4
    shapes = [(spec.input_size, columns), (size, columns), (2, columns) if second else (columns,)]
    if own != shapes:
        raise TargetError(
            f"{label} has weights of the shapes {own}; expected {shapes}, as a layer with "
            "use_bias=True has"
        )
    gates = "zrn" if len(spec.cell.gates) == 3 else layout.gates
    layout = replace(
        layout,
        batch_major=True,
        gates=gates,
        biases=2 if second else 1,
        arguments=("x", *spec.cell.states, "weights"),
    )

    def compute(
        x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | None
    ) -> object:
        given = list(weights[:2])
        given.append(keras.ops.stack(weights[2:]) if second else weights[2])
        fixed = [each.value for each in layer.non_trainable_variables]
        results, _after = layer.stateless_call(given, fixed, x, initial_state=list(states))
        return results

    return LayerBackend(label, kind, layout, compute, hides_nan)


# -- Flax


def _wrap_flax_module(layer: Any) -> Any:
    from flax import nnx

    return layer if isinstance(layer, nnx.RNN) else nnx.RNN(layer)


def _list_flax_parameters(module: Any) -> list[tuple[tuple[Any, ...], tuple[int, ...]]]:
    from flax import nnx

    state = nnx.state(module, nnx.Param)
    return [(path, get_shape(each)) for path, each in nnx.to_flat_state(state)]


def _make_flax_backend(
    label: str, layer: Any, spec: LSTMSpec, layout: CallLayout, hides_nan: bool
) -> LayerBackend:
    import jax
    from flax import nnx

    module = _wrap_flax_module(layer)
    found = _list_flax_parameters(module)
    shapes = {".".join(map(str, path)): shape for path, shape in found}
    names, layout = match_parameters(label, shapes, spec, layout)
    paths = {".".join(map(str, path)): path for path, _ in found}
    definition, parameters, rest = nnx.split(module, nnx.Param, ...)
    has_cell = len(spec.cell.states) == 2
    layout = replace(layout, batch_major=True, arguments=("x", *spec.cell.states, "weights"))

    @jax.jit  # type: ignore[untyped-decorator,unused-ignore]
    def run(x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> object:
        flat = dict(nnx.to_flat_state(parameters))
        for name, value in zip(names, weights, strict=True):
            flat[paths[name]] = nnx.Param(value)
        merged = nnx.merge(definition, nnx.from_flat_state(flat), rest)
        carry = tuple(reversed(states)) if has_cell else states[0]
        after, y = merged(x, initial_carry=carry, return_carry=True)
        return (y, *reversed(after)) if has_cell else (y, after)

    def compute(
        x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | None
    ) -> object:
        return run(x, tuple(states), tuple(weights))

    return LayerBackend(label, "jax", layout, compute, hides_nan)
