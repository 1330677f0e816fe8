"""Show the fixed cost and the cost per unit along windows, timesteps or batch sizes.

Each series is shown as a table with one line per backend, which also says from which value a unit
is inexpensive. As data, a series has one flat row per backend and value, in seconds and bytes that
are never scaled or rounded.
"""

from collections.abc import Iterable, Iterator, Sequence

from bench.render import quantities
from bench.render.data import COLUMNS, csv_lines, finite, json_text
from bench.render.escape import clean
from bench.render.labels import caption, compact_verdict, heading, machine, name
from bench.render.messages import basis_text, group_unmeasured, reason_texts, unmeasured_heading
from bench.render.table import Block, Column, Document, Finding, TableCell, TextTable, numbers
from bench.stats.intervals import CASE_CONFIDENCE, ENOUGH_PROCESSES, Interval
from bench.verdicts import along
from bench.verdicts.ranking import RankedRow

Value = str | float | int | bool | None

UNITS = {"window": "timestep", "timesteps": "timestep", "batch": "sequence"}
"""The unit that the cost per unit refers to, by axis."""

_HEADING = 12
"""The number of letters in a line of a heading.

With 12, the tables fit a terminal of 80 columns.
"""


def title(found: along.AxisSeries) -> str:
    """Return the device, mode and shape of a series, and the values along its axis."""
    values = (
        quantities.join_names([str(each) for each in found.values], 12) if found.values else "none"
    )
    return f"{work_text(found)}; {found.axis}: {values}"


def work_text(found: along.AxisSeries) -> str:
    """Return the device, mode and shape of a series, without what differs along its axis."""
    first, work = found.rows[0].case, found.rows[0].case.workload
    both, *shape = quantities.shape_texts(first)
    other = {
        "timesteps": f"batch {work.batch}",
        "batch": quantities.count(work.timesteps, "timestep"),
    }
    shape = [other.get(found.axis, both), *shape]
    if first.spec.dtype != "float32":
        shape.append(first.spec.dtype)
    return f"{name(first.device)}, {work.mode}, {', '.join(shape)}"


def table(found: along.AxisSeries) -> TextTable:
    """Lay out one line per backend: fixed cost, slope, where a unit is inexpensive, and misfit."""
    unit = UNITS[found.axis]
    columns = [
        Column("backend", names=True),
        *numbers("fixed per step", f"per {unit}", f"within {along.NEAR_CHEAPEST:.0%} from"),
        *numbers(f"memory per {unit}", "line misses by"),
        *numbers(f"vs {name(found.section.baseline)} at {found.values[0]}"),
        *(Column("verdict"), Column("trust")),
    ]
    return TextTable.of(columns, [_line(found, each) for each in found.backends]).without_empty()


def _line(found: along.AxisSeries, of: along.BackendCost) -> list[TableCell]:
    if not of.measured:
        outcomes = dict.fromkeys(row.result.outcome.replace("_", " ") for row in of.rows)
        return [TableCell(of.backend, name(", ".join(outcomes))), *[TableCell()] * 8]
    longest = along.value(of.measured[-1].case, found.axis)
    fit, near, slope = of.fit, of.cheapest, of.memory_slope
    fixed, per_unit, first, memory, misfit, versus, verdict = [TableCell()] * 7
    if fit is None or not fit.is_line:
        fixed = TableCell("too few values" if fit is None else "no line")
    else:
        fixed, per_unit = (
            TableCell(_signed(number), _signed_range(interval) if interval else "")
            for number, interval in (
                (fit.line.fixed, fit.fixed),
                (fit.line.per_timestep, fit.per_timestep),
            )
        )
    if fit is not None:
        misfit = TableCell(f"{100 * fit.residual:+.1f}%", f"at {fit.worst}")
    if near is not None:
        low, high = (_format_extreme(near, each) for each in (near.first_low, near.first_high))
        bounds = "" if near.first_low == near.first_high else f"{low}–{high}"
        first = TableCell(_format_extreme(near, near.first), bounds)
    if slope is not None:
        memory = TableCell(
            quantities.size(slope.mid), quantities.size_range(slope) if slope.confidence else ""
        )
    ratio = of.measured[0].to_baseline
    if ratio is not None and along.value(of.measured[0].case, found.axis) == found.values[0]:
        bounds = quantities.times_bounds(ratio.ratio.low, ratio.ratio.high)
        versus = TableCell(f"{quantities.times_as_fast(ratio.ratio.mid)}×", bounds)
        verdict = TableCell(compact_verdict(ratio))
    invalid = sum(not row.trusted for row in of.measured)
    trust = TableCell(f"{invalid} of {len(of.measured)} INVALID" if invalid else "")
    backend = TableCell(of.backend, f"up to {longest}" if longest < found.values[-1] else "")
    return [backend, fixed, per_unit, first, memory, misfit, versus, verdict, trust]


def _signed(value: float) -> str:
    """Format seconds of either sign: a fitted cost may be negative."""
    return f"−{quantities.seconds(-value)}" if value < 0 else quantities.seconds(value)


def _signed_range(interval: Interval) -> str:
    """Format the bounds of a signed time, in the unit of its middle if they are near it."""
    largest = max(abs(interval.low), abs(interval.high))
    if largest > 100 * abs(interval.mid):
        return f"{_signed(interval.low)} to {_signed(interval.high)}"
    described = quantities.seconds_range(interval.low, interval.high, abs(interval.mid))
    return described.replace("–", " to ").replace("-", "−") if interval.low < 0 else described


def _format_extreme(near: along.Cheapest, k: int) -> str:
    """Return ``60``, or ``≤ 3`` and ``≥ 960`` at the ends of the measured values."""
    return f"≤ {k}" if k == near.values[0] else f"≥ {k}" if k == near.values[-1] else str(k)


# Notes on a series


def _reason(row: RankedRow) -> str:
    why, advice = map(clean, reason_texts(row.result.reason))
    text = f"{row.result.outcome.replace('_', ' ')}: {why}"
    return f"{text}. To change that: {advice}" if advice else text


def notes(found: along.AxisSeries) -> list[str]:
    """Return what is missing in a series and why, and where a line does not fit the times."""
    never = [row.result for of in found.backends if not of.measured for row in of.rows]
    groups = group_unmeasured(never)
    lines = [f"{unmeasured_heading(each)} ({each.which})" for each in groups]
    for of in (each for each in found.backends if each.measured):
        reasons: dict[str, list[int]] = {}
        for row in of.unreached:
            reasons.setdefault(_reason(row), []).append(along.value(row.case, found.axis))
        known = {along.value(row.case, found.axis) for row in of.rows}
        if left := [each for each in found.values if each not in known]:
            reasons["not in the suite, or the run ended before reaching it"] = left
        messages = [
            f"{found.axis} {quantities.join_names([str(each) for each in values], most=12)}: {why}"
            for why, values in reasons.items()
        ]
        if of.cheapest is not None and (later := of.cheapest.slower_later):
            worst = max(later, key=lambda each: of.cheapest.over[each].mid)  # type: ignore[union-attr]
            over = of.cheapest.over[worst]
            low, mid, high = (f"{100 * (each - 1):.0f}" for each in (over.low, over.mid, over.high))
            more = f"{mid}% ({low}–{high})".replace("-", "−")
            messages.append(f"at {found.axis} {worst} it costs {more} more than at the cheapest")
        if (fit := of.fit) is not None:
            if fit.bent:
                messages.append("the times do not follow one line; the intervals include that")
            if fit.left_out:
                left_out = quantities.count(fit.left_out, "process")
                messages.append(f"the line omits {left_out} that lack a time at some value")
            if fit.fixed is None:
                messages.append("no process measured every value, so the line has no interval")
        lines += [f"{name(of.backend)}: {each}" for each in messages]
    if learned := {k: each for k in found.values if (each := found.learnable(k)) is not None}:
        pairs = [f"{k}: {each}" for k, each in sorted(learned.items())]
        lines.append(f"Longest distance learned in the echo task, by window: {', '.join(pairs)}")
    return lines


def method(found: Sequence[along.AxisSeries]) -> list[str]:
    """Return how to read the tables."""
    axis = found[0].axis
    unit = "sequence" if axis == "batch" else "timestep"
    of = "one window" if axis == "window" else "one call or training step"
    lines = [
        f"time = fixed + slope · {axis}: {of} costs the fixed part whatever its {axis}. "
        "One line is fitted to each process by least squares of relative errors. The "
        f"{100 * CASE_CONFIDENCE:g}% intervals over the processes include the lines that the "
        "smallest values or the largest values have alone.",
        f"within {along.NEAR_CHEAPEST:.0%} from: from this value on, a {unit} costs at most "
        f"{along.NEAR_CHEAPEST:.0%} more than at the cheapest value. It is judged by ratios inside "
        "each process and is shown with its interval.",
    ]
    fits = [of.fit for each in found for of in each.backends if of.fit]
    few = sorted({basis_text(fit.fixed.basis) for fit in fits if fit.fixed and fit.fixed.allowance})
    if few:
        lines.append(
            f"The intervals of the lines are from {few[-1]}. From {ENOUGH_PROCESSES} processes on, "
            "they include only the measured spread."
        )
    return lines


# Terminal and Markdown


def document(found: Sequence[along.AxisSeries]) -> Document:
    """Return the tables, their notes and how to read them."""
    blocks: list[Block] = []
    shown = None
    for each in found:
        if (section := each.section) is not shown:
            shown = section
            facts = [f"{label}: {text}" for label, text in machine(section)]
            blocks.append(Block(heading(section), facts, level=2, style="dim"))
        messages = [Finding(note) for note in notes(each)]
        blocks.append(Block(title(each), messages, table(each) if each.values else None))
    return Document([*blocks, Block(lines=method(found), style="dim")], _HEADING)


def brief(found: Sequence[along.AxisSeries]) -> Document:
    """Return only the tables, for a page that has its own headings."""
    drawn = [each for each in found if each.values]
    blocks = [Block(title(each), table=table(each), level=0) for each in drawn]
    sections = {id(each.section): each.section for each in drawn}.values()
    blocks += [Block(lines=[caption(each)], joined=True) for each in sections]
    return Document(blocks, _HEADING)


# Data


def records(found: Iterable[along.AxisSeries]) -> list[dict[str, Value]]:
    """Return one flat row per series, backend and value of the axis, with the backend's line."""
    rows = (
        _record_row(each, row) | _record_cheapest(of, row) | _record_fit(of)
        for each in found
        for of in each.backends
        for row in of.rows
    )
    return [{key: finite(cell) for key, cell in record.items()} for record in rows]


_SHARED = (
    *("case_id", "backend", "device", "mode", "optimizer", "gradients", "dtype", "batch"),
    *("timesteps", "input_size", "hidden_size", "num_layers", "bidirectional", "window"),
    *("steps", "outcome", "reason", "advice", "valid", "invalid_reasons", "time_valid"),
    *("time_reasons", "processes"),
)
"""Columns of the report in the order of the rows, with ``window`` and ``steps``."""


def _record_row(found: along.AxisSeries, row: RankedRow) -> dict[str, Value]:
    run, unit = found.section.run, UNITS[found.axis]

    def report(*names: str) -> dict[str, Value]:
        known = {
            "steps": along.steps(row.case),
            "window": along.window(row.case) if found.axis == "window" else None,
        }
        return {
            each: known[each] if each in known else COLUMNS[each].value(found.section, row)
            for each in names
        }

    record: dict[str, Value] = {
        **report("session", "suite", "started"),
        "host": run.host,
        "machine_id": run.machine_id,
        **report(*_SHARED),
    }
    record |= _bounds("time_per_step", "_s", along.step_interval(row.result))
    record |= _bounds(f"time_per_{unit}", "_s", along.unit_interval(row.result, found.axis))
    record |= report("timesteps_per_s", "peak_memory_bytes")
    record |= report("build_s", "trace_s", "compile_s", "first_call_s")
    return record | {
        "learnable_distance": found.learnable(along.window(row.case)),
        "baseline": found.section.baseline if row.to_baseline else None,
        **report("ratio", "ratio_low", "ratio_high", "verdict"),
    }


def _record_cheapest(of: along.BackendCost, row: RankedRow) -> dict[str, Value]:
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
        "over_cheapest", "", near.over.get(along.value(row.case, of.axis)) if near else None
    )


def _record_fit(of: along.BackendCost) -> dict[str, Value]:
    fit, unit = of.fit, UNITS[of.axis]
    record: dict[str, Value] = {"fit_processes": fit.processes if fit else None}
    record |= _bounds("fit_fixed", "_s", fit.fixed if fit else None)
    record |= _bounds(f"fit_per_{unit}", "_s", fit.per_timestep if fit else None)
    record |= {
        # The values of the line are known even without an interval.
        "fit_fixed_s": fit.line.fixed if fit else None,
        f"fit_per_{unit}_s": fit.line.per_timestep if fit else None,
        "fit_allowance": fit.fixed.allowance if fit and fit.fixed else None,
        "fit_worst_residual": fit.residual if fit else None,
        "fit_worst_window": fit.worst if fit else None,
        "fit_is_bent": fit.bent if fit else None,
    }
    return record | _bounds(f"memory_per_{unit}", "_bytes", of.memory_slope)


def _bounds(key: str, unit: str, interval: Interval | None) -> dict[str, Value]:
    parts = {"": "mid", "_low": "low", "_high": "high"}
    return {
        f"{key}{part}{unit}": getattr(interval, field) if interval else None
        for part, field in parts.items()
    }


def as_csv(found: Sequence[along.AxisSeries]) -> Iterator[str]:
    """Return ``records`` as CSV, below a line with the column names."""
    rows = records(found)
    return csv_lines(rows[0], (row.values() for row in rows))


def as_json(found: Sequence[along.AxisSeries]) -> str:
    """Return the notes of the series, and ``records``, as JSON."""
    document = {
        "along": found[0].axis,
        "series": [
            {
                "session": each.section.run.session,
                "machine": dict(machine(each.section)),
                "title": title(each),
                "notes": notes(each),
            }
            for each in found
        ],
        "method": method(found),
        "rows": records(found),
    }
    return json_text(document)
