"""Make the networks and inputs on which a model is judged besides random ones.

``saturated``: with weights within 1/sqrt(H) and inputs of unit variance no cell grows past 3 and no
gate is fully open or shut. Kernels and inputs eight times as large show a clipped cell or an
exponential that overflows. ``special_numbers``: zeros, and equal neighbours in time.
``separate_products`` and ``large_numbers``: networks whose sums have few terms, for errors that
dense sums or small numbers hide. ``not_finite``: NaN and infinity. ``large_updates``: weights that
an optimizer's update changes by a large part. ``reset_patterns``: resets at the ends of sequences,
next to each other, in one sequence, everywhere and nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.optimizer import LEARNING_RATE
from lstm_impl.proof.comparison import HALF, SMALLEST_SCALE, Errors, ResultKind, classify_result
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMState, LSTMWeights
from lstm_impl.workload import Inputs

Float64 = npt.NDArray[np.float64]

FACTOR = 8.0
"""A power of two, so that each weight is held as exactly as before."""

LARGE_INPUT = 64.0
"""Size of each timestep's first feature, so that some inputs are over 50 for any seed."""

CELLS = (24.0, 32.0)
"""Sizes of the initial cell states: cutting one to 10 is an error of over half."""

HELD = 64
"""Timesteps for which an input stays the same. Open gates add up to 1 to a cell in each, so that it
grows to at most 96: bfloat16 adds 1 exactly up to 256."""

ROUNDOFFS = 2.0**18
"""Relative root mean square error allowed in float32 and float64, in units of roundoff: a half open
gate passes on the rounding of sums of hundreds. Right backends use 0.02 of this."""

CELL, OUTPUT = {2.0**-11: 0.3, 2.0**-8: 0.45}, 0.7
"""The same in half precision and TF32, for cells and for outputs: a few units have a gate open that
should be shut. Right backends use 0.6 of this in bfloat16 and 0.04 in float16. A cell cut to 10 is
off by 0.58 or more, an output of zeros by 1. Of gradients only finite numbers are required."""


def saturated(spec: LSTMSpec, weights: LSTMWeights, inputs: Inputs) -> tuple[LSTMWeights, Inputs]:
    """Return larger ``weights`` and ``inputs``, with as many timesteps.

    The initial cells are large, with the signs they had. The initial hidden state stays, since it
    cannot be larger than 1. So do the recurrent kernels: eight times as large they would make a
    network whose steps amplify, in which two right results diverge.
    """

    def enlarge(array: FloatArray) -> FloatArray:
        return spec.quantize(np.asarray(array, np.float64) * FACTOR)

    x = np.asarray(inputs.x, np.float64)
    steps = len(x)
    # Counted from the end, so that the last stretch, which the final cells show, is complete.
    x = x[[max(0, steps - 1 - HELD * ((steps - 1 - step) // HELD)) for step in range(steps)]]
    x = x * FACTOR
    x[..., 0] = np.copysign(LARGE_INPUT, x[..., 0])
    low, high = CELLS

    def filled(state: FloatArray) -> FloatArray:
        c = np.asarray(state, np.float64)
        size = low + (high - low) * np.abs(c) / max(np.abs(c).max(), 1e-9)
        return spec.quantize(np.copysign(size, c))

    cells = [
        replace(cell, kernel=enlarge(cell.kernel), bias=enlarge(cell.bias))
        for cell in weights.cells()
    ]
    # The output cannot be larger than 1; other states can.
    output, *others = inputs.state
    state = type(inputs.state)(output, *map(filled, others))
    return LSTMWeights.from_cells(spec, cells), replace(inputs, x=spec.quantize(x), state=state)


def saturated_errors(
    spec: LSTMSpec, ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]
) -> tuple[Errors, Errors]:
    """Compare the results of the saturated network.

    Parameters
    ----------
    spec
        The network, whose precision decides on the bounds.
    ours, theirs
        The arrays of the backend and of the reference, by names such as ``y`` and ``c``.

    Returns
    -------
    errors, bounds
        For each compared array, under the name ``saturated NAME``: the root mean square of the
        differences, relative to that of the reference, and the largest error that is allowed. In
        half precision, gradients need only be finite and are left out if they are.
    """
    found: Errors = {}
    allowed: Errors = {}
    u = spec.precision.roundoff
    for name, right in theirs.items():
        a, b = np.asarray(ours[name], np.float64), np.asarray(right, np.float64)
        fine = a.shape == b.shape and bool(np.all(np.isfinite(a)))
        kind = classify_result(name, spec.cell.states)
        if u > 2.0**-24 and kind is not ResultKind.FORWARD and fine:
            continue
        bound = largest_saturated_error(spec, name)
        scale = max(float(np.sqrt(np.mean(b * b))), SMALLEST_SCALE)
        off = float(np.sqrt(np.mean((a - b) ** 2))) / scale if fine else math.nan
        found[f"saturated {name}"], allowed[f"saturated {name}"] = off, bound
    return found, allowed


def largest_saturated_error(spec: LSTMSpec, name: str) -> float:
    """Return the largest error that is allowed of an array in the saturated network."""
    u = spec.precision.roundoff
    if u <= 2.0**-24:
        return ROUNDOFFS * u
    return CELL[u] if name == "c" else OUTPUT


def special_numbers(
    spec: LSTMSpec, weights: LSTMWeights, inputs: Inputs
) -> Iterator[tuple[str, LSTMWeights, Inputs]]:
    """Yield names, weights and inputs that random numbers never are: zeros, equal neighbours."""

    def changed(*zeros: slice) -> LSTMWeights:
        cells = []
        for cell in weights.cells():
            bias = cell.bias.copy()
            for zero in zeros:
                bias[zero] = 0
            cells.append(replace(cell, bias=bias))
        return LSTMWeights.from_cells(spec, cells)

    state = inputs.state.map(np.zeros_like)
    zero = replace(inputs, x=np.zeros_like(inputs.x), state=state)
    # Of an LSTM the forget gate, whose bias keeps the state otherwise.
    raised = (spec.cell.gate_columns(gate, spec.hidden_size) for gate in spec.cell.bias_offsets)
    yield "zeros", changed(*raised), zero
    yield "repeats", changed(slice(None)), equal_neighbours(inputs)


def equal_neighbours(inputs: Inputs) -> Inputs:
    """Return inputs whose neighbours in time are equal, with zeros for the last sequence."""
    steps = np.arange(len(inputs.x))
    x = inputs.x[steps - steps % 2]
    if x.shape[1] > 1:
        x[:, -1] = 0
    return replace(inputs, x=x)


RESET_PATTERNS = {
    "first": "at the first step",
    "last": "at the last step",
    "neighbours": "at two neighbouring steps",
    "one": "in one sequence only",
    "everywhere": "at every step",
    "never": "at no step, though the call takes resets",
}
"""Where sequences start over in the networks that show a mistake in resets, in words."""


def reset_patterns(inputs: Inputs) -> Iterator[tuple[str, Inputs]]:
    """Yield each of ``RESET_PATTERNS`` with inputs that are reset so; none for inputs without."""
    if inputs.resets is None:
        return
    timesteps, batch = inputs.resets.shape
    rows = np.arange(batch)
    last = np.full(batch, timesteps) if inputs.lengths is None else inputs.lengths
    middle = (last - 1) // 2
    for name in RESET_PATTERNS:
        resets = np.full((timesteps, batch), name == "everywhere")
        if name == "first":
            resets[0] = True
        elif name == "last":
            resets[last - 1, rows] = True
        elif name == "neighbours":
            resets[middle, rows] = True
            resets[np.minimum(middle + 1, last - 1), rows] = True
        elif name == "one":
            resets[middle[batch // 2], batch // 2] = True
        yield name, replace(inputs, resets=resets)


def not_finite(inputs: Inputs) -> tuple[Inputs, dict[float, int], int]:
    """Return inputs with NaN in a sequence and infinity in another, the row of each, and the
    feature's timestep.

    A batch of one or two sequences has NaN alone.
    """
    x = inputs.x.copy()
    batch = x.shape[1]
    rows = {math.nan: batch - 1} | ({math.inf: 0} if batch > 2 else {})
    shortest = len(x) if inputs.lengths is None else int(inputs.lengths.min())
    step = (shortest - 1) // 2
    for value, row in rows.items():
        x[step, row, -1] = value
    return replace(inputs, x=x), rows, step


ALMOST_INFINITE = 1e30
"""What a judge that takes finite numbers only is given for infinity: it shuts or opens each gate,
too."""


def reached_by_nan(spec: LSTMSpec, y: FloatArray, step: int) -> npt.NDArray[np.bool_]:
    """Return which outputs ``[T, F]`` of a sequence are NaN if its input is at one timestep.

    A direction is NaN from that step to its end. A second layer of two directions reads both.
    """
    reached = np.zeros(y.shape, bool)
    steps = np.arange(len(y))
    everywhere = spec.num_directions > 1 and spec.num_layers > 1
    reached[:, : spec.hidden_size] = (everywhere | (steps >= step))[:, None]
    reached[:, spec.hidden_size :] = (everywhere | (steps <= step))[:, None]
    return reached


TARGET = 0.1
"""Part of the weights' size that updates with SGD change. With Adam, whose updates have the size of
the learning rate, the weights are made small instead."""

SMALL, SMALL_HALF = 3.0, 12.0
"""Sizes of weights in learning rates: an update by Adam then changes a third of them, or a twelfth
in float16, which holds fewer digits of small numbers."""


def large_updates(
    spec: LSTMSpec, optimizer: str, weights: LSTMWeights, inputs: Inputs
) -> tuple[LSTMWeights, Inputs]:
    """Return weights and inputs whose update is large next to the weights and their rounding."""
    batch, timesteps = inputs.x.shape[1], len(inputs.x)
    sums = math.sqrt(batch * timesteps)

    def power(value: float) -> float:
        """Return the nearest power of two, so that each number is held as exactly as before."""
        return 2.0 ** round(math.log2(value))

    if optimizer == "sgd":
        # The gradient of a weight is a sum of that many terms of about 0.2.
        flow = TARGET / math.sqrt(spec.hidden_size) / (LEARNING_RATE * 0.2 * sums)
        return weights, replace(inputs, dy=spec.quantize(inputs.dy * power(flow)))
    half = spec.precision.compute == "float16"
    size = (SMALL_HALF if half else SMALL) * LEARNING_RATE
    small = power(size * math.sqrt(spec.hidden_size))
    x = power(1.0 / (size * math.sqrt(spec.input_size)))
    h = power(1.0 / (size * math.sqrt(spec.hidden_size)))
    # A gradient is the sum of that many products with x: it must fit into float16.
    flow = power(1024.0 / (x * sums)) if half else 1.0
    output, *others = inputs.state
    return weights.map(lambda array: spec.quantize(array * small)), replace(
        inputs,
        x=spec.quantize(inputs.x * x),
        dy=spec.quantize(inputs.dy * min(1.0, flow)),
        state=type(inputs.state)(spec.quantize(output * h), *others),
    )


SEVERAL = 8
"""Chunks of a stream that are judged as one sequence. The state is carried seven times; an LSTM of
random weights has not yet forgotten its start then."""

FULL = (1.5, 3.0)
"""Sizes of the initial cells by which an approximate backend is judged on few timesteps: a cell
that is cut to 1 is off by a third."""

NEARLY_ONE = (0.6, 0.95)
"""Sizes of the initial hidden states there: without them a gate is off by far more than int8's
rounding."""


def short_from_full_states(spec: LSTMSpec, inputs: Inputs, timesteps: int) -> Inputs:
    """Return the first timesteps without padding, from large initial states with their signs."""

    def between(array: FloatArray, low: float, high: float) -> FloatArray:
        size = 2.0 * np.abs(np.asarray(array, np.float64))  # of numbers between -0.5 and 0.5
        return spec.quantize(np.copysign(low + (high - low) * np.minimum(size, 1.0), array))

    state = inputs.state.map(lambda array: between(array, *FULL))
    state = replace(state, h=between(inputs.state.h, *NEARLY_ONE))
    first = inputs.window(slice(0, timesteps))
    return replace(first, state=state, lengths=None)


# -- networks whose sums have few terms, so that each rounding is known

DISTINCT = 4
"""Sequences that differ in these networks. The others of a batch repeat them, so that the reference
computes few, and the model computes the batch that is timed."""

EIGHTH = 0.125
"""Every number is a small multiple of it, times a power of two: each precision holds it exactly."""

PAIR, PAIR_HALF = 64.0, 4.0
"""Weight of a pair of equal products with opposite signs, and in float16. A sum that is kept in
bfloat16 loses a quarter between the two, or 1/64 in the second case: more than a right result may.
A sum that is kept in float16 loses less: TensorFlow's BlockLSTMV2 does that."""

SMALLEST_PAIRED = 16
"""Products of a sum from which on there is such a pair, with at least eight others in between."""

SHUT = -16.0
"""Bias of the output gate of the units whose products form a pair: their state is 1 at first and
zero from the first timestep on, where sigmoid(-16) is 1e-7."""


def chosen_sequences(inputs: Inputs, rows: npt.NDArray[np.intp]) -> Inputs:
    """Return the inputs of these sequences of a batch."""
    h, c = (each[:, rows] for each in (inputs.state.h, inputs.state.c))
    return Inputs(
        x=inputs.x[:, rows],
        dy=inputs.dy[:, rows],
        state=LSTMState(h, c),
        lengths=None if inputs.lengths is None else inputs.lengths[rows],
        masks=None if inputs.masks is None else inputs.masks[:, :, rows],
    )


@dataclass(frozen=True)
class SparseNetwork:
    """A network and a few sequences, for ``rounding.deviations``.

    name: with which names of its errors begin. dstate: gradient of the final state. rows: the
    sequence of a batch's each row, ``[B]``. flowing: the row of each sequence that has a gradient;
    that of its copies is zero.
    """

    name: str
    weights: LSTMWeights
    inputs: Inputs
    dstate: LSTMState
    rows: npt.NDArray[np.intp]
    flowing: npt.NDArray[np.intp]

    def batch(self, spec: LSTMSpec) -> tuple[Inputs, LSTMState]:
        """Return the inputs of the whole batch, and the gradient of its final state."""
        few, rows = self.inputs, self.rows
        alone = np.zeros(len(rows), bool)
        alone[self.flowing] = True

        def spread(state: LSTMState, kept: bool = False) -> LSTMState:
            by = alone[:, None] if kept else 1
            h, c = (spec.quantize(each[:, rows] * by) for each in (state.h, state.c))
            return LSTMState(h, c)

        inputs = replace(
            chosen_sequences(few, rows),
            dy=few.dy[:, rows] * alone[:, None].astype(few.dy.dtype),
            state=spread(few.state),
        )
        return inputs, spread(self.dstate, kept=True)

    def spread(
        self, ours: Mapping[str, FloatArray], few: Mapping[str, FloatArray]
    ) -> dict[str, FloatArray]:
        """Return these results of the few sequences as those of the whole batch."""
        found = dict(few)
        for name in ("y", "h", "c"):
            if name in few:
                found[name] = few[name][:, self.rows]
        for name in ("dx", "dh", "dc"):
            if name in few and name in ours:
                found[name] = np.zeros(np.shape(ours[name]))
                found[name][:, self.flowing] = few[name]
        return found


class _Drawing:
    """Draws numbers that each precision holds exactly."""

    def __init__(self, spec: LSTMSpec, rng: np.random.Generator) -> None:
        self.spec, self.rng = spec, rng

    def signed(self, low: float, high: float, *shape: int) -> Float64:
        """Return multiples of an eighth from low to high, of both signs."""
        steps = self.rng.integers(round(low / EIGHTH), round(high / EIGHTH), shape, endpoint=True)
        return np.asarray(steps * EIGHTH * self.rng.choice([-1.0, 1.0], shape))

    def permutations(self, low: float, high: float) -> Float64:
        """Return a kernel ``[H, 4H]`` with one weight in each row and column of a gate."""
        hidden = self.spec.hidden_size
        kernel = np.zeros((hidden, 4 * hidden))
        for gate in range(4):
            columns = gate * hidden + self.rng.permutation(hidden)
            kernel[np.arange(hidden), columns] = self.signed(low, high, hidden)
        return kernel

    def features(self, count: int) -> Float64:
        """Return a kernel ``[count, 4H]`` of zeros and ones: each gate of a unit reads as few
        features as possible, and each feature is read."""
        columns = 4 * self.spec.hidden_size
        kernel = np.zeros((count, columns))
        needed = -(-max(count, columns) // columns) * columns
        rounds = -(-needed // count)
        order = np.concatenate([self.rng.permutation(count) for _ in range(rounds)])[:needed]
        kernel[order, np.arange(needed) % columns] = 1.0
        return kernel


def _chosen_rows(inputs: Inputs, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Return the batch's rows that become sequences, the sequence of each row, and the one row of
    each sequence that has a gradient."""
    batch = inputs.x.shape[1]
    few = min(DISTINCT, batch)
    chosen = np.linspace(0, batch - 1, few).round().astype(np.intp)
    if inputs.lengths is not None:  # the shortest and the longest are among them
        chosen = np.argsort(inputs.lengths, kind="stable")[chosen]
    rows = rng.permutation(np.arange(batch) % few)
    flowing = np.array([rng.choice(np.flatnonzero(rows == each)) for each in range(few)])
    return chosen, rows, flowing


def _sparse(
    spec: LSTMSpec,
    name: str,
    cells: Sequence[LayerWeights],
    drawn: tuple[Float64, LSTMState, float],
    inputs: Inputs,
    draw: _Drawing,
) -> SparseNetwork:
    """Return the network with these cells, x, initial state and size of gradients."""
    x, state, flow = drawn
    chosen, rows, flowing = _chosen_rows(inputs, draw.rng)
    few = len(chosen)
    lengths = None if inputs.lengths is None else inputs.lengths[chosen]
    last = np.full(few, len(x) - 1) if lengths is None else lengths - 1
    # A gradient comes in at the end of each direction only. Its way back is short then, and
    # only a few terms add up to a weight's gradient.
    dy = np.zeros((len(x), few, spec.output_size))
    size = spec.hidden_size
    dy[last, np.arange(few), :size] = draw.signed(0.75, 1.0, few, size) * flow
    if spec.num_directions > 1:
        dy[0, :, size:] = draw.signed(0.75, 1.0, few, size) * flow
    quantize = spec.quantize
    dstate = (draw.signed(0.5, 1.0, *state.h.shape) * min(flow, 1.0) for _ in range(2))
    given = Inputs(
        quantize(x),
        quantize(dy),
        LSTMState(quantize(state.h), quantize(state.c)),
        lengths,
        None if inputs.masks is None else inputs.masks[:, :, chosen],
    )
    weights = LSTMWeights.from_cells(spec, cells).map(quantize)
    return SparseNetwork(name, weights, given, LSTMState(*map(quantize, dstate)), rows, flowing)


def separate_products(spec: LSTMSpec, inputs: Inputs, seed: int) -> SparseNetwork:
    """Return a network in which each product is seen alone, with half open gates.

    Each row and each column of a recurrent kernel has one weight for each gate, of 1 to 2, so that
    a row, a column or a tile that is left out changes a gate by 0.5 or more. Each gate reads one
    feature. Where there are enough products, a pair of large ones that cancel shows sums that are
    kept in a coarse type.
    """
    draw = _Drawing(spec, np.random.default_rng([seed, 2]))
    rng, hidden = draw.rng, spec.hidden_size
    timesteps, few = len(inputs.x), min(DISTINCT, inputs.x.shape[1])
    pair = PAIR_HALF if spec.precision.compute == "float16" else PAIR
    if spec.precision.roundoff < HALF:
        pair = 1.0  # the errors of a coarse type show in any product
    x = draw.signed(0.5, 1.0, timesteps, few, spec.input_size)
    shape = (spec.state_layers, few, hidden)
    h, c = draw.signed(0.5, 0.875, *shape), draw.signed(0.5, 1.25, *shape)
    features = (0, 0)
    cells = []
    for row in range(spec.state_layers):
        layer = row // spec.num_directions
        count = spec.layer_input_size(layer)
        recurrent = draw.permutations(0.5, 1.0)
        kernel = draw.features(count)
        kernel *= draw.signed(0.5, 1.0, *kernel.shape)
        bias = draw.signed(0.0, 0.5, 4 * hidden)
        if hidden >= SMALLEST_PAIRED:
            first, second = _distant_pair(hidden, rng)
            recurrent[first], recurrent[second] = pair, -pair
            h[row][:, [first, second]] = 1.0
            bias[3 * hidden + np.array([first, second])] = SHUT
            recurrent[:, 3 * hidden + np.array([first, second])] = 0.0
        if layer == 0 and count >= SMALLEST_PAIRED:
            if row == 0:
                features = _distant_pair(count, rng)
                x[..., features[1]] = x[..., features[0]]
            kernel[features[0]], kernel[features[1]] = pair, -pair
        cells.append(LayerWeights(kernel, recurrent, bias))
    return _sparse(spec, "separate", cells, (x, LSTMState(h, c), 1.0), inputs, draw)


def _distant_pair(count: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return a number from the first quarter and one from the last, but neither the very first nor
    the very last, which must be seen alone."""
    return int(rng.integers(1, count // 4)), int(rng.integers(3 * count // 4, count - 1))


LARGE, LARGE_HALF = 1024.0, 256.0
"""Size of the large inputs, and in float16, where sums of products with a gradient must stay below
65504."""

TINY, TINY_HALF = 2.0**-20, 1.0
"""Size of the small inputs, about 1e-6. In float16 there are none: its smallest normal number is
6e-5, and the weights of such an input would overflow."""

FLOW, FLOW_HALF = 512.0, 128.0
"""Size of the output's gradient: over 100, so that one that is clipped shows."""


def large_numbers(spec: LSTMSpec, inputs: Inputs, seed: int) -> SparseNetwork:
    """Return a network with gate inputs up to 12, large and small inputs, weights and gradients.

    The recurrent weights are 1.5 to 4. Of three features one is about 1e3, one about 1e-6 and one
    about 1, with weights so that each moves a gate by 2 to 8. Cells begin at 2 to 12.
    """
    draw = _Drawing(spec, np.random.default_rng([seed, 3]))
    half = spec.precision.compute == "float16"
    timesteps, few = len(inputs.x), min(DISTINCT, inputs.x.shape[1])
    large, tiny, flow = (LARGE_HALF, TINY_HALF, FLOW_HALF) if half else (LARGE, TINY, FLOW)
    scales = np.resize([large, tiny, 1.0], spec.input_size)
    x = draw.signed(0.75, 1.25, timesteps, few, spec.input_size) * scales
    shape = (spec.state_layers, few, spec.hidden_size)
    state = LSTMState(draw.signed(0.5, 0.875, *shape), draw.signed(2.0, 12.0, *shape))
    cells = []
    for row in range(spec.state_layers):
        layer = row // spec.num_directions
        kernel = draw.features(spec.layer_input_size(layer))
        kernel *= draw.signed(2.0, 6.0, *kernel.shape)
        if layer == 0:
            kernel /= scales[:, None]
        recurrent = draw.permutations(1.5, 4.0)
        bias = draw.signed(0.0, 2.0, 4 * spec.hidden_size)
        cells.append(LayerWeights(kernel, recurrent, bias))
    return _sparse(spec, "large", cells, (x, state, flow), inputs, draw)
