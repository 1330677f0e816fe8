"""Simulate comparisons over a bridge, a reference backend that both environments measured.

A bridge that is itself slower in one environment spoils the ratios over it. The studies count how
often such a bridge is recognized as heterogeneous, and how often the verdicts over it are right.
The noise of a process cancels in a ratio over the bridge, but remains in the bridge's own time. So
the ratio of a bridge to itself is less certain, even over many cases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.render.table import TextTable
from bench.stats.comparison import Pairing, Verdict, verdicts
from bench.stats.intervals import REFERENCE_ALLOWANCE, Estimates, Means, process_means
from bench.stats.ratios import difference, with_difference
from research.noises import (
    PAIRED_SPREADS,
    SEED,
    UNPAIRED_SPREADS,
    Noise,
    draw_logs,
    draw_measured,
    draw_outlying_processes,
)
from research.rules import DIFFERENT, Flags, Verdicts, beside, percent, rate, table

CASES = 10
"""The number of cases of a bridge in the suite ``keras-backends``."""

OWN = PAIRED_SPREADS[1] / math.sqrt(2)
"""The spread of one case's time within its process. Its variance is half of that of a ratio."""

COUNTS = (1, 2, 3, 5, 6, 10, 20, 50)
"""The numbers of processes on each side."""


@dataclass(frozen=True)
class BridgeVerdicts:
    """The verdicts over simulated bridges, ``[trials]`` each.

    Attributes
    ----------
    uneven
        Whether the bridge is found to be heterogeneous.
    checked, unchecked
        The verdicts with and without an allowance for a heterogeneous bridge.
    """

    uneven: Flags
    checked: Verdicts
    unchecked: Verdicts


def bridge_means(
    noise: float | Noise, processes: int, cases: int, trials: int
) -> tuple[Means, Means]:
    """Draw the mean times of one bridge in two environments.

    Parameters
    ----------
    noise
        The noise of the processes, or the spread of normal noise.
    processes
        The processes of each environment.
    cases
        The cases of the bridge, whose own noise is averaged.
    trials
        The number of simulated bridges.
    """
    rng = np.random.default_rng(SEED)
    own = OWN / math.sqrt(cases)
    one, other = (
        process_means(
            draw_logs(noise, rng, (trials, processes))
            + own * rng.standard_normal((trials, processes)),
            Pairing.UNPAIRED.allowance,
        )
        for _ in range(2)
    )
    return one, other


def uneven(found: Estimates) -> Flags:
    """Return which bridges are heterogeneous: the whole interval lies beyond the allowance."""
    low, high = found.bounds()
    edge = math.log1p(REFERENCE_ALLOWANCE)
    return np.asarray((low > edge) | (high < -edge))


def detection_rate(
    separate: float, noise: float | Noise, processes: int, cases: int = CASES, trials: int = 1000
) -> float:
    """Return how often a bridge that is slower by ``separate`` in one environment is recognized."""
    found = difference(*bridge_means(noise, processes, cases, trials))
    return float(np.mean(uneven(replace(found, middles=found.middles + math.log1p(separate)))))


def judge(
    effects: Iterable[float], separate: float, noise: float, processes: int, trials: int = 1000
) -> list[BridgeVerdicts]:
    """Return the verdicts on each true effect over a bridge that differs by ``separate``.

    A ratio over the bridge is the true ratio times ``1 + separate``. The ratio of the bridge to
    itself is the inverse of that factor.
    """
    bridge = difference(*bridge_means(noise, processes, CASES, trials))
    bridge = replace(bridge, middles=bridge.middles - math.log1p(separate))
    called = uneven(bridge)
    rng = np.random.default_rng(SEED + 1)
    logs = (draw_measured(rng, (trials, processes)) for _ in range(2))
    sides = [
        process_means(each, Pairing.BRIDGED.allowance, in_order=True).over_reference()
        for each in logs
    ]
    found = difference(*sides)
    found = replace(found, middles=found.middles + math.log1p(separate))
    wide = with_difference(found, replace(bridge, middles=np.abs(bridge.middles)))
    allowed = Estimates(
        found.middles,
        np.where(called, wide.errors, found.errors),
        np.where(called, wide.degrees, found.degrees),
    )
    judged = []
    for effect in effects:
        moved = found.middles + math.log1p(effect)
        with_it, without = (
            verdicts(*replace(each, middles=moved).bounds()) for each in (allowed, found)
        )
        judged.append(BridgeVerdicts(called, with_it, without))
    return judged


# Tables


def found_rates(trials: int) -> TextTable:
    """Tabulate how often bridges are called heterogeneous that are equal, or differ by 1 to 20%."""
    noises: dict[str, float | Noise] = {
        **{f"times {each:.0%}": each for each in UNPAIRED_SPREADS},
        "a bad process in ten": draw_outlying_processes,
    }

    def row(name: str, separate: float, noise: float | Noise, cases: int = CASES) -> list[str]:
        return [name, *(percent(detection_rate(separate, noise, n, cases, trials)) for n in COUNTS)]

    rows = [row(f"the same, {name}", 0.0, noise) for name, noise in noises.items()]
    rows.append(row("the same in its only case, times 3%", 0.0, UNPAIRED_SPREADS[0], 1))
    rows += [
        row(f"{separate:.0%} apart, times {noise:.0%}", separate, noise)
        for separate in (0.01, 0.05, 0.10, 0.20)
        for noise in UNPAIRED_SPREADS[:2]
    ]
    return table(["bridges called uneven, a side:", *map(str, COUNTS)], rows)


def false_rates(trials: int) -> TextTable:
    """Tabulate how often equals are called different over a bridge, checked and (unchecked)."""
    rows = []
    for noise in UNPAIRED_SPREADS[:2]:
        for separate in (0.0, 0.01, 0.02, 0.05, 0.10, 0.20):
            found = [judge([0.0], separate, noise, n, trials=trials)[0] for n in COUNTS[2:]]
            name = f"bridge {separate:.0%} apart, times {noise:.0%}"
            rows.append([name, *(_both(each, DIFFERENT) for each in found)])
    headings = map(str, COUNTS[2:])
    return table(["equals called different over it (unchecked), a side:", *headings], rows)


def powers(trials: int) -> TextTable:
    """Tabulate how often a true effect is found over a bridge that hides part of it.

    The bridge is slower next to the new side, which therefore looks faster than it is.
    """
    rows = []
    for noise in UNPAIRED_SPREADS[:2]:
        for separate in (0.0, 0.10):
            effects = (0.10, 0.20, 0.50)
            hidden = 1 / (1 + separate) - 1
            found = [judge(effects, hidden, noise, n, trials=trials) for n in COUNTS[4:7]]
            for index, effect in enumerate(effects):
                name = f"{effect:.0%} slower, bridge {separate:.0%} apart, times {noise:.0%}"
                rows.append([name, *(_both(each[index], (Verdict.SLOWER,)) for each in found)])
    headings = [f"{count} a side" for count in COUNTS[4:7]]
    return table(["SLOWER said over it (unchecked):", *headings], rows)


def _both(found: BridgeVerdicts, wanted: Sequence[Verdict]) -> str:
    return beside(rate(found.checked, *wanted), rate(found.unchecked, *wanted))


def tables(trials: int) -> dict[str, TextTable]:
    """Return the tables of ``research/verdicts.md`` about heterogeneous bridges, by title."""
    return {
        "Uneven bridges, called so": found_rates(trials),
        "Uneven bridges, false verdicts": false_rates(trials),
        "Uneven bridges, found effects": powers(trials),
    }
