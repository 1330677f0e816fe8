"""Show fixed cost and slope along windows or timesteps: sentences, tables and data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from bench.render import labels, quantities
from bench.render.console import hanging
from bench.render.escape import code, prose
from bench.render.labels import caption, heading, machine, name, title
from bench.render.marks import RATIO_INTERVAL, TIME_INTERVAL
from bench.render.messages import (
    LARGE_MISFIT,
    WITHIN,
    near_from,
    signed,
    signed_range,
    window_method,
    window_notes,
    window_sentence,
    without_time,
)
from bench.render.quantities import listed, rate, seconds, seconds_range, size, size_range
from bench.render.table import Cell, Column, Sheet, comma_separated, finite, json_text, numbers
from bench.stats.along import (
    FEWEST_WINDOWS,
    BackendCost,
    Fit,
    Stream,
    by_backend,
    line,
    peak_bytes,
    questions,
    step_interval,
    steps,
    timestep_interval,
    window,
)
from bench.stats.comparison import Comparison
from bench.stats.intervals import CaseInterval, Interval
from bench.stats.ratios import compare
from bench.stats.rows import Row, Section
from lstm_impl.registry import get_backend
from lstm_impl.spec import UnsupportedError

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
    return labels.name(row.outcome.replace("_", " "))


def _seconds(interval: Interval) -> Cell:
    return Cell(seconds(interval.mid), seconds_range(interval.low, interval.high, interval.mid))


def _findings(stream: Stream) -> list[str]:
    """A sentence a backend: what windows cost it, or why it reaches none."""
    measured = [window_sentence(cost) for cost in stream.backends if cost.measured]
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
                console.print(Text(labels.name(cost.backend), style="bold"))
                console.print(backend_sheet(stream, cost).grid(_HEADING))
                for note in window_notes(stream, cost):
                    console.print(Text(note, style="dim"))
    console.print()
    for each in window_method(streams):
        console.print(Text(each, style="dim"))


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
                blocks.append(_list(window_notes(stream, cost)))
    blocks.append(_list(window_method(streams)))
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
        "method": window_method(streams),
        "windows": records(streams),
    }
    return json_text(document)


USUAL = ("keras_model", "keras_model+fit", "keras")
"""What ratios refer to where nobody says: the plain call, and what trains most models."""


@dataclass(frozen=True)
class CallCost:
    """What calls of one backend cost.

    rows: measured, by timesteps, rising. fit: None with fewer than three lengths. shortest: the
    time at the shortest length over the baseline's there; None for the baseline itself, or where
    that was not measured.
    """

    backend: str
    rows: tuple[Row, ...]
    fit: Fit | None
    shortest: Comparison | None

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The lengths that were measured."""
        return tuple(row.case.workload.timesteps for row in self.rows)


@dataclass(frozen=True)
class Calls:
    """One question: the costs of all backends, the least fixed cost first.

    baseline: what ratios refer to; empty where none of the usual was measured.
    """

    section: Section
    costs: tuple[CallCost, ...]
    baseline: str

    @property
    def row(self) -> Row:
        """A row for what all of them share."""
        return self.costs[0].rows[0]


def calls(sections: Iterable[Section], baseline: str | None = None) -> tuple[Calls, ...]:
    """Every question of whole sequences at three lengths or more that some backend has a line for.

    baseline: a backend, where it was measured; else the first of ``USUAL`` that was.
    """
    found = []
    for section in sections:
        for rows in questions(section.rows):
            one = _calls(section, rows, baseline)
            if any(cost.fit for cost in one.costs):
                found.append(one)
    return tuple(found)


def _calls(section: Section, rows: Sequence[Row], baseline: str | None) -> Calls:
    backends = by_backend(rows)
    base = next((each for each in (baseline, *USUAL) if each in backends), "")
    costs = [
        CallCost(
            backend,
            tuple(own),
            line(own),
            None if not base or backend == base else _shortest(own, backends[base]),
        )
        for backend, own in backends.items()
    ]
    # Of what has no line the time of its shortest calls says where it belongs.
    costs.sort(key=lambda cost: cost.fit.line.fixed if cost.fit else cost.rows[0].time)
    return Calls(section, tuple(costs), base or "")


def _shortest(rows: Sequence[Row], base: Sequence[Row]) -> Comparison | None:
    other = {row.case.workload.timesteps: row for row in base}
    for row in rows:
        if (partner := other.get(row.case.workload.timesteps)) is not None:
            return compare(list(row.runs), list(partner.runs))
    return None


# -- as a table


def call_table(found: Calls) -> Sheet:
    """A line a backend: how it is called, its fixed cost, and what a timestep adds."""
    shortest = found.row.case.workload.timesteps
    beside = f"times as fast as {name(found.baseline)} at {quantities.count(shortest, 'step')}"
    columns = [
        Column("backend", names=True),
        Column("the call"),
        Column("fixed, a call", right=True),
        Column(TIME_INTERVAL),
        Column("a timestep", right=True),
        Column(TIME_INTERVAL),
        Column(beside, right=True),
        Column(RATIO_INTERVAL),
        Column("verdict"),
    ]
    return Sheet.of(columns, [_line(cost) for cost in found.costs]).without_empty()


def _line(cost: CallCost) -> list[Cell | str]:
    cells: list[Cell | str] = [cost.backend, call_words(cost.backend)]
    if cost.fit is None:
        cells += [f"{len(cost.rows)} of {FEWEST_WINDOWS} lengths", "", "", ""]
    elif not cost.fit.is_line:
        cells += ["no line", _miss(cost.fit), "", ""]
    else:
        of_line = cost.fit.line
        cells += [
            *_number(of_line.fixed, cost.fit.fixed),
            *_number(of_line.per_timestep, cost.fit.per_timestep),
        ]
    if cost.shortest is None:
        return [*cells, "", "", ""]
    ratio = cost.shortest.ratio
    return [
        *cells,
        quantities.times_as_fast(ratio.mid),
        quantities.times_bounds(ratio.low, ratio.high),
        str(cost.shortest.verdict),
    ]


def _number(value: float, interval: CaseInterval | None) -> tuple[str, str]:
    return signed(value), signed_range(interval) if interval else ""


def call_words(backend: str) -> str:
    """How a backend is called, of one that says it."""
    try:
        path = getattr(get_backend(backend), "path", None)
    except UnsupportedError:  # a file may name any
        return ""
    return path.words if path is not None else ""


def call_notes(found: Sequence[Calls]) -> list[str]:
    """What stands behind the numbers, and where a line misses by much."""
    every = [cost for each in found for cost in each.costs if cost.fit]
    lines = [cost.fit.fixed.how for cost in every if cost.fit and cost.fit.fixed]
    for each in found:
        missed = [
            f"{name(cost.backend)} ({_miss(cost.fit)})"
            for cost in each.costs
            if cost.fit and cost.fit.is_line and abs(cost.fit.misfit.residual) >= LARGE_MISFIT
        ]
        if missed:
            mode = each.row.case.workload.mode
            lines.append(f"{mode}: the line misses by {LARGE_MISFIT:.0%} or more: {listed(missed)}")
    return list(dict.fromkeys(lines))


def _miss(fit: Fit) -> str:
    """Where the line misses most."""
    worst = fit.misfit
    side = "more" if worst.residual > 0 else "less"
    steps = quantities.count(worst.window, "step")
    return f"{steps} cost {abs(worst.residual):.0%} {side}"


RECORD = (
    *("session", "device", "mode", "batch", "input_size", "hidden_size", "backend", "call"),
    *("lengths", "fixed_s", "fixed_low_s", "fixed_high_s"),
    *("per_timestep_s", "per_timestep_low_s", "per_timestep_high_s", "worst_residual"),
    *("baseline", "ratio", "ratio_low", "ratio_high", "verdict"),
)
"""Columns of the data: seconds are never scaled, a ratio is of times, below 1 faster."""


def call_records(found: Iterable[Calls]) -> list[dict[str, object]]:
    """The same as data, a flat row a backend."""
    return [_record(each, cost) for each in found for cost in each.costs]


def _record(found: Calls, cost: CallCost) -> dict[str, object]:
    case = found.row.case
    record: dict[str, object] = {
        "session": found.section.run.session,
        "device": case.device,
        "mode": case.workload.mode,
        "batch": case.workload.batch,
        "input_size": case.spec.input_size,
        "hidden_size": case.spec.hidden_size,
        "backend": cost.backend,
        "call": call_words(cost.backend),
        "lengths": " ".join(map(str, cost.timesteps)),
    }
    if (fit := cost.fit) is not None:
        record["worst_residual"] = fit.misfit.residual
        for part, value, interval in (
            ("fixed", fit.line.fixed, fit.fixed),
            ("per_timestep", fit.line.per_timestep, fit.per_timestep),
        ):
            record[f"{part}_s"] = value
            if interval is not None:
                record |= {f"{part}_low_s": interval.low, f"{part}_high_s": interval.high}
    if cost.shortest is not None:
        ratio = cost.shortest.ratio
        record |= {"baseline": found.baseline, "ratio": ratio.mid, "ratio_low": ratio.low}
        record |= {"ratio_high": ratio.high, "verdict": str(cost.shortest.verdict)}
    return record
