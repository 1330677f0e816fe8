"""How a comparison is shown: in a terminal, as Markdown, CSV or JSON, and to GitHub Actions.

This room knows a finished ``compare.Report`` and nothing of how it came about. Names and reasons
in it come from result files, which may come from anywhere: each format makes them harmless.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench import command_line, drawing, report_text
from bench.cases import Case
from bench.compare import Gate, Mean, Report, Row, UsageError
from bench.crossover import INVALID, Cell, Map
from bench.report_tables import RATIO_INTERVAL
from bench.report_text import clean, code, count, seconds, spreadsheet
from bench.report_text import markdown as escaped
from bench.result_fields import printable
from bench.result_writer import ResultWriteError, write_bytes
from bench.stats import (
    ENOUGH_PROCESSES,
    SAME_WITHIN,
    VERDICT_CONFIDENCE,
    Comparison,
    Interval,
    Verdict,
)
from bench.terminal import text_console
from bench.verdict_words import compact_verdict, unclear

# Wide enough for a whole row, narrow enough for a terminal beside an editor.
WIDTH = 100
# A list of names longer than this says how many more there are; CSV and JSON have them all.
LONGEST_LIST = 20
# The same for a list within a line.
LONGEST_LINE = 5

CSV_COLUMNS = (
    "kind",
    "base",
    "new",
    "base_backend",
    "backend",
    "shape",
    "dtype",
    "mode",
    "base_device",
    "device",
    "base_s",
    "new_s",
    "ratio",
    "ratio_low",
    "ratio_high",
    "confidence",
    "verdict",
    "spread",
    "valid",
    "processes",
    "pairing",
    "allowance",
    "how",
    "reason",
)

# Of a map's cells, beside their ratios.
MARKS = {
    Verdict.FASTER.value: "F",
    Verdict.SLOWER.value: "S",
    Verdict.SAME.value: "=",
    Verdict.UNCLEAR.value: "?",
    INVALID: "!",
}
_LINE = "┃"
_MOST_MAPS = 12  # are shown; CSV and JSON have all
_WINS = "wins from hidden size"

_HEADINGS = ("case", "base", "new", "ratio", RATIO_INTERVAL, "verdict", "runs")
_GAP = 2  # blanks between the columns of a terminal's table
_NARROWEST = 24  # of a case's name, before columns are left out for it

_STYLES = {
    Verdict.FASTER: "bold green",
    Verdict.SLOWER: "bold red",
    Verdict.SAME: "cyan",
    Verdict.UNCLEAR: "yellow",
}


@dataclass(frozen=True)
class Target:
    """Where a report goes: a file, or standard output; environment: whether GitHub Actions runs."""

    output: Path | None
    environment: Mapping[str, str]


def show(report: Report, kind: str, target: Target) -> None:
    """Write the report, and tell GitHub Actions of it where it runs.

    Raises UsageError if a file cannot be written.
    """
    deliver(
        kind,
        target,
        terminal=lambda console: _terminal(report, console),
        texts={
            "markdown": lambda: markdown(report),
            "csv": lambda: comma_separated(report),
            "json": lambda: as_json(report),
            **{form: functools.partial(_picture, report, form) for form in drawing.FORMATS},
        },
        annotations=lambda: warning_lines(report),
    )


def _picture(report: Report, kind: str) -> bytes:
    """The maps, drawn. Raises UsageError where there is none, or nothing to draw with."""
    if not report.maps:
        raise UsageError(report.no_map or report.finding or "there is no map to draw")
    if not drawing.available():
        raise UsageError(f"a picture needs matplotlib: {drawing.INSTALL}")
    from bench import crossover_picture

    return crossover_picture.picture(report.maps, kind)


def deliver(
    kind: str,
    target: Target,
    terminal: Callable[[Console], None],
    texts: Mapping[str, Callable[[], str | bytes]],
    annotations: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Write one of a report's forms where it is wanted, and its Markdown for GitHub Actions.

    Raises UsageError if a file cannot be written, and for a picture that no file is named for.
    """
    output = target.output
    if output is None and kind in drawing.FORMATS:
        raise UsageError(f"--format {kind} needs --output FILE.{kind}")
    if output is None and kind == "terminal":
        terminal(text_console(width=None if command_line.width_is_known() else WIDTH))
    else:
        data = _encoded(texts[kind]() if kind in texts else _plain(terminal))
        if output is None:
            sys.stdout.write(data.decode())
        else:
            _write(output, data)
    if summary := target.environment.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), _encoded(texts["markdown"]()) + b"\n")
        # Beside output that another program reads, annotations would be in the way on stdout;
        # the runner reads them from stderr as well.
        stream = sys.stdout if output is not None or kind == "terminal" else sys.stderr
        for line in annotations():
            print(line, file=stream)
    sys.stdout.flush()


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except ResultWriteError as error:
        raise UsageError(str(error)) from None


def _append(path: Path, data: bytes) -> None:
    """To GitHub's summary, which other steps of the job have written to."""
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{printable(str(path))} cannot be written: {error.strerror}") from None


def _plain(terminal: Callable[[Console], None]) -> str:
    console = text_console(file=io.StringIO(), width=WIDTH, no_color=True)
    terminal(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# What is said in words, in a terminal and in Markdown alike


def summary_lines(report: Report) -> list[str]:
    """What was found: how many cases have which verdict, and what stands behind them."""
    lines = [_clean(report.finding, 500)] if report.finding else []
    if report.rows:
        counts = Counter(row.comparison.verdict for row in report.rows)
        told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        lines.append(f"{count(len(report.rows), 'shared case')}: {told}.")
    lines.extend(_mean_line(mean) for mean in report.means)
    invalid = sum(bool(row.reasons) for row in report.rows)
    if invalid:
        lines.append(
            f"INVALID: {count(invalid, 'case')}, marked in the table; the reasons are below. Do "
            "not trust such a verdict before its reason is gone."
        )
    if report.gate is not None:
        lines.append(_gate_line(report.gate))
    return lines


def method_lines(report: Report) -> list[str]:
    """How the numbers came about."""
    if not report.rows:
        return []
    percent = f"{100 * VERDICT_CONFIDENCE:g}%"
    lines = [
        f"ratio = time of new / time of base, with its {percent} interval: below 1, new is faster. "
        f"SAME: within ±{100 * SAME_WITHIN:g}%."
    ]
    hows = Counter(row.comparison.how for row in report.rows)
    lines.extend(f"{count(number, 'case')}: {how}." for how, number in hows.items())
    lines.extend(f"{told}." for told in unclear([row.comparison for row in report.rows]))
    if any(row.comparison.allowance for row in report.rows):
        lines.append(
            f"* Fewer than {ENOUGH_PROCESSES} processes cannot show how much processes differ, so "
            f"the allowance was added. Repeat the runs until there are {ENOUGH_PROCESSES} result "
            "files (on each side) to replace it by what they show."
        )
    return lines


def _mean_line(mean: Mean) -> str:
    found = mean.comparison
    factor = 1 / found.ratio.mid
    speed = f"{factor:.3g} times as fast" if factor >= 1 else f"{1 / factor:.3g} times as slow"
    invalid = f", {mean.invalid} of them INVALID" if mean.invalid else ""
    return (
        f"{_clean(mean.new_label)} against {_clean(mean.base_label)}, geometric mean over "
        f"{count(mean.cases, 'shared case')}{invalid}: {_ratio(found.ratio.mid)} "
        f"({_bounds(found.ratio)}) {found.verdict}"
        + (f", {speed}." if found.verdict in (Verdict.FASTER, Verdict.SLOWER) else ".")
    )


def _gate_line(gate: Gate) -> str:
    beyond = "" if gate.rule.threshold is None else f" by more than {100 * gate.rule.threshold:g}%"
    judged = f"{count(gate.judged, 'case')} judged together (Holm), {gate.unclear} UNCLEAR"
    if not gate.failed:
        return f"--fail-on {gate.rule.text}: passed, none is SLOWER{beyond}; {judged}."
    invalid = sum(bool(row.reasons) for row in gate.failed)
    marked = f" ({invalid} of them INVALID)" if invalid else ""
    names = _listed([_clean(row.case.id) for row in gate.failed], LONGEST_LIST)
    return (
        f"--fail-on {gate.rule.text}: FAILED, {len(gate.failed)} slower{beyond}{marked}: {names}; "
        f"{judged}."
    )


def _details(report: Report) -> list[tuple[str, list[str]]]:
    """Headings with their lines: what is not in the table, and what may be the cause."""
    found = []
    by_reason: dict[str, list[str]] = {}
    for row in report.rows:
        for reason in row.reasons:
            by_reason.setdefault(_clean(reason, 300), []).append(_clean(row.case.id))
    if by_reason:
        lines = [f"{reason}: {_listed(cases)}" for reason, cases in by_reason.items()]
        found.append(("INVALID, and where", _listed_lines(lines)))
    for difference in report.differences:
        lines = [
            f"{_clean(name)}: {_clean(base)} → {_clean(new)}"
            for name, base, new in difference.items
        ]
        base, new = _clean(difference.base_label), _clean(difference.new_label)
        heading = f"What else differs from {base} to {new} (it may be the cause)"
        if not lines:
            heading = f"Nothing else that was recorded differs from {base} to {new}"
        found.append((heading, _listed_lines(lines)))
    by_side: dict[str, list[str]] = {}
    for case in report.one_sided:
        why = f" ({_clean(case.why, 300)})" if case.why else ""
        by_side.setdefault(case.label, []).append(_clean(case.case.id) + why)
    for label, lines in by_side.items():
        heading = f"{count(len(lines), 'case')} only {_clean(label)} has, so not compared"
        found.append((heading, _listed_lines(lines)))
    for group in report.unmeasured:
        words = group.outcome.replace("_", " ")
        told = ". ".join(
            _clean(text, 300).rstrip(".") for text in (group.reason, group.advice) if text
        )
        number = count(len(group.cases), "case")
        found.append(
            (
                f"{number} {_clean(words)}: {told}",
                _listed_lines(_clean(case.id) for case in group.cases),
            )
        )
    if report.notes:
        found.append(("Notes", _listed_lines(_clean(note, 500) for note in report.notes)))
    return found


# The maps of two devices


def map_title(found: Map) -> str:
    """``gpu:0 over cpu, the fastest backend of each: training, float32, 50 steps, 128 in``."""
    who = _clean(found.backend, 60) if found.backend else "the fastest backend of each"
    return f"{_clean(found.new_label)} over {_clean(found.base_label)}, {who}: {found.work}"


def map_legend(maps: Sequence[Map]) -> list[str]:
    """How to read the maps."""
    if not maps:
        return []
    kinds = {cell.state: None for found in maps for cell in found.cells}
    marks = ", ".join(f"{mark} {state}" for state, mark in MARKS.items() if state in kinds)
    few = any(cell.comparison.allowance for found in maps for cell in found.cells)
    lines = [
        f"In a map: ratio of times, new device over base, below 1 the new one is faster; {marks}. "
        "Blank: not measured on both."
    ]
    if any(cell.base_case.backend != cell.case.backend for found in maps for cell in found.cells):
        lines.append(
            "The fastest backend of each: picked after measuring, so that its time is a little too "
            "short on both sides; --format json says which it was."
        )
    if few:
        lines.append("With an allowance for the spread between processes, as * in the table.")
    return lines


def cell_text(cell: Cell | None) -> str:
    """``0.312 F``, empty where nothing was measured."""
    return f"{_ratio(cell.comparison.ratio.mid)} {MARKS[cell.state]}" if cell else ""


def _map_rows(found: Map, line: str) -> list[list[str]]:
    """Per batch: its name, its cells, and from where on the new device wins; line: before a cell
    at which it begins, or ceases, to win."""
    rows = []
    for batch in found.batches:
        cells = []
        for hidden in found.hidden_sizes:
            cell = found.by_place.get((batch, hidden))
            before = line if cell is not None and found.starts(cell) else ""
            cells.append(f"{before}{cell_text(cell)}")
        rows.append([str(batch), *cells, found.wins_from(batch)])
    return rows


def _shown_maps(report: Report) -> tuple[Sequence[Map], str]:
    """Those that are shown, and a word of those that are not."""
    more = len(report.maps) - _MOST_MAPS
    told = f"{count(more, 'more map')}: --format json has all." if more > 0 else ""
    return report.maps[:_MOST_MAPS], told


def _terminal_maps(report: Report, console: Console) -> None:
    maps, more = _shown_maps(report)
    for found in maps:
        console.print()
        console.print(Text(map_title(found), style="bold"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("batch \\ hidden", justify="right", no_wrap=True)
        for hidden in found.hidden_sizes:
            table.add_column(str(hidden), justify="right", no_wrap=True)
        table.add_column(_WINS, overflow="fold")
        for batch, cells in zip(found.batches, _map_rows(found, _LINE), strict=True):
            texts = [Text(each) for each in cells]
            for text, hidden in zip(texts[1:], found.hidden_sizes, strict=False):
                cell = found.by_place.get((batch, hidden))
                if cell is not None:
                    style = "yellow" if cell.invalid else _STYLES[cell.comparison.verdict]
                    text.stylize(style)
            table.add_row(*texts)
        console.print(table)
    lines = [*map_legend(maps), *([more] if more else []), *([report.no_map] * bool(report.no_map))]
    if lines:
        console.print()
    for words in lines:
        console.print(Text(words, style="dim"))


def _markdown_maps(report: Report) -> list[str]:
    maps, more = _shown_maps(report)
    out = []
    for found in maps:
        out += ["", f"### {escaped(map_title(found))}", ""]
        sizes = [str(hidden) for hidden in found.hidden_sizes]
        out.append(f"| batch \\ hidden | {' | '.join(sizes)} | {_WINS} |")
        out.append(f"|---:|{'---:|' * len(sizes)}---|")
        for batch, cells in zip(found.batches, _map_rows(found, ""), strict=True):
            texts = [escaped(each) for each in cells]
            for place, hidden in enumerate(found.hidden_sizes, start=1):
                cell = found.by_place.get((batch, hidden))
                if cell is not None and cell.wins:
                    texts[place] = f"**{texts[place]}**"
            out.append(f"| {' | '.join(texts)} |")
    lines = [*map_legend(maps), *([more] if more else []), *([report.no_map] * bool(report.no_map))]
    if lines:
        out += ["", *(f"- {escaped(line, 500)}" for line in lines)]
    return out


# A terminal


def _terminal(report: Report, console: Console) -> None:
    console.print(Text(_clean(report.title, 300), style="bold"))
    constant = _constant_parts(report.rows)
    if constant:
        words = ", ".join(_clean(_part(report.rows[0].case, part)) for part in constant)
        console.print(Text(f"All of them: {words}.", style="dim"))
    rows = [(row, _cells(row, _row_name(row, constant))) for row in report.rows]
    columns = [*range(len(_HEADINGS))]
    widths = [
        max(map(len, column)) for column in zip(_HEADINGS, *(c for _, c in rows), strict=True)
    ]

    def room() -> int:
        taken: int = sum(widths[index] + _GAP for index in columns[1:])
        return console.width - taken

    for name in ("base", "new", "runs"):
        if room() < min(_NARROWEST, widths[0]):
            columns.remove(_HEADINGS.index(name))
    widths[0] = max(8, min(widths[0], room()))
    for heading in dict.fromkeys(row.heading for row in report.rows):
        console.print()
        if heading:
            console.print(Text(_clean(heading, 200), style="bold"))
        below = [item for item in rows if item[0].heading == heading]
        console.print(_table(below, columns, widths))
    _terminal_maps(report, console)
    for lines, style in ((summary_lines(report), ""), (method_lines(report), "dim")):
        if lines:
            console.print()
        for line in lines:
            console.print(Text(line, style=style))
    for title, lines in _details(report):
        console.print()
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))


def _cells(row: Row, name: str) -> list[str]:
    found = row.comparison
    return [
        name,
        seconds(row.base_s),
        seconds(row.new_s),
        _ratio(found.ratio.mid),
        _bounds(found.ratio),
        _verdict(row),
        f"{found.processes}{'*' if found.allowance else ''}",
    ]


def _table(
    rows: Sequence[tuple[Row, list[str]]], columns: Sequence[int], widths: Sequence[int]
) -> Table:
    """A table whose columns are as wide as those of every other table of the report."""
    # The box puts one blank between two columns.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
    for index in columns:
        name, width = _HEADINGS[index], widths[index]
        if name == "case":
            table.add_column(name, overflow="fold", min_width=width, max_width=width)
        else:
            left = name in (RATIO_INTERVAL, "verdict")
            table.add_column(
                name, justify="left" if left else "right", no_wrap=True, min_width=width
            )
    verdict = _HEADINGS.index("verdict")
    for row, cells in rows:
        texts = [Text(cell) for cell in cells]
        texts[verdict].stylize(_STYLES[row.comparison.verdict])
        table.add_row(*(texts[index] for index in columns))
    return table


# Markdown


def markdown(report: Report) -> str:
    """The report for a pull request or a README; whatever comes from a file stands as code."""
    out = [f"## {escaped(_clean(report.title, 300))}", ""]
    out += [f"- {escaped(line)}" for line in summary_lines(report)]
    headings = dict.fromkeys(row.heading for row in report.rows)
    for heading in headings:
        out.append("")
        if heading:
            out += [f"### {escaped(_clean(heading, 200))}", ""]
        out += [f"| {' | '.join(_HEADINGS)} |", "|---|---:|---:|---:|---|---|---:|"]
        for row in report.rows:
            if row.heading == heading:
                name, *cells = _cells(row, _code(row.case.id))
                cells = [escaped(cell) for cell in cells]
                if row.comparison.verdict in (Verdict.FASTER, Verdict.SLOWER):
                    cells[-2] = f"**{cells[-2]}**"
                out.append(f"| {name} | {' | '.join(cells)} |")
    out += _markdown_maps(report)
    method = method_lines(report)
    if method:
        out += ["", *(f"- {escaped(line)}" for line in method)]
    for title, lines in _details(report):
        out += ["", f"#### {escaped(title)}", "", *(f"- {_code(line, 1000)}" for line in lines)]
    return "\n".join(out) + "\n"


def _code(text: str, limit: int = 160) -> str:
    """Text as a code span, also in a table's cell: nothing in it is Markdown, HTML or a mention."""
    return code(_clean(text, limit), limit + len("..."))


# Data


def comma_separated(report: Report) -> str:
    """One row a case, seconds and plain ratios; what has no time stands there with its reason.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for record in [*_records(report), *_map_records(report)]:
        writer.writerow({key: cell(value) for key, value in record.items()})
    return out.getvalue()


def as_json(report: Report) -> str:
    """The whole report, seconds and plain ratios; a bound beyond every number is null."""
    gate = report.gate
    document = {
        "title": report.title,
        "finding": report.finding,
        "cases": _records(report),
        "differences": [
            {
                "base": each.base_label,
                "new": each.new_label,
                "items": [
                    {"name": name, "base": base, "new": new} for name, base, new in each.items
                ],
            }
            for each in report.differences
        ],
        "crossover": [
            {
                "base": found.base_label,
                "new": found.new_label,
                "backend": found.backend or None,
                "work": found.work,
                "cells": [
                    {
                        "batch": cell.batch,
                        "hidden_size": cell.hidden_size,
                        "base_backend": cell.base_case.backend,
                        "new_backend": cell.case.backend,
                        **_numbers(cell.comparison),
                        "valid": not cell.invalid,
                    }
                    for cell in found.cells
                ],
                "wins_from": {str(batch): found.wins_from(batch) for batch in found.batches},
            }
            for found in report.maps
        ],
        "notes": list(report.notes),
        "fail_on": gate
        and {
            "rule": gate.rule.text,
            "judged": gate.judged,
            "failed": [row.case.id for row in gate.failed],
        },
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _records(report: Report) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    for row in report.rows:
        records.append(
            {
                "kind": "case",
                "base": row.base_label,
                "new": row.new_label,
                "base_backend": row.base_case.backend,
                **_case_fields(row.case),
                "base_device": row.base_case.device,
                "base_s": row.base_s,
                "new_s": row.new_s,
                **_numbers(row.comparison),
                "valid": not row.reasons,
                "reason": "; ".join(row.reasons),
            }
        )
    for mean in report.means:
        records.append(
            {
                "kind": "geometric mean",
                "base": mean.base_label,
                "new": mean.new_label,
                **_numbers(mean.comparison),
                "valid": not mean.invalid,
                "reason": f"{mean.invalid} of {mean.cases} cases INVALID" if mean.invalid else "",
            }
        )
    for one in report.one_sided:
        records.append({"kind": f"only {one.label}", **_case_fields(one.case), "reason": one.why})
    for group in report.unmeasured:
        reason = " ".join(text for text in (group.reason, group.advice) if text)
        for case in group.cases:
            records.append({"kind": group.outcome, **_case_fields(case), "reason": reason})
    return records


def _map_records(report: Report) -> list[dict[str, object]]:
    """The maps of each device's fastest backend; of one backend a cell is a case of its own."""
    return [
        {
            "kind": "fastest of each",
            "base": found.base_label,
            "new": found.new_label,
            "base_backend": cell.base_case.backend,
            **_case_fields(cell.case),
            "base_device": cell.base_case.device,
            **_numbers(cell.comparison),
            "valid": not cell.invalid,
        }
        for found in report.maps
        if not found.backend
        for cell in found.cells
    ]


def _case_fields(case: Case) -> dict[str, object]:
    return {
        "backend": case.backend,
        "shape": case.shape,
        "dtype": case.spec.dtype,
        "mode": case.workload.mode,
        "device": case.device,
    }


def _numbers(found: Comparison) -> dict[str, object]:
    ratio = found.ratio
    return {
        "ratio": _finite(ratio.mid),
        "ratio_low": _finite(ratio.low),
        "ratio_high": _finite(ratio.high),
        "confidence": ratio.confidence,
        "verdict": found.verdict.value,
        "spread": found.spread,
        "processes": found.processes,
        "pairing": found.pairing.value,
        "allowance": found.allowance,
        "how": found.how,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def cell(value: object) -> object:
    """A value for a CSV file that a spreadsheet may open: no text becomes a formula."""
    return spreadsheet(value) if isinstance(value, str) else value


# GitHub Actions


def warning_lines(report: Report) -> list[str]:
    """A line for each SLOWER case, in the form of GitHub's workflow commands.

    An ``::error`` if the case broke the rule, and so fails the step, else a ``::warning``. Only of
    new runs against older ones, or where a rule asked: that one backend or device is slower than
    another is what was asked, and no reason for alarm.

    https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
    """
    lines: list[str] = []
    if not report.over_time and report.gate is None:
        return lines
    broke = {id(row) for row in report.gate.failed} if report.gate is not None else set()
    for row in report.rows:
        found = row.comparison
        if found.verdict is not Verdict.SLOWER:
            continue
        told = (
            f"{_clean(row.case.id)}: {_clean(row.new_label)} takes {_ratio(found.ratio.mid)} times "
            f"as long as {_clean(row.base_label)} ({_bounds(found.ratio)}; {found.how})"
        )
        if row.reasons:
            told += f"; INVALID: {'; '.join(_clean(reason, 300) for reason in row.reasons)}"
        title = _escaped(f"{_verdict(row)}: {_clean(row.case.backend)}")
        title = title.replace(":", "%3A").replace(",", "%2C")
        level = "error" if id(row) in broke else "warning"
        lines.append(f"::{level} title={title}::{_escaped(told)}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


# Words and numbers


def _ratio(value: float) -> str:
    """With the third digit, since SAME ends at 1.02."""
    return report_text.ratio(value, 3)


def _bounds(ratio: Interval) -> str:
    return report_text.bounds(ratio.low, ratio.high, 3)


def _verdict(row: Row) -> str:
    return f"{compact_verdict(row.comparison)}{' (INVALID)' if row.reasons else ''}"


def _part(case: Case, part: str) -> str:
    return str(_case_fields(case)[part])


def _constant_parts(rows: Sequence[Row]) -> tuple[str, ...]:
    """What is the same for all rows, said once and not in each."""
    if len(rows) < 2:
        return ()
    parts = ["dtype", "mode"]
    if all(row.case.device == row.base_case.device for row in rows):
        parts.append("device")
    return tuple(part for part in parts if len({_part(row.case, part) for row in rows}) == 1)


def _row_name(row: Row, constant: Sequence[str]) -> str:
    """The case in words that a table can break between; what its heading says is left out."""
    if row.case.group in row.heading:
        return _clean(row.case.backend)
    parts = ["backend", "shape", "dtype", "mode"]
    if row.case.device == row.base_case.device:
        parts.append("device")
    return " ".join(_clean(_part(row.case, part)) for part in parts if part not in constant)


def _clean(text: str, limit: int = 120) -> str:
    """Text of a file on one line, harmless to a terminal and to a CI runner's log commands."""
    return clean(text, limit).replace("::", ": :").replace("##[", "# #[")


def _listed(names: Sequence[str], most: int = LONGEST_LINE) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _listed_lines(lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    more = len(lines) - LONGEST_LIST
    told = [f"and {more} more (all of them with --format json)"] if more > 0 else []
    return lines[:LONGEST_LIST] + told
