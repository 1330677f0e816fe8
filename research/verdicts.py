"""Tabulate how often the verdicts on one machine are right, over simulated comparisons."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bench.render.table import TextTable
from bench.stats import comparison
from bench.stats.comparison import Pairing, Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, process_means
from bench.stats.ratios import difference
from research.noises import (
    BEYOND,
    NOISES,
    PAIRED_SPREADS,
    RESTLESS,
    SEED,
    UNPAIRED_SPREADS,
    Noise,
    draw_autoregressions,
    draw_measured,
    draw_outlying_processes,
    normal,
    paired_samples,
    session_shift,
    unpaired_samples,
)
from research.rules import (
    DIFFERENT,
    RIVAL_TRIALS,
    RULES,
    Flags,
    beside,
    bridged_verdicts,
    different,
    interleaved_verdicts,
    paired_means,
    paired_verdicts,
    percent,
    processes_needed,
    rate,
    t_flags,
    table,
    unpaired_verdicts,
    verdicts,
)


def false_rates(trials: int) -> TextTable:
    """Tabulate how often paired equals are called different, by noise and number of processes."""
    counts = (1, 2, 3, 4, 5, 6, 8, 10, 20, 50)

    def row(name: str, noise: Noise) -> tuple[str, list[float]]:
        found = [paired_verdicts([0.0], noise, count, trials)[0] for count in counts]
        return name, [rate(each, *DIFFERENT) for each in found]

    rows = [row(name, noise) for name, noise in NOISES.items()]
    mean = np.mean([rates for _, rates in rows], axis=0).tolist()
    rows.append(("**mean of these**", mean))
    rows += [row(f"*beyond:* {name}", noise) for name, noise in BEYOND.items()]
    cells = [[name, *map(percent, rates)] for name, rates in rows]
    return table(["equals called different, processes:", *map(str, counts)], cells)


def order_rates(trials: int) -> TextTable:
    """Tabulate how often the rule says different with the order known, and (unknown)."""
    counts = (6, 10, 20, 50)
    rows = []
    worlds: dict[str, tuple[Noise, float]] = {
        **{f"equals, {name}": (noise, 0.0) for name, noise in BEYOND.items()},
        "equals, as measured": (NOISES["as measured"], 0.0),
        "5% slower, as measured": (NOISES["as measured"], 0.05),
        "5% slower, as in the reference": (NOISES["as in the reference"], 0.05),
        "10% slower, as in the reference": (NOISES["as in the reference"], 0.10),
    }
    for name, (noise, effect) in worlds.items():
        cells = []
        for count in counts:
            found = [
                paired_verdicts([effect], noise, count, trials, in_order=in_order)[0]
                for in_order in (True, False)
            ]
            cells.append(beside(*(rate(each, *DIFFERENT) for each in found)))
        rows.append([name, *cells])
    headings = [f"{count} processes" for count in counts]
    return table(["called different with the order (without):", *headings], rows)


PARTS = {
    "none becomes faster": (0.0, 0.0),
    "one faster by 6% from half-way on": (0.5, 1.0),
    "one faster by 6% after a quarter": (0.25, 1.0),
    "one faster by 6% in the middle half": (0.25, 0.75),
}
"""The part of a session in which one of three equal backends is faster, by name."""


def star_rates(trials: int) -> TextTable:
    """Tabulate how often one of three equals gets a star, with the order and (without it)."""
    counts = (6, 10, 20, 50)
    rows = []
    for name, part in PARTS.items():
        cells = []
        for count in counts:
            rng = np.random.default_rng(SEED)
            shape = (trials, count)
            # Each backend has half of the variance, so that a ratio of two spreads as measured.
            logs = np.stack([draw_measured(rng, shape) / math.sqrt(2) for _ in range(3)])
            logs[0] += session_shift(count, -0.06, *part)
            cells.append(beside(*(_star_rate(logs, in_order) for in_order in (True, False))))
        rows.append([name, *cells])
    headings = [f"{count} processes" for count in counts]
    return table(["stars among three equals with the order (without):", *headings], rows)


def _star_rate(logs: npt.NDArray[np.float64], in_order: bool) -> float:
    """Return how often the fastest backend is jointly FASTER than the others.

    Parameters
    ----------
    logs
        Log times, ``[backends, trials, processes]``. The fastest backend of a trial is the one with
        the smallest median, as in a report.
    in_order
        Whether the rule knows the order of the processes.
    """
    order = np.argsort(np.median(logs, axis=2), axis=0)[..., None]
    first, *others = np.take_along_axis(logs, order, axis=0)
    stars = np.ones(logs.shape[1], dtype=np.bool_)
    for other in others:
        means = process_means(other - first, Pairing.ALTERNATING.allowance, in_order)
        slower = difference(means)
        stars &= slower.p_slower() <= comparison.GATE_LEVEL / len(others)
        stars &= comparison.verdicts(*slower.bounds()) == Verdict.SLOWER
    return float(np.mean(stars))


def unpaired_false_rates(trials: int) -> TextTable:
    """Tabulate how often equals in separate processes are called different."""
    counts = (1, 2, 3, 5, 6, 10, 20, 50)
    worlds: dict[str, tuple[float | Noise, float | Noise]] = {
        **{f"spread {each:.0%}": (each, each) for each in UNPAIRED_SPREADS},
        "a bad process in ten": (draw_outlying_processes, draw_outlying_processes),
        "one side 3%, the other 29%": (0.03, 0.29),
    }
    rows = []
    for name, noises in worlds.items():
        found = [unpaired_verdicts([0.0], noises, (n, n), trials)[0] for n in counts]
        rates = [rate(each, *DIFFERENT) for each in found]
        rows.append([name, *map(percent, rates)])
    return table(["unpaired equals called different, a side:", *map(str, counts)], rows)


def bridged_false_rates(trials: int) -> TextTable:
    """Tabulate how often equal environments are called different over an equal reference.

    The module ``bridges`` has the rates over references that differ.
    """
    counts = (1, 2, 3, 5, 6, 10, 20, 50)

    def row(name: str, noises: tuple[Noise, Noise]) -> list[str]:
        found = [bridged_verdicts([0.0], noises, count, trials)[0] for count in counts]
        return [name, *(percent(rate(each, *DIFFERENT)) for each in found)]

    rows = [row(name, (noise, noise)) for name, noise in NOISES.items()]
    quiet, loud = normal(PAIRED_SPREADS[0]), NOISES["spread 29%"]
    rows.append(row("one side 2.5%, the other 29%", (quiet, loud)))
    return table(["bridged equals called different, a side:", *map(str, counts)], rows)


def bridged_powers(trials: int) -> TextTable:
    """Tabulate how often a true effect is found over a reference, and (without it).

    The noise of a process is common to all of its cases, so their ratio spreads less.
    """
    counts = (3, 6, 10, 20)
    effects = (0.05, 0.10, 0.20)
    rows = []
    for noise in UNPAIRED_SPREADS[:2]:
        for spread in PAIRED_SPREADS:
            over = [bridged_verdicts(effects, (spread, spread), n, trials) for n in counts]
            # A median has the noise of its process and half of the variance of a ratio.
            separate = math.hypot(noise, spread / math.sqrt(2))
            without = [
                unpaired_verdicts(effects, (separate, separate), (n, n), trials) for n in counts
            ]
            for index in (1, 2) if noise > UNPAIRED_SPREADS[0] else (0, 1):
                cells = [
                    beside(rate(one[index], Verdict.SLOWER), rate(other[index], Verdict.SLOWER))
                    for one, other in zip(over, without, strict=True)
                ]
                name = f"{effects[index]:.0%} slower, ratios {spread:.1%}, medians {noise:.0%}"
                rows.append([name, *cells])
    headings = [f"{count} a side" for count in counts]
    return table(["SLOWER said over a bridge (without):", *headings], rows)


STATES: dict[str, Noise] = {
    "steady": lambda rng, shape: np.zeros(shape),
    "wandering by 10%": lambda rng, shape: draw_autoregressions(rng, shape, 0.10, 0.95),
    "slower by 20% from first to last": lambda rng, shape: np.broadcast_to(
        np.linspace(0, math.log(1.2), shape[1]), shape
    ),
}
"""The states that a machine goes through while two environments are measured in turn, by name."""


def interleaved_false_rates(trials: int) -> TextTable:
    """Tabulate how often equal environments are called different: in turn, and (unpaired)."""
    counts = (2, 3, 5, 6, 10, 20)
    rows = []
    noises: dict[str, float | Noise] = {
        **{f"medians {each:.0%}": each for each in UNPAIRED_SPREADS},
        "a bad process in ten": draw_outlying_processes,
    }
    for described, noise in noises.items():
        for state, machine in STATES.items():
            cells = []
            for count in counts:
                found = interleaved_verdicts([0.0], noise, machine, count, trials)
                cells.append(beside(*(rate(each[0], *DIFFERENT) for each in found)))
            rows.append([f"{described}, machine {state}", *cells])
    headings = [f"{count} turns" for count in counts]
    return table(["equals called different, in turn (unpaired):", *headings], rows)


def interleaved_powers(trials: int) -> TextTable:
    """Tabulate how often a true effect between environments is found: in turn, and (unpaired)."""
    counts = (6, 10, 20)
    effects = (0.05, 0.10, 0.20)
    rows = []
    for spread in UNPAIRED_SPREADS[:2]:
        for state, machine in STATES.items():
            found = [interleaved_verdicts(effects, spread, machine, n, trials) for n in counts]
            for index, effect in enumerate(effects):
                cells = [
                    beside(
                        rate(paired[index], Verdict.SLOWER), rate(separate[index], Verdict.SLOWER)
                    )
                    for paired, separate in found
                ]
                rows.append([f"{effect:.0%} slower, medians {spread:.0%}, machine {state}", *cells])
    headings = [f"{count} turns" for count in counts]
    return table(["SLOWER said in turn (unpaired):", *headings], rows)


def powers_by_noise(trials: int) -> TextTable:
    """Tabulate how often a true effect is found in each noise, and (by a plain t-interval)."""
    cells = ((1, 0.50), (3, 0.20), (6, 0.10), (20, 0.05), (50, 0.03))
    both = (6, 20)
    rows = []
    for name, noise in {**NOISES, **BEYOND}.items():
        rates = []
        for count, effect in cells:
            (found,) = paired_verdicts([effect], noise, count, trials)
            rates.append(percent(rate(found, Verdict.SLOWER)))
            if count in both:
                logs = noise(np.random.default_rng(SEED), (trials, count))
                rates[-1] += f" ({percent(float(np.mean(t_flags(logs, effect))))})"
        rows.append([name, *rates])
    headings = [f"{effect:.0%} with {count}" for count, effect in cells]
    return table(["SLOWER said of a true:", *headings], rows)


def powers(trials: int) -> TextTable:
    """Tabulate how often a true effect is found in normal noise of one spread."""
    counts = (1, 3, 6, 10, 20, 50)
    # The effect is added to the means, so one draw serves all effects.
    effects = (0.03, 0.05, 0.10, 0.20, 0.50)
    paired = {
        spread: [paired_verdicts(effects, spread, count, trials) for count in counts]
        for spread in PAIRED_SPREADS
    }
    separate = {
        spread: [
            unpaired_verdicts(effects, (spread, spread), (count, count), trials) for count in counts
        ]
        for spread in UNPAIRED_SPREADS
    }
    rows = []
    for kind, found, shown in (("paired", paired, (0, 1, 2, 3)), ("unpaired", separate, (2, 4))):
        for index in shown:
            for spread, by_count in found.items():
                rates = [percent(rate(each[index], Verdict.SLOWER)) for each in by_count]
                rows.append([f"{effects[index]:.0%} slower, {kind}, spread {spread:.1%}", *rates])
    return table(["SLOWER said, processes:", *map(str, counts)], rows)


def gate_rates(trials: int) -> TextTable:
    """Tabulate how often ``--fail-on slower`` fails for twenty equal cases."""
    counts = (1, 2, 3, 5, 6, 10, 20)
    cases = 20
    runs = max(1, trials // cases)
    rows = []
    for name, noise in NOISES.items():
        rates = []
        for count in counts:
            found = paired_means(noise, count, runs * cases)
            p_values = found.p_slower()
            # Holm's procedure rejects something exactly if the smallest p passes the strictest
            # level.
            least = p_values.reshape(runs, cases).min(axis=1)
            rates.append(percent(float(np.mean(least <= comparison.GATE_LEVEL / cases))))
        rows.append([name, *rates])
    return table(["runs of 20 equals that fail, processes:", *map(str, counts)], rows)


def same_rates(trials: int) -> TextTable:
    """Tabulate how often the verdict is SAME, for equals and for small differences."""
    counts = (6, 10, 20, 30, 50, 100)
    effects = (0.0, 0.01, 0.02, 0.03)
    found = [paired_verdicts(effects, 0.025, count, trials) for count in counts]
    rows = [
        [
            f"{effect:.0%} slower, spread 2.5%",
            *(percent(rate(each[index], Verdict.SAME)) for each in found),
        ]
        for index, effect in enumerate(effects)
    ]
    return table(["SAME said, processes:", *map(str, counts)], rows)


def needed() -> TextTable:
    """Tabulate how many processes find an effect in 90% of comparisons."""
    effects = (0.03, 0.05, 0.10, 0.20, 0.50, 1.0)
    rows = []
    for paired, spreads in ((True, (0.013, *PAIRED_SPREADS)), (False, UNPAIRED_SPREADS)):
        for spread in spreads:
            counts = [processes_needed(e, spread, paired) for e in effects]
            name = "paired" if paired else "unpaired, a side"
            # A star marks a number that depends on the allowance for few processes.
            cells = [
                "over 2000" if count is None else f"{count}{'*' * (count < ENOUGH_PROCESSES)}"
                for count in counts
            ]
            rows.append([f"{name}, spread {spread:.1%}", *cells])
    return table(["processes for 90%, slower by:", *(f"{e:.0%}" for e in effects)], rows)


def stopping(trials: int) -> TextTable:
    """Tabulate false verdicts of rules for when to stop adding processes, from 6 to 50."""
    most = 50
    counts = np.arange(ENOUGH_PROCESSES, most + 1)
    rows: dict[str, list[str]] = {
        "at 20 processes": [],
        "when the half width is 3% or less": [],
        "when the half width is 2% or less": [],
        "at the first FASTER or SLOWER": [],
    }
    for spread in PAIRED_SPREADS:
        logs = normal(spread)(np.random.default_rng(SEED), (trials, most))
        said = np.empty((trials, counts.size), dtype=np.bool_)
        widths = np.empty((trials, counts.size))
        for column, count in enumerate(counts):
            means = process_means(logs[:, :count], Pairing.ALTERNATING.allowance, in_order=True)
            low, high = means.bounds()
            said[:, column] = different(verdicts(means))
            widths[:, column] = (high - low) / 2
        stops = [
            np.full(trials, 20 - ENOUGH_PROCESSES),
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
    """Return the index ``[trials]`` of the first true column, or else of the last column."""
    last = flags.shape[1] - 1
    first = np.where(flags.any(axis=1), flags.argmax(axis=1), last)
    return np.asarray(first, dtype=np.int64)


def rivals(trials: int) -> TextTable:
    """Tabulate what each rule says of the same data: of equals, and of a true 5% and 10%."""
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
        slowed = [samples.slow_down(effect) for effect in effects]
        blocks.append([[float(np.mean(rule(each))) for each in slowed] for rule in RULES.values()])
        headings.append(name)
    rows = [
        [name, *(" / ".join(f"{100 * value:.1f}" for value in block[index]) for block in blocks)]
        for index, name in enumerate(RULES)
    ]
    return table(["says different, % at 0 / 5 / 10%", *headings], rows)


def tables(trials: int) -> dict[str, TextTable]:
    """Return the tables of ``research/verdicts.md`` about the medians of one machine, by title."""
    return {
        "False verdicts": false_rates(trials),
        "The order of processes": order_rates(trials),
        "The order of processes, stars": star_rates(trials),
        "False verdicts, unpaired": unpaired_false_rates(trials),
        "False verdicts, bridged": bridged_false_rates(trials),
        "Found effects, by noise": powers_by_noise(trials),
        "Found effects, by spread": powers(trials),
        "Found effects, bridged": bridged_powers(trials),
        "False verdicts, in turn": interleaved_false_rates(trials),
        "Found effects, in turn": interleaved_powers(trials),
        # Here a trial is a family of 20 cases, so more comparisons are needed.
        "The gate": gate_rates(2 * trials),
        "SAME": same_rates(trials),
        "Processes needed": needed(),
        # Each trial is judged with every number of processes from 6 to 50, which takes longer.
        "When to stop": stopping(max(1, trials // 4)),
        "Other rules": rivals(min(RIVAL_TRIALS, trials)),
    }
