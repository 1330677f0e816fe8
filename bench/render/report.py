"""Show a report in full, in brief, or with what bounds each case, in a terminal and as Markdown."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from rich.console import Console

from bench.render import labels, messages
from bench.render.escape import terminal_picture
from bench.render.quantities import (
    count,
    rate,
    seconds,
    seconds_range,
    shape_texts,
    size,
    times_as_fast,
    times_bounds,
)
from bench.render.table import Block, Column, Document, Standing, TableCell, TextTable
from bench.stats.comparison import SAME_WITHIN, Comparison
from bench.stats.latency import PARTS
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import KINDS, Report, Section, Table

# Laying out more rows than these takes longer than judging them.
_MOST_ROWS = 1000
_FEWEST_ROWS = 20  # For each table, however many tables there are.
_PICTURE = 112  # The width of a picture in letters: bars fit next to all columns of a brief report.


Draw: TypeAlias = Callable[[Section, int], Iterable[Block]]
"""A function that returns the blocks of a section. Its number limits the rows of each table."""


# What is shown of a case


@dataclass(frozen=True)
class TablePart:
    """Describe one column that is shown for each case.

    Attributes
    ----------
    heading
        The heading of the column.
    text
        The text for a case, or "" where it has nothing to show.
    needed
        How soon a terminal may omit the column where space is short: 0 never, 1 last, then 2, and
        so on.
    right
        Whether the text is aligned to the right.
    brief
        Whether a brief report has the column.
    state
        The verdict, the outcome or the like that the text states, if it does.
    """

    heading: str
    text: Callable[[RankedRow], str]
    needed: int = 0
    right: bool = True
    brief: bool = False
    state: Callable[[RankedRow], Standing | None] = lambda _: None

    def cell(self, row: RankedRow) -> TableCell:
        """Return the cell of a case, in the style of its state."""
        state = self.state(row)
        return TableCell(self.text(row), style=state.style if state else "", state=state)


TAIL = 99.0
"""The percentile whose interval and ratio are shown.

It is the last one that a run of some minutes can determine for calls that come a hundred times per
second.
"""


def parts(table: Table) -> list[TablePart]:
    """Return the columns of this table for which at least one case has something to show."""
    base, windows = labels.name(table.baseline), table.kind == KINDS[1]
    found = [
        TablePart("per timestep" if windows else "median", _time, brief=True, state=_outcome_state),
        TablePart(labels.TIME_INTERVAL, _interval, 1, brief=True),
    ]
    if table.kind == KINDS[0]:
        found.append(
            TablePart("sequences/s", lambda row: _known(row.result.sequences_per_s, rate), 3)
        )
        found.append(
            TablePart("timesteps/s", lambda row: _known(row.result.timesteps_per_s, rate), 4)
        )
    for part in PARTS[1:]:
        text = functools.partial(_latency, part=part)
        found.append(TablePart(f"p{part:g}", text, 0 if part == TAIL else 3))
        if part == TAIL:
            found.append(TablePart(f"p{part:g}, {labels.TIME_INTERVAL}", _tail_interval, 1))
    found.append(TablePart("late", _format_missed, 2))
    if not windows:
        found.append(
            TablePart("first result", lambda row: _known(row.result.first_result, seconds), 5)
        )
    found.append(
        TablePart("memory", lambda row: _known(row.result.memory.get("peak_bytes"), size), 6)
    )
    if any(row.to_baseline for row in table.rows):
        text = functools.partial(_versus, baseline=table.baseline)
        state = functools.partial(_versus_state, baseline=table.baseline)
        found.append(TablePart(f"vs {base}", text, right=False, brief=True, state=state))
        found.append(TablePart(labels.RATIO_INTERVAL, _versus_interval, 2, brief=True))
    found += [
        TablePart(
            f"p{TAIL:g} vs {base}",
            lambda row: _ratio(_tail(row)),
            right=False,
            state=lambda row: _verdict_state(_tail(row)),
        ),
        TablePart("error", lambda row: _known(row.result.error, "{:.2%}".format), brief=True),
        TablePart("process spread", _spread, 3, brief=True),
        TablePart("trust", _trust, right=False, brief=True, state=_trust_state),
    ]
    return [part for part in found if any(map(part.text, table.rows))]


def _time(row: RankedRow) -> str:
    if not row.result.measured:
        return row.result.outcome.replace("_", " ")
    sign = labels.UNRELIABLE if row.result.validity.of_time else ""
    return f"{sign}{seconds(row.result.time / _steps(row))}"


def _interval(row: RankedRow) -> str:
    found, steps = row.result.interval, _steps(row)
    return labels.bounds_of_time(found, found.mid / steps, steps) if found else ""


def _steps(row: RankedRow) -> int:
    """Return the number of timesteps by which a time is divided.

    In truncation, this is the number of the case's timesteps; otherwise it is 1.
    """
    return row.case.workload.timesteps if row.case.kind == KINDS[1] else 1


def _known(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else text(value)


def _latency(row: RankedRow, part: float) -> str:
    found = row.result.stream and row.result.stream.latency.get(part)
    return seconds(found.mid) if found else ""


def _tail_interval(row: RankedRow) -> str:
    found = row.result.stream and row.result.stream.latency.get(TAIL)
    return seconds_range(found.low, found.high, found.mid) if found else ""


def _format_missed(row: RankedRow) -> str:
    stream = row.result.stream
    missed = None if stream is None else stream.missed
    return "" if stream is None or missed is None else f"{missed:,} of {stream.calls:,}"


def _tail(row: RankedRow) -> Comparison | None:
    return row.stream_to_baseline.get(TAIL)


def _outcome_state(row: RankedRow) -> Standing | None:
    return Standing.FAILED if row.result.outcome in messages.FAILURES else None


def _verdict_state(found: Comparison | None) -> Standing | None:
    return Standing.of(found.verdict) if found else None


def _is_baseline(row: RankedRow, baseline: str) -> bool:
    return row.to_baseline is None and row.result.measured and row.case.backend == baseline


def _versus_state(row: RankedRow, baseline: str) -> Standing | None:
    return Standing.BASELINE if _is_baseline(row, baseline) else _verdict_state(row.to_baseline)


def _trust_state(row: RankedRow) -> Standing | None:
    return None if row.trusted else Standing.INVALID


def _ratio(found: Comparison | None) -> str:
    return f"{times_as_fast(found.ratio.mid):>4}× {found.verdict.value}" if found else ""


def _versus(row: RankedRow, baseline: str) -> str:
    if _is_baseline(row, baseline):
        return f"{1:>4}× baseline"
    return _ratio(row.to_baseline)


def _versus_interval(row: RankedRow) -> str:
    found = row.to_baseline
    return times_bounds(found.ratio.low, found.ratio.high) if found else ""


def _spread(row: RankedRow) -> str:
    return labels.spread_text(row.to_baseline) if row.to_baseline else ""


def _trust(row: RankedRow) -> str:
    return "" if row.trusted else "INVALID"


def work_texts(row: RankedRow, table: Table) -> list[str]:
    """Return what work a group of this table does, in short texts, with its id last."""
    case = row.case
    dtypes = {each.case.spec.dtype for each in table.rows}
    dtype = [case.spec.dtype] if len(dtypes) > 1 else []
    if table.kind == KINDS[1]:
        return [f"window {case.workload.window}", *dtype]
    return [*shape_texts(case), *dtype, case.shape]


# Tables


def text_table(table: Table, of: Table, brief: bool = False) -> TextTable:
    """Lay out rows, the fastest of each group first.

    The complete table ``of`` decides the columns.
    """
    shown = [part for part in parts(of) if part.brief or not brief]
    columns = [
        Column(table.noun),
        Column("backend", names=True),
        *(Column(part.heading, part.right, needed=part.needed) for part in shown),
        Column("", bars=True),
    ]
    lines = []
    for group in table.groups:
        *words, last = work_texts(group[0], of)
        work = TableCell(", ".join(words), "" if brief else last) if words else TableCell(last)
        fastest = min(row.result.time for row in group if row.result.measured)
        compared = sum(row.result.measured for row in group) > 1
        for row in group:
            if brief and row.result.outcome in ("not_measured", "refused"):
                continue  # Backends that cannot run here are left out of a brief report.
            sign = labels.mark(row)
            style = "bold green" if sign == labels.FASTEST else "bold" if sign else ""
            first = TableCell(row.case.backend, style=style, strong=bool(sign), mark=sign)
            time, *cells = (part.cell(row) for part in shown)
            cells = [replace(time, style=style or time.style, strong=bool(sign)), *cells]
            bar = fastest / row.result.time if compared and row.result.measured else 0.0
            cells.append(TableCell(style="green" if sign == labels.FASTEST else "cyan", share=bar))
            lines.append([work, first, *cells])
            work = TableCell()
    if not any(line[-1].share for line in lines):
        columns, lines = columns[:-1], [line[:-1] for line in lines]
    return TextTable.of(columns, lines, grouped=True)


def _tables(section: Section, rows: int, brief: bool = False) -> Iterator[Block]:
    for table in section.timed_tables:
        shown, left = table.begin(rows)
        more = f"and {count(left, f'more {table.noun}')}; --format csv lists every case"
        yield Block(
            labels.title(table),
            [more] if left else [],
            text_table(shown, table, brief),
            style="dim",
        )


# A section


def full(section: Section, rows: int, listed: bool = False) -> Iterator[Block]:
    """Yield all parts of a section. With ``listed``, also list the cases without a time."""
    found = messages.findings(section)
    facts = [f"{label}: {text}" for label, text in labels.machine(section)]
    yield Block(labels.heading(section), facts, level=2, style="dim")
    yield Block(lines=messages.summary(found))
    yield from _tables(section, rows)
    if others := [each for each in found if not each.answer]:
        yield Block("Findings", others)
    for group in messages.unmeasured(section) if listed else ():
        yield Block(
            messages.unmeasured_heading(group),
            [labels.name(case.id) for case in group.cases],
            level=4,
            indent=2,
        )
    compared = any(len(group) > 1 for table in section.timed_tables for group in table.groups)
    key = [*labels.notes(section.rows), *[labels.BARS] * compared]
    yield Block(lines=[*(f"{each}." for each in key), *messages.method(section)], style="dim")


_MOST_DECISIONS = 6
"""The number of shapes up to which each has its decision.

For more, each table has one, so that a brief report fits a screen.
"""


def brief(section: Section, rows: int) -> Iterator[Block]:
    """Yield a brief report: the fastest backend of each shape, by how much, and what to use."""
    yield from measurements(section, rows)
    if lines := decisions(section):
        yield Block("What to use", lines, style="bold")


def decisions(section: Section) -> list[str]:
    """Return what to use for each shape as ``bench.ask`` says it, or for many shapes, by table."""
    tables = section.timed_tables
    works = [(table, group) for table in tables for group in table.groups]
    if len(works) > _MOST_DECISIONS:
        return [each.text for each in messages.findings(section) if each.answer]
    lines = []
    for table, group in works:
        first, *others = messages.decision(replace(section, rows=group))
        work = work_texts(group[0], table)
        work = work if table.kind == KINDS[1] else work[:-1]  # The id is no text for people.
        dtypes = {row.case.spec.dtype for row in table.rows}
        place = labels.title(table) if len(dtypes) == 1 else f"{table.device}, {table.mode}"
        lines += [f"{place}, {', '.join(work)}: {first}", *others]
    return lines


def measurements(section: Section, rows: int) -> Iterator[Block]:
    """Yield the tables of a brief report with the notes that explain them."""
    facts = [
        f"{fact.label}: {fact.text}"
        for fact in labels.machine_facts(section)
        if fact.part != "system"
    ]
    yield Block(labels.heading(section), facts, level=2, style="dim")
    yield from _tables(section, rows, brief=True)
    if warnings := [each for each in messages.findings(section) if each.warning]:
        yield Block(lines=warnings)
    ratios = [row.to_baseline for row in section.rows if row.to_baseline]
    lines = [*labels.notes(section.rows), *[labels.BARS] * any(ratios)]
    if ratios:
        lines.append(
            f"Speedups are over {labels.name(section.baseline)}, with their "
            f"{labels.RATIO_INTERVAL}. FASTER and SLOWER mean that the whole interval is on that "
            f"side of 1 (statistically significant), SAME that it is within "
            f"±{100 * SAME_WITHIN:g}%, and UNCLEAR anything else"
        )
    lines += [*messages.unclear(ratios), *messages.assumptions(section.rows)]
    yield Block(lines=[f"{each}." for each in lines], style="dim")


def fastest(section: Section, rows: int) -> Iterator[Block]:
    """Yield one table of a section: the fastest backend of each work."""
    tables = section.timed_tables
    first = [group[0] for table in tables for group in table.groups]
    columns = [Column(""), Column("work"), Column("shortest time", names=True)]
    columns += [Column("time", right=True), Column(labels.TIME_INTERVAL, right=True)]
    columns += [Column(f"vs {labels.name(section.baseline) or 'baseline'}")]
    columns += [Column(labels.RATIO_INTERVAL), Column("process spread"), Column("trust")]
    lines: list[list[TableCell | str]] = []
    for table in tables:
        place = f"{table.device}, {table.mode}"
        for row in (group[0] for group in table.groups):
            work = shape_texts(row.case)
            work += [row.case.spec.dtype] * (row.case.spec.dtype != "float32")
            per = ""
            if table.kind == KINDS[1]:
                per = " per timestep"
                work.append(f"window {row.case.workload.window}")
            shown = [f"{_time(row)}{per}", _interval(row)]
            shown += [_versus(row, table.baseline).strip(), _versus_interval(row), _spread(row)]
            backend = TableCell(row.case.backend, mark=labels.mark(row))
            lines.append([place, ", ".join(work), backend, *shown, _trust(row)])
            place = ""  # Only the first line of a table shows it.
    if tables:
        explained = [
            f"{each}."
            for each in (
                *labels.notes(first),
                *messages.assumptions(first),
                *messages.heterogeneous_references(first),
            )
        ]
        found = TextTable.of(columns, lines).without_empty()
        yield Block(table=found, lines=[*explained, labels.caption(section)], joined=True)


def whys(section: Section, rows: int) -> Iterator[Block]:
    """Yield what bounds each case."""
    columns = [Column("shape", names=True), Column("backend", names=True)]
    columns += [Column("time", right=True), Column("why")]
    for table in section.timed_tables:
        shown, left = table.begin(rows)
        lines = [
            [
                row.case.shape,
                row.case.backend,
                seconds(row.result.time),
                messages.bound_sentence(row),
            ]
            for group in shown.groups
            for row in group
            if row.result.measured
        ]
        more = [f"and {left:,} more; --format csv lists all"] if left else []
        yield Block(labels.title(table), more, TextTable.of(columns, lines), level=0)
    found = [*messages.heterogeneous_references(section.rows), *messages.unknown_bounds(section)]
    yield Block(lines=[f"{each}." for each in found], style="dim", joined=True)


# A report


def show(report: Report, console: Console, draw: Draw = full) -> None:
    """Print the report to a terminal, each section by ``draw``."""
    tables = sum(len(section.tables) for section in report.sections)
    rows = max(_FEWEST_ROWS, _MOST_ROWS // max(1, tables))
    Document(_title(report)).terminal(console)
    for number, section in enumerate(report.sections):
        if number or report.is_reference:
            console.print()
        Document(draw(section, rows)).terminal(console)
    Document([_notes(report)] if report.notes else []).terminal(console)


def markdown(report: Report, draw: Draw = full) -> str:
    """Return the report as Markdown."""
    every = max((len(section.rows) for section in report.sections), default=0)
    blocks = _title(report)
    blocks += [block for section in report.sections for block in draw(section, every)]
    if report.notes and draw is not fastest:
        blocks.append(_notes(report))
    return Document(blocks).markdown()


def _title(report: Report) -> list[Block]:
    return [Block(labels.REFERENCE_TITLE, level=1)] if report.is_reference else []


def _notes(report: Report) -> Block:
    return Block(lines=[f"note: {note}" for note in report.notes], style="dim")


def as_picture(report: Report, width: int = _PICTURE, draw: Draw = full) -> str:
    """Return the report as a terminal shows it, as SVG. Equal reports give equal pictures."""
    command = f"python -m bench.report{' --brief' if draw is brief else ''}"
    return terminal_picture(lambda console: show(report, console, draw), command, width)
