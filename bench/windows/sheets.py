"""What windows cost, shown: sentences and tables in a terminal and as Markdown, and as data.

This room knows finished streams and how they are laid out. Names and reasons in them come from
result files, which may come from anywhere: each format makes them harmless. Data for other programs
has a flat row a window; seconds and bytes are never scaled or rounded, and what has no value is
None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

from bench.render import headings
from bench.render.headings import caption, heading, machine, title
from bench.render.inert import code, prose
from bench.render.quantities import rate, seconds, seconds_range, size, size_range
from bench.render.sheet import (
    Cell,
    Column,
    Sheet,
    comma_separated,
    finite,
    json_text,
    numbers,
)
from bench.render.terminal import hanging
from bench.stats.intervals import Interval
from bench.stats.rows import Row
from bench.windows.cost import (
    BackendCost,
    Stream,
    peak_bytes,
    step_interval,
    steps,
    timestep_interval,
    window,
)
from bench.windows.words import (
    WITHIN,
    method,
    near_from,
    notes,
    sentence,
    signed,
    signed_range,
    without_time,
)

Value = str | float | int | bool | None

_HEADING = 12
"""Letters in a line of a heading: with so many the tables fit a terminal of 80."""


def summary_sheet(stream: Stream) -> Sheet:
    """A line a backend: from which window on a timestep is cheap, the line, and how far that fits.

    Under its name stand how far it reaches, if not to the longest window, and how many of its
    windows cannot be trusted.
    """
    lines = []
    for cost in stream.backends:
        if not cost.measured:
            outcomes = dict.fromkeys(_outcome(row) for row in cost.rows)
            lines.append((Cell(cost.backend, ", ".join(outcomes)), *[Cell()] * 5))
            continue
        fit = cost.fit
        longest = window(cost.measured[-1])
        under = [f"up to k = {longest}"] if longest < stream.windows[-1] else []
        for word, doubtful in (
            ("INVALID", [row for row in cost.measured if row.invalid]),
            ("doubtful", [row for row in cost.measured if not row.invalid and row.validity.time]),
        ):
            if doubtful:
                under.append(f"{len(doubtful)} {word}")
        cells = [Cell(cost.backend, ", ".join(under))]
        cells.append(Cell() if cost.cheapest is None else Cell(*near_from(cost.cheapest)))
        if fit is None or not fit.is_line:
            cells += [Cell("too few windows" if fit is None else "no line"), Cell()]
        else:
            for value, interval in (
                (fit.line.fixed, fit.fixed),
                (fit.line.per_timestep, fit.per_timestep),
            ):
                cells.append(Cell(signed(value), signed_range(interval) if interval else ""))
        slope = cost.memory_slope
        if slope is None:
            cells.append(Cell())
        else:
            cells.append(Cell(size(slope.mid), size_range(slope) if slope.confidence else ""))
        if fit is None:
            cells.append(Cell())
        else:
            worst = fit.misfit
            cells.append(Cell(f"{100 * worst.residual:+.1f}%", f"at k = {worst.window}"))
        lines.append(tuple(cells))
    columns = [
        Column("backend", names=True),
        *numbers(f"within {WITHIN} from k", "fixed per step", "a timestep"),
        *numbers("memory a timestep", "line misses by"),
    ]
    return Sheet.of(columns, lines).without_empty()


def backend_sheet(stream: Stream, cost: BackendCost) -> Sheet:
    """A line a window: what it costs one backend, and what was learned at it."""
    columns = [
        *numbers("k", "steps", "per timestep", "over least", "per step", "samples/s", "memory"),
        *numbers("trace", "compile", "learns", "trust"),
    ]
    lines = [_window_line(stream, cost, row) for row in cost.rows]
    return Sheet.of(columns, lines).without_empty()


def _window_line(stream: Stream, cost: BackendCost, row: Row) -> tuple[Cell, ...]:
    first = [Cell(str(window(row))), Cell(str(steps(row)))]
    learned = stream.learnable(window(row))
    short = "*" if stream.short_of_updates(window(row)) else ""
    last = [Cell("" if learned is None else f"d ≤ {learned}{short}")]
    timestep, step = timestep_interval(row), step_interval(row)
    if timestep is None or step is None:
        return (*first, Cell(_outcome(row)), *[Cell()] * 6, *last, Cell())
    setup = row.setup or {}
    over = cost.cheapest.over[window(row)] if cost.cheapest else None
    more = "" if over is None else f"{100 * (over.mid - 1):+.0f}%".replace("-", "−")
    return (
        *first,
        _seconds(timestep),
        Cell(more.replace("+0%", "0%").replace("−0%", "0%")),
        _seconds(step),
        Cell(rate(row.timesteps_per_s or 0.0)),
        Cell(size(peak_bytes(row)) if "peak_bytes" in row.memory else ""),
        *(
            Cell("" if (value := setup.get(key)) is None else seconds(value) if value else "none")
            for key in ("trace_s", "compile_s")
        ),
        *last,
        Cell("INVALID" if row.invalid else "doubtful" if row.validity.of_time else ""),
    )


def _outcome(row: Row) -> str:
    return headings.name(row.outcome.replace("_", " "))


def _seconds(interval: Interval) -> Cell:
    return Cell(seconds(interval.mid), seconds_range(interval.low, interval.high, interval.mid))


def _findings(stream: Stream) -> list[str]:
    """A sentence a backend: what windows cost it, or why it reaches none."""
    measured = [sentence(cost) for cost in stream.backends if cost.measured]
    return measured + without_time(stream.backends)


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
        for told in _findings(stream):
            console.print(hanging("-", Text(told)))
        if not stream.windows:
            continue
        console.print()
        console.print(summary_sheet(stream).grid(_HEADING))
        for cost in stream.backends:
            if cost.measured:
                console.print()
                console.print(Text(headings.name(cost.backend), style="bold"))
                console.print(backend_sheet(stream, cost).grid(_HEADING))
                for note in notes(stream, cost):
                    console.print(Text(note, style="dim"))
    console.print()
    for line in method(streams):
        console.print(Text(line, style="dim"))


# Markdown


def as_markdown(streams: Sequence[Stream]) -> str:
    """The tables for a page or a pull request."""
    blocks: list[str] = []
    shown = None
    for stream in streams:
        if stream.section is not shown:
            shown = stream.section
            blocks.append(f"## {prose(heading(shown))}")
            blocks.append(_list(f"{label}: {text}" for label, text in machine(shown)))
        blocks.append(f"### {prose(title(stream.table))}")
        blocks.append(_list(_findings(stream)))
        if not stream.windows:
            continue
        blocks.append(summary_sheet(stream).markdown())
        for cost in stream.backends:
            if cost.measured:
                blocks.append(f"#### {code(cost.backend)}")
                blocks.append(backend_sheet(stream, cost).markdown())
                blocks.append(_list(notes(stream, cost)))
    blocks.append(_list(method(streams)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def as_brief(streams: Sequence[Stream]) -> str:
    """Of each stream only the table with a line a backend: for a page that has its own headings."""
    blocks: list[str] = []
    drawn = [stream for stream in streams if stream.windows]
    for stream in drawn:
        blocks += [f"**{prose(title(stream.table))}**", summary_sheet(stream).markdown()]
    for section in {id(stream.section): stream.section for stream in drawn}.values():
        blocks.append(prose(caption(section)))
    return "\n\n".join(blocks) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {prose(line)}" for line in lines)


# Data


def records(streams: Sequence[Stream]) -> list[dict[str, Value]]:
    """A flat row for each stream, backend and window.

    The line's numbers, which are those of a backend, stand in each of its windows' rows.
    """
    found = (
        _of_row(stream, row) | _of_cheapest(cost, row) | of_fit
        for stream in streams
        for cost in stream.backends
        for of_fit in [_of_fit(cost)]
        for row in cost.rows
    )
    return [{name: finite(value) for name, value in record.items()} for record in found]


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
        "gradients": work.gradients if work.training else None,
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
        "invalid_reasons": "; ".join(map(str, row.invalid)),
        "time_valid": not row.validity.time if row.measured else None,
        "time_reasons": "; ".join(map(str, row.validity.time)),
        "processes": row.interval.processes if row.interval else None,
    }
    found |= _bounds("time_per_step", "_s", step_interval(row))
    found |= _bounds("time_per_timestep", "_s", timestep_interval(row))
    return found | {
        "timesteps_per_s": row.timesteps_per_s,
        "peak_memory_bytes": row.memory.get("peak_bytes"),
        **{key: setup.get(key) for key in ("build_s", "trace_s", "compile_s", "first_call_s")},
        "learnable_distance": stream.learnable(window(row)),
    }


def _of_cheapest(cost: BackendCost, row: Row) -> dict[str, Value]:
    near = cost.cheapest
    found: dict[str, Value] = {
        "cheapest_window": near.best if near else None,
        "near_cheapest_from": near.first if near else None,
        "near_cheapest_from_low": near.first_low if near else None,
        "near_cheapest_from_high": near.first_high if near else None,
        "near_cheapest_to": near.last if near else None,
    }
    return found | _bounds("over_cheapest", "", near.over.get(window(row)) if near else None)


def _of_fit(cost: BackendCost) -> dict[str, Value]:
    fit = cost.fit
    found: dict[str, Value] = {"fit_processes": fit.processes if fit else None}
    found |= _bounds("fit_fixed", "_s", fit.fixed if fit else None)
    found |= _bounds("fit_per_timestep", "_s", fit.per_timestep if fit else None)
    found |= {
        # Known even where no interval is.
        "fit_fixed_s": fit.line.fixed if fit else None,
        "fit_per_timestep_s": fit.line.per_timestep if fit else None,
        "fit_allowance": fit.fixed.allowance if fit and fit.fixed else None,
        "fit_worst_residual": fit.misfit.residual if fit else None,
        "fit_worst_window": fit.misfit.window if fit else None,
        "fit_is_bent": bool(fit.parts) if fit else None,
    }
    return found | _bounds("memory_per_timestep", "_bytes", cost.memory_slope)


def _bounds(name: str, unit: str, interval: Interval | None) -> dict[str, Value]:
    parts = {"": "mid", "_low": "low", "_high": "high"}
    return {
        f"{name}{part}{unit}": getattr(interval, field) if interval else None
        for part, field in parts.items()
    }


def as_csv(streams: Sequence[Stream]) -> Iterator[str]:
    """``records`` under a line of their names; what a spreadsheet would run is made text."""
    rows = records(streams)
    return comma_separated(rows[0], (row.values() for row in rows))


def as_json(streams: Sequence[Stream]) -> str:
    """The streams in words and ``records``, under ``windows``."""
    document = {
        "streams": [
            {
                "session": stream.section.run.session,
                "machine": dict(machine(stream.section)),
                "stream": title(stream.table),
                "findings": _findings(stream),
            }
            for stream in streams
        ],
        "method": method(streams),
        "windows": records(streams),
    }
    return json_text(document)
