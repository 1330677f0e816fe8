"""``python -m bench.verdict_study``: how often the verdicts of ``stats`` are right, by simulation.

Prints the tables of ``docs/verdicts.md`` and draws its pictures, from what ``verdict_rules`` says
of the noises of ``verdict_noises``. Matplotlib is asked for only where a picture is.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench import command_line, stats
from bench.process_means import process_means
from bench.result_fields import printable
from bench.result_writer import ResultWriteError, write_bytes
from bench.stats import Pairing, Verdict
from bench.verdict_noises import (
    BEYOND,
    NOISES,
    RESTLESS,
    SEED,
    Noise,
    as_measured,
    bad_processes,
    normal,
    paired_samples,
    unpaired_samples,
)
from bench.verdict_rules import (
    RIVAL_TRIALS,
    RULES,
    TRIALS,
    Flags,
    bounds,
    different,
    paired_means,
    paired_verdicts,
    processes_needed,
    rate,
    t_flags,
    unpaired_verdicts,
    verdict_rule,
    verdicts,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Of the processes' ratios from alternating blocks, the quarter, the half and three quarters of the
# reference's pairs; of the medians of separate processes, what was seen.
PAIRED_SPREADS = (0.025, 0.042, 0.06)
UNPAIRED_SPREADS = (0.03, 0.10, 0.29)

# What the method promises: with so many processes an effect is found at least so often where the
# noise is as measured, and where a process in ten is bad too.
PROMISES = {6: (0.10, 0.70, 0.55), 20: (0.05, 0.85, 0.75)}


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
    """Paired equals that are called FASTER or SLOWER, by noise and number of processes."""
    counts = (1, 2, 3, 4, 5, 6, 8, 10, 20, 50)

    def row(name: str, noise: Noise) -> tuple[str, list[float]]:
        found = [paired_verdicts([0.0], noise, count, trials)[0] for count in counts]
        return name, [rate(each, Verdict.FASTER, Verdict.SLOWER) for each in found]

    rows = [row(name, noise) for name, noise in NOISES.items()]
    mean = np.mean([rates for _, rates in rows], axis=0).tolist()
    rows.append(("**mean of these**", mean))
    rows += [row(f"*beyond:* {name}", noise) for name, noise in BEYOND.items()]
    cells = [[name, *map(percent, rates)] for name, rates in rows]
    return table(["equals called different, processes:", *map(str, counts)], cells)


def unpaired_false_rates(trials: int) -> str:
    """The same for separate processes; the last two with a noisy and a quiet side."""
    counts = (1, 2, 3, 5, 6, 10, 20, 50)
    worlds: dict[str, tuple[float | Noise, float | Noise]] = {
        **{f"spread {each:.0%}": (each, each) for each in UNPAIRED_SPREADS},
        "a bad process in ten": (bad_processes, bad_processes),
        "one side 3%, the other 29%": (0.03, 0.29),
    }
    rows = []
    for name, noises in worlds.items():
        found = [unpaired_verdicts([0.0], noises, (n, n), trials)[0] for n in counts]
        rates = [rate(each, Verdict.FASTER, Verdict.SLOWER) for each in found]
        rows.append([name, *map(percent, rates)])
    return table(["unpaired equals called different, a side:", *map(str, counts)], rows)


def powers_by_noise(trials: int) -> str:
    """How often a true effect is found in each noise, and how often by a plain t-interval."""
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


def powers(trials: int) -> str:
    """How often a true effect gets the right verdict where spreads are normal and all alike."""
    counts = (1, 3, 6, 10, 20, 50)
    # One draw serves all effects.
    effects = (0.03, 0.05, 0.10, 0.20, 0.50)
    paired = {
        spread: [paired_verdicts(effects, spread, count, trials) for count in counts]
        for spread in PAIRED_SPREADS
    }
    apart = {
        spread: [
            unpaired_verdicts(effects, (spread, spread), (count, count), trials) for count in counts
        ]
        for spread in UNPAIRED_SPREADS
    }
    rows = []
    for kind, found, shown in (("paired", paired, (0, 1, 2, 3)), ("unpaired", apart, (2, 4))):
        for index in shown:
            for spread, by_count in found.items():
                rates = [percent(rate(each[index], Verdict.SLOWER)) for each in by_count]
                rows.append([f"{effects[index]:.0%} slower, {kind}, spread {spread:.1%}", *rates])
    return table(["SLOWER said, processes:", *map(str, counts)], rows)


def gate_rates(trials: int) -> str:
    """Runs of twenty equal cases, each with noise of its own, that ``--fail-on slower`` fails."""
    counts = (1, 2, 3, 5, 6, 10, 20)
    cases = 20
    runs = max(1, trials // cases)
    rows = []
    for name, noise in NOISES.items():
        rates = []
        for count in counts:
            found = paired_means(noise, count, runs * cases)
            p_values = stats.p_slower(found.middles, found.errors, found.degrees)
            # Holm rejects something where the smallest passes the strictest level.
            least = p_values.reshape(runs, cases).min(axis=1)
            rates.append(percent(float(np.mean(least <= stats.GATE_LEVEL / cases))))
        rows.append([name, *rates])
    return table(["runs of 20 equals that fail, processes:", *map(str, counts)], rows)


def same_rates(trials: int) -> str:
    """How often SAME is said, of equals and of what is not the same."""
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


def needed() -> str:
    """The processes that an effect needs to be found in 90% of comparisons."""
    effects = (0.03, 0.05, 0.10, 0.20, 0.50, 1.0)
    rows = []
    for paired, spreads in ((True, (0.013, *PAIRED_SPREADS)), (False, UNPAIRED_SPREADS)):
        for spread in spreads:
            counts = [processes_needed(e, spread, paired) for e in effects]
            name = "paired" if paired else "unpaired, a side"
            cells = ["over 2000" if count is None else _count(count) for count in counts]
            rows.append([f"{name}, spread {spread:.1%}", *cells])
    # A star where the number rests on the allowance and not on what the processes show.
    return table(["processes for 90%, slower by:", *(f"{e:.0%}" for e in effects)], rows)


def _count(processes: int) -> str:
    return f"{processes}{'*' if processes < stats.ENOUGH_PROCESSES else ''}"


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
        logs = normal(spread)(np.random.default_rng(SEED), (trials, most))
        said = np.empty((trials, counts.size), dtype=np.bool_)
        widths = np.empty((trials, counts.size))
        for column, count in enumerate(counts):
            means = process_means(logs[:, :count], Pairing.ALTERNATING.allowance)
            low, high = bounds(means)
            said[:, column] = different(verdicts(means))
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
    """Every table of ``docs/verdicts.md`` that is simulated, by what it shows."""
    return {
        "False verdicts": false_rates(trials),
        "False verdicts, unpaired": unpaired_false_rates(trials),
        "Found effects, by noise": powers_by_noise(trials),
        "Found effects, by spread": powers(trials),
        # A family of cases is one trial, so there are more comparisons.
        "The gate": gate_rates(2 * trials),
        "SAME": same_rates(trials),
        "Processes needed": needed(),
        # Every number of processes from 6 to 50 in each trial, so there are fewer trials.
        "When to stop": stopping(max(1, trials // 4)),
        "Other rules": rivals(rival_trials),
    }


# Pictures

# Okabe and Ito's colours, which colour-blind readers can tell apart, from light to dark enough.
COLOURS = ("#777777", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#0072b2", "#a0407c")
COUNTS = (1, 3, 6, 10, 20, 50)


def draw_power(trials: int) -> Figure:
    """How often an effect is found, against its size, a line a number of processes."""
    figure, axes = _figure(2, "How surely an effect is found: paired processes")
    effects = np.linspace(0, 0.15, 61)
    worlds = (("noise as measured", as_measured), ("a bad process in ten", bad_processes))
    for panel, (axis, (name, noise)) in enumerate(zip(axes, worlds, strict=True)):
        for count, colour in zip(COUNTS, COLOURS, strict=False):
            found = paired_verdicts(effects, noise, count, trials)
            rates = [100 * rate(each, Verdict.SLOWER) for each in found]
            axis.plot(100 * effects, rates, color=colour, lw=2, label=_processes(count))
        for count, (effect, *promised) in PROMISES.items():
            axis.plot(
                100 * effect,
                100 * promised[panel],
                marker="D",
                markersize=8,
                markerfacecolor="white",
                markeredgecolor=COLOURS[COUNTS.index(count)],
                markeredgewidth=2,
                linestyle="none",
                label=f"promised for {count}",
            )
        axis.set(title=name, xlabel="true slowdown, %")
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
        for count, colour in zip(COUNTS, COLOURS, strict=False):
            found = unpaired_verdicts(factors - 1, (spread, spread), (count, count), trials)
            rates = [100 * rate(each, Verdict.SLOWER) for each in found]
            axis.plot(factors, rates, color=colour, lw=2, label=f"{_processes(count)} a side")
        axis.set(title=f"processes spread by {spread:.0%}", xlabel="true time, times as long")
        axis.set_xscale("log")
        _plain_ticks(axis.xaxis, [1, 1.5, 2, 3, 4, 5])
    axes[0].set_ylabel("comparisons that say SLOWER, %")
    _legend_below(figure, axes[0], 3)
    return figure


def draw_needed() -> Figure:
    """The processes that an effect needs, against its size."""
    figure, axes = _figure(1, "Processes needed to find an effect in 90% of comparisons")
    axis = axes[0]
    effects = np.geomspace(0.02, 1.0, 100)
    lines = (
        *((True, spread) for spread in (0.013, *PAIRED_SPREADS)),
        *((False, spread) for spread in UNPAIRED_SPREADS),
    )
    for (paired, spread), colour in zip(lines, COLOURS, strict=True):
        counts = [processes_needed(e, spread, paired) for e in effects.tolist()]
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
    axis.text(
        2.1, 3.4, "fewer than 6: an allowance stands\nfor what they cannot show", va="top", size=9
    )
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
    styles = ("-", (0, (5, 1)), "--", "-.", ":", (0, (1, 1)))
    colours = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#a0407c", "#000000")
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
        "verdicts-needed.png": draw_needed,
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
            drawn = io.BytesIO()
            draw().savefig(drawn, format=Path(name).suffix[1:])
            write_bytes(options.output / name, drawn.getvalue())
            print(f"wrote {printable(str(options.output / name))}")
    except ImportError:
        print("error: pictures need Matplotlib: pip install matplotlib", file=sys.stderr)
        return 2
    except ResultWriteError as error:
        print(f"error: {error}", file=sys.stderr)
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
    command_line.end(main)
