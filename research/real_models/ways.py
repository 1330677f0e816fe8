"""Define the ways to compute a call of a model, and judge whether they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from research.real_models.networks import Case

BEFORE, AFTER = "before", "after"
"""The model as it is, and the model with the kernels."""

COMPILED, ONNXRUNTIME, XLA = "torch.compile", "ONNX Runtime", "XLA"
"""What a user could do otherwise."""

TOLERANCES = {"inference": 1e-4, "training": 1e-3}
"""How far the arrays of two ways may differ, relative to the largest value of the array.

All arrays are float32. A gradient sums the errors of all timesteps and sequences, so its tolerance
is larger than that of an output.
"""


@dataclass(frozen=True)
class Way:
    """Compute one call of a model in one way.

    Attributes
    ----------
    run
        A function that makes the call. This is what is timed.
    arrays
        A function that makes the call from a fixed state of random numbers, and returns its
        results as NumPy arrays: the outputs, and in training the gradients.
    """

    run: Callable[[], object]
    arrays: Callable[[], Sequence[Any]]


Builders = Mapping[str, Callable[[], Way]]
"""A function that makes each way, by the name of the way. The first is ``BEFORE``."""


class Program(Protocol):
    """Make a model callable in several ways."""

    def builders(self, case: Case, part: str) -> Builders:
        """Return the functions that make the ways of a case and a part of the model."""
        ...


ILL_CONDITIONED = 0.1
"""If the model as it is differs from float64 by more than this, float64 shows nothing."""

WORSE = 3.0
"""A way may differ from float64 by at most this many times what the model as it is differs by."""


def is_as_exact(own: float, found: float) -> bool:
    """Return whether a way is about as exact as the model as it is.

    Some networks amplify rounding errors from one timestep to the next. Two ways then differ by
    more than the tolerance although both are right, and only float64 can judge them.

    Parameters
    ----------
    own, found
        How far the model as it is, and the way, differ from the results in float64.
    """
    return own < ILL_CONDITIONED and found <= WORSE * own


def measure_error(expected: Sequence[Any], found: Sequence[Any]) -> float:
    """Return the largest difference between two sequences of arrays.

    The differences in an array are relative to the largest absolute value that is expected there.
    The result is infinite if the arrays have other shapes, or if a result is not finite.

    Raises
    ------
    ValueError
        If nothing is compared, or if an expected array is not finite or consists of zeros. Then
        the comparison would show nothing.
    """
    if not expected:
        raise ValueError("there is no array to compare")
    worst = 0.0
    if len(expected) != len(found):
        return float("inf")
    for one, other in zip(expected, found, strict=True):
        want, got = np.asarray(one, np.float64), np.asarray(other, np.float64)
        size = float(np.max(np.abs(want), initial=0.0))
        if not 0.0 < size < float("inf"):
            raise ValueError(f"an expected array of shape {want.shape} is zero or not finite")
        if want.shape != got.shape or not np.isfinite(got).all():
            return float("inf")
        worst = max(worst, float(np.max(np.abs(want - got))) / size)
    return worst
