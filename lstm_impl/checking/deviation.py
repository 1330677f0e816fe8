"""Find where an array differs from the reference: from which timestep, sequence and unit on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lstm_impl.proof.check import ComparedCall
from lstm_impl.proof.comparison import array_kind
from lstm_impl.spec import FloatArray, LSTMSpec


@dataclass(frozen=True)
class Deviation:
    """One array of one call that is not within its bounds.

    kind: the network, empty for random numbers. array: such as ``y`` or ``dlayer0.forward.bias``.
    shape, found_shape: of the reference's array and of the target's. wrong, size: how many numbers
    are off, of how many. axes: the name of each axis. ranges: the first and the last index on each
    axis at which a number is off. first: the index of the first wrong number. found, expected,
    allowed: that number, the reference's, and how far it may be off. worst: by how many bounds the
    worst number is off, infinite for NaN.
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
        """Return plain data, in which a number that is not finite is None."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return {name: plain(value) for name, value in asdict(self).items()}


def array_axes(name: str, ndim: int) -> tuple[str, ...]:
    """Return the names of the axes of a result."""
    if name in ("y", "dx"):
        return ("timestep", "sequence", "unit" if name == "y" else "feature")
    if array_kind(name) == "weight":
        return ("row", "column") if ndim == 2 else ("column",)
    return ("layer", "sequence", "unit")


def wrong_numbers(ours: FloatArray, theirs: FloatArray, allowed: FloatArray | float) -> Any:
    """Return which numbers are off, for arrays of one shape. NaN for NaN is right."""
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(np.asarray(ours, np.float64) - theirs) <= allowed)
    return off & ~(np.isnan(ours) & np.isnan(theirs)) & ~(ours == theirs)


def find_deviations(call: ComparedCall) -> list[Deviation]:
    """Return the arrays of a call that have numbers out of bounds."""
    found = []
    for name, right in call.theirs.items():
        mine = np.asarray(call.ours[name])
        axes = array_axes(name, right.ndim)
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
        off = wrong_numbers(mine, right, allowed)
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


def gate_of_column(spec: LSTMSpec, column: int) -> tuple[str, int]:
    """Return the gate and the unit of a column of a canonical array."""
    return spec.cell.gates[column // spec.hidden_size], column % spec.hidden_size


def within(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    allowed: Mapping[str, FloatArray | float],
    names: list[str],
) -> bool:
    """Return whether these arrays have the same shapes and no number out of bounds."""
    for name in names:
        mine, right = np.asarray(ours[name]), np.asarray(theirs[name])
        if mine.shape != right.shape or wrong_numbers(mine, right, allowed[name]).any():
            return False
    return True
