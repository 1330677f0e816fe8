"""Find where an array differs from the reference: the first wrong timestep, sequence and unit."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lstm_impl.proof.check import ComparedCall
from lstm_impl.proof.comparison import is_weight_gradient
from lstm_impl.spec import FloatArray, LSTMSpec


@dataclass(frozen=True)
class Deviation:
    """Describe one array of one call that is out of its bounds.

    Attributes
    ----------
    kind
        The kind of network; it is empty for random numbers.
    array
        The name of the array, such as ``y`` or ``dlayer0.forward.bias``.
    shape, found_shape
        The shape of the reference's array, and that of the target's.
    wrong, size
        How many numbers are out of bounds, and how many numbers the array has.
    axes
        The name of each axis.
    ranges
        The first and the last wrong index on each axis.
    first
        The index of the first wrong number.
    found, expected, allowed
        The first wrong number, the reference's number, and the largest difference allowed.
    worst
        The error of the worst number as a multiple of its bound; it is infinite for NaN.
    """

    kind: str
    array: str
    shape: tuple[int, ...]
    found_shape: tuple[int, ...]
    wrong: int
    size: int
    axes: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]
    first: tuple[int, ...]
    found: float
    expected: float
    allowed: float
    worst: float

    def to_dict(self) -> dict[str, Any]:
        """Return the deviation as plain data, with None for numbers that are not finite."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return {name: plain(value) for name, value in asdict(self).items()}


def name_axes(name: str, ndim: int) -> tuple[str, ...]:
    """Return the name of each axis of a result."""
    if name in ("y", "dx"):
        return ("timestep", "sequence", "unit" if name == "y" else "feature")
    if is_weight_gradient(name):
        return ("row", "column") if ndim == 2 else ("column",)
    return ("layer", "sequence", "unit")


def find_wrong_numbers(ours: FloatArray, theirs: FloatArray, allowed: FloatArray | float) -> Any:
    """Return a mask of the numbers that are out of bounds, for two arrays of the same shape.

    A NaN where the reference has NaN is right, and so is an infinity that equals the reference's.
    """
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(np.asarray(ours, np.float64) - theirs) <= allowed)
    return off & ~(np.isnan(ours) & np.isnan(theirs)) & ~(ours == theirs)


def find_deviations(call: ComparedCall) -> list[Deviation]:
    """Return a description of each array of a call that has numbers out of bounds."""
    found = []
    for name, right in call.theirs.items():
        mine = np.asarray(call.ours[name])
        axes = name_axes(name, right.ndim)
        allowed = call.allowed.get(name)
        if allowed is None:
            continue
        if mine.shape != right.shape:
            zeros = tuple((0, size - 1) for size in right.shape)
            numbers = math.nan, math.nan, math.nan, math.inf
            first = (0,) * right.ndim
            sizes = right.shape, mine.shape, right.size, right.size
            found.append(Deviation(call.kind, name, *sizes, axes, zeros, first, *numbers))
            continue
        off = find_wrong_numbers(mine, right, allowed)
        if not off.any():
            continue
        places = np.argwhere(off)
        first = tuple(int(each) for each in places[0])
        ranges = tuple(
            (int(low), int(high))
            for low, high in zip(places.min(axis=0), places.max(axis=0), strict=True)
        )
        most = np.broadcast_to(np.asarray(allowed, np.float64), right.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            shares = np.abs(np.asarray(mine, np.float64) - right)[off] / most[off]
        worst = math.inf if not np.all(np.isfinite(shares)) else float(shares.max())
        found.append(
            Deviation(
                call.kind,
                name,
                right.shape,
                mine.shape,
                int(off.sum()),
                int(off.size),
                axes,
                ranges,
                first,
                float(mine[first]),
                float(right[first]),
                float(most[first]),
                worst,
            )
        )
    return found


def find_gate(spec: LSTMSpec, column: int) -> tuple[str, int]:
    """Return the gate and the unit that a column of a canonical array belongs to."""
    return spec.cell.gates[column // spec.hidden_size], column % spec.hidden_size
