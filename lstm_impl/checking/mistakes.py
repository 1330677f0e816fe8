"""List known mistakes, and compute what the float64 reference returns with each of them.

An entry of ``MISTAKES`` has a name, a sentence, and a function. The function yields the results of
the reference with the mistake, once for each variant, together with a detail that describes the
variant. ``causes.py`` compares these results with those of a target. To teach the check another
mistake, add an entry.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lstm_impl.cell import (
    GRU,
    LSTM,
    Cell,
    Float64,
    States,
    StepGradients,
    StepWeights,
    sigmoid,
)
from lstm_impl.checking.deviation import find_wrong_numbers, name_axes
from lstm_impl.layouts import reorder_gates
from lstm_impl.proof.check import ComparedCall
from lstm_impl.proof.comparison import ResultKind, classify_result, round_to_int8
from lstm_impl.proof.judge import make_numpy_judge
from lstm_impl.spec import FloatArray, LSTMSpec, round_to_bfloat16
from lstm_impl.weights import LayerWeights, LSTMState, LSTMWeights
from lstm_impl.workload import Inputs

Results = Mapping[str, FloatArray]
"""The results of one call, by the names of the arrays."""
Variants = Iterator[tuple[str, Results]]
"""Pairs of a variant's description and the results of the call with that variant."""

OTHER_GATES = 6
"""How many orders of gates are tried for a single array of weights. The first six orders of an LSTM
are those that exchange two of the four gates."""

LIMITS = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0, 20.0, 30.0, 50.0, 100.0)
"""Magnitudes to which implementations commonly clip numbers."""

BLOCKS = (1, 2, 3, 4, 8, 16, 32, 64)
"""How many rows or columns at the end a tiled kernel may forget."""

ROUNDINGS = ("bfloat16", "float16", "TF32")
"""Types that are coarser than float32."""

FLUSHED = (1e-5, 1e-3)
"""Magnitudes below which an implementation may take inputs as zero."""


@dataclass(frozen=True)
class Situation:
    """Hold a call that a target got wrong, with everything needed to compute it again.

    Attributes
    ----------
    spec
        The network.
    call
        The arguments of the call, the target's results and the reference's.
    earlier
        The calls before this one, in order.
    backward
        Whether gradients are computed too, and not only outputs and states.
    """

    spec: LSTMSpec
    call: ComparedCall
    earlier: Sequence[ComparedCall] = ()
    backward: bool = False

    def reference(
        self,
        weights: LSTMWeights | None = None,
        inputs: Inputs | None = None,
        dstate: LSTMState | None = None,
        cell: Cell | None = None,
        gradients: bool = True,
    ) -> dict[str, FloatArray]:
        """Compute the call in float64, with the given arguments in place of the original ones."""
        spec = self.spec if cell is None else replace(self.spec, cell=cell)
        flow = (dstate or self.call.dstate) if gradients and self.backward else None
        with np.errstate(invalid="ignore", over="ignore"):
            return make_numpy_judge(spec).run(
                weights or self.call.weights, inputs or self.call.inputs, flow
            )

    def with_cells(self, change: Callable[[LayerWeights], LayerWeights]) -> dict[str, FloatArray]:
        """Compute the call with a change of the weights of every layer and direction."""
        cells = [change(_convert_to_float64(cell)) for cell in self.call.weights.cells()]
        return self.reference(weights=LSTMWeights.from_cells(self.spec, cells))


def _convert_to_float64(cell: LayerWeights) -> LayerWeights:
    return LayerWeights(*(np.array(array, np.float64) for array in cell))


@dataclass(frozen=True)
class KnownMistake:
    """Describe a mistake that implementations make.

    Attributes
    ----------
    name
        A short, stable name, which appears in JSON.
    sentence
        What went wrong. ``{detail}`` is replaced by the description of the variant.
    compute
        A function that yields the description of each variant and the results with it.
    backward
        Whether the mistake affects only gradients. Such a mistake is tried where the outputs and
        states are right.
    occasional
        Whether the mistake affects only some calls, so that other calls do not contradict it.
    """

    name: str
    sentence: str
    compute: Callable[[Situation], Variants]
    backward: bool = False
    occasional: bool = False


# -- gates and weights


def _list_gate_orders(cell: Cell) -> list[tuple[str, ...]]:
    own = tuple(cell.gates)
    every = [order for order in itertools.permutations(own) if order != own]
    # The orders that exchange just two gates are the most likely ones, so they come first.
    return sorted(every, key=lambda order: sum(a != b for a, b in zip(order, own, strict=True)))


def _exchange_gates(case: Situation) -> Variants:
    own = case.spec.cell.gates
    for order in _list_gate_orders(case.spec.cell):
        detail = f"it reads {', '.join(own)} as {', '.join(order)}"

        def change(cell: LayerWeights, order: tuple[str, ...] = order) -> LayerWeights:
            return LayerWeights(*(reorder_gates(each, order, own) for each in cell))

        yield detail, case.with_cells(change)


def _exchange_gates_in_one_array(case: Situation) -> Variants:
    own = case.spec.cell.gates
    for name in case.spec.cell.parameters:
        for order in _list_gate_orders(case.spec.cell)[:OTHER_GATES]:

            def change(
                cell: LayerWeights, name: str = name, order: tuple[str, ...] = order
            ) -> LayerWeights:
                return replace(cell, **{name: reorder_gates(getattr(cell, name), order, own)})

            yield f"{name}: {', '.join(own)} as {', '.join(order)}", case.with_cells(change)


def _scale_bias(case: Situation) -> Variants:
    names = [name for name in case.spec.cell.parameters if "bias" in name]
    for name in names:
        for detail, factor in (
            (f"{name} is not added", 0.0),
            (f"{name} is added twice", 2.0),
            ("only the first of two biases is added", 0.25),
            ("only the second of two biases is added", 0.75),
            ("the first of two biases is added twice", 1.25),
            ("the second of two biases is added twice", 1.75),
            (f"{name} is subtracted", -1.0),
        ):

            def change(cell: LayerWeights, name: str = name, by: float = factor) -> LayerWeights:
                return replace(cell, **{name: getattr(cell, name) * by})

            if "of two" not in detail or len(names) == 1:
                yield detail, case.with_cells(change)
    if len(names) == 2:
        yield (
            "the two biases are exchanged",
            case.with_cells(
                lambda cell: LayerWeights(
                    cell.kernel,
                    cell.recurrent_kernel,
                    cell.bias if cell.recurrent_bias is None else cell.recurrent_bias,
                    cell.bias,
                )
            ),
        )


def _change_forget_bias(case: Situation) -> Variants:
    if "f" not in case.spec.cell.gates:
        return
    columns = case.spec.cell.gate_columns("f", case.spec.hidden_size)

    def changed(change: Callable[[Any], Any]) -> dict[str, FloatArray]:
        def change_bias(cell: LayerWeights) -> LayerWeights:
            bias = cell.bias.copy()
            bias[columns] = change(bias[columns])
            return replace(cell, bias=bias)

        return case.with_cells(change_bias)

    yield "the bias of the forget gate is not added", changed(lambda bias: 0.0 * bias)
    yield "1 is missing in the bias of the forget gate", changed(lambda bias: bias - 1.0)
    yield "1 is added to the bias of the forget gate", changed(lambda bias: bias + 1.0)
    yield (
        "1 is added to the bias of the forget gate where all of it is zero",
        changed(lambda bias: bias if np.any(bias) else bias + 1.0),
    )


def _transpose_kernel(case: Situation) -> Variants:
    gates = len(case.spec.cell.gates)

    def transpose_gates(kernel: Float64) -> Float64:
        return np.concatenate([each.T for each in np.split(kernel, gates, axis=-1)], axis=-1)

    def transpose_memory(kernel: Float64) -> Float64:
        return kernel.reshape(kernel.shape[::-1]).T

    for name in ("recurrent_kernel", "kernel"):
        for detail, change in (
            (f"each gate's part of {name} is transposed", transpose_gates),
            (f"the memory of {name} is read as that of its transpose", transpose_memory),
        ):

            def change_kernel(
                cell: LayerWeights, name: str = name, change: Any = change
            ) -> LayerWeights:
                array = getattr(cell, name)
                square = array.shape[0] * gates == array.shape[1]
                return replace(cell, **{name: change(array)}) if square else cell

            yield detail, case.with_cells(change_kernel)
    for name in ("recurrent_kernel", "kernel"):

        def reread_memory(cell: LayerWeights, name: str = name) -> LayerWeights:
            return replace(cell, **{name: transpose_memory(getattr(cell, name))})

        yield (
            f"the memory of {name} is read as that of its transpose",
            case.with_cells(reread_memory),
        )


def _drop_product(case: Situation) -> Variants:
    for name in ("recurrent_kernel", "kernel"):

        def change(cell: LayerWeights, name: str = name) -> LayerWeights:
            return replace(cell, **{name: 0.0 * getattr(cell, name)})

        yield f"the product with {name} is not added", case.with_cells(change)


def _drop_rows(case: Situation) -> Variants:
    for name in ("recurrent_kernel", "kernel"):
        rows = getattr(case.call.weights.cells()[0], name).shape[0]
        for count in (each for each in BLOCKS if each < rows):
            for detail, part in (("last", slice(rows - count, rows)), ("first", slice(0, count))):

                def change(
                    cell: LayerWeights, name: str = name, part: slice = part
                ) -> LayerWeights:
                    array = getattr(cell, name).copy()
                    array[part] = 0.0
                    return replace(cell, **{name: array})

                which = f"the {detail} row" if count == 1 else f"the {detail} {count} rows"
                yield f"{which} of {name}", case.with_cells(change)


def _drop_columns(case: Situation) -> Variants:
    size = case.spec.hidden_size
    for name in ("recurrent_kernel", "kernel"):
        for gate, unit in itertools.product(case.spec.cell.gates, (0, size - 1)):

            def change(
                cell: LayerWeights, name: str = name, gate: str = gate, unit: int = unit
            ) -> LayerWeights:
                array = getattr(cell, name).copy()
                array[:, case.spec.cell.gate_columns(gate, size).start + unit] = 0.0
                return replace(cell, **{name: array})

            place = "first" if unit == 0 else "last"
            yield f"the {place} column of gate {gate} in {name}", case.with_cells(change)


def _ignore_units(case: Situation) -> Variants:
    size = case.spec.hidden_size
    limits = [2**power for power in range(2, 12) if 2**power < size]
    for limit in limits:

        def change(cell: LayerWeights, limit: int = limit) -> LayerWeights:
            recurrent = cell.recurrent_kernel.copy()
            recurrent[limit:] = 0.0
            return replace(cell, recurrent_kernel=recurrent)

        yield f"units from {limit} on do not enter the recurrent product", case.with_cells(change)
    for limit in limits:
        found = dict(case.reference())
        for name in ("y", *case.spec.cell.states):
            found[name] = found[name].copy()
            found[name][..., limit:] = 0.0
        yield f"units from {limit} on are zero in the results", found
    for limit in limits:
        # The memory of these units is never written, so their results are arbitrary, and the next
        # step reads them. Zero is what a buffer holds that was cleared once.
        yield f"units from {limit} on are never computed", _compute_without_units(case, limit)


def _compute_without_units(case: Situation, limit: int) -> dict[str, FloatArray]:
    """Compute the call as a kernel that never writes the units from ``limit`` on.

    The first step reads all units of the initial state. Later steps read zeros in the units that
    were not written.
    """

    def change(cell: LayerWeights) -> LayerWeights:
        recurrent = cell.recurrent_kernel.copy()
        recurrent[limit:] = 0.0
        return replace(cell, recurrent_kernel=recurrent)

    state = case.call.inputs.state.map(lambda each: _clear_units(each, limit))
    cells = [change(_convert_to_float64(cell)) for cell in case.call.weights.cells()]
    weights = LSTMWeights.from_cells(case.spec, cells)
    # The first step still reads all units of the initial state.
    first = case.reference(
        weights=case.call.weights,
        inputs=case.call.inputs.window(slice(0, 1)),
        gradients=False,
    )
    state = type(state)(*(_clear_units(first[name], limit) for name in case.spec.cell.states))
    found = {name: _clear_units(first[name], limit) for name in ("y", *case.spec.cell.states)}
    if len(case.call.inputs.x) > 1:
        rest = case.call.inputs.window(slice(1, len(case.call.inputs.x)))
        if rest.lengths is not None:
            return found
        later = case.reference(weights=weights, inputs=replace(rest, state=state), gradients=False)
        y = np.concatenate([found["y"], _clear_units(later["y"], limit)])
        found = {name: _clear_units(later[name], limit) for name in case.spec.cell.states} | {
            "y": y
        }
    return found


def _clear_units(array: FloatArray, limit: int) -> FloatArray:
    """Return a copy whose units from ``limit`` on are zero."""
    kept = np.array(array)
    kept[..., limit:] = 0.0
    return kept


def _clip_weights(case: Situation) -> Variants:
    for name in ("recurrent_kernel", "kernel", "bias"):
        for limit in LIMITS:

            def change(cell: LayerWeights, name: str = name, most: float = limit) -> LayerWeights:
                return replace(cell, **{name: np.clip(getattr(cell, name), -most, most)})

            yield f"{name} is clipped to {limit:g}", case.with_cells(change)


def _round_numbers(case: Situation) -> Variants:
    weights, inputs = case.call.weights, case.call.inputs
    for name in ROUNDINGS:

        def rounding(array: FloatArray, name: str = name) -> FloatArray:
            return round_to(name, array)

        moved = replace(inputs, x=rounding(inputs.x))
        yield f"weights rounded to {name}", case.reference(weights=weights.map(rounding))
        yield f"the input rounded to {name}", case.reference(inputs=moved)
        yield (
            f"weights and the input rounded to {name}",
            case.reference(weights=weights.map(rounding), inputs=moved),
        )
        state = replace(inputs, state=inputs.state.map(rounding))
        yield f"the initial state rounded to {name}", case.reference(inputs=state)
        if case.spec.cell != LSTM():
            continue
        yield (
            f"the cell rounded to {name}",
            case.reference(cell=_LSTMWithRoundedCell(rounding=name)),
        )
        for block in BLOCKS[:1] + BLOCKS[3:-1]:
            every = "product" if block == 1 else f"{block} products"
            yield (
                f"sums rounded to {name} after every {every}",
                case.reference(cell=_LSTMWithCoarseSums(name, block)),
            )
    if case.spec.cell == LSTM():
        quantised, moved = round_to_int8(weights, inputs)
        yield "weights rounded to int8", case.reference(weights=quantised)
        yield "weights and the input rounded to int8", case.reference(quantised, moved)


# -- inputs, time and state


def _exchange_states(case: Situation) -> Variants:
    inputs = case.call.inputs
    state = inputs.state.by_name()

    def with_state(**changed: FloatArray) -> dict[str, FloatArray]:
        return case.reference(inputs=replace(inputs, state=replace(inputs.state, **changed)))

    zero = {name: np.zeros_like(array) for name, array in state.items()}
    yield "the initial state is not used: every call begins with zeros", with_state(**zero)
    for name in state:
        if len(state) > 1:
            yield f"the initial state {name} is not used", with_state(**{name: zero[name]})
    if len(state) > 1:
        names = list(state)
        exchanged = dict(zip(names, (state[each] for each in reversed(names)), strict=True))
        yield "the initial states h and c are exchanged", with_state(**exchanged)
    backwards = {name: array[:, ::-1] for name, array in state.items()}
    yield "each sequence begins with the state of another one", with_state(**backwards)
    for earlier in case.earlier[::-1]:
        kept = earlier.inputs.state.by_name()
        if all(kept[name].shape == state[name].shape for name in state):
            yield (
                "every call begins with the state that an earlier call was given",
                with_state(**kept),
            )
            for name in kept:
                yield (
                    f"every call begins with the {name} that an earlier call was given",
                    with_state(**{name: kept[name]}),
                )
    for earlier in case.earlier[::-1]:
        final = {name: earlier.ours[name] for name in state if name in earlier.ours}
        fits = all(final[name].shape == state[name].shape for name in final)
        if len(final) == len(state) and fits:
            detail = "the state is not reset: a call goes on from where the last one ended"
            yield detail, with_state(**final)


def _change_time(case: Situation) -> Variants:
    inputs = case.call.inputs
    steps = len(inputs.x)
    backwards = replace(inputs, x=inputs.x[::-1], dy=inputs.dy[::-1], lengths=None)
    found = case.reference(inputs=backwards)
    yield "the input is read backwards", found
    reversed_results = dict(found, y=found["y"][::-1])
    if "dx" in found:
        reversed_results["dx"] = found["dx"][::-1]
    yield "the sequence is computed backwards", reversed_results
    if len(inputs.x) == inputs.x.shape[1]:
        swapped = replace(inputs, x=np.swapaxes(inputs.x, 0, 1))
        found = case.reference(inputs=swapped)
        found["y"] = np.swapaxes(found["y"], 0, 1)
        yield "the axes of time and batch are exchanged", found
    right = case.reference()
    yield "the outputs are in reversed order", dict(right, y=right["y"][::-1])
    if steps > 1:
        late = np.concatenate([np.zeros_like(right["y"][:1]), right["y"][:-1]])
        yield "the outputs are one timestep late", dict(right, y=late)
        late = np.concatenate([case.call.inputs.state.h[-1:], right["y"][:-1]])
        if late.shape == right["y"].shape:
            yield "each output is that before its step", dict(right, y=late)


def _ignore_padding(case: Situation) -> Variants:
    inputs = case.call.inputs
    lengths = inputs.lengths
    if lengths is None:
        return
    yield (
        "lengths are ignored: steps are taken from padding",
        case.reference(inputs=replace(inputs, lengths=None)),
    )
    more = np.minimum(lengths + 1, len(inputs.x)).astype(lengths.dtype)
    less = np.maximum(lengths - 1, 1).astype(lengths.dtype)
    one_more = case.reference(inputs=replace(inputs, lengths=more))
    yield "one timestep is taken from padding", one_more
    yield (
        "the last valid timestep is left out",
        case.reference(inputs=replace(inputs, lengths=less)),
    )
    right = case.reference()
    every = case.reference(inputs=replace(inputs, lengths=None))
    yield (
        "the final state is that after the padding",
        dict(right, **{name: every[name] for name in case.spec.cell.states}),
    )
    yield "the outputs of padding are not zero", dict(right, y=every["y"])
    ordered = replace(inputs, lengths=np.sort(lengths))
    yield "the lengths are those of other sequences", case.reference(inputs=ordered)
    ordered = replace(inputs, lengths=np.sort(lengths)[::-1])
    yield "the lengths are those of other sequences", case.reference(inputs=ordered)
    for earlier in case.earlier[::-1]:
        kept = earlier.inputs.lengths
        if kept is not None and kept.shape == lengths.shape:
            yield (
                "the lengths are those of an earlier call",
                case.reference(inputs=replace(inputs, lengths=kept)),
            )


def _leave_out_steps(case: Situation) -> Variants:
    inputs = case.call.inputs
    steps = len(inputs.x)
    if steps < 2 or inputs.lengths is not None:
        return
    counts = set(range(1, steps)) if steps <= MOST_STEPS else set()
    counts |= {2**power for power in range(12) if 2**power < steps}
    counts |= {steps * tenth // 10 for tenth in range(1, 10)} | {steps - 1, 100, 200, 300, 400, 500}
    y = case.call.ours.get("y")
    if y is not None and y.shape == case.call.theirs["y"].shape:
        # Where consecutive outputs are equal, nothing was computed. That shows the first or last
        # step.
        still = np.all(np.abs(np.diff(y, axis=0)) == 0.0, axis=(1, 2))
        counts |= {steps - int(np.argmin(still)), steps - int(np.argmin(still)) - 1}
        counts |= {int(np.argmin(still[::-1]))}
    for count in sorted(each for each in counts if 0 < each < steps):
        part = case.reference(inputs=inputs.window(slice(steps - count, steps)), gradients=False)
        missing = np.zeros((steps - count, *part["y"].shape[1:]))
        yield f"only the last {count} steps", dict(part, y=np.concatenate([missing, part["y"]]))
    for count in sorted({1, 2, steps // 2, steps - 1}):
        part = case.reference(inputs=inputs.window(slice(0, count)), gradients=False)
        missing = np.zeros((steps - count, *part["y"].shape[1:]))
        yield f"only the first {count} steps", dict(part, y=np.concatenate([part["y"], missing]))


MOST_STEPS = 32
"""The longest sequence for which every number of computed steps is tried."""


def _change_input(case: Situation) -> Variants:
    inputs = case.call.inputs

    def with_x(change: Callable[[FloatArray], FloatArray]) -> dict[str, FloatArray]:
        return case.reference(inputs=replace(inputs, x=change(np.array(inputs.x, np.float64))))

    for limit in LIMITS:
        yield f"the input is clipped to {limit:g}", with_x(partial(_clip, most=limit))
    for limit in FLUSHED:
        detail = f"inputs smaller than {limit:g} are taken as zero"
        yield detail, with_x(partial(_flush, least=limit))
    yield "NaN in the input is taken as zero", with_x(lambda x: np.where(np.isnan(x), 0.0, x))
    for number in (0.0, 1.0, float(np.finfo(np.float32).max)):
        detail = f"infinity in the input is taken as {number:g}"
        yield detail, with_x(partial(_replace_infinity, by=number))


def _clip(x: FloatArray, most: float) -> FloatArray:
    return np.clip(x, -most, most)


def _flush(x: FloatArray, least: float) -> FloatArray:
    return np.asarray(np.where(np.abs(x) < least, 0.0, x))


def _replace_infinity(x: FloatArray, by: float) -> FloatArray:
    return np.asarray(np.where(np.isinf(x), np.sign(x) * by, x))


# -- the cell


@dataclass(frozen=True)
class _LSTMWithMistake(LSTM):
    """Compute an LSTM with a mistake in its equations, and the gradients of the right equations."""

    def sums(self, z: Float64) -> Float64:
        return z

    def candidate(self, z: Float64) -> Float64:
        return np.tanh(z)

    def gate(self, z: Float64) -> Float64:
        return sigmoid(z)

    def shown(self, c: Float64) -> Float64:
        return np.tanh(c)

    def new_cell(self, i: Float64, f: Float64, g: Float64, c: Float64) -> Float64:
        return f * c + i * g

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        """Compute one timestep with the mistake."""
        h, c = states
        z = x @ weights.kernel + h @ weights.recurrent_kernel + weights.bias
        i, f, g, o = np.split(self.sums(z), 4, axis=-1)
        i, f, g, o = self.gate(i), self.gate(f), self.candidate(g), self.gate(o)
        c_new = self.new_cell(i, f, g, c)
        return (o * self.shown(c_new), c_new), np.concatenate([i, f, g, o], axis=-1)


@dataclass(frozen=True)
class _LSTMWithClippedCell(_LSTMWithMistake):
    limit: float = 1.0

    def new_cell(self, i: Float64, f: Float64, g: Float64, c: Float64) -> Float64:
        return np.clip(super().new_cell(i, f, g, c), -self.limit, self.limit)


@dataclass(frozen=True)
class _LSTMWithClippedArguments(_LSTMWithMistake):
    limit: float = 1.0

    def candidate(self, z: Float64) -> Float64:
        return np.tanh(np.clip(z, -self.limit, self.limit))

    def shown(self, c: Float64) -> Float64:
        return np.tanh(np.clip(c, -self.limit, self.limit))


@dataclass(frozen=True)
class _LSTMWithClippedSums(_LSTMWithMistake):
    limit: float = 1.0

    def sums(self, z: Float64) -> Float64:
        return np.clip(z, -self.limit, self.limit)


@dataclass(frozen=True)
class _LSTMWithoutOutputTanh(_LSTMWithMistake):
    def shown(self, c: Float64) -> Float64:
        return c


@dataclass(frozen=True)
class _LSTMWithSigmoidCandidate(_LSTMWithMistake):
    def candidate(self, z: Float64) -> Float64:
        return sigmoid(z)


@dataclass(frozen=True)
class _LSTMWithoutCandidateTanh(_LSTMWithMistake):
    def candidate(self, z: Float64) -> Float64:
        return z


@dataclass(frozen=True)
class _LSTMWithHardGates(_LSTMWithMistake):
    slope: float = 0.2

    def gate(self, z: Float64) -> Float64:
        return np.clip(self.slope * z + 0.5, 0.0, 1.0)


@dataclass(frozen=True)
class _LSTMWithCoupledGates(_LSTMWithMistake):
    def new_cell(self, i: Float64, f: Float64, g: Float64, c: Float64) -> Float64:
        return (1.0 - i) * c + i * g


@dataclass(frozen=True)
class _LSTMWithCoarseSums(_LSTMWithMistake):
    """Round each sum after every block of products, as a kernel with coarse accumulators does."""

    rounding: str = "bfloat16"
    block: int = 8

    def _product(self, left: Float64, right: Float64) -> Float64:
        total = np.zeros((len(left), right.shape[1]))
        for start in range(0, len(right), self.block):
            part = slice(start, start + self.block)
            total = round_to(self.rounding, total + left[:, part] @ right[part])
        return total

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        """Compute one timestep with rounded sums."""
        h, c = states
        z = self._product(x, weights.kernel) + self._product(h, weights.recurrent_kernel)
        i, f, g, o = np.split(z + weights.bias, 4, axis=-1)
        i, f, g, o = self.gate(i), self.gate(f), self.candidate(g), self.gate(o)
        c_new = self.new_cell(i, f, g, c)
        return (o * self.shown(c_new), c_new), np.concatenate([i, f, g, o], axis=-1)


def round_to(name: str, array: FloatArray) -> Float64:
    """Round to bfloat16, float16 or TF32, and return the result as float64."""
    with np.errstate(over="ignore"):
        if name == "float16":
            return np.asarray(array).astype(np.float16).astype(np.float64)
        if name == "bfloat16":
            return np.asarray(round_to_bfloat16(array), np.float64)
        bits = np.asarray(array, np.float32).view(np.uint32)
    nearest = (bits + 0xFFF + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)
    return nearest.view(np.float32).astype(np.float64)


@dataclass(frozen=True)
class _LSTMWithRoundedCell(_LSTMWithMistake):
    rounding: str = "bfloat16"

    def new_cell(self, i: Float64, f: Float64, g: Float64, c: Float64) -> Float64:
        return round_to(self.rounding, super().new_cell(i, f, g, c))


def _change_cell(case: Situation) -> Variants:
    if case.spec.cell != LSTM():
        return
    for limit in LIMITS:
        yield f"the cell is clipped to {limit:g}", case.reference(cell=_LSTMWithClippedCell(limit))
        yield (
            f"the argument of tanh is clipped to {limit:g}",
            case.reference(cell=_LSTMWithClippedArguments(limit)),
        )
        yield (
            f"the sums before the gates are clipped to {limit:g}",
            case.reference(cell=_LSTMWithClippedSums(limit)),
        )
    for detail, cell in (
        ("the output is o * c, without tanh", _LSTMWithoutOutputTanh()),
        ("the candidate has a sigmoid, not tanh", _LSTMWithSigmoidCandidate()),
        ("the candidate has no tanh", _LSTMWithoutCandidateTanh()),
        ("the gates have a hard sigmoid of slope 0.2", _LSTMWithHardGates(0.2)),
        ("the gates have a hard sigmoid of slope 1/6", _LSTMWithHardGates(1.0 / 6.0)),
        ("the forget gate is 1 - i", _LSTMWithCoupledGates()),
    ):
        yield detail, case.reference(cell=cell)


@dataclass(frozen=True)
class _GRUWithReversedUpdate(GRU):
    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        """Compute one timestep with the roles of h and the candidate exchanged."""
        (h,) = states
        _, kept = super().step(weights, x, states)
        _, z, n, _ = np.split(kept, 4, axis=-1)
        return ((1.0 - z) * h + z * n,), kept


def _exchange_gru_forms(case: Situation) -> Variants:
    cell = case.spec.cell
    if not isinstance(cell, GRU):
        return
    yield (
        "the update gate is used the other way round",
        case.reference(cell=_GRUWithReversedUpdate(cell.reset_after), gradients=False),
    )
    if cell.reset_after:
        # The other form of the GRU has one bias. It gets the sum of the two biases of this form.
        def change(each: LayerWeights) -> LayerWeights:
            second = 0.0 if each.recurrent_bias is None else each.recurrent_bias
            return LayerWeights(each.kernel, each.recurrent_kernel, each.bias + second)

        cells = [change(_convert_to_float64(each)) for each in case.call.weights.cells()]
        yield (
            "the reset gate acts before the recurrent product",
            case.reference(
                weights=LSTMWeights.from_cells(case.spec, cells), cell=GRU(False), gradients=False
            ),
        )
    else:

        def with_zero(each: LayerWeights) -> LayerWeights:
            return replace(each, recurrent_bias=np.zeros_like(each.bias))

        cells = [with_zero(_convert_to_float64(each)) for each in case.call.weights.cells()]
        yield (
            "the reset gate acts after the recurrent product",
            case.reference(
                weights=LSTMWeights.from_cells(case.spec, cells), cell=GRU(True), gradients=False
            ),
        )


# -- results


def _change_results(case: Situation) -> Variants:
    right, ours = case.call.theirs, case.call.ours
    states = [name for name in case.spec.cell.states if name in right]
    for name in states:
        yield f"the final state {name} is zero", dict(right, **{name: 0.0 * right[name]})
        initial = np.asarray(getattr(case.call.inputs.state, name), np.float64)
        yield f"the final state {name} is the initial one", dict(right, **{name: initial})
    if len(states) == 2:
        exchanged = dict(right, h=right["c"], c=right["h"])
        yield "the final states h and c are exchanged", exchanged
    for name in ("y", *states):
        if name not in right:
            continue
        rows = np.all(ours[name] == 0.0, axis=(0, 2)) if ours[name].ndim == 3 else np.array(False)
        if rows.any() and not rows.all() and rows.shape == right[name].shape[1:2]:
            kept = (~rows)[None, :, None]
            which = int(np.argmax(rows))
            changed = {each: right[each] * kept for each in ("y", *states) if each in right}
            yield f"sequences from {which} on are zero", dict(right, **changed)
            yield f"sequences from {which} on are zero", dict(right, y=right["y"] * kept)
    if "y" in right and len(right["y"]) > 1:
        repeated = right["y"].copy()
        x = case.call.inputs.x
        same = np.all(x[1:] == x[:-1], axis=2)
        for step, row in np.argwhere(same):
            repeated[step + 1, row] = repeated[step, row]
        yield (
            "a step whose input is that of the last one repeats its output",
            dict(right, y=repeated),
        )
        first = right["y"].copy()
        if np.array_equal(x[0], x[1]):
            first[1] = first[0]
        yield "a step whose input is that of the last one repeats its output", dict(right, y=first)
        later = right["y"].copy()
        for step in range(2, len(x)):
            if np.array_equal(x[step], x[step - 1]):
                later[step] = later[step - 1]
        yield "a step whose input is that of the last one repeats its output", dict(right, y=later)
        if not np.any(x):
            zeros = {name: np.zeros_like(right[name]) for name in ("y", *states)}
            yield "an input of zeros gives zeros", zeros
            yield "an input of zeros gives zeros", dict(right, y=zeros["y"])
        silent = ~np.any(x, axis=(0, 2))
        if silent.any():
            zeros = {name: np.where(silent[None, :, None], 0.0, right[name]) for name in states}
            zeros["y"] = np.where(silent[None, :, None], 0.0, right["y"])
            yield "a sequence whose inputs are zero gets zeros", dict(right, **zeros)
            yield "a sequence whose inputs are zero gets zeros", dict(right, y=zeros["y"])
    if not np.isfinite(case.call.inputs.x).all():
        every = {
            name: np.full_like(right[name], np.nan) for name in ("y", *states) if name in right
        }
        yield "NaN or infinity of one sequence reaches the others", dict(right, **every)
        if "y" in every:
            yield "NaN or infinity of one sequence reaches the others", dict(right, y=every["y"])


def _return_earlier_results(case: Situation) -> Variants:
    right = case.call.theirs
    names = [name for name in ("y", *case.spec.cell.states) if name in right]
    for earlier in case.earlier[::-1]:
        if all(np.shape(earlier.ours[name]) == right[name].shape for name in names):
            yield "all of them", {name: earlier.ours[name] for name in names}
            for name in names:
                yield name, dict(right, **{name: earlier.ours[name]})


def _return_not_finite(case: Situation) -> Variants:
    right, ours = case.call.theirs, case.call.ours
    changed = {
        name: np.where(np.isfinite(ours[name]), right[name], ours[name])
        for name in right
        if np.shape(ours[name]) == right[name].shape
        and np.any(~np.isfinite(ours[name]) & np.isfinite(right[name]))
    }
    if changed:
        yield _join_names(list(changed)), dict(right, **changed)


# -- gradients


def _list_gradients(case: Situation) -> list[str]:
    states = case.spec.cell.states
    return [
        name for name in case.call.theirs if classify_result(name, states) is not ResultKind.FORWARD
    ]


def _leave_out_gradient(case: Situation) -> Variants:
    right, ours = case.call.theirs, case.call.ours
    zero = [
        name
        for name in _list_gradients(case)
        if ours[name].shape == right[name].shape
        and not np.any(ours[name])
        and np.any(np.abs(right[name]) > case.call.allowed[name])
    ]
    if zero:
        yield _join_names(zero), dict(right, **{name: 0.0 * right[name] for name in zero})


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(names)


FACTORS = {
    -1.0: "the sign is wrong",
    2.0: "it is counted twice",
    0.5: "it is halved, as if one of two biases or paths had none",
}


def _scale_gradient(case: Situation) -> Variants:
    right, ours = case.call.theirs, case.call.ours
    steps, batch = case.call.inputs.x.shape[:2]
    known = {
        **FACTORS,
        1.0 / batch: "it is divided by the batch",
        1.0 / steps: "it is divided by the timesteps",
        1.0 / (steps * batch): "it is divided by batch and timesteps",
    }
    changed, details = {}, []
    for name in _list_gradients(case):
        b, a = np.asarray(right[name], np.float64), np.asarray(ours[name], np.float64)
        if a.shape != b.shape or not np.any(b) or not np.all(np.isfinite(a)):
            continue
        if not find_wrong_numbers(a, b, case.call.allowed[name]).any():
            continue
        factor = float(np.vdot(a, b) / np.vdot(b, b))
        near = min(known, key=lambda each: abs(each - factor))
        told = known[near] if math.isclose(near, factor, rel_tol=1e-2) else f"times {factor:.3g}"
        if abs(factor - 1.0) > 1e-3 and abs(factor) > 1e-6:
            changed[name] = b * factor
            details.append(f"{name}: {told}")
    if changed:
        yield "; ".join(details), dict(right, **changed)


def _scale_columns(case: Situation) -> Variants:
    """Yield gradients in which some columns, that is, some gates of some units, are scaled."""
    right, ours, size = case.call.theirs, case.call.ours, case.spec.hidden_size
    changed, details = {}, []
    for name in _list_gradients(case):
        b, a = np.asarray(right[name], np.float64), np.asarray(ours[name], np.float64)
        if "." not in name or a.shape != b.shape or not np.all(np.isfinite(a)):
            continue
        b, a = np.atleast_2d(b), np.atleast_2d(a)
        allowed = np.broadcast_to(case.call.allowed[name], right[name].shape)
        off = np.abs(a - b) > np.atleast_2d(allowed)
        columns = np.flatnonzero(off.any(axis=0))
        if not 0 < len(columns) <= max(1, off.shape[1] // 4):
            continue
        made = b.copy()
        for column in columns:
            squares = float(b[:, column] @ b[:, column])
            factor = float(a[:, column] @ b[:, column]) / squares if squares else 0.0
            made[:, column] *= factor
            gate = case.spec.cell.gates[column // size]
            details.append(f"{name}, gate {gate} of unit {column % size}: times {factor:.2g}")
        changed[name] = made.reshape(right[name].shape)
    if changed:
        yield "; ".join(details[:4]), dict(right, **changed)


def _leave_out_part(case: Situation) -> Variants:
    """Yield gradients that are zero in a part of an axis in which the target's are zero."""
    right, ours = case.call.theirs, case.call.ours
    for name in _list_gradients(case):
        b, a = np.asarray(right[name], np.float64), np.asarray(ours[name], np.float64)
        if a.shape != b.shape:
            continue
        for axis in range(b.ndim):
            others = tuple(k for k in range(b.ndim) if k != axis)
            empty = ~np.any(a, axis=others) & np.any(b, axis=others)
            if empty.any() and not empty.all():
                kept = np.expand_dims(~empty, others)
                axes = name_axes(name, b.ndim)
                where = f"{axes[axis]}s {_format_indices(np.flatnonzero(empty).tolist())} of {name}"
                yield where, dict(right, **{name: b * kept})


def _format_indices(indices: Sequence[int]) -> str:
    shown = ", ".join(map(str, indices[:4]))
    return f"{shown} and more" if len(indices) > 4 else shown


def _exchange_gradients(case: Situation) -> Variants:
    right = case.call.theirs
    names = [f"d{name}" for name in case.spec.cell.states if f"d{name}" in right]
    if len(names) == 2:
        first, second = names
        exchanged = {first: right[second], second: right[first]}
        yield f"{first} and {second} are exchanged", dict(right, **exchanged)
    if "dx" in right:
        yield "dx is in reversed order", dict(right, dx=right["dx"][::-1])
        late = np.concatenate([np.zeros_like(right["dx"][:1]), right["dx"][:-1]])
        yield "dx is one timestep late", dict(right, dx=late)
    for name in _list_gradients(case):
        b = right[name]
        if b.ndim == 2 and "recurrent" in name:
            gates = len(case.spec.cell.gates)
            turned_array = np.concatenate([g.T for g in np.split(b, gates, axis=-1)], axis=-1)
            yield f"{name} is transposed", dict(right, **{name: turned_array})
    for order in _list_gate_orders(case.spec.cell):
        own = case.spec.cell.gates
        changed = {
            name: reorder_gates(right[name], order, own)
            for name in _list_gradients(case)
            if "." in name
        }
        yield f"gates {', '.join(own)} as {', '.join(order)}", dict(right, **changed)


def _ignore_upstream(case: Situation) -> Variants:
    inputs, flow = case.call.inputs, case.call.dstate
    names = flow.by_name()
    for name in names:
        zero = replace(flow, **{name: np.zeros_like(names[name])})
        yield f"the gradient of the final state {name}", case.reference(dstate=zero)
    yield "the gradients of the final states", case.reference(dstate=flow.map(np.zeros_like))
    without = replace(inputs, dy=np.zeros_like(inputs.dy))
    yield "the gradient of the outputs", case.reference(inputs=without)
    last = np.zeros_like(inputs.dy)
    last[-1] = inputs.dy[-1]
    yield (
        "the gradient of the outputs of all timesteps but the last",
        case.reference(inputs=replace(inputs, dy=last)),
    )


@dataclass(frozen=True)
class _LSTMWithWrongGradients(LSTM):
    """Compute an LSTM with a mistake in its gradients.

    Attributes
    ----------
    h, c
        The factor of the gradients of h and c that flow to the step before.
    limit
        The magnitude to which the gradients of h are clipped.
    open_gates
        The value of a gate above which its gradient is zero.
    raw
        Whether the derivatives are taken at the sums before the gates instead of at the gates.
    """

    h: float = 1.0
    c: float = 1.0
    limit: float = math.inf
    open_gates: float = math.inf
    raw: bool = False

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        """Compute one timestep correctly, but keep the sums before the gates if ``raw`` is true."""
        after, kept = super().step(weights, x, states)
        if self.raw:
            h, _ = states
            kept = x @ weights.kernel + h @ weights.recurrent_kernel + weights.bias
        return after, kept

    def step_gradients(
        self,
        weights: StepWeights,
        kept: Float64,
        before: States,
        after: States,
        gradients: States,
    ) -> StepGradients:
        """Compute the gradients of one timestep with the mistake."""
        dh, dc = (np.clip(each, -self.limit, self.limit) for each in gradients)
        dc = gradients[1]
        if math.isinf(self.open_gates):
            found = super().step_gradients(weights, kept, before, after, (dh, dc))
            sums = found.sums
            flow_c = found.states[1]
        else:
            i, f, g, o = np.split(kept, 4, axis=-1)
            tanh_c = np.tanh(after[1])
            dc = dc + dh * o * (1.0 - tanh_c**2)

            def slope(gate: Float64) -> Float64:
                return np.where(gate > self.open_gates, 0.0, gate * (1.0 - gate))

            sums = np.concatenate(
                [
                    dc * g * slope(i),
                    dc * before[1] * slope(f),
                    dc * i * (1.0 - g**2),
                    dh * tanh_c * slope(o),
                ],
                axis=-1,
            )
            flow_c = dc * f
        flow_h = np.clip(sums @ weights.recurrent_kernel.T, -self.limit, self.limit)
        return StepGradients((self.h * flow_h, self.c * flow_c), sums, sums)


def _cut_gradient_flow(case: Situation) -> Variants:
    if case.spec.cell != LSTM():
        return
    for detail, cell in (
        ("neither h nor c passes it on to the step before", _LSTMWithWrongGradients(h=0.0, c=0.0)),
        ("h does not pass it on to the step before", _LSTMWithWrongGradients(h=0.0)),
        ("c does not pass it on to the step before", _LSTMWithWrongGradients(c=0.0)),
    ):
        found = case.reference(cell=cell)
        yield detail, found
        # The target may still return a right gradient of the initial state, even if its steps pass
        # no gradient on to one another.
        kept = {name: case.call.theirs[name] for name in ("dh", "dc") if name in case.call.theirs}
        yield detail, dict(found, **kept)


def _change_slopes(case: Situation) -> Variants:
    if case.spec.cell != LSTM():
        return
    yield (
        "the derivatives are taken of the sums before the gates, not of the gates",
        case.reference(cell=_LSTMWithWrongGradients(raw=True)),
    )
    yield (
        "gates that are nearly open, over 0.99, have no gradient",
        case.reference(cell=_LSTMWithWrongGradients(open_gates=0.99)),
    )


def _clip_gradients(case: Situation) -> Variants:
    inputs, flow = case.call.inputs, case.call.dstate
    for limit in LIMITS:
        dy = np.clip(inputs.dy, -limit, limit)
        cell = _LSTMWithWrongGradients(limit=limit) if case.spec.cell == LSTM() else None
        yield f"to {limit:g}", case.reference(inputs=replace(inputs, dy=dy), cell=cell)
        # An implementation may clip the incoming gradient, the accumulated one, or both.
        yield f"to {limit:g}", case.reference(cell=cell)
        yield (
            f"to {limit:g}",
            case.reference(
                inputs=replace(inputs, dy=dy), dstate=flow, cell=_LSTMWithClippedGradientFlow(limit)
            ),
        )


@dataclass(frozen=True)
class _LSTMWithClippedGradientFlow(LSTM):
    """Clip the gradient that flows back to the step before, but not the incoming one."""

    limit: float = 1.0

    def step_gradients(
        self,
        weights: StepWeights,
        kept: Float64,
        before: States,
        after: States,
        gradients: States,
    ) -> StepGradients:
        """Compute the gradients of one timestep with the mistake."""
        found = super().step_gradients(weights, kept, before, after, gradients)
        flow = np.clip(found.states[0], -self.limit, self.limit)
        return replace_states(found, (flow, found.states[1]))


def replace_states(found: StepGradients, states: States) -> StepGradients:
    """Return the gradients of a step with other gradients of the states."""
    return found._replace(states=states)


def _truncate_backpropagation(case: Situation) -> Variants:
    """Yield gradients of the weights to which only the last steps contribute."""
    inputs, right = case.call.inputs, case.call.theirs
    steps = len(inputs.x)
    if steps < 2 or inputs.lengths is not None:
        return
    names = [name for name in right if "." in name]
    counts = range(1, steps) if steps <= MOST_STEPS else [1, 2, steps // 2, steps - 1]
    for count in counts:
        begun = case.reference(inputs=inputs.window(slice(0, steps - count)), gradients=False)
        state = type(inputs.state)(*(begun[name] for name in case.spec.cell.states))
        last = replace(inputs.window(slice(steps - count, steps)), state=state)
        part = case.reference(inputs=last)
        found = {name: part[name] for name in names}
        every = dict(right, **found)
        which = "the last timestep" if count == 1 else f"the last {count} timesteps"
        yield which, every
        rest = {
            "dx": np.concatenate([np.zeros((steps - count, *inputs.x.shape[1:])), part["dx"]]),
            "dh": np.zeros_like(part["dh"]),
        }
        rest |= {"dc": np.zeros_like(part["dc"])} if "dc" in part else {}
        yield which, dict(every, **{name: rest[name] for name in rest if name in right})


MISTAKES: tuple[KnownMistake, ...] = (
    KnownMistake(
        "exchanged gates", "It takes the gates in another order: {detail}.", _exchange_gates
    ),
    KnownMistake(
        "exchanged gates of one array",
        "It takes the gates of one array in another order ({detail}).",
        _exchange_gates_in_one_array,
    ),
    KnownMistake("forget bias", "The forget gate has another bias: {detail}.", _change_forget_bias),
    KnownMistake("biases", "The biases are added wrongly: {detail}.", _scale_bias),
    KnownMistake("transposed kernel", "A kernel is transposed: {detail}.", _transpose_kernel),
    KnownMistake("missing product", "A product is missing: {detail}.", _drop_product),
    KnownMistake("dropped rows", "A product leaves out {detail}.", _drop_rows),
    KnownMistake("dropped columns", "A product leaves out {detail}.", _drop_columns),
    KnownMistake("ignored units", "Some units are ignored: {detail}.", _ignore_units),
    KnownMistake("clipped weights", "Weights are clipped: {detail}.", _clip_weights),
    KnownMistake("state", "The state is not carried or not reset: {detail}.", _exchange_states),
    KnownMistake("reversed time", "Time runs in another direction: {detail}.", _change_time),
    KnownMistake("padding", "Padding is not respected: {detail}.", _ignore_padding),
    KnownMistake("steps left out", "It computes {detail} of the sequence.", _leave_out_steps),
    KnownMistake("changed input", "Some inputs are changed: {detail}.", _change_input),
    KnownMistake("another cell", "The equations differ: {detail}.", _change_cell),
    KnownMistake("another form of the GRU", "The equations differ: {detail}.", _exchange_gru_forms),
    KnownMistake(
        "changed results", "The results are not those of this call: {detail}.", _change_results
    ),
    KnownMistake(
        "earlier results",
        "Results are those of an earlier call: {detail}.",
        _return_earlier_results,
        occasional=True,
    ),
    KnownMistake(
        "not finite",
        "NaN or infinity stands in place of numbers: {detail}.",
        _return_not_finite,
        occasional=True,
    ),
    KnownMistake("lower precision", "It computes with fewer digits: {detail}.", _round_numbers),
    KnownMistake(
        "missing gradient", "A gradient is missing, all zeros: {detail}.", _leave_out_gradient, True
    ),
    KnownMistake(
        "scaled gradient", "A gradient has another factor ({detail}).", _scale_gradient, True
    ),
    KnownMistake(
        "scaled gradient",
        "Part of a gradient has another factor ({detail}).",
        _scale_columns,
        True,
    ),
    KnownMistake(
        "missing gradient", "Part of a gradient is missing: {detail}.", _leave_out_part, True
    ),
    KnownMistake(
        "not finite",
        "NaN or infinity stands in place of numbers: {detail}.",
        _return_not_finite,
        True,
        True,
    ),
    KnownMistake(
        "exchanged gradients",
        "Gradients are in another order: {detail}.",
        _exchange_gradients,
        True,
    ),
    KnownMistake(
        "ignored upstream gradient", "The backward pass ignores {detail}.", _ignore_upstream, True
    ),
    KnownMistake(
        "cut gradient",
        "The gradient does not flow back through time: {detail}.",
        _cut_gradient_flow,
        True,
    ),
    KnownMistake("wrong derivative", "A derivative is wrong: {detail}.", _change_slopes, True),
    KnownMistake("clipped gradients", "Gradients are clipped {detail}.", _clip_gradients, True),
    KnownMistake(
        "gradient of few steps",
        "The gradients of the weights come from {detail} only.",
        _truncate_backpropagation,
        True,
    ),
)
"""The known mistakes, in the order in which they are tried."""
