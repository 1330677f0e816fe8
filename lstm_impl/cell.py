"""Describe a recurrent cell: its gates, states and parameters, and one step with its derivative.

Whatever depends on the kind of cell asks this description: weights and layouts, the reference, the
gate, estimates, roofs, and the files in which results are kept. A new cell needs one subclass of
``Cell`` and one line in ``CELLS``, or one entry point in the group ``lstm_impl.cells``.
"""

from __future__ import annotations

import abc
import functools
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
States = tuple[Float64, ...]
"""The states of a cell in one step, ``[B, H]`` each, in the order of ``Cell.states``."""

ENTRY_POINTS = "lstm_impl.cells"
"""The entry point group in which other packages register cells: a name and a ``Cell`` instance."""


class StateSizes(Protocol):
    """Describe the sizes of a network's states, as ``LSTMSpec`` does.

    The module of ``LSTMSpec`` imports this one, so the class itself cannot be named here.
    """

    @property
    def hidden_size(self) -> int:
        """The number of units in a layer and direction."""

    @property
    def state_layers(self) -> int:
        """The size of a state's first axis: layers times directions."""

    @property
    def precision(self) -> Any:
        """The types in which numbers are stored and computed."""


def list_states(state: CellState | type[CellState]) -> tuple[str, ...]:
    """Return the names of the states that a state, or a type of state, holds, in their order.

    Every call of a model asks for them, and ``dataclasses.fields`` takes as long as a small kernel.
    """
    names: tuple[str, ...] = state.__match_args__
    return names


@dataclass(frozen=True)
class CellState:
    """Hold the state of a network of cells that have one state, which is the output.

    ``forward`` takes and returns it, so that a caller can carry it from one window of a long stream
    to the next. Iterating yields the arrays.

    Attributes
    ----------
    h
        The hidden state ``[num_layers * num_directions, batch, hidden_size]``.
    """

    h: npt.NDArray[np.floating]

    def __iter__(self) -> Iterator[npt.NDArray[np.floating]]:
        return iter([getattr(self, name) for name in list_states(self)])

    def by_name(self) -> dict[str, npt.NDArray[np.floating]]:
        """Return the arrays by the names of the states."""
        return {name: getattr(self, name) for name in list_states(self)}

    def map(self, function: Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]) -> Self:
        """Apply a function to each array, and return the results as a state."""
        return type(self)(*map(function, self))

    @classmethod
    def zeros(cls, spec: StateSizes, batch: int) -> Self:
        """Return the state of a network before any input. ``spec`` is an ``LSTMSpec``."""
        shape, dtype = (spec.state_layers, batch, spec.hidden_size), spec.precision.storage
        return cls(*(np.zeros(shape, dtype) for _ in list_states(cls)))


@dataclass(frozen=True)
class LSTMState(CellState):
    """Hold the hidden state and the cell state of an LSTM.

    Attributes
    ----------
    h, c
        ``[num_layers * num_directions, batch, hidden_size]`` each.
    """

    c: npt.NDArray[np.floating]


class StepWeights(NamedTuple):
    """Hold the parameters of one layer and direction in float64, as a step uses them.

    G is the number of the cell's gates.

    Attributes
    ----------
    kernel
        ``[in, G*H]``.
    recurrent_kernel
        ``[H, G*H]``.
    bias
        ``[G*H]``.
    recurrent_bias
        ``[G*H]``, which is added to the product of the recurrent kernel, or None if the cell has
        one bias.
    """

    kernel: Float64
    recurrent_kernel: Float64
    bias: Float64
    recurrent_bias: Float64 | None = None


class StepGradients(NamedTuple):
    """Hold the gradients of one step.

    The reference multiplies the gradients of the sums by their inputs after its loop over time, in
    one matrix product for all timesteps.

    Attributes
    ----------
    states
        The gradients of the states before the step.
    sums
        The gradient of ``x @ kernel + bias``, ``[B, G*H]``.
    recurrent_sums
        The gradient of ``h @ recurrent_kernel + recurrent_bias``, ``[B, G*H]``. If the cell only
        adds the two sums, it is the same array.
    recurrent_inputs
        What the part of the recurrent kernel for each gate multiplies, ``[G, B, H]``, or None if
        all parts multiply h, the output before the step.
    """

    states: States
    sums: Float64
    recurrent_sums: Float64
    recurrent_inputs: Float64 | None = None


class Operations(NamedTuple):
    """Hold the functions of a framework that the equations of a cell use.

    Attributes
    ----------
    sigmoid, tanh
        Elementwise functions of a tensor.
    split
        A function that divides the last axis of a tensor into a number of equal parts.
    """

    sigmoid: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    split: Callable[[Any, int], Sequence[Any]]


class Recurrence(Protocol):
    """Multiply a tensor ``[B, H]`` by the recurrent kernel, and add its bias if there is one.

    ``gates`` holds the numbers of the gates whose columns are used, or None for all. The result has
    H columns for each of these gates.
    """

    def __call__(self, h: Any, gates: range | None = None) -> Any:
        """Return the product."""


@dataclass(frozen=True)
class Cell(abc.ABC):
    """Describe a recurrent cell, which computes its next states from an input and its states.

    A cell is written down twice, on purpose. ``equations`` serves every backend that loops over
    time with a framework's operators, and the framework differentiates it. ``step`` and
    ``step_gradients`` serve the reference in float64. They are derived by hand and share no code
    with ``equations``, so that the gate can find a mistake in either.

    Subclasses are frozen dataclasses, so that two cells with the same options are equal.

    Attributes
    ----------
    gates
        The names of the gates, in the order of the columns of every canonical array.
    state_type
        The class of the state. Its fields are the names of the states, and the first one is the
        output.
    bias_offsets
        What is added to the random initial bias of a gate, by the gate's name.
    """

    gates: ClassVar[tuple[str, ...]]
    state_type: ClassVar[type[Any]] = CellState  # a CellState
    bias_offsets: ClassVar[Mapping[str, float]] = {}

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name. Cells with different options have different names."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the arrays of one layer and direction."""
        return ("kernel", "recurrent_kernel", "bias")

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states. The first one is the output."""
        return list_states(self.state_type)

    def gate_columns(self, gate: str, hidden_size: int) -> slice:
        """Return the columns of a gate in a canonical array with ``G*H`` columns."""
        first = self.gates.index(gate) * hidden_size
        return slice(first, first + hidden_size)

    def parameter_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter of a layer that reads ``input_size`` features."""
        columns = len(self.gates) * hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "kernel": (input_size, columns),
            "recurrent_kernel": (hidden_size, columns),
            "bias": (columns,),
            "recurrent_bias": (columns,),
        }
        return {name: shapes[name] for name in self.parameters}

    @abc.abstractmethod
    def equations(
        self, ops: Operations, projected: Any, recurrence: Recurrence, states: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Compute one timestep with a framework's operators.

        Parameters
        ----------
        ops
            The framework's functions.
        projected
            The product of the input and the kernel plus the bias, ``[B, G*H]``.
        recurrence
            A function that multiplies the output before the step, or another ``[B, H]``, by the
            recurrent kernel.
        states
            The states before the step, ``[B, H]`` each.

        Returns
        -------
        tuple
            The states after the step.
        """

    @abc.abstractmethod
    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        """Compute one timestep in float64.

        Parameters
        ----------
        weights
            The parameters of the layer.
        x
            The input ``[B, in]``.
        states
            The states before the step, ``[B, H]`` each.

        Returns
        -------
        tuple
            The states after the step, and an array ``[B, n]`` that ``step_gradients`` needs.
        """

    @abc.abstractmethod
    def step_gradients(
        self,
        weights: StepWeights,
        kept: Float64,
        before: States,
        after: States,
        gradients: States,
    ) -> StepGradients:
        """Compute the gradients of one timestep in float64.

        Parameters
        ----------
        weights
            The parameters of the layer.
        kept
            The array ``[B, n]`` that ``step`` returned.
        before, after
            The states before and after the step, ``[B, H]`` each.
        gradients
            The gradients of the states after the step, ``[B, H]`` each.
        """


@dataclass(frozen=True)
class LSTM(Cell):
    """Describe the LSTM of Hochreiter & Schmidhuber (1997) with Gers et al.'s forget gate (2000).

    ::

        z_t = x_t W + h_{t-1} R + b         split into the gates i, f, g, o
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)
    """

    # Input, forget, candidate and output gate, in the order of Keras and PyTorch.
    gates = ("i", "f", "g", "o")
    state_type = LSTMState
    # A forget gate that is open at first keeps the cell state: Jozefowicz et al. (2015).
    bias_offsets: ClassVar[Mapping[str, float]] = {"f": 1.0}

    @property
    def name(self) -> str:
        """The name ``lstm``."""
        return "lstm"

    def equations(
        self, ops: Operations, projected: Any, recurrence: Recurrence, states: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Compute one timestep with a framework's operators."""
        h, c = states
        i, f, g, o = ops.split(projected + recurrence(h), len(self.gates))
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        """Compute one timestep, and keep the gates after their activations, ``[B, 4H]``."""
        h, c = states
        z = x @ weights.kernel + h @ weights.recurrent_kernel + weights.bias
        i, f, g, o = np.split(z, len(self.gates), axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c_new = f * c + i * g
        return (o * np.tanh(c_new), c_new), np.concatenate([i, f, g, o], axis=-1)

    def step_gradients(
        self,
        weights: StepWeights,
        kept: Float64,
        before: States,
        after: States,
        gradients: States,
    ) -> StepGradients:
        """Compute the gradients of one timestep from its gates."""
        dh, dc = gradients
        _, c_before = before
        i, f, g, o = np.split(kept, len(self.gates), axis=-1)
        tanh_c = np.tanh(after[1])
        dc = dc + dh * o * (1.0 - tanh_c**2)
        di, df = dc * g * i * (1.0 - i), dc * c_before * f * (1.0 - f)
        dg, do = dc * i * (1.0 - g**2), dh * tanh_c * o * (1.0 - o)
        sums = np.concatenate([di, df, dg, do], axis=-1)
        return StepGradients((sums @ weights.recurrent_kernel.T, dc * f), sums, sums)


@dataclass(frozen=True)
class GRU(Cell):
    """Describe the gated recurrent unit of Cho et al. (2014), in the two forms in use.

    ::

        r = sigmoid(x W_r + b_r + h R_r + d_r)
        z = sigmoid(x W_z + b_z + h R_z + d_z)
        n = tanh(x W_n + b_n + r (h R_n + d_n))      with reset_after
        n = tanh(x W_n + b_n + (r h) R_n)            without: there is no second bias d
        h' = z h + (1 - z) n

    The canonical order of the gates is that of PyTorch, cuDNN and Flax: reset, update, candidate.
    Keras and ONNX exchange the first two.

    Attributes
    ----------
    reset_after
        Whether the reset gate acts on the product of the recurrent kernel. It is True by default in
        Keras, and always in PyTorch and cuDNN. ONNX calls it ``linear_before_reset``. False is the
        form of the paper.
    """

    reset_after: bool = True

    gates = ("r", "z", "n")

    @property
    def name(self) -> str:
        """The name: ``gru``, or ``gru_reset_before`` for the form of the paper."""
        return "gru" if self.reset_after else "gru_reset_before"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of one layer's arrays, with two biases, or one in the form of the paper."""
        one = ("kernel", "recurrent_kernel", "bias")
        return (*one, "recurrent_bias") if self.reset_after else one

    def equations(
        self, ops: Operations, projected: Any, recurrence: Recurrence, states: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Compute one timestep with a framework's operators."""
        (h,) = states
        r_input, z_input, n_input = ops.split(projected, 3)
        if self.reset_after:
            r_state, z_state, n_state = ops.split(recurrence(h), 3)
            n_reset = ops.sigmoid(r_input + r_state) * n_state
        else:
            r_state, z_state = ops.split(recurrence(h, range(2)), 2)
            n_reset = recurrence(ops.sigmoid(r_input + r_state) * h, range(2, 3))
        z = ops.sigmoid(z_input + z_state)
        return (z * h + (1 - z) * ops.tanh(n_input + n_reset),)

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        """Compute one timestep, and keep r, z, n and the recurrence's part of the candidate."""
        (h,) = states
        sums = x @ weights.kernel + weights.bias
        kernels = np.split(weights.recurrent_kernel, 3, axis=-1)
        second = weights.recurrent_bias
        biases = (0.0, 0.0, 0.0) if second is None else np.split(second, 3)
        of_r, of_z, of_n = np.split(sums, 3, axis=-1)
        r = sigmoid(of_r + h @ kernels[0] + biases[0])
        z = sigmoid(of_z + h @ kernels[1] + biases[1])
        if self.reset_after:
            recurrent = h @ kernels[2] + biases[2]
            n = np.tanh(of_n + r * recurrent)
        else:
            recurrent = (r * h) @ kernels[2]
            n = np.tanh(of_n + recurrent)
        return (h + (1.0 - z) * (n - h),), np.concatenate([r, z, n, recurrent], axis=-1)

    def step_gradients(
        self,
        weights: StepWeights,
        kept: Float64,
        before: States,
        after: States,
        gradients: States,
    ) -> StepGradients:
        """Compute the gradients of one timestep from its gates."""
        (h,), (dh,) = before, gradients
        r, z, n, recurrent = np.split(kept, 4, axis=-1)
        d_n = dh * (1.0 - z) * (1.0 - n**2)
        d_z = dh * (h - n) * z * (1.0 - z)
        if self.reset_after:
            d_r = d_n * recurrent * r * (1.0 - r)
            recurrent_sums = np.concatenate([d_r, d_z, d_n * r], axis=-1)
            flow = dh * z + recurrent_sums @ weights.recurrent_kernel.T
            sums = np.concatenate([d_r, d_z, d_n], axis=-1)
            return StepGradients((flow,), sums, recurrent_sums)
        kernels = np.split(weights.recurrent_kernel, 3, axis=-1)
        d_reset = d_n @ kernels[2].T
        d_r = d_reset * h * r * (1.0 - r)
        flow = dh * z + d_reset * r + d_r @ kernels[0].T + d_z @ kernels[1].T
        sums = np.concatenate([d_r, d_z, d_n], axis=-1)
        return StepGradients((flow,), sums, sums, np.stack([h, h, r * h]))


def sigmoid(z: Float64) -> Float64:
    """Return the logistic function, computed through tanh so that no exponential overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


DEFAULT = LSTM()
"""The cell of a spec that names none. Ids and files name only other cells."""

CELLS: dict[str, Cell] = {each.name: each for each in (DEFAULT, GRU(), GRU(reset_after=False))}
"""The cells of this package, by name."""


def list_cells() -> list[str]:
    """Return the names of all cells, including those that other packages register."""
    return sorted(CELLS | _registered_elsewhere())


def get_cell(name: str) -> Cell:
    """Return the cell of this name.

    Raises
    ------
    ValueError
        If there is no such cell. The message lists the known names.
    """
    known = CELLS | _registered_elsewhere()
    if name not in known:
        raise ValueError(f"{name!r} is no cell; expected one of {', '.join(list_cells())}")
    return known[name]


NAME = re.compile(r"[a-z]{3,}(_[a-z0-9]+)*")
"""The grammar of cells' names. In the id of a case, the name stands between the sizes and words
such as ``bi``, ``adam`` and ``dw``, so it must differ from these."""


@functools.cache
def _registered_elsewhere() -> dict[str, Cell]:
    """Return the cells that other packages register.

    Raises
    ------
    ValueError
        If the name of a cell cannot appear in the id of a case.
    """
    found = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        cell: Cell = entry.load()
        if not NAME.fullmatch(cell.name):
            raise ValueError(
                f"the entry point {entry.name!r} in {ENTRY_POINTS} names its cell {cell.name!r}; "
                "expected lower-case words of at least three letters, joined by underscores"
            )
        found[cell.name] = cell
    return found
