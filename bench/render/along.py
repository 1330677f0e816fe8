"""Show what work costs along an axis: fixed cost and slope, and from where on a unit is cheap.

One table a series, with a line a backend; the same for windows, timesteps and batch. As data a flat
row for each series, backend and value, in seconds and bytes that are never scaled or rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

from bench.render.escape import hanging, prose
from bench.render.labels import caption, compact_verdict, heading, machine, name
from bench.render.messages import along_method, along_notes, doubt_lines
from bench.render.quantities import (
    listed,
    shape_words,
    signed_seconds,
    signed_seconds_range,
    size,
    size_range,
    times_as_fast,
    times_bounds,
)
from bench.render.table import Cell, Column, Sheet, comma_separated, finite, json_text, numbers
from bench.stats.along import (
    NEAR_CHEAPEST,
    AxisSeries,
    BackendCost,
    Cheapest,
    step_interval,
    steps,
    unit_interval,
    value,
    window,
)
from bench.stats.intervals import Interval
from bench.stats.rows import Row

Value = str | float | int | bool | None

UNITS = {"window": "timestep", "timesteps": "timestep", "batch": "sequence"}
"""What a value of an axis consists of."""

_HEADING = 12
"""Letters in a line of a heading: with so many the tables fit a terminal of 80."""


def title(found: AxisSeries) -> str:
    """Return device, mode and shape of a series, and the values along its axis."""
    first = found.rows[0].case
    shape = [
        words
        for words in shape_words(first)
        if found.axis == "window" or not words.startswith("batch ")
    ]
    work = first.workload
    if found.axis == "timesteps":
        shape.insert(0, f"batch {work.batch}")
    elif found.axis == "batch":
        shape.insert(0, f"{work.timesteps} steps")
    if first.spec.dtype != "float32":
        shape.append(first.spec.dtype)
    values = listed([str(each) for each in found.values], 12) if found.values else "none"
    return f"{name(first.device)}, {work.mode}, {', '.join(shape)}; {found.axis}: {values}"


def table(found: AxisSeries) -> Sheet:
    """Lay out a line a backend: fixed cost, slope, where a unit is cheap, and the line's misfit."""
    unit = UNITS[found.axis]
    columns = [
        Column("backend", names=True),
        *numbers("fixed per step", f"per {unit}", f"within {NEAR_CHEAPEST:.0%} from"),
        *numbers(f"memory per {unit}", "line misses by"),
    ]
    least = found.values[0]
    columns.append(Column(f"vs {name(found.section.baseline)} at {least}", right=True))
    columns += [Column("verdict"), Column("trust")]
    return Sheet.of(columns, [_line(found, each) for each in found.backends]).without_empty()


def _line(found: AxisSeries, of: BackendCost) -> list[Cell]:
    if not of.measured:
        outcomes = dict.fromkeys(row.outcome.replace("_", " ") for row in of.rows)
        return [Cell(of.backend, name(", ".join(outcomes))), *[Cell()] * 8]
    longest = value(of.measured[-1], found.axis)
    cells = [Cell(of.backend, f"up to {longest}" if longest < found.values[-1] else "")]
    fit = of.fit
    if fit is None or not fit.is_line:
        cells += [Cell("too few values" if fit is None else "no line"), Cell()]
    else:
        for number, interval in (
            (fit.line.fixed, fit.fixed),
            (fit.line.per_timestep, fit.per_timestep),
        ):
            bounds = signed_seconds_range(interval) if interval else ""
            cells.append(Cell(signed_seconds(number), bounds))
    cells.append(Cell() if of.cheapest is None else Cell(*_near_from(of.cheapest)))
    slope = of.memory_slope
    if slope is None:
        cells.append(Cell())
    else:
        cells.append(Cell(size(slope.mid), size_range(slope) if slope.confidence else ""))
    if fit is None:
        cells.append(Cell())
    else:
        cells.append(Cell(f"{100 * fit.misfit.residual:+.1f}%", f"at {fit.misfit.window}"))
    first = of.measured[0]
    ratio = first.to_baseline if value(first, found.axis) == found.values[0] else None
    if ratio is None:
        cells += [Cell(), Cell()]
    else:
        bounds = times_bounds(ratio.ratio.low, ratio.ratio.high)
        cells.append(Cell(f"{times_as_fast(ratio.ratio.mid)}×", bounds))
        cells.append(Cell(compact_verdict(ratio)))
    invalid = sum(not row.trusted for row in of.measured)
    return [*cells, Cell(f"{invalid} of {len(of.measured)} INVALID" if invalid else "")]


def _near_from(near: Cheapest) -> tuple[str, str]:
    """The first value near the least, and its bounds: ``60`` and ``30–120``.

    At the ends nothing is said of values that were not measured: ``≤ 3`` or ``≥ 960``.
    """
    low, high = near.first_low, near.first_high
    interval = f"{_at_the_ends(near, low)}–{_at_the_ends(near, high)}" if low != high else ""
    return _at_the_ends(near, near.first), interval


def _at_the_ends(near: Cheapest, k: int) -> str:
    if k == near.values[0]:
        return f"≤ {k}"
    return f"≥ {k}" if k == near.values[-1] else str(k)


# Terminal and Markdown


def terminal(found: Sequence[AxisSeries], console: Console) -> None:
    """Print the tables with what must be known to read them."""
    shown = None
    for each in found:
        if each.section is not shown:
            if shown is not None:
                console.print()
            shown = each.section
            console.print(Text(heading(shown), style="bold"))
            for label, text in machine(shown):
                console.print(Text(f"{label}: {text}", style="dim"))
        console.print()
        console.print(Text(title(each), style="bold"))
        if each.values:
            console.print(table(each).grid(_HEADING))
        for note in along_notes(each):
            console.print(hanging("-", Text(note)))
    console.print()
    for line in along_method(found):
        console.print(Text(line, style="dim"))


def markdown(found: Sequence[AxisSeries]) -> str:
    """Return the same for a page or a pull request."""
    blocks: list[str] = []
    shown = None
    for each in found:
        if each.section is not shown:
            shown = each.section
            blocks.append(f"## {prose(heading(shown))}")
            blocks.append(_list(f"{label}: {text}" for label, text in machine(shown)))
        blocks.append(f"### {prose(title(each))}")
        if each.values:
            blocks.append(table(each).markdown())
        blocks.append(_list(along_notes(each)))
    blocks.append(_list(along_method(found)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def brief(found: Sequence[AxisSeries]) -> str:
    """Return only the tables, for a page that has its own headings."""
    drawn = [each for each in found if each.values]
    blocks: list[str] = []
    for each in drawn:
        blocks += [f"**{prose(title(each))}**", table(each).markdown()]
    for section in {id(each.section): each.section for each in drawn}.values():
        blocks.append(prose(caption(section)))
    return "\n\n".join(blocks) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {prose(line)}" for line in lines)


# Data


def records(found: Iterable[AxisSeries]) -> list[dict[str, Value]]:
    """Return a flat row for each series, backend and value.

    The line's numbers, which are those of a backend, stand in each of its rows.
    """
    rows = (
        _of_row(each, row) | _of_cheapest(of, row) | _of_fit(of)
        for each in found
        for of in each.backends
        for row in of.rows
    )
    return [{key: finite(cell) for key, cell in record.items()} for record in rows]


def _of_row(found: AxisSeries, row: Row) -> dict[str, Value]:
    case, setup, unit = row.case, row.setup or {}, UNITS[found.axis]
    spec, work, run = case.spec, case.workload, found.section.run
    record: dict[str, Value] = {
        "session": run.session,
        "suite": run.suite,
        "started": found.section.started.isoformat(),
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
        "window": window(row) if found.axis == "window" else None,
        "steps": steps(row),
        "outcome": row.outcome,
        "reason": row.reason,
        "advice": row.advice,
        "valid": not row.invalid if row.measured else None,
        "invalid_reasons": doubt_lines(row.invalid),
        "time_valid": not row.validity.time if row.measured else None,
        "time_reasons": doubt_lines(row.validity.time),
        "processes": row.interval.processes if row.interval else None,
    }
    record |= _bounds("time_per_step", "_s", step_interval(row))
    record |= _bounds(f"time_per_{unit}", "_s", unit_interval(row, found.axis))
    ratio = row.to_baseline
    return record | {
        "timesteps_per_s": row.timesteps_per_s,
        "peak_memory_bytes": row.memory.get("peak_bytes"),
        **{key: setup.get(key) for key in ("build_s", "trace_s", "compile_s", "first_call_s")},
        "learnable_distance": found.learnable(window(row)),
        "baseline": found.section.baseline if ratio else None,
        "ratio": ratio.ratio.mid if ratio else None,
        "ratio_low": ratio.ratio.low if ratio else None,
        "ratio_high": ratio.ratio.high if ratio else None,
        "verdict": ratio.verdict.value if ratio else None,
    }


def _of_cheapest(of: BackendCost, row: Row) -> dict[str, Value]:
    near = of.cheapest
    best = "cheapest_window" if of.axis == "window" else f"cheapest_{of.axis}"
    record: dict[str, Value] = {
        best: near.best if near else None,
        "near_cheapest_from": near.first if near else None,
        "near_cheapest_from_low": near.first_low if near else None,
        "near_cheapest_from_high": near.first_high if near else None,
        "near_cheapest_to": near.last if near else None,
    }
    return record | _bounds(
        "over_cheapest", "", near.over.get(value(row, of.axis)) if near else None
    )


def _of_fit(of: BackendCost) -> dict[str, Value]:
    fit, unit = of.fit, UNITS[of.axis]
    record: dict[str, Value] = {"fit_processes": fit.processes if fit else None}
    record |= _bounds("fit_fixed", "_s", fit.fixed if fit else None)
    record |= _bounds(f"fit_per_{unit}", "_s", fit.per_timestep if fit else None)
    record |= {
        # Known even where no interval is.
        "fit_fixed_s": fit.line.fixed if fit else None,
        f"fit_per_{unit}_s": fit.line.per_timestep if fit else None,
        "fit_allowance": fit.fixed.allowance if fit and fit.fixed else None,
        "fit_worst_residual": fit.misfit.residual if fit else None,
        "fit_worst_window": fit.misfit.window if fit else None,
        "fit_is_bent": bool(fit.parts) if fit else None,
    }
    return record | _bounds(f"memory_per_{unit}", "_bytes", of.memory_slope)


def _bounds(key: str, unit: str, interval: Interval | None) -> dict[str, Value]:
    parts = {"": "mid", "_low": "low", "_high": "high"}
    return {
        f"{key}{part}{unit}": getattr(interval, field) if interval else None
        for part, field in parts.items()
    }


def as_csv(found: Sequence[AxisSeries]) -> Iterator[str]:
    """Write ``records`` under a line of their names."""
    rows = records(found)
    return comma_separated(rows[0], (row.values() for row in rows))


def as_json(found: Sequence[AxisSeries]) -> str:
    """Write the series in words, and ``records``."""
    document = {
        "along": found[0].axis,
        "series": [
            {
                "session": each.section.run.session,
                "machine": dict(machine(each.section)),
                "title": title(each),
                "notes": along_notes(each),
            }
            for each in found
        ],
        "method": along_method(found),
        "rows": records(found),
    }
    return json_text(document)
