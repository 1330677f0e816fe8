"""Show our times next to published ones of the same shapes.

Theirs are shown as published, with source, device and what was measured; no ratio, interval or
verdict is made of them, since neither machine nor work is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.case import published
from bench.case.cases import Case
from bench.case.published import PublishedShape, PublishedSource, PublishedStep
from bench.records.grouping import grouped
from bench.records.schema import Measurement, Outcome, Results
from bench.render import table
from bench.render.compare import unmeasured_details
from bench.render.escape import clean
from bench.render.labels import DOUBTFUL, TIME_INTERVAL, bounds_of_time
from bench.render.messages import UnmeasuredCases, doubt_line, gathered
from bench.render.quantities import count, seconds
from bench.render.table import Block, Cell, Column, Document, Sheet
from bench.stats.intervals import CaseInterval, case_interval
from bench.stats.nodes import machine_names
from bench.stats.pairs import hardware
from bench.stats.trust import each_together

TITLE = "Our times and published ones"
CAUTION = (
    "Published times are other people's, on other machines and of other software, as they stand in "
    "their own files: no ratio and no verdict is made of them."
)


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

    shape: PublishedShape
    ours: tuple[Ours, ...]
    theirs: tuple[PublishedStep, ...]


@dataclass(frozen=True)
class PublishedReport:
    """Both sides, ready to be shown. finding: why there is nothing to show, and what to do."""

    finding: str
    shared: tuple[Shared, ...]
    unmeasured: tuple[UnmeasuredCases, ...]
    notes: tuple[str, ...]
    list_unmeasured: bool = False  # as requested, not only how many they are

    @property
    def sources(self) -> tuple[PublishedSource, ...]:
        """Those of the figures that are shown; note n of a table is the nth of them."""
        steps = (step for each in self.shared for step in each.theirs)
        return tuple({step.source.name: step.source for step in steps}.values())


def beside_published(results: Results, theirs: Iterable[PublishedStep]) -> PublishedReport:
    """Every shape and mode that both sides have.

    Of ours only what is the work that others published: no windows, padding or dropout.
    """
    published_by = grouped(theirs, lambda step: step.shape)
    names = machine_names({item.run.machine_id: item.run for item in results.measurements})
    found: dict[PublishedShape, dict[tuple[str, str], list[Measurement]]] = {}
    without = grouped(results.outcomes, lambda item: (item.run.machine_id, item.case.id))
    for item in results.measurements:
        if (shape := PublishedShape.of(item.case)) in published_by:
            assert shape is not None
            key = (item.run.machine_id, item.case.id)
            found.setdefault(shape, {}).setdefault(key, []).append(item)
    shared = [
        Shared(
            shape,
            tuple(
                sorted(
                    (_ours(items, without.get(key, ()), names) for key, items in cases.items()),
                    key=lambda ours: ours.time.mid,
                )
            ),
            tuple(sorted(published_by[shape], key=lambda step: step.seconds)),
        )
        for shape, cases in found.items()
    ]
    suites = [name for source in published.SOURCES.values() for name in source.suites]
    have = "No measured shape is" if results.measurements else "Nothing was measured that is"
    finding = (
        f"{have} among the {len(published_by)} that others have published times for."
        f" To measure theirs, run `pytest --benchmark-only --lstm-suite {suites[0]}`, "
        f"or one of the suites {', '.join(suites[1:])}."
    )
    missing = [item for item in results.outcomes if PublishedShape.of(item.case) in published_by]
    return PublishedReport(
        "" if shared else finding,
        tuple(sorted(shared, key=lambda each: (each.shape.mode, each.shape))),
        gathered((each.case, each.outcome, each.reason, each.advice) for each in missing),
        results.notes,
    )


def _ours(
    items: Sequence[Measurement], outcomes: Sequence[Outcome], names: Mapping[str, str]
) -> Ours:
    first, (validity,) = items[0], each_together([(items, outcomes)])
    place = first.case.device
    if len(names) > 1:
        place += f" on {names[first.run.machine_id]}"
    return Ours(
        first.case,
        place,
        hardware(first.run, first.case.device),
        case_interval([item.samples for item in items]),
        tuple(map(doubt_line, validity.invalid)),
        tuple(map(doubt_line, validity.of_time)),
    )


CSV_COLUMNS = (
    *("kind", "source", "where", "file", "implementation", "device", "hardware", "dtype", "mode"),
    *("batch", "timesteps", "input_size", "hidden_size", "num_layers", "bidirectional"),
    *("seconds", "seconds_low", "seconds_high", "processes", "valid"),
    *("measured", "how", "note", "reason"),
)


def records(report: PublishedReport) -> Iterator[dict[str, object]]:
    """Return a row a time, in seconds; ``kind`` says whose."""
    for each in report.shared:
        sizes = {"mode": each.shape.mode, **asdict(each.shape)}
        for ours in each.ours:
            yield {
                "kind": "ours",
                "implementation": ours.case.backend,
                "device": ours.place,
                "hardware": ours.hardware,
                "dtype": ours.case.spec.dtype,
                **sizes,
                "seconds": ours.time.mid,
                "seconds_low": ours.time.low,
                "seconds_high": ours.time.high,
                "processes": ours.time.processes,
                "valid": not ours.reasons,
                "reason": "; ".join(ours.reasons),
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


def as_json(report: PublishedReport) -> str:
    """The whole report, times in seconds."""
    document = {
        "title": TITLE,
        "caution": CAUTION,
        "finding": report.finding,
        "rows": list(records(report)),
        "unmeasured": [
            {"reason": group.words, "cases": [case.id for case in group.cases]}
            for group in report.unmeasured
        ],
        "notes": list(report.notes),
    }
    return table.json_text(document)


def texts(report: PublishedReport) -> dict[str, Callable[[], str | Iterable[str]]]:
    """Return what makes each format but a terminal's."""
    return {
        "markdown": document(report).markdown,
        "csv": lambda: table.records(CSV_COLUMNS, records(report)),
        "json": lambda: as_json(report),
    }


def document(report: PublishedReport) -> Document:
    """Return our times next to theirs, for a terminal or a page."""
    lines = [report.finding]
    if report.shared:
        lines = [f"{count(len(report.shared), 'shared shape')}. {CAUTION}"]
        if invalid := sum(bool(ours.reasons) for each in report.shared for ours in each.ours):
            cases = count(invalid, "case")
            lines.append(f"INVALID: {cases} of ours, marked; the reasons are below.")
    blocks = [Block(TITLE, lines, level=2)]
    blocks += [Block(shape_line(each.shape), sheet=_table(each, report)) for each in report.shared]
    if report.shared:
        blocks.append(Block(lines=list(_notes(report)), style="dim"))
    for heading, invalid_ones in (
        ("INVALID, and where", True),
        ("Unreliable times (~), and where", False),
    ):
        where: dict[str, list[str]] = {}
        for ours in (ours for each in report.shared for ours in each.ours):
            for reason in ours.reasons if invalid_ones else ours.doubts:
                where.setdefault(clean(reason), []).append(clean(ours.case.id, 120))
        lines = [f"{reason}: {', '.join(cases[:5])}" for reason, cases in where.items()]
        if lines:
            blocks.append(Block(heading, lines, level=4, indent=2))
    for title, lines in unmeasured_details(report.unmeasured, report.list_unmeasured):
        blocks.append(Block(title, lines, level=4, indent=2))
    if report.notes:
        blocks.append(Block("Notes", [clean(note, 500) for note in report.notes], level=4))
    return Document(blocks)


def shape_line(shape: PublishedShape) -> str:
    """``training: batch 32 × 1000 steps, 123 in, 320 hidden, 4 layers, bidirectional``."""
    extra = [f"{shape.num_layers} layers"] * (shape.num_layers > 1)
    extra += ["bidirectional"] * shape.bidirectional
    sizes = f"batch {shape.batch} × {shape.timesteps} steps"
    features = (f"{shape.input_size} in", f"{shape.hidden_size} hidden", *extra)
    return f"{shape.mode}: {sizes}, {', '.join(features)}"


def _notes(report: PublishedReport) -> Iterator[str]:
    """Note n of the tables: who published it, and what to know of what was measured."""
    steps = [step for each in report.shared for step in each.theirs]
    for number, source in enumerate(report.sources, start=1):
        hows = dict.fromkeys(each.how for each in steps if each.how and each.source == source)
        yield f"[{number}] published by {source.where}: {'; '.join((source.note, *hows))}."


def _table(each: Shared, report: PublishedReport) -> Sheet:
    """Our times of a shape, which stand out in a terminal, and those of others."""
    columns = [Column("whose"), Column("implementation", names=True, most=120), Column("device")]
    columns += [Column("dtype"), Column("step", right=True), Column(TIME_INTERVAL), Column("note")]
    lines = []
    for ours in each.ours:
        time = ours.time
        texts = (
            "ours" + (" (INVALID)" if ours.reasons else ""),
            ours.case.backend,
            clean(f"{ours.place} ({ours.hardware})" if ours.hardware else ours.place, 120),
            ours.case.spec.dtype,
            f"{DOUBTFUL if ours.doubts else ''}{seconds(time.mid)}",
            *(bounds_of_time(time, time.mid), ""),
        )
        lines.append([Cell(text, style="bold") for text in texts])
    for step in each.theirs:
        note = f"[{report.sources.index(step.source) + 1}]"
        what = (step.implementation, clean(step.device, 120), step.dtype)
        lines.append([*map(Cell, ("published", *what, seconds(step.seconds), "", note))])
    return Sheet.of(columns, lines)
