"""Apply the rules of this suite and of other tools to simulated comparisons.

Processes are drawn with a known noise, and each draw has a fixed seed. The rule of
``ratios.compare`` and the rules of other tools see the same data.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bench.render.table import Column, TableCell, TextTable
from bench.stats import comparison, ratios
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.intervals import (
    ENOUGH_PROCESSES,
    TOO_WIDE,
    TOO_WIDE_UNTIL,
    VERDICT_CONFIDENCE,
    Estimates,
    FloatArray,
    Means,
    process_means,
)
from bench.stats.ratios import RunSamples, difference
from research.noises import SEED, Noise, Samples, draw_logs

Verdicts = npt.NDArray[np.str_]
Flags = npt.NDArray[np.bool_]

DIFFERENT = (Verdict.FASTER, Verdict.SLOWER)
"""The verdicts that are false when the two sides are equal."""

TRIALS = 20_000
"""The trials behind each number. With 20,000, the standard error of a rate of 0.5% is 0.05%, and
that of a rate of 50% is 0.4%."""

RIVAL_TRIALS = 4_000
"""The trials for the rules of other tools, which are slow because they sort or resample every
sample."""

_MOST_SIMULATED = 40
"""The number of processes up to which the least effect is simulated. Beyond it, intervals are
nearly normal, and a formula is used."""

_MOST_NEEDED = 2000
"""The largest number of processes that is tried."""

POWER = 0.9
"""The rate at which an effect is found with the number of processes that ``processes_needed``
returns.
"""


def table(headings: Sequence[str], rows: Iterable[Iterable[TableCell | str]]) -> TextTable:
    """Return a table of Markdown texts whose columns of numbers are aligned to the right."""
    columns = (Column(each, right=index > 0, ours=True) for index, each in enumerate(headings))
    return TextTable.of(columns, rows)


def percent(value: float) -> str:
    """Format a rate in per cent with one decimal."""
    return f"{100 * value:.1f}%"


def beside(rate: float, other: float) -> str:
    """Format a rate, followed by another one in brackets."""
    return f"{percent(rate)} ({percent(other)})"


# The rule of ``ratios.compare``


def verdicts(means: Means, base: Means | None = None, effect: float = 0.0) -> Verdicts:
    """Return the verdicts ``[trials]`` on simulated means.

    Parameters
    ----------
    means
        The means of the log ratios of paired processes, or of the new side's log times.
    base
        The means of the base side's log times if the processes are not paired.
    effect
        By how much the new side is slower (0.05 is 5%). The effect is added to the means, so that
        one draw serves many effects.
    """
    log = math.log1p(effect)
    moved = replace(means, middles=means.middles + log, plain=means.plain + log)
    return comparison.verdicts(*difference(moved, base).bounds())


def paired_verdicts(
    effects: Iterable[float],
    noise: float | Noise,
    processes: int,
    trials: int = TRIALS,
    seed: int = SEED,
    in_order: bool = True,
) -> list[Verdicts]:
    """Return the verdicts ``[trials]`` on paired processes, for each true effect.

    Parameters
    ----------
    effects
        By how much the new side is slower: 0.05 is 5%.
    noise
        The noise of the log ratios around the effect, or the spread of normal noise.
    processes, trials, seed
        The number of processes of each trial, the number of trials, and the seed of the draw.
    in_order
        Whether the rule knows the order of the processes.
    """
    means = paired_means(noise, processes, trials, seed, in_order)
    return [verdicts(means, effect=effect) for effect in effects]


def paired_means(
    noise: float | Noise,
    processes: int,
    trials: int = TRIALS,
    seed: int = SEED,
    in_order: bool = True,
) -> Means:
    """Draw equal paired sides, and return the means ``[trials]`` of their log ratios."""
    logs = draw_logs(noise, np.random.default_rng(seed), (trials, processes))
    return process_means(logs, Pairing.ALTERNATING.allowance, in_order)


def _sides(
    noises: Iterable[float | Noise],
    processes: Iterable[int],
    pairing: Pairing,
    trials: int,
    seed: int = SEED,
) -> list[Means]:
    """Draw sides that share no process, and return the means of each."""
    rng = np.random.default_rng(seed)
    return [
        process_means(draw_logs(noise, rng, (trials, count)), pairing.allowance)
        for noise, count in zip(noises, processes, strict=True)
    ]


def unpaired_verdicts(
    effects: Iterable[float],
    noises: tuple[float | Noise, float | Noise],
    processes: tuple[int, int],
    trials: int = TRIALS,
    seed: int = SEED,
) -> list[Verdicts]:
    """Return the verdicts ``[trials]`` on separate processes, for each true effect.

    The pairs ``noises`` and ``processes`` are of the new side and the base.
    """
    new, base = _sides(noises, processes, Pairing.UNPAIRED, trials, seed)
    return [verdicts(new, base, effect) for effect in effects]


def bridged_verdicts(
    effects: Iterable[float],
    noises: tuple[float | Noise, float | Noise],
    processes: int,
    trials: int = TRIALS,
) -> list[Verdicts]:
    """Return the verdicts ``[trials]`` over a common reference, for each true effect.

    Each side is a ratio to the reference, and ``noises`` has the noise of these ratios, of the new
    side and of the base. Both sides have the same number of ``processes``.
    """
    sides = _sides(noises, (processes, processes), Pairing.BRIDGED, trials)
    new, base = (side.over_reference() for side in sides)
    return [verdicts(new, base, effect) for effect in effects]


def interleaved_verdicts(
    effects: Iterable[float],
    noise: float | Noise,
    machine: Noise,
    processes: int,
    trials: int = TRIALS,
) -> tuple[list[Verdicts], list[Verdicts]]:
    """Return the verdicts ``[trials]`` on two environments that are measured in turn.

    Parameters
    ----------
    effects
        By how much the new environment is slower: 0.05 is 5%.
    noise
        The noise of each process's own log median, or the spread of normal noise.
    machine
        What the state of the machine adds to successive processes, ``[trials, 2 × processes]``.
    processes, trials
        The number of processes of each environment, and the number of trials.

    Returns
    -------
    tuple
        The verdicts for each effect of the rule for neighbouring processes, and those of the rule
        for separate ones.
    """
    rng = np.random.default_rng(SEED)
    new, base = (draw_logs(noise, rng, (trials, processes)) for _ in range(2))
    state = machine(rng, (trials, 2 * processes)).reshape(trials, processes, 2)
    odd = np.arange(processes) % 2  # The base comes first in every other turn.
    base, new = (
        side + np.take_along_axis(state, place[None, :, None], axis=2)[..., 0]
        for side, place in ((base, odd), (new, 1 - odd))
    )
    pairs = process_means(new - base, Pairing.ADJACENT.allowance, in_order=True)
    sides = [process_means(side, Pairing.UNPAIRED.allowance, in_order=True) for side in (new, base)]
    effects = list(effects)
    return (
        [verdicts(pairs, effect=effect) for effect in effects],
        [verdicts(sides[0], sides[1], effect) for effect in effects],
    )


def rate(found: Verdicts, *wanted: Verdict) -> float:
    """Return the fraction of the trials that have one of the given verdicts."""
    return float(np.mean(np.isin(found, [verdict.value for verdict in wanted])))


def processes_needed(effect: float, spread: float, paired: bool) -> int | None:
    """Return the fewest processes, on each side, that find a true effect with ``POWER``.

    Return None if more than 2,000 are needed.
    """
    sought = math.log1p(effect)
    for count in range(1, _MOST_SIMULATED + 1):
        if _least_effect(spread, paired, count) <= sought:
            return count
    counts, least = _least_effects(spread, paired)
    enough = least <= sought
    return int(counts[np.argmax(enough)]) if np.any(enough) else None


@functools.cache
def _least_effect(spread: float, paired: bool, count: int) -> float:
    """Return the logarithm of the smallest effect that ``count`` processes find with ``POWER``."""
    if paired:
        low, _ = paired_means(spread, count, RIVAL_TRIALS).bounds()
    else:
        pairing = Pairing.UNPAIRED
        new, base = _sides((spread, spread), (count, count), pairing, RIVAL_TRIALS)
        low, _ = new.minus(base).bounds()
    # The verdict is SLOWER if the effect raises the lower bound above 0.
    return float(np.quantile(-low, POWER))


def _least_effects(spread: float, paired: bool) -> tuple[FloatArray, FloatArray]:
    """Return larger numbers of processes, and the logarithm of the smallest effect of each."""
    from scipy import special

    sides = 1 if paired else 2
    counts = np.arange(_MOST_SIMULATED + 1, _MOST_NEEDED + 1, dtype=np.float64)
    quantile = special.stdtrit(sides * (counts - 1), (1 + VERDICT_CONFIDENCE) / 2)
    quantile *= 1 - TOO_WIDE * np.minimum(1, TOO_WIDE_UNTIL / counts)
    return counts, (quantile + special.ndtri(POWER)) * spread * np.sqrt(sides / counts)


# The rules over all samples


def verdict_rule(samples: Samples) -> Flags:
    """Return in which trials ``ratios.compare`` says FASTER or SLOWER."""
    trials, processes, _ = samples.base.shape
    if processes < ENOUGH_PROCESSES:
        found = [_compare(samples, trial).verdict.value for trial in range(trials)]
        return different(np.array(found))
    new, base = samples.logs
    if samples.paired:
        return different(
            verdicts(process_means(new - base, Pairing.ALTERNATING.allowance, in_order=True))
        )
    sides = [process_means(side, Pairing.UNPAIRED.allowance, in_order=True) for side in (new, base)]
    return different(verdicts(sides[0], sides[1]))


def different(found: Verdicts) -> Flags:
    """Return which verdicts are FASTER or SLOWER."""
    return np.isin(found, DIFFERENT)


def _compare(samples: Samples, trial: int) -> Comparison:
    rounds = np.arange(samples.base.shape[2])
    sides = []
    for side, name in ((samples.new, "new"), (samples.base, "base")):
        prefix = "" if samples.paired else name
        sides.append(
            [
                RunSamples(f"{prefix}{process}", values, rounds, started=process)
                for process, values in enumerate(side[trial])
            ]
        )
    return ratios.compare(*sides)


def _plain(logs: FloatArray) -> Estimates:
    """Return means in which every process has the same weight."""
    count = logs.shape[1]
    error = logs.std(axis=1, ddof=1) / math.sqrt(count)
    return Estimates(logs.mean(axis=1), error, np.full(len(logs), count - 1.0))


def t_flags(logs: FloatArray, effect: float = 0.0) -> Flags:
    """Return in which trials a plain 99.5% t-interval of the log ratios excludes equality."""
    plain = _plain(logs)
    return _excludes_zero(replace(plain, middles=plain.middles + math.log1p(effect)))


def _excludes_zero(found: Estimates) -> Flags:
    low, high = found.bounds()
    return np.asarray((low > 0) | (high < 0))


def t_rule(samples: Samples) -> Flags:
    """Return in which trials a plain 99.5% t-interval (Welch's, if unpaired) excludes equality."""
    new, base = samples.logs
    return (
        t_flags(new - base) if samples.paired else _excludes_zero(_plain(new).minus(_plain(base)))
    )


def bootstrap_rule(samples: Samples, confidence: float = 0.99, resamples: int = 2000) -> Flags:
    """Return in which trials a percentile bootstrap over the processes excludes equality.

    Processes are drawn with replacement, the same ones in all trials. The statistic is the mean of
    their log ratios if they are paired, else the difference of the sides' mean log medians.
    """
    rng = np.random.default_rng(SEED + 1)
    new, base = samples.logs
    processes = new.shape[1]
    weights = [
        rng.multinomial(processes, np.full(processes, 1 / processes), resamples).T / processes
        for _ in range(2)
    ]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    found = []
    for start in range(0, len(new), 250):  # 250 × 2,000 means take 4 MB.
        part = slice(start, start + 250)
        if samples.paired:
            means = (new[part] - base[part]) @ weights[0]
        else:
            means = new[part] @ weights[0] - base[part] @ weights[1]
        low, high = np.quantile(means, tails, axis=1)
        found.append((low > 0) | (high < 0))
    return np.concatenate(found)


def mann_whitney_rule(samples: Samples, level: float = 0.01) -> Flags:
    """Return in which trials a Mann-Whitney test of all pooled samples has p below ``level``.

    The test is computed in the normal approximation. The samples are continuous, so there are no
    ties.
    """
    from scipy import special

    base, new = (side.reshape(len(side), -1) for side in (samples.base, samples.new))
    count = base.shape[1]
    order = np.argsort(np.concatenate([base, new], axis=1), axis=1)
    # The sum of the ranks of the new side.
    ranks = np.sum((order >= count) * np.arange(1, 2 * count + 1), axis=1)
    statistic = ranks - count * (count + 1) / 2
    sd = math.sqrt(count * count * (2 * count + 1) / 12)
    z = (statistic - count * count / 2) / sd
    return np.asarray(np.abs(z) > special.ndtri(1 - level / 2))


def pyperf_rule(samples: Samples) -> Flags:
    """Return in which trials pyperf's test calls two benchmarks significantly different.

    psf/pyperf defines it in ``pyperf/_utils.py``, ``is_significant``: Student's two-sample
    two-tailed t-test at 95% with a pooled variance, on all values of all runs.
    """
    from scipy import special

    base, new = (side.reshape(len(side), -1) for side in (samples.base, samples.new))
    count = base.shape[1]
    pooled = (base.var(axis=1, ddof=1) + new.var(axis=1, ddof=1)) / 2
    t = (new.mean(axis=1) - base.mean(axis=1)) / np.sqrt(2 * pooled / count)
    return np.asarray(np.abs(t) >= special.stdtrit(2.0 * count - 2, 0.975))


def pytest_benchmark_rule(samples: Samples, percent: float = 5.0) -> Flags:
    """Return in which trials ``--benchmark-compare-fail=mean:5%`` fails.

    pytest-benchmark defines it so: the new mean is more than 5% above the stored one. It compares
    one file with one file, so only the first process of each side counts.
    """
    new, base = samples.new[:, 0].mean(axis=1), samples.base[:, 0].mean(axis=1)
    return np.asarray(new / base * 100 - 100 > percent)


RULES: dict[str, Callable[[Samples], Flags]] = {
    "this suite's verdict": verdict_rule,
    "plain t-interval, 99.5%": t_rule,
    "percentile bootstrap of processes, 99%": bootstrap_rule,
    "pyperf's t-test, all values": pyperf_rule,
    "Mann–Whitney, all samples, p < 0.01": mann_whitney_rule,
    "pytest-benchmark, mean:5%": pytest_benchmark_rule,
}
