"""``python -m bench.compare published``: our times beside what others published for a shape.

Theirs are shown as published, with source, device and what was measured; no ratio, interval or
verdict is made of them, since neither machine nor work is the same. This room joins the two and
shows them; ``published`` knows the figures. No framework.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench import compare_output, published
from bench.cases import Case
from bench.compare import Unmeasured, hardware, machine_names, unmeasured
from bench.published import PublishedStep, Shape, Source
from bench.report_tables import DOUBTFUL, TIME_INTERVAL, bounds_of_time
from bench.report_text import clean, code, count, seconds
from bench.report_text import markdown as escaped
from bench.results import Measurement, Outcome, Results
from bench.stats import CaseInterval, case_interval
from bench.validity import together

TITLE = "Our times beside published ones"
CAUTION = (
    "Published times are other people's, on other machines and of other software, as they stand in "
    "their own files: no ratio and no verdict is made of them."
)

CSV_COLUMNS = (
    *("kind", "source", "where", "file", "implementation", "device", "hardware", "dtype", "mode"),
    *("batch", "timesteps", "input_size", "hidden_size", "num_layers", "bidirectional"),
    *("seconds", "seconds_low", "seconds_high", "processes", "valid"),
    *("measured", "how", "note", "reason"),
)

_HEADINGS = ("whose", "implementation", "device", "dtype", "step", TIME_INTERVAL, "note")
# In a terminal of fewer columns these have no column of their own: each stands below another.
_NARROW = 80
_BELOW = {"dtype": "device", TIME_INTERVAL: "step"}


@dataclass(frozen=True)
class Ours:
    """A case that was measured here. place: device, and host where there are several machines.

    reasons: why it is INVALID, empty if it is valid. doubts: why its time is doubtful.
    """

    case: Case
    place: str
    hardware: str
    time: CaseInterval
    reasons: tuple[str, ...]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shared:
    """One shape that was measured here and published elsewhere, each side the fastest first."""

    shape: Shape
    ours: tuple[Ours, ...]
    theirs: tuple[PublishedStep, ...]


@dataclass(frozen=True)
class Report:
    """Both sides, ready to be shown. finding: why there is nothing to show, and what to do."""

    finding: str
    shared: tuple[Shared, ...]
    unmeasured: tuple[Unmeasured, ...]
    notes: tuple[str, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Those of the figures that are shown; note n of a table is the nth of them."""
        steps = (step for each in self.shared for step in each.theirs)
        return tuple({step.first.source.name: step.first.source for step in steps}.values())


def beside_published(results: Results, theirs: Iterable[PublishedStep]) -> Report:
    """Every shape and mode that both sides have.

    Of ours only what is the work that others published: no windows, padding or dropout.
    """
    published_by: dict[Shape, list[PublishedStep]] = {}
    for step in theirs:
        published_by.setdefault(step.first.shape, []).append(step)
    names = machine_names({item.run.machine_id: item.run for item in results.measurements})
    found: dict[Shape, dict[tuple[str, str], list[Measurement]]] = {}
    without: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in results.outcomes:
        without.setdefault((outcome.run.machine_id, outcome.case.id), []).append(outcome)
    for item in results.measurements:
        if (shape := Shape.of(item.case)) in published_by:
            assert shape is not None
            key = (item.run.machine_id, item.case.id)
            found.setdefault(shape, {}).setdefault(key, []).append(item)
    shared = [
        Shared(
            shape,
            tuple(
                sorted(
                    (_ours(items, without.get(key, ()), names) for key, items in cases.items()),
                    key=_middle,
                )
            ),
            tuple(sorted(published_by[shape], key=lambda step: step.seconds)),
        )
        for shape, cases in found.items()
    ]
    missing = [item for item in results.outcomes if Shape.of(item.case) in published_by]
    return Report(
        "" if shared else _finding(results, published_by),
        tuple(sorted(shared, key=lambda each: (each.shape.mode, each.shape))),
        unmeasured(missing),
        results.notes,
    )


def _ours(
    items: Sequence[Measurement], outcomes: Sequence[Outcome], names: Mapping[str, str]
) -> Ours:
    first, validity = items[0], together(items, outcomes)
    place = first.case.device
    if len(names) > 1:
        place += f" on {names[first.run.machine_id]}"
    return Ours(
        first.case,
        place,
        hardware(first.run, first.case.device),
        case_interval([item.samples for item in items]),
        tuple(map(str, validity.invalid)),
        tuple(map(str, validity.of_time)),
    )


def _middle(ours: Ours) -> float:
    return ours.time.mid


def _finding(results: Results, published_by: Mapping[Shape, object]) -> str:
    suites = [name for source in published.SOURCES.values() for name in source.suites]
    have = "No measured shape is" if results.measurements else "Nothing was measured that is"
    return (
        f"{have} among the {len(published_by)} that others have published times for."
        f" To measure theirs, run `pytest --benchmark-only --lstm-suite {suites[0]}`, "
        f"or one of the suites {', '.join(suites[1:])}."
    )


def show(report: Report, kind: str, output: compare_output.Target) -> None:
    """Write the report as terminal text, Markdown, CSV or JSON.

    Raises UsageError if a file cannot be written.
    """
    compare_output.deliver(
        kind,
        output,
        terminal=lambda console: _terminal(report, console),
        texts={
            "markdown": lambda: markdown(report),
            "csv": lambda: comma_separated(report),
            "json": lambda: as_json(report),
        },
    )


# What is said in words


def shape_line(shape: Shape) -> str:
    """``training: batch 32 × 1000 steps, 123 in, 320 hidden, 4 layers, bidirectional``."""
    extra = [f"{shape.num_layers} layers"] * (shape.num_layers > 1)
    extra += ["bidirectional"] * shape.bidirectional
    sizes = f"batch {shape.batch} × {shape.timesteps} steps"
    features = (f"{shape.input_size} in", f"{shape.hidden_size} hidden", *extra)
    return f"{shape.mode}: {sizes}, {', '.join(features)}"


def _summary(report: Report) -> list[str]:
    if not report.shared:
        return [clean(report.finding, 600)]
    invalid = sum(bool(ours.reasons) for each in report.shared for ours in each.ours)
    lines = [f"{count(len(report.shared), 'shared shape')}. {CAUTION}"]
    if invalid:
        lines.append(f"INVALID: {count(invalid, 'case')} of ours, marked; the reasons are below.")
    return lines


def _notes(report: Report) -> list[str]:
    """Note n of the tables: who published it, and what to know of what was measured."""
    lines = []
    for number, source in enumerate(report.sources, start=1):
        hows = dict.fromkeys(
            step.how
            for each in report.shared
            for step in each.theirs
            if step.how and step.first.source == source
        )
        told = "; ".join((source.note, *hows))
        lines.append(f"[{number}] published by {source.where}: {told}.")
    return lines


def _details(report: Report) -> list[tuple[str, list[str]]]:
    found = []
    for heading in ("INVALID, and where", "Doubtful times (~), and where"):
        where: dict[str, list[str]] = {}
        for ours in (ours for each in report.shared for ours in each.ours):
            for reason in ours.reasons if heading.startswith("INVALID") else ours.doubts:
                where.setdefault(clean(reason), []).append(clean(ours.case.id, 120))
        if where:
            lines = [f"{reason}: {', '.join(cases[:5])}" for reason, cases in where.items()]
            found.append((heading, lines))
    for group in report.unmeasured:
        told = ". ".join(clean(text).rstrip(".") for text in (group.reason, group.advice) if text)
        words = clean(group.outcome.replace("_", " "))
        heading = f"{count(len(group.cases), 'case')} {words}: {told}"
        found.append((heading, [clean(case.id, 120) for case in group.cases[:20]]))
    if report.notes:
        found.append(("Notes", [clean(note, 500) for note in report.notes]))
    return found


def _rows(each: Shared, sources: Sequence[Source]) -> list[tuple[bool, list[str]]]:
    """Whether it is ours, and the cells."""
    rows = []
    for ours in each.ours:
        on = f"{ours.place} ({ours.hardware})" if ours.hardware else ours.place
        time = ours.time
        rows.append(
            (
                True,
                [
                    "ours" + (" (INVALID)" if ours.reasons else ""),
                    ours.case.backend,
                    on,
                    ours.case.spec.dtype,
                    f"{DOUBTFUL if ours.doubts else ''}{seconds(time.mid)}",
                    bounds_of_time(time, time.mid),
                    "",
                ],
            )
        )
    for step in each.theirs:
        first = step.first
        note = f"[{sources.index(first.source) + 1}]"
        cells = [first.implementation, first.device, first.dtype, seconds(step.seconds), "", note]
        rows.append((False, ["published", *cells]))
    return rows


# A terminal


def _terminal(report: Report, console: Console) -> None:
    console.print(Text(TITLE, style="bold"))
    for each in report.shared:
        console.print()
        console.print(Text(shape_line(each.shape), style="bold"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        narrow = console.width < _NARROW
        headings = [name for name in _HEADINGS if not (narrow and name in _BELOW)]
        for name in headings:
            right = name == "step"
            table.add_column(
                name,
                justify="right" if right else "left",
                no_wrap=right or name in ("whose", "note"),
                overflow="fold",
                min_width=len(name),
            )
        for is_ours, cells in _rows(each, report.sources):
            told = dict(zip(_HEADINGS, (clean(cell, 120) for cell in cells), strict=True))
            if narrow:
                for name, above in _BELOW.items():
                    told[above] = f"{told[above]}\n{told[name]}".rstrip()
            texts = (Text(told[name]) for name in headings)
            table.add_row(*texts, style="bold" if is_ours else "")
        console.print(table)
    console.print()
    for line in _summary(report):
        console.print(Text(line))
    for line in _notes(report):
        console.print(Text(line, style="dim"))
    for title, lines in _details(report):
        console.print()
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))


# Markdown


def markdown(report: Report) -> str:
    """The report for a pull request or a README; whatever comes from a file stands as code."""
    out = [f"## {TITLE}", "", *(f"- {escaped(line, 600)}" for line in _summary(report))]
    for each in report.shared:
        out += ["", f"### {shape_line(each.shape)}", "", f"| {' | '.join(_HEADINGS)} |"]
        out.append("|---|---|---|---|---:|---|---|")
        for _, cells in _rows(each, report.sources):
            whose, name, device, *rest = cells
            texts = (escaped(whose), code(name, 120), escaped(device), *map(escaped, rest))
            out.append(f"| {' | '.join(texts)} |")
    if report.shared:
        out += ["", *(f"- {escaped(line, 1000)}" for line in _notes(report))]
    for title, lines in _details(report):
        out += ["", f"#### {escaped(title)}", "", *(f"- {escaped(line, 1000)}" for line in lines)]
    return "\n".join(out) + "\n"


# Data


def comma_separated(report: Report) -> str:
    """One row a time, in seconds; ``kind`` says whose.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for each in report.shared:
        sizes = _sizes(each.shape)
        rows = [
            *(_our_record(ours) for ours in each.ours),
            *(_their_record(step) for step in each.theirs),
        ]
        for row in rows:
            record = {**row, **sizes}
            writer.writerow({key: compare_output.cell(value) for key, value in record.items()})
    return out.getvalue()


def as_json(report: Report) -> str:
    """The whole report, times in seconds."""
    document = {
        "title": TITLE,
        "caution": CAUTION,
        "finding": report.finding,
        "shapes": [
            {
                **_sizes(each.shape),
                "ours": [_our_record(ours) for ours in each.ours],
                "published": [
                    {
                        **_their_record(step),
                        "figures": [
                            {"measured": figure.measured, "seconds": figure.seconds}
                            for figure in step.figures
                        ],
                    }
                    for step in each.theirs
                ],
            }
            for each in report.shared
        ],
        "unmeasured": [
            {
                "outcome": group.outcome,
                "reason": group.reason,
                "advice": group.advice,
                "cases": [case.id for case in group.cases],
            }
            for group in report.unmeasured
        ],
        "notes": list(report.notes),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _sizes(shape: Shape) -> dict[str, object]:
    return {
        "mode": shape.mode,
        "batch": shape.batch,
        "timesteps": shape.timesteps,
        "input_size": shape.input_size,
        "hidden_size": shape.hidden_size,
        "num_layers": shape.num_layers,
        "bidirectional": shape.bidirectional,
    }


def _our_record(ours: Ours) -> dict[str, object]:
    return {
        "kind": "ours",
        "implementation": ours.case.backend,
        "device": ours.place,
        "hardware": ours.hardware,
        "dtype": ours.case.spec.dtype,
        "seconds": ours.time.mid,
        "seconds_low": ours.time.low,
        "seconds_high": ours.time.high,
        "processes": ours.time.processes,
        "valid": not ours.reasons,
        "reason": "; ".join(ours.reasons),
    }


def _their_record(step: PublishedStep) -> dict[str, object]:
    first = step.first
    return {
        "kind": "published",
        "source": first.source.name,
        "where": first.source.where,
        "file": first.file,
        "implementation": first.implementation,
        "device": first.device,
        "dtype": first.dtype,
        "seconds": step.seconds,
        "measured": step.measured,
        "how": step.how,
        "note": first.source.note,
    }
