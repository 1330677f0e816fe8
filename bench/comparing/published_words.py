"""Our times beside what others published: as data, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from rich.console import Console
from rich.text import Text

from bench.case.published import PublishedShape, PublishedStep, Source
from bench.cli import output
from bench.comparing.beside_published import CAUTION, TITLE, Ours, Report, Shared
from bench.comparing.words import unmeasured_details
from bench.render import table
from bench.render.console import print_below
from bench.render.escape import clean
from bench.render.escape import markdown as escaped
from bench.render.marks import DOUBTFUL, TIME_INTERVAL, bounds_of_time
from bench.render.quantities import count, seconds
from bench.render.table import Cell, Column, Sheet

CSV_COLUMNS = (
    *("kind", "source", "where", "file", "implementation", "device", "hardware", "dtype", "mode"),
    *("batch", "timesteps", "input_size", "hidden_size", "num_layers", "bidirectional"),
    *("seconds", "seconds_low", "seconds_high", "processes", "valid"),
    *("measured", "how", "note", "reason"),
)


def comma_separated(report: Report) -> Iterator[str]:
    """One row a time, in seconds; ``kind`` says whose."""
    return table.records(
        CSV_COLUMNS,
        (
            {**row, **_sizes(each.shape)}
            for each in report.shared
            for row in (*map(_our_record, each.ours), *map(_their_record, each.theirs))
        ),
    )


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
    return table.json_text(document)


def _sizes(shape: PublishedShape) -> dict[str, object]:
    return {"mode": shape.mode, **asdict(shape)}  # the mode first


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


_COLUMNS = (
    Column("whose", whole=True, least=len("whose")),
    Column("implementation", names=True, most=120, least=len("implementation")),
    *(Column(heading, least=len(heading)) for heading in ("device", "dtype")),
    Column("step", right=True, whole=True, least=len("step")),
    Column(TIME_INTERVAL, least=len(TIME_INTERVAL)),
    Column("note", whole=True, least=len("note")),
)

# In a terminal of fewer columns these have no column of their own: each stands below another.
_NARROW = 80
_BELOW = {"dtype": "device", TIME_INTERVAL: "step"}


def show(report: Report, kind: str, target: output.Target) -> None:
    """Write the report as terminal text, Markdown, CSV or JSON.

    Raises UsageError if a file cannot be written.
    """
    output.deliver(
        kind,
        target,
        terminal=lambda console: _terminal(report, console),
        texts={
            "markdown": lambda: markdown(report),
            "csv": lambda: comma_separated(report),
            "json": lambda: as_json(report),
        },
    )


# What is said in words


def shape_line(shape: PublishedShape) -> str:
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
    found += unmeasured_details(report.unmeasured, report.list_unmeasured)
    if report.notes:
        found.append(("Notes", [clean(note, 500) for note in report.notes]))
    return found


def _sheet(each: Shared, sources: Sequence[Source]) -> Sheet:
    """Our times of a shape, which stand out in a terminal, and those of others."""
    lines: list[list[Cell]] = []
    for ours in each.ours:
        on = f"{ours.place} ({ours.hardware})" if ours.hardware else ours.place
        time = ours.time
        told = (
            "ours" + (" (INVALID)" if ours.reasons else ""),
            *(ours.case.backend, clean(on, 120), ours.case.spec.dtype),
            f"{DOUBTFUL if ours.doubts else ''}{seconds(time.mid)}",
            *(bounds_of_time(time, time.mid), ""),
        )
        lines.append([Cell(text, style="bold") for text in told])
    for step in each.theirs:
        first = step.first
        note = f"[{sources.index(first.source) + 1}]"
        what = (first.implementation, clean(first.device, 120), first.dtype)
        lines.append([*map(Cell, ("published", *what, seconds(step.seconds), "", note))])
    return Sheet.of(_COLUMNS, lines)


def _narrow(sheet: Sheet) -> Sheet:
    """With fewer columns: some stand below another."""
    at = {column.heading: index for index, column in enumerate(sheet.columns)}
    lines = [list(line) for line in sheet.lines]
    for line in lines:
        for name, above in _BELOW.items():
            line[at[above]] = replace(line[at[above]], bounds=line[at[name]].text)
    kept = [index for name, index in at.items() if name not in _BELOW]
    return Sheet.of(sheet.columns, lines).only(kept)


# A terminal


def _terminal(report: Report, console: Console) -> None:
    console.print(Text(TITLE, style="bold"))
    for each in report.shared:
        console.print()
        console.print(Text(shape_line(each.shape), style="bold"))
        table = _sheet(each, report.sources)
        console.print((_narrow(table) if console.width < _NARROW else table).grid())
    console.print()
    for line in _summary(report):
        console.print(Text(line))
    for line in _notes(report):
        console.print(Text(line, style="dim"))
    for title, lines in _details(report):
        print_below(console, title, lines)


# Markdown


def markdown(report: Report) -> str:
    """The report for a pull request or a README; whatever comes from a file stands as code."""
    out = [f"## {TITLE}", "", *(f"- {escaped(line, 600)}" for line in _summary(report))]
    for each in report.shared:
        out += ["", f"### {shape_line(each.shape)}", "", _sheet(each, report.sources).markdown()]
    if report.shared:
        out += ["", *(f"- {escaped(line, 1000)}" for line in _notes(report))]
    for title, lines in _details(report):
        out += ["", f"#### {escaped(title)}", "", *(f"- {escaped(line, 1000)}" for line in lines)]
    return "\n".join(out) + "\n"
