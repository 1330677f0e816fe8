"""The check of backends that compute another function on purpose, near the reference (int8).

Their error is a result, shown beside their time; the bound refuses what is another network.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lstm_impl.spec import FloatArray

RMS = "rms"
"""What the name of such an error begins with, as in ``rms y``."""

LARGEST_ERROR = 0.1
"""Quantisation to int8 costs up to 2%. Two gates exchanged, a forgotten bias, products or the
initial state left out cost 14% and more in at least one array, on all but networks of one unit."""


def relative_error(ours: FloatArray, theirs: FloatArray) -> float:
    """Return the root mean square of the difference over that of ``theirs``."""
    difference = np.asarray(ours, np.float64) - theirs
    size = float(np.sqrt(np.mean(np.square(theirs, dtype=np.float64))))
    return float(np.sqrt(np.mean(difference**2))) / (size or 1.0)


def errors(
    ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the relative error of each array that the reference has, and the bound of each."""
    found = {
        f"{RMS} {name}": relative_error(ours[name], array) if name in ours else float("inf")
        for name, array in theirs.items()
    }
    return found, dict.fromkeys(found, LARGEST_ERROR)
