"""``python -m bench.compare published``: our times beside what others published for a shape.

Theirs are shown as published, with source, device and what was measured; no ratio, interval or
verdict is made of them, since neither machine nor work is the same. This room joins the two and
shows them; ``published`` knows the figures. No framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.case import published
from bench.case.cases import Case
from bench.case.published import PublishedShape, PublishedStep, Source
from bench.comparing.environments import hardware
from bench.records.grouping import grouped
from bench.records.schema import Measurement, Outcome, Results
from bench.render.messages import Unmeasured, doubt_line, gathered
from bench.stats.intervals import CaseInterval, case_interval
from bench.stats.nodes import machine_names
from bench.stats.trust import together

TITLE = "Our times beside published ones"
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
class Report:
    """Both sides, ready to be shown. finding: why there is nothing to show, and what to do."""

    finding: str
    shared: tuple[Shared, ...]
    unmeasured: tuple[Unmeasured, ...]
    notes: tuple[str, ...]
    list_unmeasured: bool = False  # as asked, not only how many they are

    @property
    def sources(self) -> tuple[Source, ...]:
        """Those of the figures that are shown; note n of a table is the nth of them."""
        steps = (step for each in self.shared for step in each.theirs)
        return tuple({step.first.source.name: step.first.source for step in steps}.values())


def beside_published(results: Results, theirs: Iterable[PublishedStep]) -> Report:
    """Every shape and mode that both sides have.

    Of ours only what is the work that others published: no windows, padding or dropout.
    """
    published_by = grouped(theirs, lambda step: step.first.shape)
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
    missing = [item for item in results.outcomes if PublishedShape.of(item.case) in published_by]
    return Report(
        "" if shared else _finding(results, published_by),
        tuple(sorted(shared, key=lambda each: (each.shape.mode, each.shape))),
        gathered((each.case, each.outcome, each.reason, each.advice) for each in missing),
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
        tuple(map(doubt_line, validity.invalid)),
        tuple(map(doubt_line, validity.of_time)),
    )


def _finding(results: Results, published_by: Mapping[PublishedShape, object]) -> str:
    suites = [name for source in published.SOURCES.values() for name in source.suites]
    have = "No measured shape is" if results.measurements else "Nothing was measured that is"
    return (
        f"{have} among the {len(published_by)} that others have published times for."
        f" To measure theirs, run `pytest --benchmark-only --lstm-suite {suites[0]}`, "
        f"or one of the suites {', '.join(suites[1:])}."
    )
