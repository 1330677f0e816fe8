"""Declare how a function takes its arrays and returns its results, and convert weights to that.

>>> layout = CallLayout.named("torch", LSTM())
>>> layout.biases, layout.transposed, layout.arguments[:3]
(2, True, ('x', 'h', 'c'))
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_impl.cell import Cell
from lstm_impl.layouts import reorder_gates
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights


class TargetError(ValueError):
    """Report that a target cannot be checked.

    The message says in one line what was expected and what was found.
    """


GROUPS = ("state", "weights")
"""The arguments that hold several arrays: ``state`` is a tuple of the initial states, and
``weights`` is a list of all arrays of weights."""

ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("x", "inputs", "input", "xs", "input_"), "x"),
    **dict.fromkeys(("h", "h0", "h_0", "hidden", "initial_h", "h_prev", "hx"), "h"),
    **dict.fromkeys(("c", "c0", "c_0", "cell", "initial_c", "c_prev", "cx"), "c"),
    **dict.fromkeys(("state", "initial_state", "carry", "states"), "state"),
    **dict.fromkeys(("weights", "parameters", "params"), "weights"),
    **dict.fromkeys(("kernel", "w", "W", "w_ih", "weight_ih", "W_ih", "Wx", "wx"), "kernel"),
    **dict.fromkeys(
        ("recurrent_kernel", "r", "R", "U", "u", "w_hh", "weight_hh", "W_hh", "Wh", "wh"),
        "recurrent_kernel",
    ),
    **dict.fromkeys(("bias", "b", "b_ih", "bias_ih"), "bias"),
    **dict.fromkeys(("recurrent_bias", "b_hh", "bias_hh", "d"), "recurrent_bias"),
    **dict.fromkeys(("lengths", "sequence_lengths", "seq_lengths", "length"), "lengths"),
}
"""The meaning of parameter names. It is used where the user did not declare the arguments."""

FIRST_BIAS = 0.25
"""The part of the bias that is passed as the first of two biases. The two differ, so that the check
finds a function that drops either one. The part is a power of two, so that splitting the bias loses
no digit."""


@dataclass(frozen=True)
class CallLayout:
    """Describe how one layer is called.

    Attributes
    ----------
    batch_major
        Whether x and y are ``[B, T, F]`` instead of ``[T, B, F]``.
    gates
        The order of the gates, such as ``ifgo``.
    biases
        The number of biases, 1 or 2.
    transposed
        Whether the kernels are ``[G*H, in]`` and ``[G*H, H]`` instead of ``[in, G*H]`` and ``[H,
        G*H]``.
    leading_axis
        Whether each state is ``[1, B, H]`` instead of ``[B, H]``.
    arguments
        What the function takes, in order: x, the states, kernel, recurrent_kernel, bias,
        recurrent_bias and lengths; ``weights`` stands for a list of all weights, and ``state`` for
        a tuple of the states.
    returned
        What the function returns, in order, or None if the shapes of the results decide.
    """

    batch_major: bool = False
    gates: str = "ifgo"
    biases: int = 1
    transposed: bool = False
    leading_axis: bool = False
    arguments: tuple[str, ...] = ()
    returned: tuple[str, ...] | None = None

    @classmethod
    def named(cls, name: str, cell: Cell) -> CallLayout:
        """Return the layout of a library, with all arguments in their usual order.

        ``name`` is one of ``LAYOUTS``.

        Raises
        ------
        TargetError
            If the name is unknown.
        """
        if name not in LAYOUTS:
            raise TargetError(f"the layout is {name!r}; expected one of {', '.join(LAYOUTS)}")
        own = len(cell.parameters) - 2
        made = replace(cls(gates="".join(cell.gates), biases=own), **LAYOUTS[name])
        if name == "torch":
            made = replace(made, biases=2)
        if name == "keras" and "".join(cell.gates) == "rzn":
            made = replace(made, gates="zrn")
        if name == "onnx":
            made = replace(made, gates={"ifgo": "iofg", "rzn": "zrn"}[made.gates])
        return made.with_defaults(cell)

    def with_defaults(self, cell: Cell) -> CallLayout:
        """Return this layout with all arguments of a cell in the usual order."""
        return replace(self, arguments=("x", *cell.states, *self.parameters))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the arrays of weights, in order."""
        return ("kernel", "recurrent_kernel", "bias", "recurrent_bias")[: 2 + self.biases]

    def check(self, cell: Cell) -> None:
        """Raise TargetError, with what was expected, if the cell cannot have this layout."""
        own = "".join(cell.gates)
        if sorted(self.gates) != sorted(own):
            raise TargetError(
                f"the gates are {self.gates!r}; expected the letters of {own!r} in another order"
            )
        least = len(cell.parameters) - 2
        if self.biases not in (1, 2) or self.biases < least:
            allowed = "2" if least == 2 else "1 or 2"
            raise TargetError(f"biases is {self.biases}; expected {allowed} for a {cell.name}")
        known = {"x", *cell.states, *self.parameters, "lengths", *GROUPS}
        for name in self.arguments:
            if name not in known:
                raise TargetError(
                    f"the arguments include {name!r}; expected some of {', '.join(sorted(known))}"
                )
        for name in self.returned or ():
            if name not in ("y", *cell.states):
                raise TargetError(
                    f"the results include {name!r}; expected some of y, {', '.join(cell.states)}"
                )

    def takes_state(self, cell: Cell) -> bool:
        """Return whether a call takes all initial states."""
        return "state" in self.arguments or all(each in self.arguments for each in cell.states)

    # -- weights

    def pack(self, cell: Cell, weights: LayerWeights) -> list[FloatArray]:
        """Convert the canonical weights of one layer to the arrays that the function takes."""
        arrays = [
            reorder_gates(array, cell.gates, self.gates)
            for array in (weights.kernel, weights.recurrent_kernel)
        ]
        if self.transposed:
            arrays = [np.ascontiguousarray(array.T) for array in arrays]
        biases = [weights.bias, weights.recurrent_bias]
        if weights.recurrent_bias is None and self.biases == 2:
            first = (weights.bias * FIRST_BIAS).astype(weights.bias.dtype)
            biases = [first, (weights.bias - first).astype(weights.bias.dtype)]
        reordered = [
            reorder_gates(each, cell.gates, self.gates) for each in biases if each is not None
        ]
        return arrays + reordered[: self.biases]

    def unpack(
        self, cell: Cell, arrays: Sequence[FloatArray], gradient: bool = False
    ) -> LayerWeights:
        """Convert arrays of weights, or of their gradients, to the canonical weights of one layer.

        This is the inverse of ``pack``. Where two biases add up to one canonical bias, the gradient
        of each of them is the gradient of the sum. Therefore ``gradient=True`` takes the mean of
        the two, whereas weights are added.
        """
        kernel, recurrent, *biases = arrays
        if self.transposed:
            kernel, recurrent = kernel.T, recurrent.T
        if len(cell.parameters) == 3 and len(biases) == 2:
            total = biases[0] + biases[1]
            biases = [total / 2 if gradient else total]
        return LayerWeights(
            *(
                np.ascontiguousarray(reorder_gates(array, self.gates, cell.gates))
                for array in (kernel, recurrent, *biases)
            )
        )


LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "canonical": {},
    "keras": {"batch_major": True},
    "torch": {"transposed": True},
    "onnx": {"transposed": True},
}
"""What each named layout changes. ``canonical`` is the layout of this library."""


def read_arguments(function: Callable[..., Any], cell: Cell, layout: CallLayout) -> CallLayout:
    """Return the layout with the arguments that the names of a function's parameters imply.

    Optional parameters at the end are ignored if their names are unknown. If a required parameter
    has an unknown name, the function must take exactly x, the states and the arrays of weights.

    Raises
    ------
    TargetError
        If the names do not say what the function takes.
    """
    usual = layout.with_defaults(cell).arguments
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return layout.with_defaults(cell)
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        return layout.with_defaults(cell)
    positional = [
        each
        for each in parameters
        if each.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    known = ("x", *cell.states, *layout.parameters, "lengths", *GROUPS)
    named = [ALIASES.get(each.name, "") for each in positional]
    required = [each for each in positional if each.default is inspect.Parameter.empty]
    while named and named[-1] not in known and positional[len(named) - 1] not in required:
        named.pop()
    if all(name in known for name in named) and len(set(named)) == len(named) and "x" in named:
        complete = "weights" in named or set(layout.parameters) <= set(named)
        if complete:
            return replace(layout, arguments=tuple(named))
    if len(required) == len(usual):
        return layout.with_defaults(cell)
    written = ", ".join(each.name for each in positional)
    raise TargetError(
        f"the function takes ({written}); expected ({', '.join(usual)}). Declare what it takes "
        "with --arguments, --biases or --layout"
    )


def flatten(results: object) -> list[Any]:
    """Return the arrays in nested tuples, lists and dictionaries as one list, in order."""
    if isinstance(results, Mapping):
        return [leaf for each in results.values() for leaf in flatten(each)]
    if isinstance(results, tuple | list):
        return [leaf for each in results for leaf in flatten(each)]
    return [] if results is None else [results]


def format_shapes(arrays: Sequence[Any]) -> str:
    """Format the shapes of arrays for an error."""
    return ", ".join(str(get_shape(each)) for each in arrays) or "nothing"


def get_shape(array: Any) -> tuple[int, ...]:
    """Return the shape of a framework's array without copying the array."""
    shape = array.shape if hasattr(array, "shape") else np.shape(array)
    return tuple(int(size) for size in shape)


def name_results(
    layout: CallLayout, spec: LSTMSpec, timesteps: int, batch: int, arrays: Sequence[Any]
) -> tuple[str, ...]:
    """Name each array that a call returned, by its position and shape.

    Raises
    ------
    TargetError
        If the shapes do not fit the layout. The message lists the shapes that were found.
    """
    cell, units = spec.cell, spec.output_size
    sequence = (batch, timesteps, units) if layout.batch_major else (timesteps, batch, units)
    rows = (spec.state_layers, batch, spec.hidden_size)
    state = rows[1:] if spec.state_layers == 1 else rows
    shapes: dict[str, set[tuple[int, ...]]] = {
        "y": {sequence},
        **{name: {state, rows} for name in cell.states},
    }
    usual = ("y", *cell.states)
    expected = f"y {sequence}" + "".join(f", {name} {state}" for name in cell.states)
    names = layout.returned
    if names is None:
        first = get_shape(arrays[0]) if arrays else ()
        is_state = len(arrays) == 1 and first != sequence and first in shapes["h"]
        names = ("h",) if is_state else usual[: len(arrays)]
    found = format_shapes(arrays)
    if not arrays or len(names) != len(arrays):
        raise TargetError(f"a call returned {found}; expected {expected}")
    for name, array in zip(names, arrays, strict=True):
        if get_shape(array) not in shapes[name]:
            swapped = "time-major" if layout.batch_major else "batch-major"
            turned = (sequence[1], sequence[0], sequence[2])
            hint = ""
            if name == "y" and get_shape(array) == turned:
                hint = f". If the function is {swapped}, say so with --axes"
            raise TargetError(f"a call returned {found}; expected {expected}{hint}")
    return tuple(names)
