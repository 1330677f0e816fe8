"""``python -m bench.verdict_study``: how often the verdicts of ``stats`` are right, by simulation.

Draws processes whose spread is known, asks the rule that ``stats.compare`` applies what it sees,
and asks the rules of other tools the same of the same data. Prints the tables of
``docs/verdicts.md`` and draws its pictures. Every draw is seeded. This room knows ``stats`` and
NumPy; Matplotlib only where a picture is asked for.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench import stats
from bench.result_fields import printable
from bench.stats import FloatArray, Pairing, RunSamples, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Verdicts = npt.NDArray[np.str_]
Flags = npt.NDArray[np.bool_]

SEED = 20250131
# The standard error of a rate of 0.5% over so many trials is 0.05%, of one of 50% it is 0.4%.
TRIALS = 20_000
# The rules of other tools sort and resample every sample, so they get fewer.
RIVAL_TRIALS = 4_000

# Spreads that were seen (see the allowances in ``stats``): of the processes' ratios from
# alternating blocks, and of the medians of separate processes.
PAIRED_SPREADS = (0.025, 0.035)
UNPAIRED_SPREADS = (0.03, 0.10, 0.29)

# One process: so many rounds, each sample with so much noise of its own around the process's time.
ROUNDS = 30
SAMPLE_NOISE = 0.03
# Processes differ by more than their ratios do: this much is common to both sides of a process.
# The smallest spread of processes' medians that was seen, and a middling one.
QUIET, RESTLESS = 0.03, 0.10


# What the rule of ``stats.compare`` says


def verdicts(
    mean: FloatArray, sd: FloatArray, processes: int, allowance: float, effect: float = 0.0
) -> Verdicts:
    """The verdicts ``[trials]`` of paired processes, from the mean and sd of their log ratios.

    effect is added to the mean, so that one draw serves for many effects.
    """
    count = np.full(mean.size, processes)
    variance, degrees = stats.variance_of_mean(sd, count, np.zeros(mean.size), allowance)
    shifted = mean + math.log1p(effect)
    return stats.verdicts(*stats.log_intervals(shifted, np.sqrt(variance), degrees))


def paired_verdicts(
    effects: Iterable[float],
    spread: float,
    processes: int,
    trials: int = TRIALS,
    seed: int = SEED,
    draw: Callable[[np.random.Generator, tuple[int, int]], FloatArray] | None = None,
) -> list[Verdicts]:
    """Verdicts ``[trials]`` for each true effect (0.05: new is 5% slower).

    The processes' log ratios spread by ``spread`` around the effect: normally, or as ``draw``
    draws them (of mean 0 and sd 1).
    """
    rng = np.random.default_rng(seed)
    shape = (trials, processes)
    logs = spread * (rng.standard_normal(shape) if draw is None else draw(rng, shape))
    mean, sd = _moments(logs)
    allowance = Pairing.ALTERNATING.allowance
    return [verdicts(mean, sd, processes, allowance, effect) for effect in effects]


def unpaired_verdicts(
    effects: Iterable[float],
    spreads: tuple[float, float],
    processes: tuple[int, int],
    trials: int = TRIALS,
    seed: int = SEED,
) -> list[Verdicts]:
    """Verdicts ``[trials]`` for each true effect; spreads and processes are (new, base)."""
    rng = np.random.default_rng(seed)
    means: list[FloatArray] = []
    parts: list[FloatArray] = []
    for spread, count in zip(spreads, processes, strict=True):
        mean, sd = _moments(spread * rng.standard_normal((trials, count)))
        means.append(mean)
        parts.extend(
            stats.variance_of_mean(
                sd, np.full(trials, count), np.zeros(trials), Pairing.UNPAIRED.allowance
            )
        )
    variance, degrees = stats.welch(*parts)
    error = np.sqrt(variance)
    difference = means[0] - means[1]
    return [
        stats.verdicts(*stats.log_intervals(difference + math.log1p(effect), error, degrees))
        for effect in effects
    ]


def rate(found: Verdicts, *wanted: Verdict) -> float:
    """The share of the trials with one of these verdicts."""
    return float(np.mean(np.isin(found, [verdict.value for verdict in wanted])))


def processes_needed(
    effect: float, spread: float, paired: bool, power: float = 0.9, trials: int = 4000
) -> int | None:
    """The fewest processes (a side) that find a true effect with this power; None: over 2,000.

    From 6 on by the noncentral t distribution, which is what the t-interval's power is (Welch's
    with two sides of one spread differs from it by less than a process); with fewer by simulation.
    """
    from scipy import special

    for count in range(1, stats.ENOUGH_PROCESSES):
        if paired:
            (found,) = paired_verdicts([effect], spread, count, trials)
        else:
            sides = (spread, spread), (count, count)
            (found,) = unpaired_verdicts([effect], *sides, trials)
        if rate(found, Verdict.SLOWER) >= power:
            return count
    counts = np.arange(stats.ENOUGH_PROCESSES, 2001, dtype=np.float64)
    number = 1 if paired else 2
    degrees = number * (counts - 1)
    shift = math.log1p(effect) / (spread * np.sqrt(number / counts))
    quantile = special.stdtrit(degrees, (1 + stats.VERDICT_CONFIDENCE) / 2)
    enough = 1 - special.nctdtr(degrees, shift, quantile) >= power
    return int(counts[np.argmax(enough)]) if np.any(enough) else None


def _moments(logs: FloatArray) -> tuple[FloatArray, FloatArray]:
    sd = logs.std(axis=1, ddof=1) if logs.shape[1] > 1 else np.zeros(len(logs))
    return logs.mean(axis=1), sd


# Every sample of simulated comparisons, and what other rules say of them


@dataclass(frozen=True)
class Samples:
    """Comparisons with all their samples, in seconds: base and new ``[trials, processes, rounds]``.

    paired: process by process and round by round both sides were measured together.
    """

    base: FloatArray
    new: FloatArray
    paired: bool

    def slowed(self, effect: float) -> Samples:
        """The same with the new side slower by ``effect``."""
        return Samples(self.base, self.new * (1 + effect), self.paired)


def paired_samples(
    spread: float, processes: int, trials: int, common_spread: float = QUIET, seed: int = SEED
) -> Samples:
    """Equal sides whose processes' log ratios of medians spread by ``spread``."""
    rng = np.random.default_rng(seed)
    common = common_spread * rng.standard_normal((trials, processes, 1))
    # The median of the rounds brings part of the spread; the processes bring the rest.
    of_medians = math.sqrt(math.pi / 2 / ROUNDS) * SAMPLE_NOISE
    own = math.sqrt(spread**2 / 2 - of_medians**2)
    sides = [_side(rng, common, own, (trials, processes)) for _ in range(2)]
    return Samples(sides[0], sides[1], paired=True)


def unpaired_samples(spread: float, processes: int, trials: int, seed: int = SEED) -> Samples:
    """Equal sides whose separate processes' log medians spread by ``spread``."""
    rng = np.random.default_rng(seed)
    of_medians = math.sqrt(math.pi / 2 / ROUNDS) * SAMPLE_NOISE
    own = math.sqrt(spread**2 - of_medians**2)
    sides = [_side(rng, np.zeros(1), own, (trials, processes)) for _ in range(2)]
    return Samples(sides[0], sides[1], paired=False)


def _side(
    rng: np.random.Generator, common: FloatArray, own: float, shape: tuple[int, int]
) -> FloatArray:
    process = common + own * rng.standard_normal((*shape, 1))
    return np.asarray(np.exp(process + SAMPLE_NOISE * rng.standard_normal((*shape, ROUNDS))))


def verdict_rule(samples: Samples) -> Flags:
    """Where ``stats.compare`` says FASTER or SLOWER, ``[trials]``."""
    trials, processes, _ = samples.base.shape
    if processes < stats.ENOUGH_PROCESSES:
        found = [_compared(samples, trial).verdict.value for trial in range(trials)]
        return _different(np.array(found))
    new, base = (np.log(np.median(side, axis=2)) for side in (samples.new, samples.base))
    if samples.paired:
        mean, sd = _moments(new - base)
        return _different(verdicts(mean, sd, processes, Pairing.ALTERNATING.allowance))
    count, none = np.full(trials, processes), np.zeros(trials)
    (new_mean, new_sd), (base_mean, base_sd) = _moments(new), _moments(base)
    variance, degrees = stats.welch(
        *stats.variance_of_mean(new_sd, count, none, Pairing.UNPAIRED.allowance),
        *stats.variance_of_mean(base_sd, count, none, Pairing.UNPAIRED.allowance),
    )
    bounds = stats.log_intervals(new_mean - base_mean, np.sqrt(variance), degrees)
    return _different(stats.verdicts(*bounds))


def _compared(samples: Samples, trial: int) -> stats.Comparison:
    rounds = np.arange(samples.base.shape[2])
    sides = []
    for side, name in ((samples.new, "new"), (samples.base, "base")):
        prefix = "" if samples.paired else name
        sides.append(
            [
                RunSamples(f"{prefix}{process}", values, rounds)
                for process, values in enumerate(side[trial])
            ]
        )
    return stats.compare(*sides)


def _different(found: Verdicts) -> Flags:
    return np.isin(found, [Verdict.FASTER.value, Verdict.SLOWER.value])


def bootstrap_rule(samples: Samples, confidence: float = 0.99, resamples: int = 2000) -> Flags:
    """Where a percentile bootstrap over the processes excludes equality, ``[trials]``.

    The mean of the processes' log ratios (paired), or the difference of the sides' mean log
    medians, over processes drawn with replacement; the same draws serve all trials.
    """
    rng = np.random.default_rng(SEED + 1)
    new, base = (np.log(np.median(side, axis=2)) for side in (samples.new, samples.base))
    processes = new.shape[1]
    weights = [
        rng.multinomial(processes, np.full(processes, 1 / processes), resamples).T / processes
        for _ in range(2)
    ]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    found = []
    for start in range(0, len(new), 250):  # 250 × 2,000 means at a time: 4 MB
        part = slice(start, start + 250)
        if samples.paired:
            means = (new[part] - base[part]) @ weights[0]
        else:
            means = new[part] @ weights[0] - base[part] @ weights[1]
        low, high = np.quantile(means, tails, axis=1)
        found.append((low > 0) | (high < 0))
    return np.concatenate(found)


def mann_whitney_rule(samples: Samples, level: float = 0.01) -> Flags:
    """Where a Mann-Whitney test of all samples pooled has p below ``level``, ``[trials]``.

    The normal approximation; the samples are continuous, so there are no ties.
    """
    from scipy import special

    base, new = (side.reshape(len(side), -1) for side in (samples.base, samples.new))
    count = base.shape[1]
    order = np.argsort(np.concatenate([base, new], axis=1), axis=1)
    # The sum of the ranks of the new side: where in the order its samples stand.
    ranks = np.sum((order >= count) * np.arange(1, 2 * count + 1), axis=1)
    statistic = ranks - count * (count + 1) / 2
    sd = math.sqrt(count * count * (2 * count + 1) / 12)
    z = (statistic - count * count / 2) / sd
    return np.asarray(np.abs(z) > special.ndtri(1 - level / 2))


def pyperf_rule(samples: Samples) -> Flags:
    """Where pyperf's test calls two benchmarks significantly different, ``[trials]``.

    As psf/pyperf defines it (``pyperf/_utils.py``, ``is_significant``): Student's two-sample
    two-tailed t-test at 95% with a pooled variance, on all values of all runs.
    """
    from scipy import special

    base, new = (side.reshape(len(side), -1) for side in (samples.base, samples.new))
    count = base.shape[1]
    pooled = (base.var(axis=1, ddof=1) + new.var(axis=1, ddof=1)) / 2
    t = (new.mean(axis=1) - base.mean(axis=1)) / np.sqrt(2 * pooled / count)
    return np.asarray(np.abs(t) >= special.stdtrit(2.0 * count - 2, 0.975))


def pytest_benchmark_rule(samples: Samples, percent: float = 5.0) -> Flags:
    """Where ``--benchmark-compare-fail=mean:5%`` fails, ``[trials]``.

    As pytest-benchmark defines it: the new mean is more than 5% above the stored one. It compares
    one file with one file, so of several processes only the first of each side counts.
    """
    new, base = samples.new[:, 0].mean(axis=1), samples.base[:, 0].mean(axis=1)
    return np.asarray(new / base * 100 - 100 > percent)


RULES: dict[str, Callable[[Samples], Flags]] = {
    "this suite's verdict": verdict_rule,
    "percentile bootstrap of processes, 99%": bootstrap_rule,
    "pyperf's t-test, all values": pyperf_rule,
    "Mann–Whitney, all samples, p < 0.01": mann_whitney_rule,
    "pytest-benchmark, mean:5%": pytest_benchmark_rule,
}


# Tables


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its numbers to the right."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    out = []
    for number, line in enumerate(lines):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        out.append(f"| {' | '.join(cells)} |")
        if number == 0:
            rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            out.append(f"| {' | '.join(rules)} |")
    return "\n".join(out)


def percent(value: float) -> str:
    """A rate in per cent, with one digit after the point."""
    return f"{100 * value:.1f}%"


def false_rates(trials: int) -> str:
    """Equals that are called FASTER or SLOWER, by how many processes there are."""
    counts = (1, 2, 3, 5, 6, 10, 20, 50)
    rows = []
    for spread in PAIRED_SPREADS:
        found = [paired_verdicts([0.0], spread, count, trials)[0] for count in counts]
        rates = [rate(each, Verdict.FASTER, Verdict.SLOWER) for each in found]
        rows.append([f"paired, spread {spread:.1%}", *map(percent, rates)])
    for spread in UNPAIRED_SPREADS:
        found = [
            unpaired_verdicts([0.0], (spread, spread), (count, count), trials)[0]
            for count in counts
        ]
        rates = [rate(each, Verdict.FASTER, Verdict.SLOWER) for each in found]
        rows.append([f"unpaired, spread {spread:.0%}", *map(percent, rates)])
    return table(["equals called different, processes:", *map(str, counts)], rows)


def powers(trials: int) -> str:
    """How often a true effect gets the right verdict."""
    counts = (1, 3, 6, 10, 20, 50)
    rows = []
    for effect in (0.03, 0.05, 0.10, 0.20):
        for spread in PAIRED_SPREADS:
            rates = [
                rate(paired_verdicts([effect], spread, count, trials)[0], Verdict.SLOWER)
                for count in counts
            ]
            rows.append([f"{effect:.0%} slower, paired, spread {spread:.1%}", *map(percent, rates)])
    for effect in (0.10, 0.50):
        for spread in UNPAIRED_SPREADS:
            rates = [
                rate(
                    unpaired_verdicts([effect], (spread, spread), (count, count), trials)[0],
                    Verdict.SLOWER,
                )
                for count in counts
            ]
            name = f"{effect:.0%} slower, unpaired, spread {spread:.0%}"
            rows.append([name, *map(percent, rates)])
    return table(["SLOWER said, processes:", *map(str, counts)], rows)


def same_rates(trials: int) -> str:
    """How often SAME is said, of equals and of what is not the same."""
    counts = (6, 10, 20, 30, 50, 100)
    rows = []
    for effect in (0.0, 0.01, 0.02, 0.03):
        rates = [
            rate(paired_verdicts([effect], 0.025, count, trials)[0], Verdict.SAME)
            for count in counts
        ]
        rows.append([f"{effect:.0%} slower, spread 2.5%", *map(percent, rates)])
    return table(["SAME said, processes:", *map(str, counts)], rows)


def needed(trials: int) -> str:
    """The processes that an effect needs to be found in 90% of comparisons."""
    effects = (0.03, 0.05, 0.10, 0.20, 0.50, 1.0)
    rows = []
    for paired, spreads in ((True, (0.013, *PAIRED_SPREADS)), (False, UNPAIRED_SPREADS)):
        for spread in spreads:
            counts = [processes_needed(e, spread, paired, trials=trials) for e in effects]
            name = "paired" if paired else "unpaired, a side"
            cells = ["over 2000" if count is None else _count(count) for count in counts]
            rows.append([f"{name}, spread {spread:.1%}", *cells])
    # A star where the number rests on the allowance and not on what the processes show.
    return table(["processes for 90%, slower by:", *(f"{e:.0%}" for e in effects)], rows)


def _count(processes: int) -> str:
    return f"{processes}{'*' if processes < stats.ENOUGH_PROCESSES else ''}"


def _heavy(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Student's t with 3 degrees, scaled to sd 1: now and then a process far off."""
    return rng.standard_t(3, shape) / math.sqrt(3)


def _skewed(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """An exponential, moved to mean 0: a fastest time, and a long tail of slower processes."""
    return rng.exponential(1.0, shape) - 1


def _skewed_sides(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """The ratio of two such sides, which is symmetric, scaled to sd 1."""
    return (_skewed(rng, shape) - _skewed(rng, shape)) / math.sqrt(2)


def robustness(trials: int) -> str:
    """The false rate where the spread is not what the rule assumes."""
    counts = (1, 2, 3, 5, 6, 10, 20)
    worlds: list[
        tuple[str, float, Callable[[np.random.Generator, tuple[int, int]], FloatArray] | None]
    ] = [
        ("normal, 3.5% (the allowance)", 0.035, None),
        ("normal, 7% (twice the allowance)", 0.07, None),
        ("heavy tails (t, 3 degrees), 3.5%", 0.035, _heavy),
        ("both sides skewed alike, 3.5%", 0.035, _skewed_sides),
        ("one side skewed (exponential), 3.5%", 0.035, _skewed),
    ]
    rows = []
    for name, spread, draw in worlds:
        found = [paired_verdicts([0.0], spread, n, trials, draw=draw)[0] for n in counts]
        rates = [rate(each, Verdict.FASTER, Verdict.SLOWER) for each in found]
        rows.append([name, *map(percent, rates)])
    return table(["equals called different, processes:", *map(str, counts)], rows)


def stopping(trials: int, most: int = 50) -> str:
    """The false rate by when one stops adding processes, from 6 to 50 of them."""
    counts = np.arange(stats.ENOUGH_PROCESSES, most + 1)
    rows: dict[str, list[str]] = {
        "at 20 processes": [],
        "when the half width is 3% or less": [],
        "when the half width is 2% or less": [],
        "at the first FASTER or SLOWER": [],
    }
    for spread in PAIRED_SPREADS:
        logs = spread * np.random.default_rng(SEED).standard_normal((trials, most))
        said = np.empty((trials, counts.size), dtype=np.bool_)
        widths = np.empty((trials, counts.size))
        for column, count in enumerate(counts):
            mean, sd = _moments(logs[:, :count])
            error, degrees = sd / math.sqrt(count), np.full(trials, count - 1.0)
            low, high = stats.log_intervals(mean, error, degrees)
            said[:, column] = _different(stats.verdicts(low, high))
            widths[:, column] = (high - low) / 2
        stops = [
            np.full(trials, 20 - stats.ENOUGH_PROCESSES),
            _first(widths <= 0.03),
            _first(widths <= 0.02),
            _first(said),
        ]
        for cells, stop in zip(rows.values(), stops, strict=True):
            cells.append(percent(float(np.mean(said[np.arange(trials), stop]))))
    headings = [f"spread {spread:.1%}" for spread in PAIRED_SPREADS]
    return table(
        ["equals called different, stopping:", *headings], [[k, *v] for k, v in rows.items()]
    )


def _first(flags: Flags) -> npt.NDArray[np.int64]:
    """The first column that is true, or else the last column, ``[trials]``."""
    last = flags.shape[1] - 1
    first = np.where(flags.any(axis=1), flags.argmax(axis=1), last)
    return np.asarray(first, dtype=np.int64)


def rivals(trials: int) -> str:
    """What each rule says of the same data: of equals, and of a true 5% and 10%."""
    effects = (0.0, 0.05, 0.10)
    blocks: list[list[list[float]]] = []
    headings = []
    worlds = [
        ("paired, 6", paired_samples(0.035, 6, trials)),
        ("paired, 20", paired_samples(0.035, 20, trials)),
        ("restless, 6", paired_samples(0.035, 6, trials, RESTLESS)),
        ("unpaired, 6", unpaired_samples(0.10, 6, trials)),
        ("unpaired, 20", unpaired_samples(0.10, 20, trials)),
    ]
    for name, samples in worlds:
        slowed = [samples.slowed(effect) for effect in effects]
        blocks.append([[float(np.mean(rule(each))) for each in slowed] for rule in RULES.values()])
        headings.append(name)
    rows = [
        [name, *(" / ".join(f"{100 * value:.1f}" for value in block[index]) for block in blocks)]
        for index, name in enumerate(RULES)
    ]
    return table(["says different, % at 0 / 5 / 10%", *headings], rows)


def tables(trials: int, rival_trials: int) -> dict[str, str]:
    """Every table of ``docs/verdicts.md``, by what it shows."""
    return {
        "False verdicts": false_rates(trials),
        "Found effects": powers(trials),
        "SAME": same_rates(trials),
        "Processes needed": needed(trials),
        "Other spreads": robustness(trials),
        "When to stop": stopping(trials),
        "Other rules": rivals(rival_trials),
    }


# Pictures

# Okabe and Ito's colours, which colour-blind readers can tell apart, from light to dark enough.
COLOURS = ("#777777", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#0072b2")
COUNTS = (1, 3, 6, 10, 20, 50)
# What the method promises: with so many processes an effect is found at least so often.
PROMISES = {6: (0.10, 0.80), 20: (0.05, 0.90)}


def draw_power(trials: int) -> Figure:
    """How often an effect is found, against its size, a line a number of processes."""
    figure, axes = _figure(2, "How surely an effect is found: paired processes")
    effects = np.linspace(0, 0.15, 61)
    for axis, spread in zip(axes, PAIRED_SPREADS, strict=True):
        for count, colour in zip(COUNTS, COLOURS, strict=True):
            found = paired_verdicts(effects, spread, count, trials)
            rates = [100 * rate(each, Verdict.SLOWER) for each in found]
            axis.plot(100 * effects, rates, color=colour, lw=2, label=_processes(count))
        for count, (effect, promised) in PROMISES.items():
            axis.plot(
                100 * effect,
                100 * promised,
                marker="D",
                markersize=8,
                markerfacecolor="white",
                markeredgecolor=COLOURS[COUNTS.index(count)],
                markeredgewidth=2,
                linestyle="none",
                label=f"promised for {count}",
            )
        axis.set(title=f"processes' ratios spread by {spread:.1%}", xlabel="true slowdown, %")
    axes[0].set_ylabel("comparisons that say SLOWER, %")
    _legend_below(figure, axes[0], 4)
    return figure


def draw_unpaired_power(trials: int) -> Figure:
    """The same for processes that are not paired."""
    figure, axes = _figure(
        3, "How surely an effect is found: other runs, other machines (unpaired)"
    )
    factors = np.geomspace(1, 5, 81)
    for axis, spread in zip(axes, UNPAIRED_SPREADS, strict=True):
        for count, colour in zip(COUNTS, COLOURS, strict=True):
            found = unpaired_verdicts(factors - 1, (spread, spread), (count, count), trials)
            rates = [100 * rate(each, Verdict.SLOWER) for each in found]
            axis.plot(factors, rates, color=colour, lw=2, label=f"{_processes(count)} a side")
        axis.set(title=f"processes spread by {spread:.0%}", xlabel="true time, times as long")
        axis.set_xscale("log")
        _plain_ticks(axis.xaxis, [1, 1.5, 2, 3, 4, 5])
    axes[0].set_ylabel("comparisons that say SLOWER, %")
    _legend_below(figure, axes[0], 3)
    return figure


def draw_needed(trials: int) -> Figure:
    """The processes that an effect needs, against its size."""
    figure, axes = _figure(1, "Processes needed to find an effect in 90% of comparisons")
    axis = axes[0]
    effects = np.geomspace(0.02, 1.0, 100)
    lines = (
        *((True, spread) for spread in (0.013, *PAIRED_SPREADS)),
        *((False, spread) for spread in UNPAIRED_SPREADS),
    )
    for (paired, spread), colour in zip(lines, COLOURS, strict=True):
        counts = [processes_needed(e, spread, paired, trials=trials) for e in effects.tolist()]
        axis.step(
            100 * effects,
            [math.nan if count is None else count for count in counts],
            where="post",
            color=colour,
            lw=2,
            ls="-" if paired else "--",
            label=f"paired, spread {spread:.1%}" if paired else f"unpaired, spread {spread:.0%}",
        )
    axis.axhspan(0.8, 5.5, color="#000000", alpha=0.06, lw=0)
    axis.text(19, 4.4, "fewer than 6: the allowance stands\nfor their spread", va="top", size=9)
    axis.set(xscale="log", yscale="log", xlim=(2, 100), ylim=(0.8, 2000))
    _plain_ticks(axis.xaxis, [2, 3, 5, 10, 20, 50, 100])
    _plain_ticks(axis.yaxis, [1, 2, 3, 6, 10, 20, 50, 100, 200, 500, 1000])
    axis.set(xlabel="true slowdown, %", ylabel="processes (unpaired: on each side)")
    axis.legend(frameon=False, fontsize=9, loc="upper right")
    return figure


def draw_verdicts(trials: int) -> Figure:
    """How often each verdict is said, against the true effect."""
    figure, axes = _figure(3, "Which verdict is said: paired processes, spread 2.5%")
    effects = np.linspace(-0.08, 0.08, 97)
    styles = {
        Verdict.FASTER: ("#009e73", "-"),
        Verdict.SAME: ("#0072b2", "--"),
        Verdict.UNCLEAR: ("#777777", ":"),
        Verdict.SLOWER: ("#d55e00", "-."),
    }
    edge = 100 * stats.SAME_WITHIN
    for axis, count in zip(axes, (6, 20, 50), strict=True):
        found = paired_verdicts(effects, 0.025, count, trials)
        axis.axvspan(-edge, edge, color="#0072b2", alpha=0.08, lw=0)
        for verdict, (colour, style) in styles.items():
            rates = [100 * rate(each, verdict) for each in found]
            axis.plot(100 * effects, rates, color=colour, ls=style, lw=2, label=str(verdict))
        axis.set(title=_processes(count), xlabel="true change of time, %", xlim=(-8, 8))
        axis.set_xticks([-8, -4, -2, 0, 2, 4, 8])
    axes[0].set_ylabel("comparisons, %")
    _legend_below(figure, axes[0], 4)
    return figure


def draw_rivals(trials: int) -> Figure:
    """What each rule says of the same data, against the true effect."""
    figure, axes = _figure(2, "What other rules say of the same data")
    effects = np.linspace(0, 0.12, 25)
    worlds = (
        ("20 paired processes, ratios spread by 3.5%", paired_samples(0.035, 20, trials)),
        ("20 processes a side, unpaired, spread 10%", unpaired_samples(0.10, 20, trials)),
    )
    styles = ("-", "--", "-.", ":", (0, (1, 1)))
    colours = ("#0072b2", "#009e73", "#d55e00", "#a0407c", "#000000")
    for axis, (title, samples) in zip(axes, worlds, strict=True):
        for (name, rule), style, colour in zip(RULES.items(), styles, colours, strict=True):
            rates = [100 * float(np.mean(rule(samples.slowed(effect)))) for effect in effects]
            width = 3.5 if rule is verdict_rule else 2
            axis.plot(100 * effects, rates, ls=style, color=colour, lw=width, label=name)
        axis.set(title=title, xlabel="true slowdown, %  (what is said at 0 is false)")
    axes[0].set_ylabel("comparisons called different, %")
    _legend_below(figure, axes[0], 2)
    return figure


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _plain_ticks(axis: Axis, values: Sequence[float]) -> None:
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)


def _legend_below(figure: Figure, axis: Axes, columns: int) -> None:
    figure.legend(
        *axis.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=10,
    )


def _figure(panels: int, title: str) -> tuple[Figure, list[Axes]]:
    # Without pyplot: no display is asked for, and nothing global is changed.
    from matplotlib.figure import Figure

    width = {1: 7.5, 2: 10.0, 3: 11.0}[panels]
    figure = Figure(figsize=(width, 4.6), dpi=120, layout="constrained")
    axes = list(figure.subplots(1, panels, sharey=True, squeeze=False)[0])
    figure.suptitle(title, fontsize=13)
    for axis in axes:
        axis.grid(color="#000000", alpha=0.12, lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def pictures(trials: int, rival_trials: int) -> dict[str, Callable[[], Figure]]:
    """The pictures of ``docs/verdicts.md``, by file name."""
    return {
        "verdicts-power.png": lambda: draw_power(trials),
        "verdicts-power-unpaired.png": lambda: draw_unpaired_power(trials),
        "verdicts-needed.png": lambda: draw_needed(rival_trials),
        "verdicts-shares.png": lambda: draw_verdicts(trials),
        "verdicts-other-rules.png": lambda: draw_rivals(rival_trials),
    }


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and, with ``--output``, draw the pictures; 2 if they cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.verdict_study",
        description="Simulate how often the verdicts are right, and what other rules say.",
    )
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, help="draw the pictures too, as PNG files there"
    )
    parser.add_argument(
        "--trials",
        type=_positive,
        default=TRIALS,
        help="simulated comparisons for each number (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    rival_trials = min(RIVAL_TRIALS, options.trials)
    for title, text in tables(options.trials, rival_trials).items():
        print(f"{title}\n\n{text}\n")
    if options.output is None:
        return 0
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        for name, draw in pictures(options.trials, rival_trials).items():
            draw().savefig(options.output / name)
            print(f"wrote {printable(str(options.output / name))}")
    except ImportError:
        print("error: pictures need Matplotlib: pip install matplotlib", file=sys.stderr)
        return 2
    except OSError as error:
        where = printable(str(error.filename or options.output))
        print(f"error: {where} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
