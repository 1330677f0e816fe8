"""The report as Markdown, for a README or a pull request: GitHub's dialect, text escaped.

This room knows the report and Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.judging.rows import KINDS, Report, Section, Table
from bench.reporting.decisions import decisions
from bench.reporting.sentences import Finding, findings
from bench.reporting.sentences import unmeasured as without_time
from bench.reporting.tables import parts, work_words
from bench.telling.headings import heading, machine, method, title
from bench.telling.inert import code, prose
from bench.telling.marks import mark, notes
from bench.telling.sheet import markdown_table
from bench.telling.unmeasured import headline


def markdown(report: Report, unmeasured: bool = False) -> str:
    """The whole report; unmeasured: with a list of what has no time."""
    blocks = [block for section in report.sections for block in _section(section, unmeasured)]
    if report.notes:
        blocks.append(_list(f"note: {prose(note)}" for note in report.notes))
    return "\n\n".join(blocks) + "\n"


def _section(section: Section, unmeasured: bool) -> list[str]:
    blocks = [f"## {prose(heading(section))}"]
    blocks.append(_findings(decisions(section)))
    for table in section.tables:
        if table.groups:
            blocks += [f"### {prose(title(table))}", _table(table)]
    blocks += ["### Findings", _findings(findings(section))]
    for group in without_time(section) if unmeasured else ():
        blocks += [f"#### {prose(headline(group))}", _list(code(c.id) for c in group.cases)]
    told = [*(f"{each}." for each in notes(section.rows)), *method(section)]
    told += [f"{label}: {text}" for label, text in machine(section)]
    if told:
        blocks.append(_list(prose(each) for each in told))
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
    told = parts(table)
    head = ["window" if table.kind == KINDS[1] else "shape", "backend"]
    lines = []
    for group in table.groups:
        words = work_words(group[0], table)
        work = prose(", ".join(words))
        if table.kind != KINDS[1]:
            work = f"{prose(', '.join(words[:-1]))} {code(words[-1])}"
        for row in group:
            sign = mark(row)
            cells = [prose(part.text(row).strip()) for part in told]
            backend = code(row.case.backend)
            if sign:
                backend, cells[0] = f"**{backend}** {sign}", f"**{cells[0]}**"
            # The shape stands only in the first line of its backends.
            shape = work if row is group[0] else ""
            lines.append([shape, backend, *cells])
    return markdown_table(
        [*head, *(prose(part.heading) for part in told)],
        [False, False, *(part.right for part in told)],
        lines,
    )


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {each}" for each in lines)
