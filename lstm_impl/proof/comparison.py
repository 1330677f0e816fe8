"""Measure how far arrays differ, and bound how far rounding lets two right backends differ."""

import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lstm_impl.cell import DEFAULT
from lstm_impl.optimizer import BETA2, LEARNING_RATE
from lstm_impl.spec import FloatArray, LSTMSpec, round_to_bfloat16
from lstm_impl.weights import LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, Workload, select_differentiated

CONSTANT = 4.0
"""The safety factor over the random-walk model of rounding. The maximum of many random numbers is
about four standard deviations from the mean. The largest error that was seen uses 0.6 of its bound
(``docs/equivalence.md``)."""

CEILING = 0.125
"""The largest bound in any precision. Exchanging gates or dropping a bias changes outputs by more
than this, so a larger bound would let such mistakes pass."""

SMALLEST_SCALE = 0.1
"""The magnitude that outputs and gradients are taken to have at least. Only arrays in which few
elements cancel are smaller."""

ELEMENTWISE = 9
"""The number of operations in a timestep that round their result: the gates i, f, g and o, the
products f*c and i*g, their sum, its tanh, and the product with o. Each rounds by u/sqrt(3) in the
root mean square. With one timestep and one unit, they cause most of the error."""

SMALLEST_CELL = 0.25
"""The magnitude that cell states are taken to have at least. A cell state is the sum of f*c and
i*g, and each of these is about this large."""

Errors = dict[str, float]
"""An error, or a bound on it, for each array or kind of error by name."""


def compute_bounds(spec: LSTMSpec, batch: int, timesteps: int, names: list[str]) -> Errors:
    """Return the largest relative error that each array may have.

    The bounds follow from a random walk: rounding errors are independent, so they grow with the
    square root of the number of operations (``docs/equivalence.md``).
    """
    u = spec.precision.roundoff
    single = 2.0**-24
    fan_in = max(spec.input_size, spec.output_size) + spec.hidden_size + 1
    # Half precision and TF32 round each factor of a product by u, and accumulate in float32. Some
    # backends keep sums over timesteps in the compute type, so these sums count with u.
    per_step = u * math.sqrt(fan_in) if u <= single else u + single * math.sqrt(fan_in)
    # In these precisions only the factors of products are rounded coarsely.
    only_factors = spec.dtype in ("tf32", "bf32", "bf16x3")
    # Only the last timestep counts. The elementwise errors of earlier timesteps are small compared
    # with the errors of their products.
    elementwise = (single if only_factors else u) * math.sqrt(ELEMENTWISE / 3)
    forward = math.hypot(per_step * math.sqrt(timesteps), elementwise) * math.sqrt(spec.num_layers)
    sums = (single if only_factors else u) * math.sqrt(
        batch * timesteps if u <= single else timesteps
    )
    by_kind = {
        ResultKind.FORWARD: forward,
        ResultKind.FLOW: 2.0 * forward,
        ResultKind.WEIGHT: 2.0 * forward + sums,
    }
    kinds = {name: classify_result(name, spec.cell.states) for name in names}
    return {name: min(CEILING, CONSTANT * by_kind[kind]) for name, kind in kinds.items()}


class ResultKind(enum.Enum):
    """The kind of a result, on which its bound depends."""

    FORWARD = enum.auto()
    """Outputs and final states."""

    FLOW = enum.auto()
    """Gradients of the input and of the initial states."""

    WEIGHT = enum.auto()
    """Gradients of weights."""


WEIGHT_GRADIENT = re.compile(r"dlayer(0|[1-9][0-9]{0,8})\.(forward|backward)\.([a-z_]{1,40})")
"""The grammar of the names of weights' gradients: layer, direction and parameter."""


def name_gradient(array: str) -> str:
    """Return the name of the gradient of an array, such as ``dx`` for ``x``."""
    return f"d{array}"


def is_weight_gradient(name: str) -> bool:
    """Return whether a result of this name is the gradient of an array of weights."""
    return WEIGHT_GRADIENT.fullmatch(name) is not None


def classify_result(name: str, states: Sequence[str]) -> ResultKind:
    """Return the kind of a result.

    Parameters
    ----------
    name
        The name of the result, such as ``y``, ``dx`` or ``dlayer0.forward.kernel``.
    states
        The names of the cell's states. They decide, because the first letter of a name does not:
        a cell may have a state whose name begins with a d.

    Raises
    ------
    ValueError
        If a call of this cell has no result of this name.
    """
    if name in ("y", *states):
        return ResultKind.FORWARD
    if name in ("dx", *map(name_gradient, states)):
        return ResultKind.FLOW
    if is_weight_gradient(name):
        return ResultKind.WEIGHT
    raise ValueError(
        f"{name!r} names no result; expected y, dx, a state of {', '.join(states)}, its gradient, "
        "or the gradient of an array of weights such as dlayer0.forward.kernel"
    )


def keep_worst(
    errors: Errors, bounds: Errors, found: Mapping[str, float], allowed: Mapping[str, float]
) -> None:
    """Add newly found errors and their bounds to those that are known, in place.

    If both have an error of the same name, keep the one that is larger relative to its own bound.

    Parameters
    ----------
    errors, bounds
        The known errors and their bounds, which are changed in place.
    found, allowed
        The errors to add and their bounds.
    """
    for name, off in found.items():
        known = errors.get(name)
        share = replace_nan_by_infinity(off / allowed[name])
        if known is None or share > replace_nan_by_infinity(known / bounds[name]):
            errors[name], bounds[name] = off, allowed[name]


def replace_nan_by_infinity(share: float) -> float:
    """Replace NaN by infinity, so that it compares as worse than every number."""
    return math.inf if math.isnan(share) else share


def compare(ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]) -> Errors:
    """Return each array's largest difference relative to the reference's largest magnitude."""
    return {
        name: measure_error(ours[name], theirs[name], find_smallest_scale(name)) for name in theirs
    }


def find_smallest_scale(name: str) -> float:
    """Return the magnitude that an array is taken to have at least."""
    return SMALLEST_CELL if name == "c" else SMALLEST_SCALE


def measure_error(ours: npt.ArrayLike, theirs: npt.ArrayLike, smallest: float = 0.0) -> float:
    """Return max|ours - theirs| / max(max|theirs|, smallest).

    The error is infinite if our array has another shape or contains NaN or infinity.
    """
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or not np.all(np.isfinite(a)):
        return math.inf
    scale = float(np.max(np.abs(b), initial=smallest))
    deviation = float(np.max(np.abs(a - b), initial=0.0))
    if scale == 0.0:
        return 0.0 if deviation == 0.0 else math.inf
    return deviation / scale


def measure_update_error(
    spec: LSTMSpec,
    before: LSTMWeights,
    after: LSTMWeights,
    changes: Sequence[FloatArray],
    bias_offset: float = 0.0,
) -> tuple[float, float]:
    """Measure the error of an update of the weights, and return it with its bound.

    Only the array of weights whose error is the largest relative to its bound is returned.

    Parameters
    ----------
    before, after
        The weights before and after the update.
    changes
        What the optimizer's formula adds to each array, in the order of ``LSTMWeights.arrays``.
    bias_offset
        What the backend adds to the biases that it stores. A larger number rounds more coarsely.
    """
    u = 2.0**-53 if spec.precision.variable == "float64" else 2.0**-24
    worst = (0.0, 1.0)
    for old, new, change in zip(before.arrays(), after.arrays(), changes, strict=True):
        smallest = LEARNING_RATE * SMALLEST_SCALE
        moved = np.asarray(new, np.float64) - np.asarray(old, np.float64)
        found = measure_error(moved, change, smallest)
        scale = float(np.max(np.abs(change), initial=smallest))
        kept = float(np.max(np.abs(old), initial=0.0)) + (bias_offset if old.ndim == 1 else 0.0)
        share = kept / scale + 1.0 / (1.0 - BETA2)
        allowed = min(CEILING, CONSTANT * u * share)
        if not found / allowed <= worst[0] / worst[1]:
            worst = (found, allowed)
    return worst


def collect_results(
    y: FloatArray, state: LSTMState, gradients: LSTMGradients | None
) -> dict[str, FloatArray]:
    """Collect all results by name: y, h, c, dx, dh, dc, dlayer0.forward.kernel and so on."""
    arrays: dict[str, FloatArray] = {"y": y, **state.by_name()}
    if gradients is not None:
        if gradients.x is not None:
            arrays["dx"] = gradients.x
        if gradients.state is not None:
            arrays |= {
                name_gradient(name): each for name, each in gradients.state.by_name().items()
            }
        arrays |= gradients.weights.label_arrays("d")
    return arrays


def select_requested_results(
    theirs: Mapping[str, FloatArray], workload: Workload
) -> dict[str, FloatArray]:
    """Select the results of a judge that the workload's step computes too."""
    states = [name for name in theirs if name_gradient(name) in theirs]
    flow = ["dx", *map(name_gradient, states)]
    left_out = set(flow) - set(select_differentiated(workload.gradients, *flow))
    return {name: array for name, array in theirs.items() if name not in left_out}


# -- the pattern of the errors in half precision

HALF = 2.0**-11
"""The smallest unit roundoff of the types whose pattern of errors is examined. The bounds of finer
types are tight enough without that."""

WHOLE = 8.0
"""An array may be too large or too small as a whole by this many units of roundoff, which is 3% in
bfloat16. The most that we saw is 5.8, in a bias over 150 steps in float16
(``docs/equivalence.md``)."""

UNIT, GATE_COLUMN = 16.0, 40.0
"""The same limit for one unit and for one gate of one unit. ``UNIT`` is for outputs, states and
their gradients, where 10.1 was seen. ``GATE_COLUMN`` is for gradients of weights, which are sums
over steps that cancel; 27 was seen."""

SMALL_UNIT = 0.25
"""The part of the mean square of all units that a unit is taken to have at least."""

SMALLEST = 0.03
"""The root mean square that an array is taken to have at least. It corresponds to
``SMALLEST_SCALE``, which is a maximum and therefore about three times as large."""

LARGEST_GAIN = 1.0
"""The largest bound on both. An array or a unit of zeros has an error of 1."""

ENOUGH_NUMBERS = 256
"""The number of outputs and final states below which the two measures in ``COARSE`` show nothing.
"""


def measure_gains(
    spec: LSTMSpec,
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    batch: int,
    timesteps: int | None = None,
) -> tuple[Errors, Errors]:
    """Measure by how much each array and its worst unit are too large or too small.

    Parameters
    ----------
    spec
        The network. Nothing is measured in precisions finer than half precision.
    ours, theirs
        The results of the model and of the judge, by name.
    batch
        The number of sequences.
    timesteps
        The number of timesteps of the call. By default, it is the length of the outputs.

    Returns
    -------
    errors, bounds
        The errors ``whole NAME`` and ``unit NAME`` of each array, and the largest ones allowed.
    """
    found: Errors = {}
    allowed: Errors = {}
    u = spec.precision.roundoff
    if u < HALF:
        return found, allowed
    timesteps = len(theirs["y"]) if timesteps is None else timesteps
    most = compute_bounds(spec, batch, timesteps, list(theirs))
    for name, right in theirs.items():
        b = np.asarray(right, np.float64)
        a = np.asarray(ours[name], np.float64)
        if a.shape != b.shape:
            # The largest error of an array of another shape is infinite already.
            continue
        off = most[name] * float(np.max(np.abs(b), initial=find_smallest_scale(name)))
        weight = is_weight_gradient(name)
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


def round_inputs_to_bfloat16(weights: LSTMWeights, inputs: Inputs) -> tuple[LSTMWeights, Inputs]:
    """Return weights and inputs after rounding them to bfloat16."""
    state = inputs.state.map(round_to_bfloat16)
    return weights.map(round_to_bfloat16), replace(
        inputs, x=round_to_bfloat16(inputs.x), dy=round_to_bfloat16(inputs.dy), state=state
    )


COARSE: Errors = {"bfloat16's errors": 0.5, "errors next to bfloat16's": 0.8}
"""Limits on two measures that show a computation in bfloat16. The first is the part of bfloat16's
errors that is found in a result; the second is the size of all its errors relative to bfloat16's.
Bfloat16's errors are those that rounding the weights and inputs to bfloat16 causes. Right results
have -0.42 to 0.25 and at most 0.6. A computation with weights in bfloat16 has about 1 of the
first. One that keeps its states in bfloat16 has at least 0.76 of the second."""

STALE: Errors = {"updates left out": 0.5}
"""The same limit on the part of the weights' updates that is missing in a result."""


def measure_shared_errors(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    other: Mapping[str, FloatArray],
    allowed: Errors,
) -> tuple[Errors, Errors]:
    """Measure how much of another computation's errors is found in ours.

    Parameters
    ----------
    ours, theirs
        The results of the model and of the judge, by name.
    other
        The results of the other computation, such as one in bfloat16.
    allowed
        The names and the bounds of one or two measures. The first is the projection of our errors
        onto the other ones, as a part of these. The second is the size of our errors relative to
        the other ones.
    """
    along = ours_squared = other_squared = 0.0
    for name, right in theirs.items():
        b = np.asarray(right, np.float64)
        if np.shape(ours[name]) != b.shape:
            # The largest error of an array of another shape is infinite already.
            return {}, {}
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
"""How many standard deviations by rounding a result may be off. The three limits are for outputs
and states, for gradients of weights, and for gradients of inputs. The last are products of many
numbers whose errors are not independent. The most that was seen is 4.9, 4.7 and 12.3
(``docs/equivalence.md``)."""

LARGE_WEIGHTS = 24.0
"""The same limit for gradients of weights in the network of large numbers, where 9 was seen."""

SIZES, ENOUGH_ERRORS = 4.0, 64
"""How many times as large as their standard deviation all errors of an array may be together, as a
ratio of root mean squares, and how many numbers the array must have. At most 2.1 was seen."""

CELLS_SIZE, ENOUGH_CELLS = 2.0, 256
"""The same limit for cell states, and how many of them the array must have. Right results have at
most 0.9. If a float16 backend keeps its cell states in bfloat16, the ratio is 2.2 or more."""

LEAST = 1e-30
"""The bound on a result that has no rounding error, such as zero."""

LARGEST_STATE, LARGEST_CELL = 1.0, 12.0
"""The largest magnitudes of outputs and hidden states, and of an initial cell state, in these
networks."""


def limit_difference(name: str, timesteps: int) -> float:
    """Return by how much two results of these networks can differ at most.

    The limit holds whatever rounding explains.
    Outputs and hidden states are between -1 and 1. Each timestep adds at most 1 to a cell state.
    Gradients have no such limit.
    """
    largest = {"y": LARGEST_STATE, "h": LARGEST_STATE, "c": LARGEST_CELL + timesteps}
    return 2.0 * largest.get(name, math.inf)


def limit_rounding_error(kind: str, name: str, deviation: FloatArray, timesteps: int) -> FloatArray:
    """Return how far each number of an array may be off in a network whose rounding is known.

    Parameters
    ----------
    kind
        The network: ``separate`` or ``large``.
    name
        The name of the array.
    deviation
        The standard deviation of each number by rounding.
    timesteps
        The number of timesteps of the call.
    """
    factor = {
        ResultKind.FORWARD: FORWARD,
        ResultKind.FLOW: FLOW,
        ResultKind.WEIGHT: LARGE_WEIGHTS if kind == "large" else WEIGHTS,
    }[classify_result(name, DEFAULT.states)]
    explained = factor * deviation + LEAST
    return np.asarray(np.minimum(explained, limit_difference(name, timesteps)))


def measure_sparse_errors(
    kind: str,
    theirs: Mapping[str, FloatArray],
    rounding: Mapping[str, FloatArray],
    ours: Mapping[str, FloatArray],
    timesteps: int | None = None,
) -> tuple[Errors, Errors]:
    """Measure the worst error of each array relative to what rounding explains.

    Parameters
    ----------
    kind
        The kind of the errors: ``separate`` or ``large``.
    theirs, ours
        The results of the judge and of the model, by name.
    rounding
        The standard deviation of each number by rounding, by the same names.
    timesteps
        The number of timesteps of the call. By default, it is the length of the outputs.

    Returns
    -------
    errors, bounds
        The error of the number in each array that exceeds its bound most, and that bound. In the
        network of separate products, also the size of all errors of an array.
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
        most = limit_rounding_error(kind, name, deviation, timesteps)
        worst = np.unravel_index(np.argmax(off / most), off.shape)
        found[label] = float(off[worst])
        allowed[label] = float(most[worst])
        is_flow = classify_result(name, DEFAULT.states) is ResultKind.FLOW
        if kind == "separate" and not is_flow and off.size >= ENOUGH_ERRORS:
            size = math.sqrt(float(np.mean(deviation**2))) + LEAST
            found[name_error("sizes", name)] = math.sqrt(float(np.mean(off**2))) / size
            cells = name == "c" and off.size >= ENOUGH_CELLS
            allowed[name_error("sizes", name)] = CELLS_SIZE if cells else SIZES
    return found, allowed


def compare_not_finite(
    ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray], infinite: bool
) -> Errors:
    """Compare one sequence whose input has NaN or infinity, and return the error of each array.

    Only numbers that are finite in the reference are compared. The error is infinite if a number is
    finite where the reference's is not. If the input has infinity, our number may be NaN where the
    reference's is finite, because a kernel that fills up its tiles multiplies infinity by zero.

    Parameters
    ----------
    ours, theirs
        The results of the model and of the judge, by name.
    infinite
        Whether the input has infinity instead of NaN.
    """
    found: Errors = {}
    for name, right in theirs.items():
        mine, number = np.asarray(ours[name]), np.isfinite(right)
        found[name] = math.inf
        if mine.shape != right.shape or np.any(np.isfinite(mine) & ~number):
            continue
        if infinite:
            number &= ~np.isnan(mine)
        found[name] = measure_error(mine[number], right[number], find_smallest_scale(name))
    return found


def name_error(kind: str, array: str) -> str:
    """Return the name of an error of this kind in an array, such as ``rms y``.

    ``kinds.find_kind`` is the inverse.
    """
    return f"{kind} {array}"


def name_errors(kind: str, found: Errors, allowed: Errors) -> tuple[Errors, Errors]:
    """Rename errors and bounds of arrays to the names of errors of this kind."""
    pair = ({name_error(kind, array): of[array] for array in found} for of in (found, allowed))
    return next(pair), next(pair)


# -- backends that approximate the reference on purpose

RMS = "rms"
"""The kind of such an error: the root mean square of an array's difference, relative to the array.
"""

OUTPUT_ERROR = name_error(RMS, "y")
"""The error of the outputs, which reports show for an approximate backend."""

LARGEST_ERROR = 0.1
"""The largest error of an approximate backend. Quantisation to int8 costs up to 3%. An
approximation that costs more than this limit computes another network."""

EMULATIONS = 3.0
"""How many times as large as the error of an emulation a backend's error may be. The emulation
rounds each array of weights and the input to int8 with one scale. The most that was seen is 1.53,
whereas int4 weights cause 7 and more."""

LARGEST_EMULATED = EMULATIONS * LARGEST_ERROR
"""The largest bound that an emulation can give. A backend with a larger error computes another
network, even if the emulation's error is large too."""

SHORT = 2
"""The number of timesteps after which the initial state still decides most of the result."""

SMALLEST_EMULATED = 0.002
"""The error that the emulation is taken to have at least. With one unit or one feature, it may be
zero."""


def measure_approximate_errors(
    ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]
) -> tuple[Errors, Errors]:
    """Return each array's root mean square difference relative to the array, and its bound."""
    found = _measure_relative_differences(ours, theirs)
    return name_errors(RMS, found, dict.fromkeys(found, LARGEST_ERROR))


def _measure_relative_differences(
    ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]
) -> Errors:
    """Return the root mean square of each array's difference relative to the array, by array."""
    found = {}
    for name, right in theirs.items():
        size = float(np.sqrt(np.mean(np.square(right, dtype=np.float64)))) or 1.0
        difference = np.asarray(ours.get(name, math.inf), np.float64) - right
        found[name] = float(np.sqrt(np.mean(difference**2))) / size
    return found


def measure_emulated_errors(
    kind: str,
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    emulated: Mapping[str, FloatArray],
) -> tuple[Errors, Errors]:
    """Compute ``measure_approximate_errors`` with bounds that an emulation's errors give."""
    allowed = {
        name: min(LARGEST_EMULATED, EMULATIONS * max(each, SMALLEST_EMULATED))
        for name, each in _measure_relative_differences(emulated, theirs).items()
    }
    return name_errors(kind, _measure_relative_differences(ours, theirs), allowed)


def round_to_int8(weights: LSTMWeights, inputs: Inputs) -> tuple[LSTMWeights, Inputs]:
    """Return weights and inputs after rounding each array to int8 with one scale."""

    def round_array(array: FloatArray) -> FloatArray:
        scale = float(np.max(np.abs(array), initial=0.0)) / 127.0 or 1.0
        return np.asarray(np.round(np.asarray(array, np.float64) / scale) * scale)

    cells = [
        replace(
            cell,
            kernel=round_array(cell.kernel),
            recurrent_kernel=round_array(cell.recurrent_kernel),
        )
        for layer in weights.layers
        for cell in layer
    ]
    arrays = [array for cell in cells for array in cell]
    made = iter(arrays)
    state = replace(inputs.state, h=round_array(inputs.state.h))
    return weights.map(lambda _: next(made)), replace(inputs, x=round_array(inputs.x), state=state)
