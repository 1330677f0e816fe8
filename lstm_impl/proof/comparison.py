"""Compute how far arrays differ and how far they may: two right backends differ by rounding."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lstm_impl.optimizer import BETA2, LEARNING_RATE
from lstm_impl.spec import FloatArray, LSTMSpec, round_to_bfloat16
from lstm_impl.weights import LayerWeights, LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, Workload, differentiated

CONSTANT = 4.0
"""Safety over the random-walk model: a maximum over many elements lies about four standard
deviations out. At most 0.6 of a bound was seen used (``docs/equivalence.md``)."""

CEILING = 0.125
"""The largest bound of any precision: mixing up gates or dropping a bias moves outputs by more than
this, so a larger bound would certify nothing."""

SMALLEST_SCALE = 0.1
"""Outputs and gradients are at least about this large, except where few elements cancel."""

ELEMENTWISE = 9
"""Operations of a step that each round, by u/sqrt(3) in the root mean square: the gates i, f, g and
o, f*c, i*g, their sum, its tanh and the product with o. With one timestep and one unit they are
most of the error."""

SMALLEST_CELL = 0.25
"""The same for cells, each the sum of two terms of about this size, f*c and i*g."""

Errors = dict[str, float]


def bounds(spec: LSTMSpec, batch: int, timesteps: int, names: list[str]) -> Errors:
    """Return the largest relative error that each array may have."""
    u = spec.precision.roundoff
    single = 2.0**-24
    fan_in = max(spec.input_size, spec.output_size) + spec.hidden_size + 1
    # Half and TF32 round each factor once (u) and accumulate in float32; but sums over time are
    # kept in the compute type by some backends, so those count with u.
    per_step = u * math.sqrt(fan_in) if u <= single else u + single * math.sqrt(fan_in)
    only_factors = spec.dtype in ("tf32", "bf32")  # are rounded so
    # Of the last step alone: those of earlier steps are small next to the products' errors.
    elementwise = (single if only_factors else u) * math.sqrt(ELEMENTWISE / 3)
    forward = math.hypot(per_step * math.sqrt(timesteps), elementwise) * math.sqrt(spec.num_layers)
    sums = (single if only_factors else u) * math.sqrt(
        batch * timesteps if u <= single else timesteps
    )
    by_kind = {"forward": forward, "flow": 2.0 * forward, "weight": 2.0 * forward + sums}
    return {name: min(CEILING, CONSTANT * by_kind[array_kind(name)]) for name in names}


def array_kind(name: str) -> str:
    """Return the kind of an array, on which its bound depends.

    name: such as ``y``, ``dx`` or ``dlayer0.forward.kernel``. The kind is ``forward`` for outputs
    and states, ``flow`` for gradients of the input and the states, and ``weight`` for gradients of
    weights.
    """
    if "." in name:  # such as dlayer0.forward.kernel
        return "weight"
    return "flow" if name.startswith("d") else "forward"


def keep(
    errors: Errors, bounds: Errors, found: Mapping[str, float], allowed: Mapping[str, float]
) -> None:
    """Add newly found errors and their bounds to those that are known.

    Of two errors of one name, keep the error that is larger relative to its own bound.
    errors, bounds: what is known, changed in place. found, allowed: what is added.
    """
    for name, off in found.items():
        known = errors.get(name)
        share = nan_as_infinity(off / allowed[name])
        if known is None or share > nan_as_infinity(known / bounds[name]):
            errors[name], bounds[name] = off, allowed[name]


def nan_as_infinity(share: float) -> float:
    """Return the share, infinite for NaN, which is worse than any."""
    return math.inf if math.isnan(share) else share


def compare(ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]) -> Errors:
    """Return each array's largest deviation over the reference's largest magnitude."""
    return {name: error(ours[name], theirs[name], smallest_scale(name)) for name in theirs}


def smallest_scale(name: str) -> float:
    """Return the largest magnitude that an array is taken to have at least."""
    return SMALLEST_CELL if name == "c" else SMALLEST_SCALE


def error(ours: npt.ArrayLike, theirs: npt.ArrayLike, smallest: float = 0.0) -> float:
    """Return max|ours - theirs| / max(max|theirs|, smallest); infinite for NaN or another shape."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or not np.all(np.isfinite(a)):
        return math.inf
    scale = float(np.max(np.abs(b), initial=smallest))
    deviation = float(np.max(np.abs(a - b), initial=0.0))
    if scale == 0.0:
        return 0.0 if deviation == 0.0 else math.inf
    return deviation / scale


def update_error(
    spec: LSTMSpec,
    before: LSTMWeights,
    after: LSTMWeights,
    changes: Sequence[FloatArray],
    bias_offset: float = 0.0,
) -> tuple[float, float]:
    """Return the error of an update of the weights, and its bound.

    Both are those of the array of weights whose error is the largest relative to its bound.
    before, after: the weights before and after the update. changes: what the optimizer's formula
    adds to each array, in the order of ``LSTMWeights.arrays``. bias_offset: what the backend adds
    to the biases it keeps, which makes their rounding coarser.
    """
    u = 2.0**-53 if spec.precision.variable == "float64" else 2.0**-24
    worst = (0.0, 1.0)
    for old, new, change in zip(before.arrays(), after.arrays(), changes, strict=True):
        smallest = LEARNING_RATE * SMALLEST_SCALE
        moved = np.asarray(new, np.float64) - np.asarray(old, np.float64)
        found = error(moved, change, smallest)
        scale = float(np.max(np.abs(change), initial=smallest))
        kept = float(np.max(np.abs(old), initial=0.0)) + (bias_offset if old.ndim == 1 else 0.0)
        share = kept / scale + 1.0 / (1.0 - BETA2)
        allowed = min(CEILING, CONSTANT * u * share)
        if not found / allowed <= worst[0] / worst[1]:
            worst = (found, allowed)
    return worst


def results_by_name(
    y: FloatArray, state: LSTMState, gradients: LSTMGradients | None
) -> dict[str, FloatArray]:
    """Return all results by name: y, h, c, dx, dh, dc, dlayer0.forward.kernel and so on."""
    arrays: dict[str, FloatArray] = {"y": y, **state.by_name()}
    if gradients is not None:
        if gradients.x is not None:
            arrays["dx"] = gradients.x
        if gradients.state is not None:
            arrays |= {f"d{name}": each for name, each in gradients.state.by_name().items()}
        arrays |= gradients.weights.named("d")
    return arrays


def requested_results(
    theirs: Mapping[str, FloatArray], workload: Workload
) -> dict[str, FloatArray]:
    """Return those of a judge's results that the workload's step computes too."""
    flow = ["dx", *(name for name in theirs if array_kind(name) == "flow" and name != "dx")]
    left_out = set(flow) - set(differentiated(workload.gradients, *flow))
    return {name: array for name, array in theirs.items() if name not in left_out}


# -- what the errors of half precision look like

HALF = 2.0**-11
"""Types of at least this unit roundoff are looked at; the bounds of others are tight enough."""

WHOLE = 8.0
"""By how many units of roundoff an array may be too large or too small overall: 3% in bfloat16. At
most 5.8 was seen, of a bias over 150 steps in float16 (``docs/equivalence.md``)."""

UNIT, GATE_COLUMN = 16.0, 40.0
"""The same for one unit of outputs, states and what flows back (10.1 was seen), and for one gate of
one unit in a weight's gradient (27 was seen), a sum over steps that cancel."""

SMALL_UNIT = 0.25
"""A unit with less than this part of the mean square of all is taken as one that has it."""

SMALLEST = 0.03
"""Root mean square of an array under which it is taken as one that has it; as ``SMALLEST_SCALE``
of the maximum, which is some three times as large."""

LARGEST_GAIN = 1.0
"""The largest bound of both: an array or a unit of zeros is off by 1."""

ENOUGH_NUMBERS = 256
"""Numbers in the outputs and final states below which these two show nothing."""


def gains(
    spec: LSTMSpec,
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    batch: int,
    timesteps: int | None = None,
) -> tuple[Errors, Errors]:
    """Return by how much each array and its worst unit are too large or too small, and may be.

    timesteps: of the call; by default those of the outputs.
    """
    found: Errors = {}
    allowed: Errors = {}
    u = spec.precision.roundoff
    if u < HALF:
        return found, allowed
    timesteps = len(theirs["y"]) if timesteps is None else timesteps
    most = bounds(spec, batch, timesteps, list(theirs))
    for name, right in theirs.items():
        b = np.asarray(right, np.float64)
        a = np.asarray(ours[name], np.float64)
        if a.shape != b.shape:
            continue  # the largest error is infinite then
        off = most[name] * float(np.max(np.abs(b), initial=smallest_scale(name)))
        weight = array_kind(name) == "weight"
        mean = max(float(np.mean(b * b)), SMALLEST**2)
        found[name_error("whole", name)] = abs(float(np.mean((a - b) * b))) / mean
        few = off / math.sqrt(mean * b.size)
        allowed[name_error("whole", name)] = min(LARGEST_GAIN, max(WHOLE * u, few))
        axes = tuple(range(b.ndim - 1))
        of_unit = np.maximum(np.mean(b * b, axis=axes), SMALL_UNIT * mean)
        gain = np.abs(np.mean((a - b) * b, axis=axes)) / of_unit
        largest = (GATE_COLUMN if weight else UNIT) * u
        of_few = off / np.sqrt(of_unit * (b.size // b.shape[-1]))
        most_gain = np.minimum(LARGEST_GAIN, np.maximum(largest, of_few))
        worst = int(np.argmax(gain / most_gain))
        found[name_error("unit", name)] = float(gain[worst])
        allowed[name_error("unit", name)] = float(most_gain[worst])
    return found, allowed


def rounded(weights: LSTMWeights, inputs: Inputs) -> tuple[LSTMWeights, Inputs]:
    """Return weights and inputs as bfloat16 holds them."""
    state = inputs.state.map(round_to_bfloat16)
    return weights.map(round_to_bfloat16), replace(
        inputs, x=round_to_bfloat16(inputs.x), dy=round_to_bfloat16(inputs.dy), state=state
    )


COARSE: Errors = {"bfloat16's errors": 0.5, "errors next to bfloat16's": 0.8}
"""Part of the coarser type's error that may be found in a result, and how large all its errors may
be next to those that rounding the weights and inputs to the coarser type makes. Right results have
-0.42 to 0.25 and at most 0.6; a computation whose weights are bfloat16 has all of it, and one whose
states are kept in bfloat16 makes 0.76 and more."""

STALE: Errors = {"updates left out": 0.5}
"""The same of what updates of the weights change."""


def shared_errors(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    other: Mapping[str, FloatArray],
    allowed: Errors,
) -> tuple[Errors, Errors]:
    """Return how much of another computation's errors is found in ours, by the first name allowed,
    and how large ours are next to them, by the second; and what is allowed."""
    along = ours_squared = other_squared = 0.0
    for name, right in theirs.items():
        b = np.asarray(right, np.float64)
        if np.shape(ours[name]) != b.shape:
            return {}, {}  # the largest error is infinite then
        scale = max(float(np.mean(b * b)), SMALLEST**2)
        error = np.asarray(ours[name], np.float64) - b
        off = np.asarray(other[name], np.float64) - b
        along += float(np.mean(error * off)) / scale
        ours_squared += float(np.mean(error * error)) / scale
        other_squared += float(np.mean(off * off)) / scale
    found = along / other_squared, float(np.sqrt(ours_squared / other_squared))
    return dict(zip(allowed, found, strict=False)), allowed


# -- networks whose rounding errors are known

FORWARD, WEIGHTS, FLOW = 10.0, 10.0, 32.0
"""Standard deviations by rounding that a result may be off: outputs and states, gradients of
weights, and gradients of inputs, which are products of many numbers whose errors depend on one
another. At most 4.9, 4.7 and 12.3 were seen (``docs/equivalence.md``)."""

LARGE_WEIGHTS = 24.0
"""The same for gradients of weights in the network of large numbers; 9 was seen."""

SIZES, ENOUGH_ERRORS = 4.0, 64
"""How large all errors of an array may be next to their standard deviations, root mean squares, and
of how many numbers. At most 2.1 was seen."""

CELLS_SIZE, ENOUGH_CELLS = 2.0, 256
"""The same for cells, where an array has at least this number of them. Right results make at most
0.9 there, and cells that a backend with float16 keeps in bfloat16 make 2.2 and more."""

LEAST = 1e-30
"""Bound of a result that has no rounding error, such as zero."""

LARGEST_STATE, LARGEST_CELL = 1.0, 12.0
"""The largest magnitude of outputs and hidden states, and of an initial cell in these networks."""


def largest_difference(name: str, timesteps: int) -> float:
    """Return by how much two results of these networks can differ, whatever rounding explains.

    Outputs and hidden states are within -1 and 1. A timestep adds at most 1 to a cell. Gradients
    have no such limit.
    """
    largest = {"y": LARGEST_STATE, "h": LARGEST_STATE, "c": LARGEST_CELL + timesteps}
    return 2.0 * largest.get(name, math.inf)


def largest_by_rounding(kind: str, name: str, deviation: FloatArray, timesteps: int) -> FloatArray:
    """Return how far each number of an array may be off in a network whose rounding is known.

    kind: the network, ``separate`` or ``large``. deviation: standard deviations by rounding.
    """
    weights = LARGE_WEIGHTS if kind == "large" else WEIGHTS
    factor = {"forward": FORWARD, "flow": FLOW, "weight": weights}[array_kind(name)]
    explained = factor * deviation + LEAST
    return np.asarray(np.minimum(explained, largest_difference(name, timesteps)))


def sparse_errors(
    kind: str,
    theirs: Mapping[str, FloatArray],
    rounding: Mapping[str, FloatArray],
    ours: Mapping[str, FloatArray],
    timesteps: int | None = None,
) -> tuple[Errors, Errors]:
    """Return the error of each array's worst number and what rounding explains of it.

    kind: of the errors, ``separate`` or ``large``. rounding: standard deviations.
    timesteps: of the call; by default those of the outputs.
    """
    timesteps = len(theirs["y"]) if timesteps is None else timesteps
    found: Errors = {}
    allowed: Errors = {}
    for name, right in theirs.items():
        label = name_error(kind, name)
        a, deviation = np.asarray(ours[name], np.float64), rounding[name]
        if a.shape != np.shape(right) or not np.all(np.isfinite(a)):
            found[label], allowed[label] = math.inf, LEAST
            continue
        off = np.abs(a - right)
        most = largest_by_rounding(kind, name, deviation, timesteps)
        worst = np.unravel_index(np.argmax(off / most), off.shape)
        found[label] = float(off[worst])
        allowed[label] = float(most[worst])
        if kind == "separate" and array_kind(name) != "flow" and off.size >= ENOUGH_ERRORS:
            size = math.sqrt(float(np.mean(deviation**2))) + LEAST
            found[name_error("sizes", name)] = math.sqrt(float(np.mean(off**2))) / size
            cells = name == "c" and off.size >= ENOUGH_CELLS
            allowed[name_error("sizes", name)] = CELLS_SIZE if cells else SIZES
    return found, allowed


def compare_not_finite(
    ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray], infinite: bool
) -> Errors:
    """Return what ``compare`` does of the finite numbers of one sequence.

    It is infinite if a number is finite where theirs is NaN. infinite: whether the input is, and
    not NaN. Then NaN may stand for a finite number too: a kernel that fills up its tiles multiplies
    infinity by zero.
    """
    found: Errors = {}
    for name, right in theirs.items():
        mine, number = np.asarray(ours[name]), np.isfinite(right)
        found[name] = math.inf
        if mine.shape != right.shape or np.any(np.isfinite(mine) & ~number):
            continue
        if infinite:
            number &= ~np.isnan(mine)
        found[name] = error(mine[number], right[number], smallest_scale(name))
    return found


def name_error(kind: str, array: str) -> str:
    """Return the name of an error of this kind in an array, such as ``rms y``.

    ``kinds.find_kind`` returns the kind and the array of a name.
    """
    return f"{kind} {array}"


def named_errors(kind: str, found: Errors, allowed: Errors) -> tuple[Errors, Errors]:
    """Return errors of arrays and their bounds under the names of errors of this kind."""
    pair = ({name_error(kind, array): of[array] for array in found} for of in (found, allowed))
    return next(pair), next(pair)


# -- backends that are near the reference on purpose

RMS = "rms"
"""The kind of such an error: the root mean square of an array's difference over its own."""

OUTPUT_ERROR = name_error(RMS, "y")
"""The error of the outputs, which reports show of an approximate backend."""

LARGEST_ERROR = 0.1
"""Quantisation to int8 costs up to 3%, and an approximation that costs more than this is another
network."""

EMULATIONS = 3.0
"""How large an error may be next to that of an emulation, which rounds each weight array and the
input to int8 with one scale. At most 1.53 was seen, and weights of int4 make 7 and more."""

LARGEST_EMULATED = EMULATIONS * LARGEST_ERROR
"""The largest bound that an emulation gives: one with a larger error is another network too."""

SHORT = 2
"""Timesteps after which the initial state still makes most of the result."""

SMALLEST_EMULATED = 0.002
"""The emulation's error is taken as this at least: with one unit or feature it may be zero."""


def approximate_errors(
    ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]
) -> tuple[Errors, Errors]:
    """Return the root mean square of each array's difference over its own, and the bound."""
    found = _relative_differences(ours, theirs)
    return named_errors(RMS, found, dict.fromkeys(found, LARGEST_ERROR))


def _relative_differences(
    ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]
) -> Errors:
    """Return the root mean square of each array's difference over its own, by array."""
    found = {}
    for name, right in theirs.items():
        size = float(np.sqrt(np.mean(np.square(right, dtype=np.float64)))) or 1.0
        difference = np.asarray(ours.get(name, math.inf), np.float64) - right
        found[name] = float(np.sqrt(np.mean(difference**2))) / size
    return found


def emulated_errors(
    kind: str,
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    emulated: Mapping[str, FloatArray],
) -> tuple[Errors, Errors]:
    """Return what ``approximate_errors`` does, with the bound that an emulation's errors give."""
    allowed = {
        name: min(LARGEST_EMULATED, EMULATIONS * max(each, SMALLEST_EMULATED))
        for name, each in _relative_differences(emulated, theirs).items()
    }
    return named_errors(kind, _relative_differences(ours, theirs), allowed)


def rounded_to_int8(weights: LSTMWeights, inputs: Inputs) -> tuple[LSTMWeights, Inputs]:
    """Return weights and inputs as int8 holds them, with one scale for an array."""

    def rounded(array: FloatArray) -> FloatArray:
        scale = float(np.max(np.abs(array), initial=0.0)) / 127.0 or 1.0
        return np.asarray(np.round(np.asarray(array, np.float64) / scale) * scale)

    cells = [
        LayerWeights(rounded(cell.kernel), rounded(cell.recurrent_kernel), cell.bias)
        for layer in weights.layers
        for cell in layer
    ]
    arrays = [array for cell in cells for array in cell]
    made = iter(arrays)
    state = replace(inputs.state, h=rounded(inputs.state.h))
    return weights.map(lambda _: next(made)), replace(inputs, x=rounded(inputs.x), state=state)
