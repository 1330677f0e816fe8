"""Make the networks and inputs, besides random ones, on which a model is judged.

Random weights within 1/sqrt(H) and inputs of unit variance hide many mistakes. Each function here
makes a network or inputs that show some of them:

- ``saturate_network``: kernels and inputs that are eight times as large. With random ones, no cell
  grows past 3 and no gate is fully open or shut. Large ones show a cell that is clipped or an
  exponential that overflows.
- ``make_special_networks``: zeros, and inputs that are equal at neighbouring timesteps.
- ``make_network_of_separate_products`` and ``make_network_of_large_numbers``: networks whose sums
  have few terms. They show errors that long sums or small numbers hide.
- ``insert_not_finite``: NaN and infinity.
- ``enlarge_updates``: weights of which an optimizer's update changes a large part.
- ``make_reset_patterns``: sequences that start over at their ends, at neighbouring steps, in one
  sequence, everywhere and nowhere.
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
"""The factor of large weights and inputs. It is a power of two, so that no weight is rounded."""

LARGE_INPUT = 64.0
"""The absolute value of the first feature of each timestep. With it, some inputs are over 50
whatever the seed is."""

CELLS = (24.0, 32.0)
"""The smallest and the largest absolute value of the initial cell states. If one is clipped to 10,
the error is over half."""

HELD = 64
"""The number of timesteps for which an input stays the same. Open gates add at most 1 to a cell in
each timestep, so that it grows to at most 96. bfloat16 adds 1 exactly up to 256."""

ROUNDOFFS = 2.0**18
"""The relative root mean square error that is allowed in float32 and float64, in units of the
roundoff. It is large because a half open gate passes on the rounding of sums of hundreds. Right
backends use 0.02 of it."""

CELL, OUTPUT = {2.0**-16: 0.3, 2.0**-11: 0.3, 2.0**-8: 0.45}, 0.7
"""The error that is allowed in half precision, TF32 and bf16x3: for cell states, by roundoff, and
for outputs. There, a few units have a gate open that should be shut. Right backends use 0.6 of the
bounds in bfloat16 and 0.04 in float16. A cell that is clipped to 10 has an error of 0.58 or more,
and an output of zeros has an error of 1. Gradients need only be finite."""


def saturate_network(
    spec: LSTMSpec, weights: LSTMWeights, inputs: Inputs
) -> tuple[LSTMWeights, Inputs]:
    """Return weights and inputs that are so large that gates are fully open or shut.

    The number of timesteps stays the same. The initial cell states become large and keep their
    signs. The initial hidden state stays, since it cannot be larger than 1. The recurrent kernels
    stay too: if they were eight times as large, each step would amplify differences, and two right
    results would diverge.
    """

    def enlarge(array: FloatArray) -> FloatArray:
        return spec.quantize(np.asarray(array, np.float64) * FACTOR)

    x = np.asarray(inputs.x, np.float64)
    steps = len(x)
    # The stretches of equal inputs are counted from the end. So the last one, which the final cell
    # states show, is complete.
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
    # The state that is the output cannot be larger than 1, but the others can.
    output, *others = inputs.state
    state = type(inputs.state)(output, *map(filled, others))
    return LSTMWeights.from_cells(spec, cells), replace(inputs, x=spec.quantize(x), state=state)


def compare_saturated_results(
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
        forward = classify_result(name, spec.cell.states) is ResultKind.FORWARD
        if u > 2.0**-24 and not forward and fine:
            continue
        bound = find_saturated_bound(spec, name)
        scale = max(float(np.sqrt(np.mean(b * b))), SMALLEST_SCALE)
        off = float(np.sqrt(np.mean((a - b) ** 2))) / scale if fine else math.nan
        kind = name_saturated_error(name)
        found[kind], allowed[kind] = off, bound
    return found, allowed


def name_saturated_error(name: str) -> str:
    """Return the name of the error of an array of the saturated network."""
    return f"saturated {name}"


def find_saturated_bound(spec: LSTMSpec, name: str) -> float:
    """Return the largest error that an array may have in the saturated network."""
    u = spec.precision.roundoff
    if u <= 2.0**-24:
        return ROUNDOFFS * u
    return CELL[u] if name == "c" else OUTPUT


def make_special_networks(
    spec: LSTMSpec, weights: LSTMWeights, inputs: Inputs
) -> Iterator[tuple[str, LSTMWeights, Inputs]]:
    """Yield networks with special numbers, which random numbers never are.

    Yields
    ------
    name, weights, inputs
        ``zeros`` has inputs and states of zeros, and ``repeats`` has biases of zeros and inputs
        that are equal at neighbouring timesteps.
    """

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
    # In an LSTM this is the forget gate, which would keep the state with its initial bias.
    raised = (spec.cell.gate_columns(gate, spec.hidden_size) for gate in spec.cell.bias_offsets)
    yield "zeros", changed(*raised), zero
    yield "repeats", changed(slice(None)), repeat_timesteps(inputs)


def repeat_timesteps(inputs: Inputs) -> Inputs:
    """Return inputs that change only every second timestep. The last sequence is zero."""
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
"""The places at which sequences start over to show a mistake in resets, in words, by name."""


def make_reset_patterns(inputs: Inputs) -> Iterator[tuple[str, Inputs]]:
    """Yield each name of ``RESET_PATTERNS`` with inputs that start over there.

    Inputs without resets yield nothing.
    """
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


def insert_not_finite(inputs: Inputs) -> tuple[Inputs, dict[float, int], int]:
    """Put NaN into one sequence of a batch and infinity into another.

    A batch of one or two sequences gets NaN only.

    Returns
    -------
    inputs, rows, step
        The changed inputs, the row of the batch by value, and the timestep of both values.
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
"""The number that stands for infinity where a judge takes finite numbers only. Like infinity, it
opens or shuts each gate fully."""


def find_nan_outputs(spec: LSTMSpec, y: FloatArray, step: int) -> npt.NDArray[np.bool_]:
    """Return which outputs ``[T, F]`` of a sequence become NaN if its input is NaN at one timestep.

    A direction is NaN from that step to its end. In a second layer, each direction reads both
    directions of the first, so that all its outputs are NaN.
    """
    reached = np.zeros(y.shape, bool)
    steps = np.arange(len(y))
    everywhere = spec.num_directions > 1 and spec.num_layers > 1
    reached[:, : spec.hidden_size] = (everywhere | (steps >= step))[:, None]
    reached[:, spec.hidden_size :] = (everywhere | (steps <= step))[:, None]
    return reached


TARGET = 0.1
"""The fraction of a weight that an update with SGD changes. An update with Adam has the size of the
learning rate, so the weights are made small instead."""

SMALL, SMALL_HALF = 3.0, 12.0
"""The absolute value of the weights for Adam, in units of the learning rate. An update changes a
third of such a weight. In float16, which has fewer digits for small numbers, it changes a
twelfth."""


def enlarge_updates(
    spec: LSTMSpec, optimizer: str, weights: LSTMWeights, inputs: Inputs
) -> tuple[LSTMWeights, Inputs]:
    """Return weights and inputs with which an update changes a large part of the weights."""
    batch, timesteps = inputs.x.shape[1], len(inputs.x)
    sums = math.sqrt(batch * timesteps)

    def power(value: float) -> float:
        """Return the nearest power of two, by which a number can be multiplied without rounding."""
        return 2.0 ** round(math.log2(value))

    if optimizer == "sgd":
        # The gradient of a weight is a sum of batch × timesteps terms of about 0.2.
        flow = TARGET / math.sqrt(spec.hidden_size) / (LEARNING_RATE * 0.2 * sums)
        return weights, replace(inputs, dy=spec.quantize(inputs.dy * power(flow)))
    half = spec.precision.compute == "float16"
    size = (SMALL_HALF if half else SMALL) * LEARNING_RATE
    small = power(size * math.sqrt(spec.hidden_size))
    x = power(1.0 / (size * math.sqrt(spec.input_size)))
    h = power(1.0 / (size * math.sqrt(spec.hidden_size)))
    # A gradient is a sum of batch × timesteps products with x. It must fit into float16.
    flow = power(1024.0 / (x * sums)) if half else 1.0
    output, *others = inputs.state
    return weights.map(lambda array: spec.quantize(array * small)), replace(
        inputs,
        x=spec.quantize(inputs.x * x),
        dy=spec.quantize(inputs.dy * min(1.0, flow)),
        state=type(inputs.state)(spec.quantize(output * h), *others),
    )


SEVERAL = 8
"""The chunks of a stream that are judged as one sequence. The state is carried seven times, after
which an LSTM with random weights has not yet forgotten its start."""

FULL = (1.5, 3.0)
"""The smallest and the largest absolute value of the initial cell states with which an approximate
backend is judged on few timesteps. A cell that is clipped to 1 has an error of a third."""

NEARLY_ONE = (0.6, 0.95)
"""The same of the initial hidden states. If they are left out, a gate has an error far above the
rounding to int8."""


def shorten_from_full_states(spec: LSTMSpec, inputs: Inputs, timesteps: int) -> Inputs:
    """Return the first timesteps, without padding, with large initial states of the same signs."""

    def between(array: FloatArray, low: float, high: float) -> FloatArray:
        size = 2.0 * np.abs(np.asarray(array, np.float64))  # The numbers are between -0.5 and 0.5.
        return spec.quantize(np.copysign(low + (high - low) * np.minimum(size, 1.0), array))

    state = inputs.state.map(lambda array: between(array, *FULL))
    state = replace(state, h=between(inputs.state.h, *NEARLY_ONE))
    first = inputs.window(slice(0, timesteps))
    return replace(first, state=state, lengths=None)


# -- networks whose sums have so few terms that each rounding is known

DISTINCT = 4
"""The number of different sequences in these networks. The other sequences of a batch repeat them.
So the reference computes few, and the model computes a batch of the timed size."""

EIGHTH = 0.125
"""Every number in these networks is a small multiple of an eighth times a power of two, which each
precision holds exactly."""

PAIR, PAIR_HALF = 64.0, 4.0
"""The weight of a pair of equal products with opposite signs, in general and in float16. Between
the two, a sum that is kept in bfloat16 loses a quarter, or 1/64 with the second weight. That is
more than a right result may lose. A sum that is kept in float16, as in TensorFlow's BlockLSTMV2,
loses less."""

SMALLEST_PAIRED = 16
"""The number of products of a sum from which on it has such a pair. At least eight other products
lie between the two."""

SHUT = -16.0
"""The bias of the output gate of the units whose products form a pair. Their hidden state is 1 at
first, and about zero from the first timestep on, since sigmoid(-16) is 1e-7."""


def select_sequences(inputs: Inputs, rows: npt.NDArray[np.intp]) -> Inputs:
    """Return the inputs of the given sequences of a batch."""
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
    """Describe a network whose sums have few terms, and the few sequences of its batch.

    ``rounding.py`` computes its bounds.

    Attributes
    ----------
    name
        The word with which the names of its errors begin.
    weights, inputs
        The weights, and the inputs of the few sequences.
    dstate
        The gradient of the final state of the few sequences.
    rows
        The sequence that each row of the batch repeats, ``[B]``.
    flowing
        For each sequence, the row that has a gradient. Its copies have a gradient of zero.
    """

    name: str
    weights: LSTMWeights
    inputs: Inputs
    dstate: LSTMState
    rows: npt.NDArray[np.intp]
    flowing: npt.NDArray[np.intp]

    def batch(self, spec: LSTMSpec) -> tuple[Inputs, LSTMState]:
        """Return the inputs of the complete batch, and the gradient of its final state."""
        few, rows = self.inputs, self.rows
        alone = np.zeros(len(rows), bool)
        alone[self.flowing] = True

        def spread(state: LSTMState, kept: bool = False) -> LSTMState:
            by = alone[:, None] if kept else 1
            h, c = (spec.quantize(each[:, rows] * by) for each in (state.h, state.c))
            return LSTMState(h, c)

        inputs = replace(
            select_sequences(few, rows),
            dy=few.dy[:, rows] * alone[:, None].astype(few.dy.dtype),
            state=spread(few.state),
        )
        return inputs, spread(self.dstate, kept=True)

    def spread(
        self, ours: Mapping[str, FloatArray], few: Mapping[str, FloatArray]
    ) -> dict[str, FloatArray]:
        """Return the results of the complete batch, given those of the few sequences.

        ``ours`` has the results of the backend, whose shapes the gradients take.
        """
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
    """Draw numbers that each precision holds exactly."""

    def __init__(self, spec: LSTMSpec, rng: np.random.Generator) -> None:
        self.spec, self.rng = spec, rng

    def signed(self, low: float, high: float, *shape: int) -> Float64:
        """Draw multiples of an eighth with an absolute value from low to high, of both signs."""
        steps = self.rng.integers(round(low / EIGHTH), round(high / EIGHTH), shape, endpoint=True)
        return np.asarray(steps * EIGHTH * self.rng.choice([-1.0, 1.0], shape))

    def permutations(self, low: float, high: float) -> Float64:
        """Draw a kernel ``[H, 4H]`` in which each gate has one weight in each row and column."""
        hidden = self.spec.hidden_size
        kernel = np.zeros((hidden, 4 * hidden))
        for gate in range(4):
            columns = gate * hidden + self.rng.permutation(hidden)
            kernel[np.arange(hidden), columns] = self.signed(low, high, hidden)
        return kernel

    def features(self, count: int) -> Float64:
        """Draw a kernel ``[count, 4H]`` of zeros and ones that reads each feature.

        Each gate of a unit reads as few features as possible.
        """
        columns = 4 * self.spec.hidden_size
        kernel = np.zeros((count, columns))
        needed = -(-max(count, columns) // columns) * columns
        rounds = -(-needed // count)
        order = np.concatenate([self.rng.permutation(count) for _ in range(rounds)])[:needed]
        kernel[order, np.arange(needed) % columns] = 1.0
        return kernel


def _choose_rows(inputs: Inputs, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Choose the different sequences of a batch, and where they are repeated.

    Returns
    -------
    chosen, rows, flowing
        The rows of the batch that become sequences, the sequence of each row, and for each sequence
        the row that has a gradient.
    """
    batch = inputs.x.shape[1]
    few = min(DISTINCT, batch)
    chosen = np.linspace(0, batch - 1, few).round().astype(np.intp)
    if inputs.lengths is not None:  # Choose the shortest and the longest among others.
        chosen = np.argsort(inputs.lengths, kind="stable")[chosen]
    rows = rng.permutation(np.arange(batch) % few)
    flowing = np.array([rng.choice(np.flatnonzero(rows == each)) for each in range(few)])
    return chosen, rows, flowing


def _make_sparse_network(
    spec: LSTMSpec,
    name: str,
    cells: Sequence[LayerWeights],
    drawn: tuple[Float64, LSTMState, float],
    inputs: Inputs,
    draw: _Drawing,
) -> SparseNetwork:
    """Make a network of these cells. ``drawn`` is x, the state and the size of gradients."""
    x, state, flow = drawn
    chosen, rows, flowing = _choose_rows(inputs, draw.rng)
    few = len(chosen)
    lengths = None if inputs.lengths is None else inputs.lengths[chosen]
    last = np.full(few, len(x) - 1) if lengths is None else lengths - 1
    # Only the end of each direction has a gradient. Its way back is short, so a weight's gradient
    # is a sum with few terms.
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


def make_network_of_separate_products(spec: LSTMSpec, inputs: Inputs, seed: int) -> SparseNetwork:
    """Make a network in which each product has an effect of its own, with half open gates.

    Each row and each column of a recurrent kernel has one weight of 0.5 to 1 for each gate. So a
    row, a column or a tile that is left out changes a gate. Each gate reads one feature. If there
    are enough products, two large ones that cancel each other show sums that are kept in a coarse
    type.
    """
    draw = _Drawing(spec, np.random.default_rng([seed, 2]))
    rng, hidden = draw.rng, spec.hidden_size
    timesteps, few = len(inputs.x), min(DISTINCT, inputs.x.shape[1])
    pair = PAIR_HALF if spec.precision.compute == "float16" else PAIR
    if spec.precision.roundoff < HALF:
        pair = 1.0  # In full precision, any product shows the errors of a coarse type.
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
    return _make_sparse_network(spec, "separate", cells, (x, LSTMState(h, c), 1.0), inputs, draw)


def _distant_pair(count: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a number from the first quarter and one from the last quarter.

    The very first and the very last number are left out, since their products must be seen alone.
    """
    return int(rng.integers(1, count // 4)), int(rng.integers(3 * count // 4, count - 1))


LARGE, LARGE_HALF = 1024.0, 256.0
"""The size of the large inputs, in general and in float16. There, sums of products with a gradient
must stay below 65504."""

TINY, TINY_HALF = 2.0**-20, 1.0
"""The size of the small inputs, about 1e-6. Float16 has none: its smallest normal number is 6e-5,
and the weights of such an input would overflow."""

FLOW, FLOW_HALF = 512.0, 128.0
"""The size of the output's gradient, in general and in float16. It is over 100, so that a clipped
gradient shows."""


def make_network_of_large_numbers(spec: LSTMSpec, inputs: Inputs, seed: int) -> SparseNetwork:
    """Make a network of large and small inputs, weights and gradients.

    The recurrent weights are 1.5 to 4. Of each three features, one is about 1e3, one about 1e-6 and
    one about 1. Their weights are such that each feature changes a gate by 2 to 8. Cell states
    begin at 2 to 12.
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
    return _make_sparse_network(spec, "large", cells, (x, state, flow), inputs, draw)
