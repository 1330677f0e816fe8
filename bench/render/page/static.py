"""The report as one page that needs nothing else: no network, and for what it says no script.

What to do first, at most three lines a session; then folded the findings in sentences, the tables,
what has no time, the machine. Everything that
comes from a file is escaped, and the page's own policy forbids requests, and every script but those
that ``page.explorer`` adds, should anything slip through. This module knows the report, HTML and
the page's style.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.render.escape import LONGEST_SENTENCE
from bench.render.escape import markup as inert
from bench.render.labels import details, heading, machine, name, title
from bench.render.marks import BARS, FASTEST, mark, notes
from bench.render.messages import Finding, decisions, findings, method
from bench.render.quantities import count
from bench.render.table import parts, work_words
from bench.stats.rows import KINDS, Report, Row, Section, Table
from bench.stats.trust import Doubt

# A page of more rows than these is slow on a phone; CSV has every case.
_MOST_SKIPPED = 1000
_MOST_ROWS = 1500
_MOST_OPEN = 4  # sessions: with three lines of decisions each a screenful
_FEWEST_ROWS = 20  # of each table, however many tables there are

_CLASSES = {"FASTER": "good", "SLOWER": "bad", "UNCLEAR": "doubt", "INVALID": "bad"}


@dataclass(frozen=True)
class Extra:
    """What is added to the page: HTML before and after the decisions, style, data and scripts.

    data: JSON in which no letter can end an element. script: runs once the page is there. later:
    scripts by their element's id, which come as text and which ``script`` may run when it wants
    to; the policy lets no other run. about: what the title says in place of suites and machines.
    """

    top: str = ""
    html: str = ""
    style: str = ""
    data: str = ""
    script: str = ""
    later: Mapping[str, str] = field(default_factory=dict)
    about: str = ""


def page(report: Report, extra: Extra | None = None) -> str:
    """The whole page."""
    hosts = dict.fromkeys(
        name(host)
        for section in report.sections
        for host in (section.nodes.values() or [section.run.host])
    )
    suites = dict.fromkeys(name(section.run.suite) for section in report.sections)
    extra = extra or Extra()
    about = _escaped(extra.about or f"{', '.join(suites)} on {', '.join(hosts)}")
    decided = [_decisions(section, n) for n, section in enumerate(report.sections)]
    rows = max(_FEWEST_ROWS, _MOST_ROWS // max(1, sum(len(s.tables) for s in report.sections)))
    numbers = [_numbers(section, n, rows) for n, section in enumerate(report.sections)]
    notes = _list(f"<li>{_escaped(note)}</li>" for note in report.notes)
    scripts = [f'<script type="application/json" id="results">{extra.data}</script>']
    scripts += [
        f'<script type="text/plain" id="{key}">{text}</script>' for key, text in extra.later.items()
    ]
    scripts.append(f"<script>{extra.script}</script>")
    return document(
        f"LSTM benchmark: {about}",
        f"""<h1>Which LSTM backend is fastest?</h1>
{extra.top}
{_newest(decided, "{}")}
{extra.html}
{_newest(numbers, "{} in full")}
{f"<h2>Notes</h2>{notes}" if report.notes else ""}""",
        extra,
        f"{''.join(scripts) if extra.script else ''}\n",
    )


@functools.cache  # a site has thousands of pages
def part(name: str) -> str:
    """The text of one of the page's files."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def document(title: str, main: str, extra: Extra | None = None, scripts: str = "") -> str:
    """A page of title and contents, which are HTML; what is not in ``extra`` cannot run in it."""
    extra = extra or Extra()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(extra)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{part("static.css")}{extra.style}</style>
</head>
<body>
<main>
{main}
</main>
{scripts}</body>
</html>
"""


def _policy(extra: Extra) -> str:
    """Nothing may be loaded or sent, and only these very scripts may run."""
    rules = ["default-src 'none'", "style-src 'unsafe-inline'"]
    if extra.script:
        texts = (extra.script, *extra.later.values())
        digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()) for each in texts)
        allowed = " ".join(f"'sha256-{each.decode()}'" for each in digests)
        rules += [f"script-src {allowed}", "base-uri 'none'", "form-action 'none'"]
    return "; ".join(rules)


def _decisions(section: Section, number: int) -> str:
    return "\n".join(
        [
            f'<section aria-labelledby="s{number}">',
            f'<h2 id="s{number}">{_escaped(heading(section))}</h2>',
            _list((_finding(each) for each in decisions(section)), "answers"),
            "</section>",
        ]
    )


def _numbers(section: Section, number: int, rows: int) -> str:
    tables = section.timed_tables
    facts = "".join(
        f"<dt>{_escaped(label)}</dt><dd>{_escaped(text)}</dd>"
        for label, text in (*machine(section), *details(section))
    )
    found = findings(section)
    measured = sum(row.measured for row in section.rows)
    told = [*notes(section.rows), *[BARS] * bool(measured)]
    key = "".join(f"<p>{_escaped(each)}.</p>" for each in told)
    return "\n".join(
        [
            f'<section aria-labelledby="s{number}numbers">',
            f'<h2 id="s{number}numbers">In full: {_escaped(heading(section))}</h2>',
            _folded(
                f"Findings: {count(len(found), 'sentence')}", _list(map(_finding, found), "answers")
            ),
            _folded(
                f"All numbers: {count(measured, 'case')}",
                key,
                *(_table(table, f"s{number}t{index}", rows) for index, table in enumerate(tables)),
            )
            if tables
            else "",
            _doubts(section),
            _skipped(section, f"s{number}skipped"),
            _folded(
                "How to read the numbers",
                _list(f"<li>{_escaped(line)}</li>" for line in method(section)),
            ),
            _folded("The machine", f"<dl>{facts}</dl>") if facts else "",
            "</section>",
        ]
    )


def _newest(sections: Sequence[str], told: str) -> str:
    """The newest of them open and the others behind one line."""
    shown = "\n".join(sections[:_MOST_OPEN])
    older = sections[_MOST_OPEN:]
    if not older:
        return shown
    return shown + _folded(told.format(count(len(older), "older session")), *older)


def _folded(summary: str, *inside: str) -> str:
    return f"<details><summary>{_escaped(summary)}</summary>{''.join(inside)}</details>"


def _finding(finding: Finding) -> str:
    subject, colon, rest = finding.text.partition(": ")
    if not (finding.answer or finding.loud):
        return f"<li>{_escaped(finding.text)}</li>"
    kind = ' class="loud"' if finding.loud else ""
    return f"<li{kind}><strong>{_escaped(subject)}</strong>{colon}{_escaped(rest)}</li>"


def _table(table: Table, key: str, most: int) -> str:
    told = parts(table)
    heads = "".join(
        f'<th scope="col"{_class("right" if part.right else "")}>{_escaped(part.heading)}</th>'
        for part in told
    )
    bodies: list[str] = []
    left = most
    for group in table.groups:
        # A group is shown whole or not at all: who is first is told among all of it.
        if bodies and len(group) > left:
            break
        left -= len(group)
        fastest = min(row.time for row in group if row.measured)
        words = work_words(group[0], table)
        if table.kind != KINDS[1]:
            words = [*map(_escaped, words[:-1]), f"<code>{_escaped(words[-1])}</code>"]
        shape = f'<th scope="rowgroup" rowspan="{len(group)}">{"<br>".join(words)}</th>'
        lines = []
        for row in group:
            sign = mark(row)
            cells = "".join(
                f"<td{_class(_kinds(text, part.right, index == 0))}>{_escaped(text)}</td>"
                for index, part in enumerate(told)
                for text in [part.text(row).strip()]
            )
            label = f"{_escaped(name(row.case.backend))} {_sign(sign)}{_bar(row, fastest)}"
            lines.append(
                f"<tr{_class('first' if sign else '')}>{shape}"
                f'<th scope="row">{label}</th>{cells}</tr>'
            )
            shape = ""
        bodies.append(f"<tbody>{''.join(lines)}</tbody>")
    heads = f'<th scope="col">{table.noun}</th><th scope="col">backend</th>{heads}'
    shown = _scrolled(key, _escaped(title(table)), heads, "".join(bodies))
    return f"{shown}{_more(len(table.groups) - len(bodies), table.noun)}"


def _scrolled(key: str, caption: str, heads: str, bodies: str) -> str:
    """A table, of HTML already."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{key}">'
        f'<table><caption id="{key}">{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead>{bodies}</table></div>"
    )


def _kinds(text: str, right: bool, time: bool) -> str:
    verdict = _CLASSES.get(text.split()[-1], "") if text else ""
    return " ".join(filter(None, ["right" if right else "words", "time" if time else "", verdict]))


def _sign(sign: str) -> str:
    if not sign:
        return ""
    meaning = "FASTER than each other" if sign == FASTEST else "the shortest median, not more"
    return f'<span role="img" aria-label="{meaning}" title="{meaning}">{sign}</span>'


def _bar(row: Row, fastest: float) -> str:
    """As long as the case is fast, against the fastest of its group; its time stands beside it."""
    if not row.measured:
        return ""
    width = f"width:{100 * fastest / row.time:.1f}%"
    return f'<span class="bar" aria-hidden="true" style="{width}"></span>'


def _doubts(section: Section) -> str:
    kinds: dict[str, list[tuple[Row, tuple[Doubt, ...]]]] = {
        "{} INVALID, and why": [(row, row.invalid) for row in section.rows],
        "{} whose ratio is INVALID, and why": [
            (row, () if row.invalid else row.ratio_doubts) for row in section.rows
        ],
        "{} with a doubtful time, and why": [(row, row.validity.of_time) for row in section.rows],
    }
    found = []
    for what, doubted in kinds.items():
        if rows := [(row, doubts) for row, doubts in doubted if doubts]:
            items = [
                f"<li><code>{_escaped(row.case.id)}</code>: "
                f"{_escaped('; '.join(map(str, doubts)))}</li>"
                for row, doubts in rows[:_MOST_SKIPPED]
            ]
            told = what.format(count(len(rows), "measurement"))
            more = _more(len(rows) - _MOST_SKIPPED)
            found.append(_folded(told, _list(items), more))
    return "".join(found)


def _skipped(section: Section, key: str) -> str:
    rows = [row for row in section.rows if not row.measured]
    if not rows:
        return ""
    lines = "".join(
        "<tr>"
        f'<th scope="row"><code>{_escaped(row.case.id)}</code></th>'
        f'<td class="words">{_escaped(row.outcome.replace("_", " "))}</td>'
        f"<td>{_escaped(row.reason)}</td><td>{_escaped(row.advice)}</td></tr>"
        for row in rows[:_MOST_SKIPPED]
    )
    told = f"{count(len(rows), 'case')} without a time, and why"
    names = ("case", "outcome", "reason", "what to do")
    heads = "".join(f'<th scope="col">{each}</th>' for each in names)
    shown = _scrolled(key, told, heads, f"<tbody>{lines}</tbody>")
    return _folded(told, shown, _more(len(rows) - _MOST_SKIPPED))


def _more(number: int, noun: str = "case") -> str:
    if number <= 0:
        return ""
    return f"<p>And {count(number, f'more {noun}')}; --format csv has all of them.</p>"


def _list(items: Iterable[str], kind: str = "") -> str:
    return f"<ul{_class(kind)}>{''.join(items)}</ul>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _escaped(text: str) -> str:
    return inert(text, LONGEST_SENTENCE)
