"""List every kind of error that the gate reports, with its names, its largest bound and a sentence.

The gate takes the sentence for a failed comparison from this table. The check of shared result
files takes the names and the largest bounds from it. A comparison that is added to the gate
therefore needs an entry here. From then on, its results can be shared.

A bound in a file may be smaller than the largest one here, because the gate derives its bounds from
the compared arrays, whereas this table knows only the case.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import lstm_impl.proof.comparison as comparison
from lstm_impl.proof.networks import RESET_PATTERNS, SEVERAL, find_saturated_bound
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

FORWARD = ("y", "h", "c")
"""Results of every step: the outputs, the final hidden states and the final cell states."""

FLOW = ("dx", "dh", "dc")
"""Gradients of the input and of the initial states."""

RESULTS, WEIGHTS = (*FORWARD, *FLOW), "weights"
"""``WEIGHTS`` stands for the gradients of all weights, which are named ``dlayer0.forward.kernel``.
"""


@dataclass(frozen=True)
class JudgedCase:
    """Hold everything on which the bounds of a case's errors depend.

    ``approximate`` says that the backend computes another function on purpose, as int8 does.
    """

    spec: LSTMSpec
    workload: Workload
    approximate: bool = False

    def has_array(self, array: str) -> bool:
        """Return whether the gate may compare an array of this name, such as ``y`` or ``dx``."""
        states = self.spec.cell.states
        if array in ("y", *states):
            return True
        is_flow = array in ("dx", *map(comparison.name_gradient, states))
        return self.workload.training and (is_flow or self._has_weight(array))

    def _has_weight(self, array: str) -> bool:
        found = comparison.WEIGHT_GRADIENT.fullmatch(array)
        if found is None or (found[2] == "backward" and not self.spec.bidirectional):
            return False
        layer = int(found[1])
        return layer < self.spec.num_layers and found[3] in self.spec.parameter_shapes(layer)

    def find_row_size(self, array: str) -> int:
        """Return the length of an array's last axis."""
        sizes = {"y": self.spec.output_size, "dx": self.spec.input_size}
        if array in RESULTS:
            return sizes.get(array, self.spec.hidden_size)
        return self.spec.gate_columns

    def find_rounding_bound(self, array: str) -> float:
        """Return the bound of the random-walk model for the entire sequence.

        The bound grows with the timesteps and with the sequences. So the bounds of a window, and of
        the small workload on which all gradients are judged, are smaller.
        """
        workload = self.workload
        return comparison.compute_bounds(self.spec, workload.batch, workload.timesteps, [array])[
            array
        ]

    def join_chunks(self) -> JudgedCase:
        """Return the case in which several chunks of a stream are judged as one sequence."""
        timesteps = SEVERAL * self.workload.timesteps
        return replace(self, workload=replace(self.workload, timesteps=timesteps))


def _is_half(case: JudgedCase) -> bool:
    return case.spec.precision.roundoff >= comparison.HALF


def _could_be_bfloat16(case: JudgedCase) -> bool:
    return case.spec.precision.roundoff == comparison.HALF


def _has_updates(case: JudgedCase) -> bool:
    return case.workload.training and case.workload.optimizer is not None


def _is_stream(case: JudgedCase) -> bool:
    return case.workload.streaming


def _has_resets(case: JudgedCase) -> bool:
    return case.workload.reset_rate > 0


def _always(_: JudgedCase) -> bool:
    return True


def _find_rounding_bound(case: JudgedCase, array: str) -> float:
    return case.find_rounding_bound(array)


def _make_constant_bound(value: float) -> Callable[[JudgedCase, str], float]:
    return lambda case, array: value


def _limit_gain(case: JudgedCase, array: str, units: float, few: float) -> float:
    """Return the largest bound that ``measure_gains`` gives an array or one of its units.

    Parameters
    ----------
    case, array
        The case and the name of the array.
    units
        The bound in units of roundoff.
    few
        How many times as large as the bound on a number the bound may be where few numbers are
        averaged.
    """
    most = max(units * case.spec.precision.roundoff, few * case.find_rounding_bound(array))
    return min(comparison.LARGEST_GAIN, most)


def _limit_quotient(array: str) -> float:
    """Return an array's smallest magnitude divided by its smallest root mean square."""
    return comparison.find_smallest_scale(array) / comparison.SMALLEST


def _limit_whole(case: JudgedCase, array: str) -> float:
    # The largest of n magnitudes is at most sqrt(n) times their root mean square.
    few = max(1.0, _limit_quotient(array) / math.sqrt(case.find_row_size(array)))
    return _limit_gain(case, array, comparison.WHOLE, few)


def _limit_unit(case: JudgedCase, array: str) -> float:
    units = comparison.UNIT if array in RESULTS else comparison.GATE_COLUMN
    few = max(math.sqrt(case.find_row_size(array)), _limit_quotient(array))
    return _limit_gain(case, array, units, few / math.sqrt(comparison.SMALL_UNIT))


SEPARATE_FINE = {"y": 512.0, "h": 512.0, "c": 1024.0, "dc": 2048.0, "dx": 65536.0, "dh": 65536.0}
"""The largest bounds for separate products in float32 and float64, in units of roundoff.
``rounding.py`` was run on 20 networks of 1 to 300 features, 1 to 128 units and 1 to 6 layers, over
1 to 200 timesteps. It found at most 130 for y and h, 170 for c, 360 for dc, and 6,900 for dx and
dh."""

SEPARATE_HALF = {"y": 64.0, "h": 64.0, "c": 100.0, "dc": 1024.0, "dx": 131072.0, "dh": 131072.0}
"""The same for the other precisions, where it found at most 15, 25, 180 and 22,000. The pair of
large products passes the rounding of half precision on to dx and dh."""

SEPARATE_WEIGHT = 4096.0
"""The same for gradients of weights in any precision, where it found at most 890."""


def _limit_separate(case: JudgedCase, array: str) -> float:
    table = SEPARATE_HALF if _is_half(case) else SEPARATE_FINE
    units = table.get(array, SEPARATE_WEIGHT)
    # A gate reads one feature, or more if there are more features than gates in all units.
    features = max(1.0, case.spec.input_size / case.spec.gate_columns)
    bound = units * features * case.spec.precision.roundoff + comparison.LEAST
    return min(bound, comparison.limit_difference(array, case.workload.timesteps))


def _limit_large(case: JudgedCase, array: str) -> float:
    """Return the largest bound for the network of large numbers.

    The recurrent weights of this network can amplify errors from step to step and from layer to
    layer, so the bound on a gradient can be any number.
    """
    return comparison.limit_difference(array, case.workload.timesteps)


def _limit_size(case: JudgedCase, array: str) -> float:
    # This counts the cell states of one sequence.
    cells = case.spec.state_layers * case.spec.hidden_size
    enough = array == "c" and cells >= comparison.ENOUGH_CELLS
    return comparison.CELLS_SIZE if enough else comparison.SIZES


@dataclass(frozen=True)
class ErrorKind:
    """Describe a kind of error.

    Attributes
    ----------
    name
        The word with which the names of its errors begin, or the entire name if it has no arrays.
    arrays
        The arrays whose names follow. ``WEIGHTS`` stands for the gradients of all weights.
    largest
        A function that returns the largest bound for a case and an array.
    complaint
        The sentence for an error that exceeds its bound.
    happens
        A predicate that tells whether a case can have such errors.
    approximate
        Whether only approximate backends have such errors. Exact backends have only the others.
    least
        The smallest error that a right result can have, in multiples of its bound.
    """

    name: str
    arrays: tuple[str, ...]
    largest: Callable[[JudgedCase, str], float]
    complaint: str
    happens: Callable[[JudgedCase], bool] = field(default=_always)
    approximate: bool = False
    least: float = 0.0


OFF = "differs from the {judge} by {found:.2e} of its largest value, {allowed:.2e} allowed"
NUMBERS = "{found:.2e}, {allowed:.2e} allowed"
ITSELF = f"{{name}} {OFF}"

_WHOLE = f"{{array}} as a whole is not as large as that of the {{judge}}: off by {NUMBERS}"
_UNIT = f"a unit of {{array}} is not as large as that of the {{judge}}: off by {NUMBERS}"
_ALL = (*RESULTS, WEIGHTS)
_COARSE, _SIZE = comparison.COARSE

KINDS = (
    ErrorKind("", _ALL, _find_rounding_bound, ITSELF),
    ErrorKind(
        "weights",
        (),
        lambda case, _: comparison.CONSTANT * case.spec.precision.roundoff,
        ITSELF,
    ),
    ErrorKind("update", (), _make_constant_bound(comparison.CEILING), ITSELF, _has_updates),
    ErrorKind(
        "zeros",
        _ALL,
        _find_rounding_bound,
        f"with an input, a state and forget biases of zeros {{array}} {OFF}",
    ),
    ErrorKind(
        "repeats",
        _ALL,
        _find_rounding_bound,
        f"with an input that repeats and biases of zeros {{array}} {OFF}",
    ),
    *(
        ErrorKind(
            f"reset {name}",
            _ALL,
            _find_rounding_bound,
            f"where sequences start over {place}, {{array}} {OFF}",
            _has_resets,
        )
        for name, place in RESET_PATTERNS.items()
    ),
    ErrorKind(
        "updated",
        _ALL,
        _find_rounding_bound,
        f"after an update of the weights {{array}} {OFF}",
        _has_updates,
    ),
    ErrorKind(
        "saturated",
        _ALL,
        lambda case, array: find_saturated_bound(case.spec, array),
        "with kernels and inputs 8 times as large {array} differs from the {judge}, "
        f"relative root mean square {NUMBERS}",
    ),
    ErrorKind(
        "streamed",
        FORWARD,
        lambda case, array: case.join_chunks().find_rounding_bound(array),
        "fed chunk by chunk, {array} differs by {found:.2e} from that of the whole sequence by the "
        "{judge}, {allowed:.2e} allowed",
        _is_stream,
    ),
    ErrorKind(
        "streamed whole",
        FORWARD,
        lambda case, array: _limit_whole(case.join_chunks(), array),
        f"fed chunk by chunk, {_WHOLE}",
        lambda case: _is_stream(case) and _is_half(case),
    ),
    ErrorKind(
        "streamed unit",
        FORWARD,
        lambda case, array: _limit_unit(case.join_chunks(), array),
        f"fed chunk by chunk, {_UNIT}",
        lambda case: _is_stream(case) and _is_half(case),
    ),
    ErrorKind(
        "whole",
        _ALL,
        _limit_whole,
        _WHOLE,
        _is_half,
    ),
    ErrorKind(
        "unit",
        _ALL,
        _limit_unit,
        _UNIT,
        _is_half,
    ),
    ErrorKind(
        "separate",
        _ALL,
        _limit_separate,
        "with one product in each sum {array} differs from the {judge} by {found:.2e}, and "
        "rounding explains {allowed:.2e}",
    ),
    ErrorKind(
        "large",
        _ALL,
        _limit_large,
        "with large gate inputs, weights and gradients {array} differs from the {judge} by "
        "{found:.2e}, and rounding explains {allowed:.2e}",
    ),
    ErrorKind(
        "sizes",
        (*FORWARD, WEIGHTS),
        _limit_size,
        "with one product in each sum the errors of {array} are {found:.1f} times as large as "
        "rounding explains, {allowed:.0f} times allowed",
    ),
    ErrorKind(
        "nan",
        RESULTS,
        _find_rounding_bound,
        f"for an input with NaN {{array}} of its sequence {OFF} (infinite: NaN is missing, or "
        "where the reference has a number)",
    ),
    ErrorKind(
        "infinity",
        RESULTS,
        _find_rounding_bound,
        f"for an input with infinity {{array}} of its sequence {OFF} (infinite: a number where "
        "the reference has none)",
    ),
    ErrorKind(
        "spread",
        RESULTS,
        _find_rounding_bound,
        f"next to a sequence with NaN or infinity {{array}} of the others {OFF}",
    ),
    *(
        ErrorKind(
            name,
            (),
            _make_constant_bound(bound),
            f"it computes with weights from before its updates: {{name}} {NUMBERS}",
            lambda case: _has_updates(case) and _is_half(case),
            least=-1.0,
        )
        for name, bound in comparison.STALE.items()
    ),
    *(
        ErrorKind(
            name,
            (),
            _make_constant_bound(bound),
            f"it seems to compute in bfloat16: {{name}} {NUMBERS}",
            _could_be_bfloat16,
            # A projection is at most as long as the projected errors, which have their own bound.
            least=-comparison.COARSE[_SIZE] / bound if name == _COARSE else 0.0,
        )
        for name, bound in comparison.COARSE.items()
    ),
    ErrorKind(
        comparison.RMS,
        FORWARD,
        _make_constant_bound(comparison.LARGEST_ERROR),
        "the root mean square of {array}'s difference from the {judge} is {found:.1%} of its own, "
        "{allowed:.0%} allowed",
        approximate=True,
    ),
    ErrorKind(
        "quantised",
        FORWARD,
        _make_constant_bound(comparison.LARGEST_EMULATED),
        "the root mean square of {array}'s difference from the {judge} is {found:.1%} of its own, "
        "and rounding to int8 explains {allowed:.1%}",
        approximate=True,
    ),
    ErrorKind(
        "short",
        FORWARD,
        _make_constant_bound(comparison.LARGEST_EMULATED),
        "on few timesteps from a large state the root mean square of {array}'s difference from "
        "the {judge} is {found:.1%} of its own, and rounding to int8 explains {allowed:.1%}",
        approximate=True,
    ),
)
"""Every kind of error that the gate reports."""

_BY_NAME = {kind.name: kind for kind in KINDS}


def find_kind(name: str) -> tuple[ErrorKind, str] | None:
    """Return the kind of an error and the name of its array, or None for an unknown name.

    The name of the array is empty if errors of this kind belong to no array.
    """
    alone = _BY_NAME.get(name)
    if alone is not None and not alone.arrays:
        return alone, ""
    before, space, array = name.rpartition(" ")
    kind = _BY_NAME.get(before)
    if kind is None or bool(before) is not bool(space):
        return None
    listed = array in kind.arrays and array != WEIGHTS
    if listed or (WEIGHTS in kind.arrays and comparison.is_weight_gradient(array)):
        return kind, array
    return None


def find_possible_errors(name: str, case: JudgedCase) -> tuple[float, float] | None:
    """Return the least error and the largest bound that a right result of a case may have.

    The result is None if the gate reports no error of this name for the case.
    """
    found = find_kind(name)
    if found is None:
        return None
    kind, array = found
    if kind.approximate is not case.approximate or not kind.happens(case):
        return None
    if array and not case.has_array(array):
        return None
    most = kind.largest(case, array)
    return (kind.least * most if kind.least else 0.0), most


def describe_error(name: str, judge: str, found: float, allowed: float) -> str:
    """Return the sentence for an error that exceeds its bound.

    Raises
    ------
    KeyError
        If the name belongs to no kind. Add the kind to ``KINDS`` then.
    """
    known = find_kind(name)
    if known is None:
        raise KeyError(f"no kind of error has the name {name!r}; add its kind to {__name__}.KINDS")
    kind, array = known
    return kind.complaint.format(name=name, array=array, judge=judge, found=found, allowed=allowed)
