"""Show our measured times next to published times of the same shapes.

Published times are shown with their source, their device and what was measured. There is no ratio,
interval or verdict, because neither the machine nor the work is the same.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from bench.case import published
from bench.case.published import PublishedShape, PublishedSource, PublishedStep
from bench.records.grouping import group_by
from bench.render.compare import unmeasured_details
from bench.render.data import csv_records, json_text
from bench.render.escape import clean
from bench.render.labels import TIME_INTERVAL, UNRELIABLE, bounds_of_time, where
from bench.render.messages import UnmeasuredCases, group_unmeasured, problem_lines, unreliable
from bench.render.quantities import count, seconds, shape_texts
from bench.render.table import Block, Column, Document, TableCell, TextTable
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import Report

TITLE = "Our times and published ones"
CAUTION = (
    "Published times were measured by others, on other machines and with other software, and are "
    "shown as they stand in the published files. They are not comparable, so there is no ratio and "
    "no verdict."
)


@dataclass(frozen=True)
class Shared:
    """Hold a shape that was measured here and published elsewhere.

    The fastest time of each side comes first.

    ``ours`` has rows, each with its device, which includes the machine if there are several, and
    with the name of the processor or GPU.
    """

    shape: PublishedShape
    ours: tuple[tuple[RankedRow, str, str], ...]
    theirs: tuple[PublishedStep, ...]


@dataclass(frozen=True)
class PublishedReport:
    """Hold the times of both sides.

    ``finding`` says why there is nothing to show, and what to do.
    """

    finding: str
    shared: tuple[Shared, ...]
    unmeasured: tuple[UnmeasuredCases, ...]
    notes: tuple[str, ...]

    @property
    def sources(self) -> tuple[PublishedSource, ...]:
        """The sources of the published times. Note n of a table is the nth of them."""
        steps = (step for each in self.shared for step in each.theirs)
        return tuple({step.source.name: step.source for step in steps}.values())


def with_published(report: Report, theirs: Iterable[PublishedStep]) -> PublishedReport:
    """Return the shapes that both sides have, with the newest time of each case and machine."""
    published_by = group_by(theirs, lambda step: step.shape)
    several = len({section.run.machine_id for section in report.sections}) > 1
    found: dict[tuple[PublishedShape, str, str], tuple[RankedRow, str, str]] = {}
    for section in report.sections:  # the newest first
        for row in section.rows:
            shape = PublishedShape.of(row.case)
            if shape is not None and shape in published_by:
                place = row.case.device + f" on {where(section)}" * several
                ours = row, place, section.run.hardware(row.case.device)
                key = shape, section.run.machine_id, row.case.id
                if key not in found or (row.result.measured and not found[key][0].result.measured):
                    found[key] = ours
    measured = group_by((k for k in found if found[k][0].result.measured), lambda key: key[0])
    shared = [
        Shared(
            shape,
            tuple(sorted((found[key] for key in keys), key=lambda ours: ours[0].result.time)),
            tuple(sorted(published_by[shape], key=lambda step: step.seconds)),
        )
        for shape, keys in measured.items()
    ]
    suites = [name for source in published.SOURCES.values() for name in source.suites]
    finding = (
        f"None of the {len(published_by)} shapes with published times was measured. To measure "
        f"them, run `pytest --benchmark-only --lstm-suite {suites[0]}`, or one of the suites "
        f"{', '.join(suites[1:])}."
    )
    missing = [row.result for row, *_ in found.values() if not row.result.measured]
    return PublishedReport(
        "" if shared else finding,
        tuple(sorted(shared, key=lambda each: (each.shape.mode, each.shape))),
        group_unmeasured(missing),
        report.notes,
    )


CSV_COLUMNS = (
    *("kind", "source", "where", "file", "implementation", "device", "hardware", "dtype", "mode"),
    *("batch", "timesteps", "input_size", "hidden_size", "num_layers", "bidirectional"),
    *("seconds", "seconds_low", "seconds_high", "processes", "valid"),
    *("measured", "how", "note", "reason"),
)


def records(report: PublishedReport) -> Iterator[dict[str, object]]:
    """Yield one flat row for each time in seconds. ``kind`` is ``ours`` or ``published``."""
    for each in report.shared:
        sizes = asdict(each.shape)
        for row, place, processor in each.ours:
            assert row.result.interval is not None
            yield {
                "kind": "ours",
                "implementation": row.case.backend,
                "device": place,
                "hardware": processor,
                "dtype": row.case.spec.dtype,
                **sizes,
                "seconds": row.result.time,
                "seconds_low": row.result.interval.low,
                "seconds_high": row.result.interval.high,
                "processes": row.result.interval.processes,
                "valid": not row.result.invalid,
                "reason": problem_lines(row.result.invalid),
            }
        for step in each.theirs:
            source = step.source
            yield {
                "kind": "published",
                "source": source.name,
                "where": source.where,
                "file": step.file,
                "implementation": step.implementation,
                "device": step.device,
                "dtype": step.dtype,
                **sizes,
                "seconds": step.seconds,
                "measured": step.measured,
                "how": step.how,
                "note": source.note,
            }


def texts(report: PublishedReport, shown: Document) -> dict[str, Callable[[], str | Iterable[str]]]:
    """Return the function that makes each format other than a terminal's, given the document
    ``shown``.
    """
    data = {
        "title": TITLE,
        "caution": CAUTION,
        "finding": report.finding,
        "rows": list(records(report)),
        "unmeasured": [
            {"reason": group.text, "cases": [case.id for case in group.cases]}
            for group in report.unmeasured
        ],
        "notes": list(report.notes),
    }
    return {
        "markdown": shown.markdown,
        "csv": lambda: csv_records(CSV_COLUMNS, records(report)),
        "json": lambda: json_text(data),
    }


def document(report: PublishedReport, list_unmeasured: bool = False) -> Document:
    """Return our times next to published ones, for a terminal or a page."""
    lines = [report.finding]
    if report.shared:
        lines = [f"{count(len(report.shared), 'shared shape')}. {CAUTION}"]
    blocks = [Block(TITLE, lines, level=2)]
    for each in report.shared:
        case = each.ours[0][0].case
        # Without the gradients of the shape.
        shape = shape_texts(case)[: -1 if case.workload.training else None]
        title = f"{each.shape.mode}: {', '.join(shape)}"
        blocks.append(Block(title, table=_table(each, report)))
    if report.shared:
        blocks.append(Block(lines=list(_notes(report)), style="dim"))
    rows = [row for each in report.shared for row, *_ in each.ours]
    if problems := unreliable(rows):
        blocks.append(Block(lines=problems))
    for title, lines in unmeasured_details(report.unmeasured, list_unmeasured):
        blocks.append(Block(title, lines, level=4, indent=2))
    if report.notes:
        blocks.append(Block("Notes", [clean(note, 500) for note in report.notes], level=4))
    return Document(blocks)


def _notes(report: PublishedReport) -> Iterator[str]:
    """Yield the notes of the tables: who published a time, and what was measured."""
    steps = [step for each in report.shared for step in each.theirs]
    for number, source in enumerate(report.sources, start=1):
        hows = dict.fromkeys(each.how for each in steps if each.how and each.source == source)
        yield f"[{number}] published by {source.where}: {'; '.join((source.note, *hows))}."


def _table(each: Shared, report: PublishedReport) -> TextTable:
    """Lay out our times of a shape, in bold in a terminal, and the published times."""
    columns = [Column("whose"), Column("implementation", names=True, most=120), Column("device")]
    columns += [Column("dtype"), Column("step", right=True), Column(TIME_INTERVAL), Column("note")]
    lines = []
    for row, place, processor in each.ours:
        assert row.result.interval is not None
        texts = (
            "ours" + " (INVALID)" * bool(row.result.invalid),
            row.case.backend,
            clean(f"{place} ({processor})" if processor else place, 120),
            row.case.spec.dtype,
            f"{UNRELIABLE * bool(row.result.validity.of_time)}{seconds(row.result.time)}",
            *(bounds_of_time(row.result.interval, row.result.time), ""),
        )
        lines.append([TableCell(text, style="bold") for text in texts])
    for step in each.theirs:
        note = f"[{report.sources.index(step.source) + 1}]"
        what = (step.implementation, clean(step.device, 120), step.dtype)
        lines.append([*map(TableCell, ("published", *what, seconds(step.seconds), "", note))])
    return TextTable.of(columns, lines)
