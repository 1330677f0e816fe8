"""What windows cost, shown: tables in a terminal and as Markdown, rows and lines as CSV and JSON.

This room knows finished streams and how they are laid out. Names and reasons in them come from
result files, which may come from anywhere: each format makes them harmless.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.report_data import cell as data_cell
from bench.report_rows import Row
from bench.report_summary import heading, machine, title
from bench.report_text import (
    LONGEST_NAME,
    LONGEST_SENTENCE,
    clean,
    code,
    count,
    listed,
    rate,
    seconds,
    seconds_range,
)
from bench.report_text import markdown as inert
from bench.stats import CASE_CONFIDENCE, ENOUGH_PROCESSES, Interval
from bench.truncation_cost import (
    BackendCost,
    Stream,
    peak_bytes,
    step_interval,
    steps,
    timestep_interval,
    window,
)
from bench.truncation_fit import SMALL_SHARE
from bench.truncation_words import (
    misfit,
    sentence,
    share,
    signed,
    signed_range,
    size,
    size_range,
    small_past,
)

WIDTH = 100

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Cell:
    """What stands in a place of a table, and the bounds of it."""

    text: str = ""
    bounds: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table: a heading a column, and lines of as many cells. Its first column names the line."""

    headings: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]

    def without_empty(self) -> Sheet:
        """Without the columns that say nothing in any line."""
        keep = [
            index
            for index in range(len(self.headings))
            if index == 0 or any(line[index].text for line in self.lines)
        ]
        return Sheet(
            tuple(self.headings[index] for index in keep),
            tuple(tuple(line[index] for index in keep) for line in self.lines),
        )


def summary_sheet(stream: Stream) -> Sheet:
    """A line a backend that was measured: its fixed cost, a timestep's, and where it fits worst."""
    lines = []
    for cost in stream.backends:
        if not cost.measured:
            continue
        fit = cost.fit
        cells = [Cell(cost.backend)]
        if fit is None or not fit.is_line:
            cells += [Cell("too few windows" if fit is None else "no line"), Cell(), Cell()]
        else:
            for value, interval in (
                (fit.line.fixed, fit.fixed),
                (fit.line.per_timestep, fit.per_timestep),
            ):
                cells.append(Cell(signed(value), signed_range(interval) if interval else ""))
            cells.append(Cell(*small_past(fit)))
        slope = cost.memory_slope
        cells.append(Cell() if slope is None else Cell(size(slope.mid), _slope_bounds(slope)))
        if fit is None:
            cells.append(Cell())
        else:
            worst = fit.misfit
            cells.append(Cell(f"{100 * worst.residual:+.1f}%", f"at k = {worst.window}"))
        invalid = sum(bool(row.invalid) for row in cost.measured)
        cells.append(Cell(f"{invalid} INVALID" if invalid else ""))
        lines.append(tuple(cells))
    percent = f"{100 * SMALL_SHARE:g}%"
    return Sheet(
        (
            "backend",
            "fixed per step",
            "a timestep",
            f"fixed < {percent} past k",
            "memory a timestep",
            "line misses by",
            "trust",
        ),
        tuple(lines),
    ).without_empty()


def backend_sheet(stream: Stream, cost: BackendCost) -> Sheet:
    """A line a window: what it costs one backend, and what was learned at it."""
    return Sheet(
        (
            "k",
            "steps",
            "per timestep",
            "per step",
            "fixed",
            "samples/s",
            "memory",
            "trace",
            "compile",
            "learns",
            "trust",
        ),
        tuple(_window_line(stream, cost, row) for row in cost.rows),
    ).without_empty()


def _slope_bounds(slope: Interval) -> str:
    return size_range(slope) if slope.confidence else ""


def _window_line(stream: Stream, cost: BackendCost, row: Row) -> tuple[Cell, ...]:
    first = [Cell(str(window(row))), Cell(str(steps(row)))]
    learned = stream.learnable(window(row))
    last = [Cell("" if learned is None else f"d ≤ {learned}")]
    timestep, step = timestep_interval(row), step_interval(row)
    if timestep is None or step is None:
        return (*first, Cell(row.outcome.replace("_", " ")), *[Cell()] * 6, *last, Cell())
    setup = row.setup or {}
    line = cost.fit if cost.fit is not None and cost.fit.is_line else None
    fixed = "" if line is None else share(line.fixed_share(_length(row)))
    return (
        *first,
        _seconds(timestep),
        _seconds(step),
        Cell(fixed),
        Cell(rate(row.timesteps_per_s or 0.0)),
        Cell(size(peak_bytes(row)) if "peak_bytes" in row.memory else ""),
        *(
            Cell("" if (value := setup.get(key)) is None else seconds(value))
            for key in ("trace_s", "compile_s")
        ),
        *last,
        Cell("INVALID" if row.invalid else ""),
    )


def _length(row: Row) -> float:
    """The mean length of the windows, of which the last may be shorter."""
    return row.case.workload.timesteps / steps(row)


def _seconds(interval: Interval) -> Cell:
    return Cell(seconds(interval.mid), seconds_range(interval.low, interval.high, interval.mid))


def notes(cost: BackendCost) -> list[str]:
    """What has to be known of a backend's table: what is missing in it and why, and what is odd."""
    found = []
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for row in cost.unreached:
        key = (row.outcome.replace("_", " "), clean(row.reason), clean(row.advice))
        reasons.setdefault(key, []).append(str(window(row)))
    for (outcome, reason, advice), windows in reasons.items():
        told = f"k = {listed(windows)} {outcome}: {reason}"
        found.append(f"{told} (to change that: {advice})" if advice else told)
    doubts = {doubt.code: str(doubt) for row in cost.measured for doubt in row.invalid}
    found += [f"INVALID: {clean(told)}" for told in doubts.values()]
    fit = cost.fit
    if fit is not None:
        found.append(f"The line's worst miss: {misfit(fit)}.")
        if fit.left_out:
            told = count(fit.left_out, "process")
            found.append(f"{told} without every window: no part of the line.")
        if fit.fixed is None:
            found.append(
                "No process measured every window: the line goes through the medians of all "
                "processes and has no interval."
            )
    return found


def method(streams: Sequence[Stream]) -> list[str]:
    """How the tables are to be read."""
    lines = [
        "A step is one training step on one window of k timesteps, a timestep is one of the whole "
        f"batch. Medians with their {100 * CASE_CONFIDENCE:g}% intervals; samples are sequences × "
        "timesteps.",
        "fixed per step and a timestep are a and b of the line time(k) = a + b·k, of least squares "
        "of the relative errors, a line for each process; fixed is a's share of a step; past k "
        f"= {(1 - SMALL_SHARE) / SMALL_SHARE:.0f}·a/b it is under {100 * SMALL_SHARE:g}%.",
    ]
    fits = [cost.fit for stream in streams for cost in stream.backends if cost.fit]
    few = sorted({fit.fixed.how for fit in fits if fit.fixed and fit.fixed.allowance})
    if few:
        lines.append(
            f"Intervals of the lines: {few[-1]} (15% of the window past which the fixed part is "
            f"small); from {ENOUGH_PROCESSES} processes on they are what was measured."
        )
    if any(stream.learned for stream in streams):
        told = "learns: the largest measured distance that was learned at that window by every seed"
        source = next((stream.learned_from for stream in streams if stream.learned_from), "")
        lines.append(
            f"{told}, the state carried from window to window"
            + (f" ({source})." if source else ".")
        )
    return lines


# Terminal


def as_terminal(streams: Sequence[Stream], console: Console) -> None:
    """Print the tables."""
    shown = None
    for stream in streams:
        if stream.section is not shown:
            if shown is not None:
                console.print()
            shown = stream.section
            console.print(Text(heading(shown), style="bold"))
            for label, text in machine(shown):
                console.print(Text(f"{label}: {text}", style="dim"))
        console.print()
        console.print(Text(title(stream.table), style="bold"))
        for cost in stream.backends:
            told = sentence(cost) if cost.measured else _nowhere(cost)
            console.print(_item(told))
        console.print()
        console.print(_grid(summary_sheet(stream)))
        for cost in stream.backends:
            if cost.measured:
                console.print()
                console.print(Text(clean(cost.backend, LONGEST_NAME), style="bold"))
                console.print(_grid(backend_sheet(stream, cost)))
                for note in notes(cost):
                    console.print(Text(note, style="dim"))
    console.print()
    for line in method(streams):
        console.print(Text(line, style="dim"))


def _item(text: str) -> Grid:
    """A sentence whose other lines are set in, so that its beginning is seen."""
    grid = Grid.grid(padding=0)
    grid.add_column(width=2)
    grid.add_column()
    grid.add_row(Text("-"), Text(text))
    return grid


def as_text(streams: Sequence[Stream], width: int = WIDTH) -> str:
    """The tables as they stand in a file: without colour."""
    file = io.StringIO()
    as_terminal(streams, Console(file=file, width=width, highlight=False, no_color=True))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def _nowhere(cost: BackendCost) -> str:
    """A backend that has no time at any window: its reasons, each once."""
    reasons = dict.fromkeys(
        f"{row.outcome.replace('_', ' ')}: {clean(row.reason)}" for row in cost.rows
    )
    return f"{clean(cost.backend, LONGEST_NAME)}: {'; '.join(reasons)}"


def _grid(sheet: Sheet) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for index, text in enumerate(sheet.headings):
        names = index == 0 and text == "backend"
        grid.add_column(Text(text), justify="left" if names else "right", overflow="fold")
    for line in sheet.lines:
        grid.add_row(
            *(
                Text.assemble(
                    clean(cell.text, LONGEST_NAME),
                    (f"\n{cell.bounds}" if cell.bounds else "", "dim"),
                )
                for cell in line
            )
        )
    return grid


# Markdown


def as_markdown(streams: Sequence[Stream]) -> str:
    """The tables for a page or a pull request."""
    blocks: list[str] = []
    shown = None
    for stream in streams:
        if stream.section is not shown:
            shown = stream.section
            blocks.append(f"## {_escaped(heading(shown))}")
            blocks.append(_list(f"{label}: {text}" for label, text in machine(shown)))
        blocks.append(f"### {_escaped(title(stream.table))}")
        blocks.append(
            _list(sentence(cost) if cost.measured else _nowhere(cost) for cost in stream.backends)
        )
        blocks.append(_table(summary_sheet(stream)))
        for cost in stream.backends:
            if cost.measured:
                blocks.append(f"#### {code(cost.backend)}")
                blocks.append(_table(backend_sheet(stream, cost)))
                blocks.append(_list(notes(cost)))
    blocks.append(_list(method(streams)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _table(sheet: Sheet) -> str:
    named = sheet.headings[0] == "backend"
    lines = [
        _line(map(_escaped, sheet.headings)),
        _line("---" if named and not index else "---:" for index in range(len(sheet.headings))),
    ]
    for line in sheet.lines:
        cells = [
            _escaped(f"{cell.text} ({cell.bounds})" if cell.bounds else cell.text) for cell in line
        ]
        if named:
            cells[0] = code(line[0].text)
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines)


def _escaped(text: str) -> str:
    return inert(text, LONGEST_SENTENCE)


# Data


def records(streams: Sequence[Stream]) -> list[dict[str, Value]]:
    """A flat row for each stream, backend and window, seconds and bytes never scaled or rounded.

    The line's numbers, which are those of a backend, stand in each of its windows' rows. None
    where there is no value.
    """
    return [
        {name: _finite(value) for name, value in {**_of_row(stream, row), **of_fit}.items()}
        for stream in streams
        for cost in stream.backends
        for of_fit in [_of_fit(cost)]
        for row in cost.rows
    ]


def _of_row(stream: Stream, row: Row) -> dict[str, Value]:
    case, setup = row.case, row.setup or {}
    spec, work, run = case.spec, case.workload, stream.section.run
    found: dict[str, Value] = {
        "session": run.session,
        "suite": run.suite,
        "started": stream.section.started.isoformat(),
        "host": run.host,
        "machine_id": run.machine_id,
        "case_id": case.id,
        "backend": case.backend,
        "device": case.device,
        "mode": work.mode,
        "optimizer": work.optimizer,
        "dtype": spec.dtype,
        "batch": work.batch,
        "timesteps": work.timesteps,
        "input_size": spec.input_size,
        "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers,
        "bidirectional": spec.bidirectional,
        "window": window(row),
        "steps": steps(row),
        "outcome": row.outcome,
        "reason": row.reason,
        "advice": row.advice,
        "valid": not row.invalid if row.measured else None,
        "processes": row.interval.processes if row.interval else None,
    }
    for name, interval in (
        ("time_per_step", step_interval(row)),
        ("time_per_timestep", timestep_interval(row)),
    ):
        found |= _bounds(name, "_s", interval)
    found |= {
        "timesteps_per_s": row.timesteps_per_s,
        "peak_memory_bytes": row.memory.get("peak_bytes"),
        **{key: setup.get(key) for key in ("build_s", "trace_s", "compile_s", "first_call_s")},
        "learnable_distance": stream.learnable(window(row)),
    }
    return found


def _of_fit(cost: BackendCost) -> dict[str, Value]:
    fit = cost.fit
    found: dict[str, Value] = {"fit_processes": fit.processes if fit else None}
    found |= _bounds("fit_fixed", "_s", fit.fixed if fit else None)
    found |= _bounds("fit_per_timestep", "_s", fit.per_timestep if fit else None)
    found |= _bounds("fit_small_past", "", fit.small_past if fit else None)
    found |= _bounds("fit_late_slope", "", fit.late if fit else None)
    found |= {
        # Known even where no interval is.
        "fit_fixed_s": fit.line.fixed if fit else None,
        "fit_per_timestep_s": fit.line.per_timestep if fit else None,
        "fit_small_past": fit.small_past_mid if fit else None,
        "fit_allowance": fit.fixed.allowance if fit and fit.fixed else None,
        "fit_worst_residual": fit.misfit.residual if fit else None,
        "fit_worst_window": fit.misfit.window if fit else None,
    }
    return found | _bounds("memory_per_timestep", "_bytes", cost.memory_slope)


def _bounds(name: str, unit: str, interval: Interval | None) -> dict[str, Value]:
    parts: tuple[tuple[str, Callable[[Interval], float]], ...] = (
        ("", lambda each: each.mid),
        ("_low", lambda each: each.low),
        ("_high", lambda each: each.high),
    )
    return {f"{name}{part}{unit}": get(interval) if interval else None for part, get in parts}


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(streams: Sequence[Stream]) -> str:
    """``records`` under a line of their names; what a spreadsheet would run is made text."""
    out = io.StringIO()
    rows = records(streams)
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: data_cell(value) for name, value in row.items()})
    return out.getvalue()


def as_json(streams: Sequence[Stream]) -> str:
    """The streams in words and ``records``, under ``windows``."""
    document = {
        "streams": [
            {
                "session": stream.section.run.session,
                "machine": dict(machine(stream.section)),
                "stream": title(stream.table),
                "findings": [sentence(cost) for cost in stream.backends if cost.measured],
            }
            for stream in streams
        ],
        "method": method(streams),
        "windows": records(streams),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
