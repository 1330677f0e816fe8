"""Build the judged table that every report shows: sections of ranked rows.

A ``Report`` consists of sections, each for one session on one machine. A section has a row for each
case, compared with the baseline and ranked among the backends that did the same work.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from bench.case.cases import Case
from bench.machine.reasons import ReasonedError
from bench.records.grouping import group_by
from bench.records.schema import Measurement, Outcome, Results, Run
from bench.stats.nodes import SectionItems, places
from bench.verdicts.case_results import CaseResult, case_results
from bench.verdicts.ranking import Group, RankedRow, group_results, rank

KINDS = ("throughput", "truncation", "streaming")
"""The kinds of cases, in the order of a report."""


class NothingToReportError(ReasonedError):
    """The results do not contain what was requested."""


def check_known(option: str, what: str, name: str | None, names: Iterable[str]) -> None:
    """Raise NothingToReportError unless ``name`` is None or one of these backends or devices."""
    known = sorted(set(names))
    if name is not None and name not in known:
        code = "unknown_name" if known else "nothing_to_name"
        raise NothingToReportError(code, option=option, what=what, name=name, known=known)


@dataclass(frozen=True)
class Section:
    """Hold one session on one machine, or one suite on several machines of one kind.

    baseline: the backend that ratios refer to, empty if there is none. nodes: the names of the
    machines by their ids. node_by_run: the id of the machine of each run. Both are empty for a
    single machine.
    """

    runs: tuple[Run, ...]
    rows: tuple[RankedRow, ...]
    baseline: str
    nodes: Mapping[str, str] = field(default_factory=dict)
    node_by_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """Return the first run, for facts that all runs of the section share."""
        return self.runs[0]

    @cached_property
    def started(self) -> datetime:
        """Return when the first run began, in UTC."""
        return min(run.started for run in self.runs)

    @property
    def complete(self) -> bool:
        """Return whether every run was completed."""
        return all(run.complete for run in self.runs)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Return the rows as tables, one for each device, kind and mode.

        In truncation, there is one table for each shape as well.
        """

        def table_key(row: RankedRow) -> tuple[str, str, str, str]:
            return row.case.device, row.case.kind, row.case.workload.mode, stream(row.case)

        found = group_by(self.rows, table_key)
        return tuple(
            Table(device, kind, mode, tuple(rows), self.baseline)
            for (device, kind, mode, _), rows in found.items()
        )

    @property
    def timed_tables(self) -> list[Table]:
        """Return the tables in which some row has a time."""
        return [table for table in self.tables if table.groups]


@dataclass(frozen=True)
class Table:
    """Hold rows that are shown together: those of one device, kind and mode."""

    device: str
    kind: str
    mode: str
    rows: tuple[RankedRow, ...]
    baseline: str

    @property
    def noun(self) -> str:
        """Return the noun for what distinguishes the groups: ``shape`` or ``window``."""
        return "window" if self.kind == KINDS[1] else "shape"

    @cached_property
    def groups(self) -> tuple[tuple[RankedRow, ...], ...]:
        """Return rows of the same work, the fastest first. Groups without any time are left out."""
        groups = group_by(self.rows, lambda row: row.case.group).values()
        return tuple(tuple(rows) for rows in groups if any(row.result.measured for row in rows))

    def begin(self, most: int) -> tuple[Table, int]:
        """Return a table of its first groups, and how many groups are left.

        most: the largest number of rows. At least one group is kept.
        """
        ends = list(itertools.accumulate(len(group) for group in self.groups))
        shown = max(1, sum(end <= most for end in ends))
        if shown >= len(ends):
            return self, 0
        rows = tuple(row for group in self.groups[:shown] for row in group)
        return replace(self, rows=rows), len(ends) - shown

    @cached_property
    def backends(self) -> tuple[str, ...]:
        """Return the measured backends: the baseline, then the others by their ranks."""
        return tuple(ranked_backends(self.rows, self.baseline))


@dataclass(frozen=True)
class Report:
    """All sections, the newest session first, and notes on how the results were read.

    is_reference: whether these are the project's own results, measured on another machine. A user
    who has no results and names none sees these.
    """

    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    is_reference: bool = False


def ranked_backends(rows: Iterable[RankedRow], baseline: str) -> list[str]:
    """Return the backends with a time in these rows.

    The baseline comes first, and then the others by their mean ranks.
    """
    ranks: dict[str, list[int]] = {}
    for row in rows:
        if row.rank is not None:
            ranks.setdefault(row.case.backend, []).append(row.rank)
    return sorted(
        ranks, key=lambda name: (name != baseline, sum(ranks[name]) / len(ranks[name]), name)
    )


def stream(case: Case) -> str:
    """Return the group of a truncated case without its window.

    The result is an empty string for other cases.
    """
    if case.workload.window is None:
        return ""
    return replace(case, workload=replace(case.workload, window=None)).group


# Users start from Keras, and the plain loop runs everywhere.
USUAL_BASELINES = ("keras", "while_loop")


def usual_baseline(counts: Mapping[str, int]) -> str:
    """Return the first of the usual baselines that is in ``counts``.

    If none is, return the backend that was measured most often.
    """
    usual = (name for name in USUAL_BASELINES if name in counts)
    return next(usual, max(counts, key=counts.__getitem__, default=""))


def build(results: Results, *, baseline: str | None = None, kind: str = "all") -> Report:
    """Return the report on these results.

    baseline: the backend that ratios refer to. By default this is, in each section, the first of
    the usual ones that was measured, or else the most often measured one. kind: the kind of cases.

    Raises NothingToReportError for a baseline that no case has, or if nothing is left.
    """
    items: list[Measurement | Outcome] = [*results.measurements, *results.outcomes]
    if not items:
        raise NothingToReportError("no_case")
    kinds = sorted({item.case.kind for item in items})
    items = [item for item in items if kind in ("all", item.case.kind)]
    if not items:
        raise NothingToReportError("no_case_of_kind", kind=kind, kinds=kinds)
    measured = [item.case.backend for item in items if isinstance(item, Measurement)]
    check_known("--baseline", "backend", baseline, measured)
    found = sections(places(items), baseline)
    found.sort(key=lambda section: section.started, reverse=True)
    return Report(tuple(found), results.notes)


def sections(places: Sequence[SectionItems], baseline: str | None) -> list[Section]:
    """Build a section for each place, after computing the intervals and ratios of all together.

    baseline: see ``build``. If a place has no time of it, the usual baseline of that place is used.
    """
    cases = [
        (number, items)
        for number, place in enumerate(places)
        for items in group_by(place.items, lambda item: item.case.id).values()
    ]
    results = case_results([(items, places[number].node_by_run) for number, items in cases])
    by_place = group_by(zip(cases, results, strict=True), lambda each: each[0][0])
    chosen: list[str] = []
    groups: list[list[Group]] = []
    for number in range(len(places)):
        own = [result for _, result in by_place[number]]
        chosen.append(_choose_baseline(own, baseline))
        groups.append(list(group_results(own, chosen[-1])))
    ranked = rank(list(itertools.chain.from_iterable(groups)))
    return [
        Section(
            _runs(place),
            tuple(sorted((row for _ in own for row in next(ranked)), key=_order)),
            name,
            place.nodes,
            place.node_by_run,
        )
        for place, own, name in zip(places, groups, chosen, strict=True)
    ]


def _choose_baseline(results: Sequence[CaseResult], baseline: str | None) -> str:
    """Return the requested baseline if it has a time, or else the usual one of these results."""
    counts = Counter(each.case.backend for each in results if each.measured)
    exact = Counter(each.case.backend for each in results if each.measured and each.case.ranked)
    return (
        baseline if baseline is not None and baseline in counts else usual_baseline(exact or counts)
    )


def _runs(place: SectionItems) -> tuple[Run, ...]:
    """Return the runs of a place in the order in which they started."""
    runs = {item.run.id: item.run for item in place.items}
    return tuple(sorted(runs.values(), key=lambda run: (run.started, run.id)))


def _order(row: RankedRow) -> tuple[object, ...]:
    """Return the key by which rows are ordered.

    CPU comes before GPUs. Then rows are ordered by kind, inference before training, and small sizes
    first.
    """
    case, spec, work = row.case, row.case.spec, row.case.workload
    hidden, features = spec.hidden_size, spec.input_size
    size = work.batch * work.timesteps * hidden * (features + hidden) * spec.num_layers
    kind, _, number = case.device.partition(":")
    return (
        kind,
        int(number) if number.isdecimal() and len(number) < 9 else 0,
        case.device,
        KINDS.index(case.kind),
        work.mode,
        size * (1 + spec.bidirectional),
        stream(case) or case.group,
        work.window or 0,
        row.rank or math.inf,
        not row.result.measured,
        case.backend,
    )
