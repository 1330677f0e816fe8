"""What the errors of half precision look like: checks that an array's largest error cannot make.

Rounding is of both signs: however large single errors are, an array and each of its units come out
neither too large nor too small. And it is this type's rounding: what computes in a coarser type
makes that type's errors, the same ones each time. Both are looked for where a type is so coarse
that its bounds alone would let them through. This room knows arrays, and no backend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lstm_impl.proof.comparison import bounds, smallest_scale
from lstm_impl.spec import FloatArray, LSTMSpec, round_to_bfloat16
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs

HALF = 2.0**-11
"""Types of this unit roundoff or a larger one are looked at; the bounds of others are tight."""

WHOLE = 8.0
"""By how many units of roundoff an array may be too large or too small as a whole: 3% in bfloat16.
The largest seen is 1.2 for outputs, 3.6 for what flows back and 5.8 for a bias over 150 steps, all
in float16 (``docs/equivalence.md``)."""

UNIT, GATE_COLUMN = 16.0, 40.0
"""The same for one unit of the outputs, states and what flows back (6% in bfloat16; 10.1 was seen,
for one timestep of one sequence in float16), and for one gate of one unit in a weight's gradient
(27 was seen, of a bias), a sum over steps that cancel."""

SMALL_UNIT = 0.25
"""A unit with less than this part of the mean square of all is taken as one that has it: a few
small numbers are off by much relative to themselves."""

SMALLEST = 0.03
"""Root mean square of an array under which it is taken as one that has it; as ``SMALLEST_SCALE``
of the maximum, which is some three times as large."""

COARSER = 0.5
"""Part of the coarser type's error that may be found in ours. A right result has none of it: from
-0.42 to 0.25 was seen where ``TELLING`` numbers or more are compared. A computation whose weights
are bfloat16 has all of it, 0.97 to 1.02 if nothing else is."""

AS_LARGE = 0.8
"""How large errors may be, all together, beside those that rounding the weights and inputs to the
coarser type makes. Right ones are at most 0.6; states kept in bfloat16 make 0.76 and more in
inference, 1.08 and more in training."""

TELLING = 256
"""Numbers in the outputs and final states from which on these two tell anything."""


def gains(
    spec: LSTMSpec, ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray], batch: int
) -> tuple[dict[str, float], dict[str, float]]:
    """By how much each array, and the worst of its units, is too large or too small, and may be.

    The gain of ``a`` over ``b`` is that of the best fit of one to the other, less 1. Units are the
    last axis. Named ``whole NAME`` and ``unit NAME``; nothing for types finer than half precision.

    Of few numbers the mean is nearly as large as one: of n whose errors are independent and within
    a bound of their largest value, it is within that by the root of n.
    """
    found: dict[str, float] = {}
    allowed: dict[str, float] = {}
    u = spec.precision.roundoff
    if u < HALF:
        return found, allowed
    most = bounds(spec, batch, len(theirs["y"]), list(theirs))
    for name, right in theirs.items():
        b = np.asarray(right, np.float64)
        a = np.asarray(ours[name], np.float64)
        if a.shape != b.shape:
            continue  # the largest error is infinite then
        off = most[name] * float(np.max(np.abs(b), initial=smallest_scale(name)))
        weight = name not in ("y", "h", "c", "dx", "dh", "dc")
        mean = max(float(np.mean(b * b)), SMALLEST**2)
        found[f"whole {name}"] = abs(float(np.mean((a - b) * b))) / mean
        allowed[f"whole {name}"] = max(WHOLE * u, off / math.sqrt(mean * b.size))
        axes = tuple(range(b.ndim - 1))
        of_unit = np.maximum(np.mean(b * b, axis=axes), SMALL_UNIT * mean)
        gain = np.abs(np.mean((a - b) * b, axis=axes)) / of_unit
        largest = (GATE_COLUMN if weight else UNIT) * u
        few = off / np.sqrt(of_unit * (b.size // b.shape[-1]))
        worst = int(np.argmax(gain / np.maximum(largest, few)))
        found[f"unit {name}"] = float(gain[worst])
        allowed[f"unit {name}"] = float(max(largest, few[worst]))
    return found, allowed


def may_be_coarser(spec: LSTMSpec, theirs: Mapping[str, FloatArray]) -> bool:
    """Whether a coarser type, bfloat16, could be taken for this one, and there is enough to tell
    them apart."""
    numbers = sum(theirs[name].size for name in ("y", "h", "c"))
    return spec.precision.roundoff == HALF and numbers >= TELLING


def rounded(weights: LSTMWeights, inputs: Inputs) -> tuple[LSTMWeights, Inputs]:
    """Weights and inputs as the coarser type holds them."""
    state = LSTMState(round_to_bfloat16(inputs.state.h), round_to_bfloat16(inputs.state.c))
    return weights.map(round_to_bfloat16), replace(
        inputs, x=round_to_bfloat16(inputs.x), dy=round_to_bfloat16(inputs.dy), state=state
    )


def coarseness(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    coarse: Mapping[str, FloatArray],
) -> tuple[dict[str, float], dict[str, float]]:
    """How much of the coarser type's errors is found in ours, how large ours are beside them, and
    what is allowed.

    coarse: the reference's results for ``rounded`` weights and inputs.
    """
    found = _found_in(ours, theirs, coarse)
    if found is None:
        return {}, {}
    names = ("bfloat16's errors", "errors beside bfloat16's")
    return dict(zip(names, found, strict=True)), dict(zip(names, (COARSER, AS_LARGE), strict=True))


STALE = "updates left out"


def staleness(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    stale: Mapping[str, FloatArray],
) -> tuple[dict[str, float], dict[str, float]]:
    """How much of what updates of the weights change is missing in ours: half is allowed.

    stale: the reference's results for the weights before the updates.
    """
    found = _found_in(ours, theirs, stale)
    return ({}, {}) if found is None else ({STALE: found[0]}, {STALE: COARSER})


def _found_in(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    other: Mapping[str, FloatArray],
) -> tuple[float, float] | None:
    """How much of another computation's errors is found in ours, and how large ours are beside
    them; None where a shape is wrong, for which the largest error is infinite."""
    along = ours_squared = other_squared = 0.0
    for name, right in theirs.items():
        b = np.asarray(right, np.float64)
        if np.shape(ours[name]) != b.shape:
            return None
        scale = max(float(np.mean(b * b)), SMALLEST**2)
        error = np.asarray(ours[name], np.float64) - b
        off = np.asarray(other[name], np.float64) - b
        along += float(np.mean(error * off)) / scale
        ours_squared += float(np.mean(error * error)) / scale
        other_squared += float(np.mean(off * off)) / scale
    return along / other_squared, float(np.sqrt(ours_squared / other_squared))
