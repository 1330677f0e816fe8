"""Write the report as Markdown in GitHub's dialect, with all text from files escaped.

In full, or as one table with the fastest backend of each work.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.render.escape import code, prose
from bench.render.labels import (
    RATIO_INTERVAL,
    TIME_INTERVAL,
    caption,
    heading,
    machine,
    mark,
    name,
    notes,
    title,
    verdict_words,
)
from bench.render.messages import (
    Finding,
    bound_sentence,
    decisions,
    few,
    findings,
    headline,
    method,
    uneven_bridges,
)
from bench.render.messages import unmeasured as without_time
from bench.render.quantities import seconds, shape_words, times_as_fast, times_bounds
from bench.render.table import Column, Sheet, markdown_table, measured_rows, parts, work_words
from bench.stats.rows import KINDS, Report, Row, Section, Table


def markdown(report: Report, unmeasured: bool = False) -> str:
    """The whole report; unmeasured: with a list of what has no time."""
    blocks = [block for section in report.sections for block in _section(section, unmeasured)]
    if report.notes:
        blocks.append(_list(f"note: {prose(note)}" for note in report.notes))
    return "\n\n".join(blocks) + "\n"


def _section(section: Section, unmeasured: bool) -> list[str]:
    blocks = [f"## {prose(heading(section))}"]
    blocks.append(_findings(decisions(section)))
    for table in section.timed_tables:
        blocks += [f"### {prose(title(table))}", _table(table)]
    blocks += ["### Findings", _findings(findings(section))]
    for group in without_time(section) if unmeasured else ():
        blocks += [f"#### {prose(headline(group))}", _list(code(c.id) for c in group.cases)]
    messages = [*(f"{each}." for each in notes(section.rows)), *method(section)]
    messages += [f"{label}: {text}" for label, text in machine(section)]
    if messages:
        blocks.append(_list(prose(each) for each in messages))
    return blocks


def _findings(found: Iterable[Finding]) -> str:
    return _list(
        # What must not be overlooked is bold up to its colon.
        f"**{prose(subject)}**{prose(colon + rest)}"
        if finding.loud or finding.answer
        else prose(finding.text)
        for finding in found
        for subject, colon, rest in [finding.text.partition(":")]
    )


def _table(table: Table) -> str:
    described = parts(table)
    lines = []
    for group in table.groups:
        words = work_words(group[0], table)
        work = prose(", ".join(words))
        if table.kind != KINDS[1]:
            work = f"{prose(', '.join(words[:-1]))} {code(words[-1])}"
        for row in group:
            sign = mark(row)
            cells = [prose(part.text(row).strip()) for part in described]
            backend = code(row.case.backend)
            if sign:
                backend, cells[0] = f"**{backend}** {sign}", f"**{cells[0]}**"
            # The shape stands only in the first line of its backends.
            shape = work if row is group[0] else ""
            lines.append([shape, backend, *cells])
    return markdown_table(
        [table.noun, "backend", *(prose(part.heading) for part in described)],
        [False, False, *(part.right for part in described)],
        lines,
    )


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {each}" for each in lines)


# Of each work only its fastest backend


def brief(report: Report) -> str:
    """A table for each session, and under it where and when that was."""
    blocks = [block for section in report.sections for block in _fastest(section)]
    return "\n\n".join(blocks) + "\n"


def _fastest(section: Section) -> list[str]:
    tables = section.timed_tables
    if not tables:
        return []
    baseline = name(section.baseline) if section.baseline else "the baseline"
    versus = f"against {baseline}"
    head = ["", "work", "shortest time", "time", TIME_INTERVAL, versus, RATIO_INTERVAL]
    rows = [group[0] for table in tables for group in table.groups]
    trust = not all(row.trusted for row in rows)
    if trust:
        head.append("trust")
    lines = []
    for table in tables:
        first = f"{table.device}, {table.mode}"
        for group in table.groups:
            lines.append(_first(first, group[0], table, trust))
            first = ""  # it stands only in the first line of its works
    shown = [*notes(rows), *few(rows), *uneven_bridges(rows)]
    right = (name in ("time", TIME_INTERVAL) for name in head)
    sheet = markdown_table(map(prose, head), right, lines)
    return [sheet, prose(" ".join([*(f"{each}." for each in shown), caption(section)]))]


def _first(first: str, row: Row, table: Table, trust: bool) -> list[str]:
    time, interval = (part.text(row) for part in parts(table)[:2])
    work = shape_words(row.case)
    if table.kind == KINDS[1]:
        time += " a timestep"
        work.append(f"window {row.case.workload.window}")
    if row.case.spec.dtype != "float32":
        work.append(row.case.spec.dtype)
    versus = around = ""
    if row.to_baseline is not None:
        ratio = row.to_baseline.ratio
        versus = f"{times_as_fast(ratio.mid)}×, {verdict_words(row.to_baseline)}"
        around = times_bounds(ratio.low, ratio.high)
    elif row.case.backend == table.baseline:
        versus = "it is that"
    backend = f"{code(row.case.backend)} {mark(row)}".strip()
    shown = [time, interval, versus, around]
    if trust:
        shown.append("" if row.trusted else "INVALID")
    return [prose(first), prose(", ".join(work)), backend, *map(prose, shown)]


def whys(report: Report) -> str:
    """The same as tables, one below the other."""
    blocks = []
    for section in report.sections:
        for table in section.timed_tables:
            blocks += [f"**{prose(title(table))}**", _why_table(table)]
        blocks += [prose(f"{described}.") for described in uneven_bridges(section.rows)]
    return "\n\n".join(blocks) + "\n"


def _why_table(table: Table) -> str:
    return Sheet.of(
        [
            Column("shape", names=True),
            Column("backend", names=True),
            Column("time", right=True),
            Column("why"),
        ],
        [
            [row.case.shape, row.case.backend, seconds(row.time), bound_sentence(row)]
            for row in measured_rows(table)
        ],
    ).markdown()
