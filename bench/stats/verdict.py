"""What may be said of a ratio, and of many: verdicts, and how many processes these take."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.stats.process_means import ENOUGH_PROCESSES, VERDICT_CONFIDENCE, FloatArray

# The one-sided level of the same interval: a gate over one case fails just when the case's
# interval lies beyond the gate's threshold.
GATE_LEVEL = (1 - VERDICT_CONFIDENCE) / 2

# Two times count as the SAME where the whole interval of their ratio lies within this factor.
SAME_WITHIN = 0.02

# Processes that a person may be told to wait for: at a minute each, three hours.
MOST_NEEDED = 200


@dataclass(frozen=True)
class Reason:
    """Why a number is not to be trusted, or a verdict not firmer, for ``render`` to say.

    code: what kind of reason. values: the numbers and names that a sentence about it needs.
    """

    code: str
    values: Mapping[str, object] = field(default_factory=dict)


class Verdict(enum.StrEnum):
    """What may be said of the new side. SAME comes before the others: detectable, but too small."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    SAME = "SAME"
    UNCLEAR = "UNCLEAR"


def processes_needed(spread: float, effect: float, power: float = 0.9) -> int | None:
    """How many processes find a true ``effect`` (0.05 is 5%) with this probability.

    spread: of the processes' ratios (sd of logs), as in ``Comparison.spread``. By the noncentral
    t-distribution, for paired processes; ``ENOUGH_PROCESSES`` at least, None past
    ``MOST_NEEDED``. It is no plan for single verdicts, whose spread is known by the few processes
    there were, but says whether more of them can help at all.
    """
    from scipy import special

    counts = np.arange(ENOUGH_PROCESSES, MOST_NEEDED + 1)
    if spread <= 0:
        return ENOUGH_PROCESSES
    critical = special.stdtrit(counts - 1, (1 + VERDICT_CONFIDENCE) / 2)
    found = special.nctdtr(counts - 1, math.log1p(effect) / spread * np.sqrt(counts), critical)
    enough = np.flatnonzero(found <= 1 - power)
    return int(counts[enough[0]]) if enough.size else None


def verdicts(low: FloatArray, high: FloatArray) -> npt.NDArray[np.str_]:
    """The verdict of each interval of *log* ratios, ``[cases]``.

    SAME where it lies within ±2% (between 1/1.02 and 1.02, so that it does not matter which side
    is called new), else FASTER below 0, SLOWER above 0, and UNCLEAR where it holds 0.
    """
    edge = math.log1p(SAME_WITHIN)
    return np.select(
        [(low >= -edge) & (high <= edge), high < 0, low > 0],
        [Verdict.SAME.value, Verdict.FASTER.value, Verdict.SLOWER.value],
        Verdict.UNCLEAR.value,
    )


def holm(p_values: npt.ArrayLike, level: float = GATE_LEVEL) -> npt.NDArray[np.bool_]:
    """Which hypotheses ``[n]`` are rejected at a family-wise ``level`` (Holm 1979).

    The chance that any true one is among them is at most ``level``, however they depend on one
    another.

    Raises ValueError for a p-value outside 0 to 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("p-values must be a list of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    passed = p[order] <= level / np.arange(p.size, 0, -1)
    rejected = np.zeros(p.size, dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(passed)
    return rejected
