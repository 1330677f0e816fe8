"""List every kind of error that the gate reports: its names, its largest bound, its complaint.

The gate takes its complaints from this table. The check of shared result files takes from it which
names and bounds a file may have. So a check that is added to the gate needs an entry here, and its
results can be shared from then on.

A bound that a file states may be smaller than the largest one here: the gate derives a bound from
the arrays that it compares, and the table knows only the case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import lstm_impl.proof.comparison as comparison
from lstm_impl.proof.networks import SEVERAL, largest_saturated_error
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

FORWARD = ("y", "h", "c")
"""Results of every step: the outputs, the final hidden states and the final cells."""

FLOW = ("dx", "dh", "dc")
"""Gradients of the input and of the initial state."""

RESULTS, WEIGHTS = (*FORWARD, *FLOW), "weights"
"""``WEIGHTS`` stands for the gradients of weights, named as ``dlayer0.forward.kernel``."""

WEIGHT = re.compile(r"dlayer(0|[1-9][0-9]{0,8})\.(forward|backward)\.([a-z_]{1,40})")


@dataclass(frozen=True)
class JudgedCase:
    """What the bounds of an error depend on.

    approximate: whether the backend computes another function on purpose, as int8 does.
    """

    spec: LSTMSpec
    workload: Workload
    approximate: bool = False

    def has_array(self, array: str) -> bool:
        """Return whether the gate may compare an array of this name, such as ``y`` or ``dx``."""
        states = self.spec.cell.states
        if array in ("y", *states):
            return True
        is_flow = array in ("dx", *(f"d{name}" for name in states))
        return self.workload.training and (is_flow or self._has_weight(array))

    def _has_weight(self, array: str) -> bool:
        found = WEIGHT.fullmatch(array)
        if found is None or (found[2] == "backward" and not self.spec.bidirectional):
            return False
        layer = int(found[1])
        return layer < self.spec.num_layers and found[3] in self.spec.parameter_shapes(layer)

    def row_size(self, array: str) -> int:
        """Return the length of an array's last axis."""
        sizes = {"y": self.spec.output_size, "dx": self.spec.input_size}
        if array in RESULTS:
            return sizes.get(array, self.spec.hidden_size)
        return self.spec.gate_columns

    def rounding_bound(self, array: str) -> float:
        """Return the bound of the random-walk model for the whole sequence.

        The bound grows with the timesteps and the sequences. So that of a window, and that of the
        small workload on which all gradients are judged, is smaller.
        """
        workload = self.workload
        return comparison.bounds(self.spec, workload.batch, workload.timesteps, [array])[array]

    def several_chunks(self) -> JudgedCase:
        """Return the case of a stream's chunks that are judged as one sequence."""
        timesteps = SEVERAL * self.workload.timesteps
        return replace(self, workload=replace(self.workload, timesteps=timesteps))


def _is_half(case: JudgedCase) -> bool:
    return case.spec.precision.roundoff >= comparison.HALF


def _could_be_bfloat16(case: JudgedCase) -> bool:
    return case.spec.precision.roundoff == comparison.HALF


def _updates(case: JudgedCase) -> bool:
    return case.workload.training and case.workload.optimizer is not None


def _streams(case: JudgedCase) -> bool:
    return case.workload.streaming


def _always(_: JudgedCase) -> bool:
    return True


def _by_rounding(case: JudgedCase, array: str) -> float:
    return case.rounding_bound(array)


def _of_one_value(value: float) -> Callable[[JudgedCase, str], float]:
    return lambda case, array: value


def _largest_gain(case: JudgedCase, array: str, units: float, few: float) -> float:
    """Return the largest bound that ``comparison.gains`` gives an array or one of its units.

    units: of roundoff. few: how many times as large as the bound of a number it is at most where
    few numbers are averaged.
    """
    most = max(units * case.spec.precision.roundoff, few * case.rounding_bound(array))
    return min(comparison.LARGEST_GAIN, most)


def _largest_quotient(array: str) -> float:
    """Return the smallest magnitude over the smallest root mean square of an array."""
    return comparison.smallest_scale(array) / comparison.SMALLEST


def _largest_whole(case: JudgedCase, array: str) -> float:
    # The largest of n magnitudes is at most the square root of n times their root mean square.
    few = max(1.0, _largest_quotient(array) / math.sqrt(case.row_size(array)))
    return _largest_gain(case, array, comparison.WHOLE, few)


def _largest_unit(case: JudgedCase, array: str) -> float:
    units = comparison.UNIT if array in RESULTS else comparison.GATE_COLUMN
    few = max(math.sqrt(case.row_size(array)), _largest_quotient(array))
    return _largest_gain(case, array, units, few / math.sqrt(comparison.SMALL_UNIT))


SEPARATE_FINE = {"y": 512.0, "h": 512.0, "c": 1024.0, "dc": 2048.0, "dx": 65536.0, "dh": 65536.0}
"""Largest bounds for single products in float32 and float64, in units of roundoff. For 20 networks
of 1 to 300 features, 1 to 128 units and 1 to 6 layers, and for 1 to 200 timesteps, ``rounding.py``
made at most 130 for y and h, 170 for c, 360 for dc, and 6,900 for dx and dh."""

SEPARATE_HALF = {"y": 64.0, "h": 64.0, "c": 100.0, "dc": 1024.0, "dx": 131072.0, "dh": 131072.0}
"""The same in the other precisions: at most 15, 25, 180, and 22,000. The pair of large products
passes on the rounding of half precision to dx and dh."""

SEPARATE_WEIGHT = 4096.0
"""The same for gradients of weights in any precision: at most 890."""


def _largest_separate(case: JudgedCase, array: str) -> float:
    table = SEPARATE_HALF if _is_half(case) else SEPARATE_FINE
    units = table.get(array, SEPARATE_WEIGHT)
    # A gate reads one feature, and more where there are more features than gates of units.
    features = max(1.0, case.spec.input_size / case.spec.gate_columns)
    bound = units * features * case.spec.precision.roundoff + comparison.LEAST
    return min(bound, comparison.largest_difference(array, case.workload.timesteps))


def _largest_large(case: JudgedCase, array: str) -> float:
    """Return the largest bound for large numbers.

    The recurrent weights of this network may make it amplify errors from step to step and from
    layer to layer, so the bound of a gradient can be any number.
    """
    return comparison.largest_difference(array, case.workload.timesteps)


def _largest_size(case: JudgedCase, array: str) -> float:
    cells = case.spec.state_layers * case.spec.hidden_size  # of one sequence
    enough = array == "c" and cells >= comparison.ENOUGH_CELLS
    return comparison.CELLS_SIZE if enough else comparison.SIZES


@dataclass(frozen=True)
class ErrorKind:
    """A kind of error.

    name: with which its names begin, or the whole name if it has no arrays. arrays: whose names
    follow; ``WEIGHTS`` stands for all gradients of weights. largest: returns the largest bound for
    a case and an array. complaint: the sentence for an error over its bound. happens: whether a
    case may have it, if its backend is of this kind (``approximate``). least: the smallest error
    that a right result can have, in multiples of its bound.
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
    ErrorKind("", _ALL, _by_rounding, ITSELF),
    ErrorKind(
        "weights",
        (),
        lambda case, _: comparison.CONSTANT * case.spec.precision.roundoff,
        ITSELF,
    ),
    ErrorKind("update", (), _of_one_value(comparison.CEILING), ITSELF, _updates),
    ErrorKind(
        "zeros",
        _ALL,
        _by_rounding,
        f"with an input, a state and forget biases of zeros {{array}} {OFF}",
    ),
    ErrorKind(
        "repeats",
        _ALL,
        _by_rounding,
        f"with an input that repeats and biases of zeros {{array}} {OFF}",
    ),
    ErrorKind(
        "updated",
        _ALL,
        _by_rounding,
        f"after an update of the weights {{array}} {OFF}",
        _updates,
    ),
    ErrorKind(
        "saturated",
        _ALL,
        lambda case, array: largest_saturated_error(case.spec, array),
        "with kernels and inputs 8 times as large {array} differs from the {judge}, "
        f"relative root mean square {NUMBERS}",
    ),
    ErrorKind(
        "streamed",
        FORWARD,
        lambda case, array: case.several_chunks().rounding_bound(array),
        "fed chunk by chunk, {array} differs by {found:.2e} from that of the whole sequence by the "
        "{judge}, {allowed:.2e} allowed",
        _streams,
    ),
    ErrorKind(
        "streamed whole",
        FORWARD,
        lambda case, array: _largest_whole(case.several_chunks(), array),
        f"fed chunk by chunk, {_WHOLE}",
        lambda case: _streams(case) and _is_half(case),
    ),
    ErrorKind(
        "streamed unit",
        FORWARD,
        lambda case, array: _largest_unit(case.several_chunks(), array),
        f"fed chunk by chunk, {_UNIT}",
        lambda case: _streams(case) and _is_half(case),
    ),
    ErrorKind(
        "whole",
        _ALL,
        _largest_whole,
        _WHOLE,
        _is_half,
    ),
    ErrorKind(
        "unit",
        _ALL,
        _largest_unit,
        _UNIT,
        _is_half,
    ),
    ErrorKind(
        "separate",
        _ALL,
        _largest_separate,
        "with one product in each sum {array} differs from the {judge} by {found:.2e}, and "
        "rounding explains {allowed:.2e}",
    ),
    ErrorKind(
        "large",
        _ALL,
        _largest_large,
        "with large gate inputs, weights and gradients {array} differs from the {judge} by "
        "{found:.2e}, and rounding explains {allowed:.2e}",
    ),
    ErrorKind(
        "sizes",
        (*FORWARD, WEIGHTS),
        _largest_size,
        "with one product in each sum the errors of {array} are {found:.1f} times as large as "
        "rounding explains, {allowed:.0f} times allowed",
    ),
    ErrorKind(
        "nan",
        RESULTS,
        _by_rounding,
        f"for an input with NaN {{array}} of its sequence {OFF} (infinite: NaN is missing, or "
        "where the reference has a number)",
    ),
    ErrorKind(
        "infinity",
        RESULTS,
        _by_rounding,
        f"for an input with infinity {{array}} of its sequence {OFF} (infinite: a number where "
        "the reference has none)",
    ),
    ErrorKind(
        "spread",
        RESULTS,
        _by_rounding,
        f"next to a sequence with NaN or infinity {{array}} of the others {OFF}",
    ),
    *(
        ErrorKind(
            name,
            (),
            _of_one_value(bound),
            f"it computes with weights from before its updates: {{name}} {NUMBERS}",
            lambda case: _updates(case) and _is_half(case),
            least=-1.0,
        )
        for name, bound in comparison.STALE.items()
    ),
    *(
        ErrorKind(
            name,
            (),
            _of_one_value(bound),
            f"it seems to compute in bfloat16: {{name}} {NUMBERS}",
            _could_be_bfloat16,
            # A projection has at most the length of what is projected, which has its own bound.
            least=-comparison.COARSE[_SIZE] / bound if name == _COARSE else 0.0,
        )
        for name, bound in comparison.COARSE.items()
    ),
    ErrorKind(
        comparison.RMS,
        FORWARD,
        _of_one_value(comparison.LARGEST_ERROR),
        "the root mean square of {array}'s difference from the {judge} is {found:.1%} of its own, "
        "{allowed:.0%} allowed",
        approximate=True,
    ),
    ErrorKind(
        "quantised",
        FORWARD,
        _of_one_value(comparison.LARGEST_EMULATED),
        "the root mean square of {array}'s difference from the {judge} is {found:.1%} of its own, "
        "and rounding to int8 explains {allowed:.1%}",
        approximate=True,
    ),
    ErrorKind(
        "short",
        FORWARD,
        _of_one_value(comparison.LARGEST_EMULATED),
        "on few timesteps from a large state the root mean square of {array}'s difference from "
        "the {judge} is {found:.1%} of its own, and rounding to int8 explains {allowed:.1%}",
        approximate=True,
    ),
)
"""Every kind of error that the gate reports."""

_BY_NAME = {kind.name: kind for kind in KINDS}


def find_kind(name: str) -> tuple[ErrorKind, str] | None:
    """Return the kind of the error of this name and its array, or None for an unknown name.

    The array is empty if the kind has none.
    """
    alone = _BY_NAME.get(name)
    if alone is not None and not alone.arrays:
        return alone, ""
    before, space, array = name.rpartition(" ")
    kind = _BY_NAME.get(before)
    if kind is None or bool(before) is not bool(space):
        return None
    listed = array in kind.arrays and array != WEIGHTS
    if listed or (WEIGHTS in kind.arrays and WEIGHT.fullmatch(array)):
        return kind, array
    return None


def possible_errors(name: str, case: JudgedCase) -> tuple[float, float] | None:
    """Return the least error and the largest bound that a right result of a case may have.

    Return None if the gate reports no error of this name for the case.
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
    """Return the sentence for an error that is over its bound.

    Raises KeyError for a name of no kind: add its kind to ``KINDS``.
    """
    known = find_kind(name)
    if known is None:
        raise KeyError(f"no kind of error has the name {name!r}: add it to {__name__}.KINDS")
    kind, array = known
    return kind.complaint.format(name=name, array=array, judge=judge, found=found, allowed=allowed)
