"""Simulate how often a reference backend (bridge) is found heterogeneous, and verdicts over it.

The times of a bridge have the noise of their processes, which cancels in the ratios over it, so
that its own ratio is less certain, however many of its cases are taken together.
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
    as_measured,
    drawn,
    outlying_processes,
)
from research.rules import DIFFERENT, Flags, Verdicts, beside, percent, rate, table

CASES = 10
"""The cases of a bridge in the suite ``keras-backends``."""

OWN = PAIRED_SPREADS[1] / math.sqrt(2)
"""The spread of one case's time within its process: half of a ratio's variance."""

COUNTS = (1, 2, 3, 5, 6, 10, 20, 50)


@dataclass(frozen=True)
class Judged:
    """Simulated bridges and ratios over them, ``[trials]`` each.

    uneven: whether the bridge is found heterogeneous. checked, unchecked: the verdicts with and
    without allowing for that.
    """

    uneven: Flags
    checked: Verdicts
    unchecked: Verdicts


def bridge_means(
    noise: float | Noise, processes: int, cases: int, trials: int
) -> tuple[Means, Means]:
    """Return the means of the times of the same bridge in two environments.

    noise: the spread of processes. processes: of each environment.
    """
    rng = np.random.default_rng(SEED)
    own = OWN / math.sqrt(cases)
    one, other = (
        process_means(
            drawn(noise, rng, (trials, processes)) + own * rng.standard_normal((trials, processes)),
            Pairing.UNPAIRED.allowance,
        )
        for _ in range(2)
    )
    return one, other


def uneven(found: Estimates) -> Flags:
    """Return whether the interval of each bridge's log ratio to itself is beyond the allowance."""
    low, high = found.bounds()
    edge = math.log1p(REFERENCE_ALLOWANCE)
    return np.asarray((low > edge) | (high < -edge))


def found_rate(
    separate: float, noise: float | Noise, processes: int, cases: int = CASES, trials: int = 1000
) -> float:
    """Return how often a bridge that is slower by so much in one environment is found."""
    found = difference(*bridge_means(noise, processes, cases, trials))
    return float(np.mean(uneven(replace(found, middles=found.middles + math.log1p(separate)))))


def judge(
    effects: Iterable[float], separate: float, noise: float, processes: int, trials: int = 1000
) -> list[Judged]:
    """Return the verdicts on each true effect over a bridge that differs by so much.

    A ratio over it is the true one times ``1 + separate``, and the bridge's to itself is the
    inverse.
    """
    bridge = difference(*bridge_means(noise, processes, CASES, trials))
    bridge = replace(bridge, middles=bridge.middles - math.log1p(separate))
    called = uneven(bridge)
    rng = np.random.default_rng(SEED + 1)
    logs = (as_measured(rng, (trials, processes)) for _ in range(2))
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
        judged.append(Judged(called, with_it, without))
    return judged


# Tables


def found_rates(trials: int) -> TextTable:
    """Return how often bridges are found heterogeneous: equal, within the allowance, and beyond."""
    noises: dict[str, float | Noise] = {
        **{f"times {each:.0%}": each for each in UNPAIRED_SPREADS},
        "a bad process in ten": outlying_processes,
    }

    def row(name: str, separate: float, noise: float | Noise, cases: int = CASES) -> list[str]:
        return [name, *(percent(found_rate(separate, noise, n, cases, trials)) for n in COUNTS)]

    rows = [row(f"the same, {name}", 0.0, noise) for name, noise in noises.items()]
    rows.append(row("the same in its only case, times 3%", 0.0, UNPAIRED_SPREADS[0], 1))
    rows += [
        row(f"{separate:.0%} apart, times {noise:.0%}", separate, noise)
        for separate in (0.01, 0.05, 0.10, 0.20)
        for noise in UNPAIRED_SPREADS[:2]
    ]
    return table(["bridges called uneven, a side:", *map(str, COUNTS)], rows)


def false_rates(trials: int) -> TextTable:
    """Return the rates of equals called different over a bridge, with and (without) the check."""
    rows = []
    for noise in UNPAIRED_SPREADS[:2]:
        for separate in (0.0, 0.01, 0.02, 0.05, 0.10, 0.20):
            found = [judge([0.0], separate, noise, n, trials=trials)[0] for n in COUNTS[2:]]
            name = f"bridge {separate:.0%} apart, times {noise:.0%}"
            rows.append([name, *(_both(each, DIFFERENT) for each in found)])
    headings = map(str, COUNTS[2:])
    return table(["equals called different over it (unchecked), a side:", *headings], rows)


def powers(trials: int) -> TextTable:
    """Return how often a true effect is found over a bridge that hides some of it.

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


def _both(found: Judged, wanted: Sequence[Verdict]) -> str:
    return beside(rate(found.checked, *wanted), rate(found.unchecked, *wanted))


def tables(trials: int) -> dict[str, TextTable]:
    """Return the tables of ``research/verdicts.md`` on heterogeneous bridges, by title."""
    return {
        "Uneven bridges, called so": found_rates(trials),
        "Uneven bridges, false verdicts": false_rates(trials),
        "Uneven bridges, found effects": powers(trials),
    }
