"""The report as one Markdown table: of each work only its fastest backend, for a README or a PR.

This room knows the report and Markdown.
"""

from __future__ import annotations

from bench.judging.rows import KINDS, Report, Row, Section, Table
from bench.reporting.tables import parts
from bench.telling.headings import caption, few, name, uneven_bridges
from bench.telling.inert import code, prose
from bench.telling.marks import RATIO_INTERVAL, TIME_INTERVAL, mark, notes
from bench.telling.quantities import shape_words, times_as, times_bounds
from bench.telling.sheet import markdown_table
from bench.telling.verdict_words import verdict_words


def brief(report: Report) -> str:
    """A table for each session, and under it where and when that was."""
    blocks = [block for section in report.sections for block in _section(section)]
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> list[str]:
    tables = [table for table in section.tables if table.groups]
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
    told = [*notes(rows), *few(rows), *uneven_bridges(rows)]
    right = (name in ("time", TIME_INTERVAL) for name in head)
    sheet = markdown_table(map(prose, head), right, lines)
    return [sheet, prose(" ".join([*(f"{each}." for each in told), caption(section)]))]


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
        versus = f"{times_as(ratio.mid)}, {verdict_words(row.to_baseline)}"
        around = times_bounds(ratio.low, ratio.high)
    elif row.case.backend == table.baseline:
        versus = "it is that"
    backend = f"{code(row.case.backend)} {mark(row)}".strip()
    told = [time, interval, versus, around]
    if trust:
        told.append("" if row.trusted else "INVALID")
    return [prose(first), prose(", ".join(work)), backend, *map(prose, told)]
