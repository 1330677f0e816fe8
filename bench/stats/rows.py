"""The report as data: what was measured where, pooled over replicates, ranked, and judged.

A ``Report`` is what every format is made from: sections (one session on one machine), in each a
row a case, with its interval, its ratio to the baseline and its place among the backends that did
the same work. ``judging.table`` has the same as one flat table. This module knows results and
statistics, nothing of how a report looks.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from bench.case.cases import Case
from bench.records.grouping import grouped
from bench.records.schema import Figures, Measurement, Outcome, Results, Run
from bench.stats import latency, random_effects
from bench.stats.bound import (
    CHAIN,
    HOST,
    LAUNCHES,
    NOT_KNOWN,
    Bound,
    bound,
)
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.intervals import CaseInterval, ReasonedError, percentiles
from bench.stats.latency import StreamProcesses
from bench.stats.nodes import SectionItems, places
from bench.stats.pooling import RunSamples, Sides
from bench.stats.ratios import HeterogeneityTests, all_slower, allowing, compare_all
from bench.stats.trust import OF_TIME, UNDOUBTED, Doubt, Validity, of_ratio, pooled

MEASURED = "measured"
KINDS = ("throughput", "truncation", "streaming")


class NothingToReportError(ReasonedError):
    """What was requested is not in the results."""


def check_known(option: str, what: str, name: str | None, names: Iterable[str]) -> None:
    """Raise NothingToReportError if a ``what`` that an option names is none of these.

    what: ``"backend"`` or ``"device"``; name: None if the option was not given.
    """
    known = sorted(set(names))
    if name is not None and name not in known:
        code = "unknown_name" if known else "nothing_to_name"
        raise NothingToReportError(code, option=option, what=what, name=name, known=known)


@dataclass(frozen=True)
class Row:
    """One case of one section, over all runs that have it.

    ``ranking`` makes it once its group is known; other rows that it names (``bridge``, ``base``,
    ``helper``) are as they were measured, without a place of their own.

    outcome: ``measured``, or why there is no time (one of ``results.OUTCOMES``), then with reason
        and advice, and everything below empty.
    interval: seconds per step. samples: how many in all runs. disturbed: ids of runs of which more
        was said than how their own samples spread. setup: the runs' medians, seconds.
    memory, roofs, energy: the medians over the runs that have such figures, by name. roofs_by:
        whose each roof is, in most of the runs, by the same names (``of_matmul`` and its like).
    validity: whether its time, and ratios made with it, are to be trusted. remarks: what the
        backend's code warned of and what it changed of its process, each once.
    stream: of a stream, its calls.
    fallback: what its evidence says that it ran in place of what its name suggests, in most of the
        runs; empty if it ran that.
    bound: what takes most of its step, as far as that is known.
    error: of an approximate backend, the largest relative error of its outputs (root mean squares)
        over the runs; None of an exact one.
    rank: 1 for the smallest time among the exact backends of the group; None of an approximate one.
    bridge: the row of its group over which it is compared with those of other processes; None if
        all are of the same, or it is this one. heterogeneity: whether such rows are the same in all
        processes.
    base: the baseline's row, None if that was not measured there or is this one.
    to_baseline: this row's time over the baseline's.
    ratio_doubts: why that ratio is not to be trusted, those of either side among them.
    ahead: only with rank 1 and if there is a next one: its time over the next one's. behind: only
        with rank 1: what each other takes over it, by backend.
    fastest: whether it is FASTER than each other of the group, INVALID ones too, judged together;
        it is not if it is INVALID itself or a ratio is doubtful.
    helper: of the group, the fastest of those that need less of what binds this one; helper_ratio:
        its time over this one's. untried: backends that are not in the group and need less of it.
    """

    case: Case
    outcome: str
    reason: str = ""
    advice: str = ""
    runs: tuple[RunSamples, ...] = ()
    interval: CaseInterval | None = None
    samples: int = 0
    disturbed: frozenset[str] = frozenset()
    setup: Mapping[str, float | None] | None = None
    memory: Mapping[str, float] = field(default_factory=dict)
    roofs: Mapping[str, float] = field(default_factory=dict)
    roofs_by: Mapping[str, str] = field(default_factory=dict)
    energy: Mapping[str, float] = field(default_factory=dict)
    steady: bool | None = None
    validity: Validity = UNDOUBTED
    remarks: tuple[str, ...] = ()
    stream: StreamProcesses | None = None
    fallback: str = ""
    bound: Bound | None = None
    error: float | None = None
    rank: int | None = None
    bridge: Row | None = field(default=None, repr=False)
    heterogeneity: HeterogeneityTests | None = field(default=None, repr=False, compare=False)
    base: Row | None = None
    to_baseline: Comparison | None = None
    ratio_doubts: tuple[Doubt, ...] = ()
    ahead: Comparison | None = None
    behind: Mapping[str, Comparison] = field(default_factory=dict, repr=False)
    fastest: bool = False
    helper: Row | None = field(default=None, repr=False)
    helper_ratio: Comparison | None = None
    untried: tuple[str, ...] = ()

    @cached_property
    def percentiles(self) -> Mapping[int, float]:
        """Those of the samples of all undisturbed runs, seconds, as far as these can say them."""
        return percentiles([run.samples for run in self.runs if run.run not in self.disturbed])

    @property
    def time(self) -> float:
        """Median seconds per step; only of a measured row."""
        assert self.interval is not None
        return self.interval.mid

    @property
    def measured(self) -> bool:
        """Whether it has a time."""
        return self.interval is not None

    @property
    def invalid(self) -> tuple[Doubt, ...]:
        """Why neither its time nor any ratio of it is to be trusted."""
        return self.validity.invalid

    @property
    def trusted(self) -> bool:
        """Whether neither what was measured nor the ratio to the baseline is INVALID."""
        return not (self.validity.invalid or self.ratio_doubts)

    @property
    def first_result(self) -> float | None:
        """Seconds from nothing to the first result: building, tracing, and the first call."""
        setup = self.setup or {}
        found = [setup.get(key) for key in ("build_s", "trace_s", "first_call_s")]
        known = [each for each in found if each is not None]
        return sum(known) if known else None

    @property
    def sequences_per_s(self) -> float | None:
        """Sequences of the batch, over the time of a step."""
        return self.case.workload.batch / self.time if self.measured else None

    @property
    def timesteps_per_s(self) -> float | None:
        """Timesteps of all sequences together, padding not counted, over the time of a step."""
        return self.case.workload.valid_timesteps() / self.time if self.measured else None

    @property
    def time_per_timestep(self) -> float | None:
        """Seconds for one timestep of the whole batch."""
        return self.time / self.case.workload.timesteps if self.measured else None


@dataclass(frozen=True)
class Section:
    """One session on one machine, or the same suite on several machines of one kind.

    baseline: the backend that ratios refer to, empty if none. nodes: the names of these machines by
    their ids, and node_of the id of each run's, both empty where it is one machine.
    """

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    baseline: str
    nodes: Mapping[str, str] = field(default_factory=dict)
    node_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """The first of its runs, for what all of them share."""
        return self.runs[0]

    @cached_property
    def started(self) -> datetime:
        """When its first run began, UTC."""
        return min(run.started for run in self.runs)

    @property
    def complete(self) -> bool:
        """Whether every run came to its end."""
        return all(run.complete for run in self.runs)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Its rows as tables: by device, kind and mode (of truncation also by shape)."""

        def shown_in(row: Row) -> tuple[str, str, str, str]:
            return row.case.device, row.case.kind, row.case.workload.mode, stream(row.case)

        found = grouped(self.rows, shown_in)
        return tuple(
            Table(device, kind, mode, tuple(rows), self.baseline)
            for (device, kind, mode, _), rows in found.items()
        )

    @property
    def timed_tables(self) -> list[Table]:
        """Those in which something has a time."""
        return [table for table in self.tables if table.groups]


@dataclass(frozen=True)
class Table:
    """Rows that are shown together: of one device, kind and mode."""

    device: str
    kind: str
    mode: str
    rows: tuple[Row, ...]
    baseline: str

    @property
    def noun(self) -> str:
        """What its groups are of: each a shape, or of one stream a window."""
        return "window" if self.kind == KINDS[1] else "shape"

    @cached_property
    def groups(self) -> tuple[tuple[Row, ...], ...]:
        """Rows of the same work, in their order: the fastest first; only if any has a time."""
        groups = grouped(self.rows, lambda row: row.case.group).values()
        return tuple(tuple(rows) for rows in groups if any(row.measured for row in rows))

    def begin(self, most: int) -> tuple[Table, int]:
        """Its first groups, up to this many rows but at least one group, and how many are left."""
        ends = list(itertools.accumulate(len(group) for group in self.groups))
        shown = max(1, sum(end <= most for end in ends))
        if shown >= len(ends):
            return self, 0
        rows = tuple(row for group in self.groups[:shown] for row in group)
        return replace(self, rows=rows), len(ends) - shown

    @cached_property
    def backends(self) -> tuple[str, ...]:
        """Those measured here: the baseline, then by how well they rank."""
        return tuple(ranked_backends(self.rows, self.baseline))


@dataclass(frozen=True)
class Report:
    """Everything that was read, the newest session first, and notes on how it was read."""

    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()


def ranked_backends(rows: Iterable[Row], baseline: str) -> list[str]:
    """Those with a time in these rows: the baseline, then by how well they rank."""
    ranks: dict[str, list[int]] = {}
    for row in rows:
        if row.rank is not None:
            ranks.setdefault(row.case.backend, []).append(row.rank)
    return sorted(
        ranks, key=lambda name: (name != baseline, sum(ranks[name]) / len(ranks[name]), name)
    )


def stream(case: Case) -> str:
    """Of truncation, what is cut into windows: cases that differ in their window only share it."""
    if case.workload.window is None:
        return ""
    return replace(case, workload=replace(case.workload, window=None)).group


# What users start from comes first; then the plain loop, which runs everywhere.
USUAL_BASELINES = ("keras", "while_loop")


def usual_baseline(counts: Mapping[str, int]) -> str:
    """The first of the usual ones that was measured, or else the one that was measured most.

    counts: how often, by backend; empty where nothing was.
    """
    usual = (name for name in USUAL_BASELINES if name in counts)
    return next(usual, max(counts, key=counts.__getitem__, default=""))


def with_bridges(rows: Sequence[Row]) -> list[Row]:
    """Return the measured rows of a group, each with the bridge over which others are reached.

    That is the row in most processes, if not all are in the same; of those in as many, the first
    that is not INVALID.
    """
    runs = [frozenset(run.run for run in row.runs) for row in rows]
    if len(set(runs)) < 2:
        return list(rows)
    best = max(rows, key=lambda row: (len(row.runs), not row.invalid))
    return [row if row is best else replace(row, bridge=best) for row in rows]


def with_evenness(rows: Sequence[Row]) -> list[Row]:
    """Return the measured rows of a section with what says whether a bridge is the same everywhere.

    Of each device by itself: what a library does to a step on processors says nothing of a GPU.
    """
    found: dict[str, HeterogeneityTests] = {}
    for device, here in grouped(rows, lambda row: row.case.device).items():
        if any(row.bridge is not None for row in here):
            found[device] = HeterogeneityTests(
                (row.case.backend, row.runs, bool(row.invalid)) for row in here
            )
    return [
        replace(row, heterogeneity=found[row.case.device]) if row.case.device in found else row
        for row in rows
    ]


def compare_rows(pairs: Sequence[tuple[Row, Row]]) -> list[Comparison]:
    """The ratios of pairs of rows, new and base, each pair of one group; over bridges where needed.

    One over a bridge that is not the same in the processes of both allows for that.
    """
    over = [_bridge(new, base) for new, base in pairs]
    sides: list[Sides] = [
        (new.runs, base.runs) if bridge is None else (new.runs, base.runs, bridge.runs)
        for (new, base), bridge in zip(pairs, over, strict=True)
    ]
    found = compare_all(sides)
    for index, ((new, base), bridge) in enumerate(zip(pairs, over, strict=True)):
        if bridge is None or new.heterogeneity is None:
            continue
        if found[index].pairing is Pairing.BRIDGED:
            names = bridge.case.backend, new.case.backend, base.case.backend
            found[index] = allowing(found[index], [new.heterogeneity.between(*names)])
    return found


def doubts(new: Row, base: Row) -> tuple[Doubt, ...]:
    """Why the ratio of two rows is not to be trusted, beyond what makes a side INVALID."""
    both = (new.validity, new.runs), (base.validity, base.runs)
    if (bridge := _bridge(new, base)) is None:
        return of_ratio(*both)
    third = bridge.validity, bridge.runs
    found = (*bridge.invalid, *(doubt for side in both for doubt in of_ratio(side, third)))
    return _once(found)


def all_doubts(new: Row, base: Row) -> tuple[Doubt, ...]:
    """The same with those of either side."""
    return _once((*new.invalid, *base.invalid, *doubts(new, base)))


def _bridge(new: Row, base: Row) -> Row | None:
    """Over which row two are compared: none, if they share processes or it does not reach both."""
    bridge = new.bridge
    if bridge is None or bridge is base:
        return None
    one, other, third = ({run.run for run in row.runs} for row in (new, base, bridge))
    if not one.isdisjoint(other) or one.isdisjoint(third) or other.isdisjoint(third):
        return None
    return bridge


def _once(found: Sequence[Doubt]) -> tuple[Doubt, ...]:
    return tuple({doubt.code: doubt for doubt in found}.values())


FEWER = 0.5
"""Times the launches of a case: who starts no more than these goes another way through time."""

UNTRIED: Mapping[tuple[str, str], tuple[str, ...]] = {
    (LAUNCHES, "cpu"): ("partial_unroll@10", "fused_cpu"),
    (LAUNCHES, "gpu"): ("partial_unroll@10", "cudnn"),
    (HOST, "cpu"): ("torch", "fused_cpu"),
    (HOST, "gpu"): ("torch", "cudnn"),
    (CHAIN, "cpu"): ("fused_cpu",),
    (CHAIN, "gpu"): ("cudnn",),
}
"""What is made to need less of what binds a case on a kind of device: worth a try where nobody that
was measured helps."""


# What would help


def helper(row: Row, ranked: Sequence[Row]) -> Row | None:
    """The fastest of those of a group that may help, if it takes less time than the row.

    Against launches that is only who starts far fewer; against all else, whoever is faster.
    ranked: by time.
    """
    bound = row.bound
    if bound is None or bound.kind == NOT_KNOWN:
        return None
    for other in ranked:
        if other is row:
            return None
        if bound.kind in (LAUNCHES, HOST) and not _starts_fewer(other, row):
            continue
        if not all_doubts(other, row):
            return other
    return None


def _starts_fewer(other: Row, row: Row) -> bool:
    one, many = other.roofs.get("launches"), row.roofs.get("launches")
    return one is not None and many is not None and one <= FEWER * many


def untried(row: Row, group: Sequence[Row]) -> tuple[str, ...]:
    """Backends that are worth a try and not in the group, measured or not."""
    if row.bound is None:
        return ()
    there = {other.case.backend for other in group}
    kind = row.case.device.partition(":")[0]
    return tuple(each for each in UNTRIED.get((row.bound.kind, kind), ()) if each not in there)


def build(
    results: Results,
    *,
    baseline: str | None = None,
    device: str | None = None,
    kind: str = "all",
) -> Report:
    """The report on these results.

    baseline: the backend that ratios refer to; by default, in each section, the first of the
    usual ones that was measured, or else the one that was measured most. device, kind: only these
    cases.

    Raises NothingToReportError for a baseline or device that no case has, or if nothing is left.
    """
    items: list[Measurement | Outcome] = [*results.measurements, *results.outcomes]
    if not items:
        raise NothingToReportError("no_case")
    check_known("--device", "device", device, (item.case.device for item in items))
    kinds = sorted({item.case.kind for item in items if device in (None, item.case.device)})
    items = [
        item
        for item in items
        if device in (None, item.case.device) and kind in ("all", item.case.kind)
    ]
    if not items:
        raise NothingToReportError("no_case_of_kind", kind=kind, kinds=kinds)
    measured = [item.case.backend for item in items if isinstance(item, Measurement)]
    check_known("--baseline", "backend", baseline, measured)
    sections = _sections(places(items), baseline)
    sections.sort(key=lambda section: section.started, reverse=True)
    return Report(tuple(sections), results.notes)


# Pooling and judging


OUTPUT_ERROR = "rms y"
"""By what name the gate has it (``lstm_impl.proof.comparison.RMS``)."""


@dataclass
class _Draft:
    """A section in the making: its runs, and its rows by the work that they do."""

    place: SectionItems
    runs: tuple[Run, ...]
    groups: list[list[Row]]
    baseline: str


def _sections(places: Sequence[SectionItems], baseline: str | None) -> list[Section]:
    """A section for each place; the intervals and ratios of all of them are made in one go."""
    cases = [grouped(place.items, lambda item: item.case.id).values() for place in places]
    measured = [
        [
            (place.node_of.get(item.run.id, ""), item.samples)
            for item in case
            if isinstance(item, Measurement)
        ]
        for place, here in zip(places, cases, strict=True)
        for case in here
    ]
    each = iter(random_effects.intervals([samples for samples in measured if samples]))
    drafts: list[_Draft] = []
    for place, here in zip(places, cases, strict=True):
        runs = {item.run.id: item.run for item in place.items}
        rows = [_row(case, len(runs), each, place.node_of) for case in here]
        counts: Counter[str] = Counter()
        for row in rows:
            counts[row.case.backend] += row.measured
        counts = +counts
        exact = Counter(
            {row.case.backend: counts[row.case.backend] for row in rows if not row.case.approximate}
        )
        groups = grouped(rows, lambda row: row.case.group)
        if (chosen := baseline) is None or chosen not in counts:
            chosen = usual_baseline(exact or counts)
        ordered = tuple(sorted(runs.values(), key=lambda run: (run.started, run.id)))
        drafts.append(_Draft(place, ordered, list(groups.values()), chosen))
    _judge(drafts)
    return [
        Section(
            draft.runs,
            tuple(sorted((row for group in draft.groups for row in group), key=_order)),
            draft.baseline,
            draft.place.nodes,
            draft.place.node_of,
        )
        for draft in drafts
    ]


def _row(
    items: Sequence[Measurement | Outcome],
    runs: int,
    intervals: Iterator[CaseInterval],
    nodes: Mapping[str, str],
) -> Row:
    """The row of one case, its place among others still to be found.

    intervals: the next one is this case's, if it was measured. nodes: of each run its node,
    where these are distinguished.
    """
    measured = [item for item in items if isinstance(item, Measurement)]
    outcomes = [item for item in items if isinstance(item, Outcome)]
    if not measured:
        # What went wrong most gravely is what is reported: a failed gate before a missing device.
        worst = min(outcomes, key=lambda item: _GRAVITY.index(item.outcome))
        return Row(worst.case, worst.outcome, worst.reason, worst.advice)
    samples = tuple(
        RunSamples(
            item.run.id,
            item.samples,
            item.rounds,
            node=nodes.get(item.run.id, ""),
            started=item.run.started.timestamp(),
        )
        for item in measured
    )
    interval = next(intervals)
    validity = pooled(
        measured,
        outcomes,
        interval,
        runs,
        replicated=any(item.run.session != item.run.id for item in measured),
    )
    steady = {item.steady for item in measured}
    case, work = measured[0].case, measured[0].case.workload
    valid = work.valid_timesteps() / (work.batch * work.timesteps)  # those that are no padding
    roofs = _figures([item.roofs for item in measured])
    owners = _roofs_by([item.roofs for item in measured])
    return Row(
        case=case,
        outcome=MEASURED,
        runs=samples,
        interval=interval,
        samples=sum(item.samples.size for item in measured),
        disturbed=frozenset(
            item.run.id
            for item in measured
            if any(reason.code not in OF_TIME for reason in item.reasons)
        ),
        setup=_setup(measured),
        memory=_figures([item.memory for item in measured]),
        roofs=roofs,
        roofs_by=owners,
        energy=_figures([item.energy for item in measured]),
        steady=False if False in steady else True if steady == {True} else None,
        validity=validity,
        stream=latency.stream_of(measured, nodes),
        fallback=_fallback(measured),
        error=_error(measured),
        bound=Bound(NOT_KNOWN) if validity.invalid else bound(roofs, owners, valid),
        remarks=tuple(dict.fromkeys(text for item in measured for text in item.remarks)),
    )


def _error(items: Sequence[Measurement]) -> float | None:
    """The largest error of an approximate backend's outputs, None of an exact one's."""
    if not items[0].case.approximate:
        return None
    found = (item.gate.get("errors") for item in items)
    values = [each.get(OUTPUT_ERROR) for each in found if isinstance(each, Mapping)]
    return max((each for each in values if isinstance(each, int | float)), default=None)


def _fallback(items: Sequence[Measurement]) -> str:
    shown = [item.evidence.get("fallback") for item in items]
    (most, _), *_ = Counter(text if isinstance(text, str) else "" for text in shown).most_common(1)
    return most


_GRAVITY = ("failed", "crashed", "timed_out", "interrupted", "refused", "not_measured")


def _setup(items: Sequence[Measurement]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for key in ("build_s", "trace_s", "compile_s", "first_call_s"):
        values = [value for item in items if (value := item.setup.get(key)) is not None]
        middle = _median(values) if values else None
        # Compiling is a difference of two times, which noise can turn under zero: then it is not
        # known. Each process counts all the same, or the middle of those above would be too high.
        found[key] = None if middle is None or middle < 0 else middle
    return found


def _figures(items: Sequence[Figures | None]) -> dict[str, float]:
    if not any(items):
        return {}
    found: dict[str, list[float]] = {}
    for item in items:
        for key, value in (item or {}).items():
            if isinstance(value, int | float):
                found.setdefault(key, []).append(value)
    return {key: _median(values) for key, values in found.items()}


def _roofs_by(items: Sequence[Figures | None]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for item in items:
        for key, value in (item or {}).items():
            if key.endswith("_by") and isinstance(value, str):
                found.setdefault(f"of_{key.removesuffix('_by')}", []).append(value)
    return {key: Counter(values).most_common(1)[0][0] for key, values in found.items()}


def _median(values: list[float]) -> float:
    """Of a handful of numbers, for which an array would cost more than the sorting."""
    if len(values) == 1:
        return float(values[0])
    ordered = sorted(values)
    below, above = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(below + (above - below) / 2)


def _judge(drafts: Sequence[_Draft]) -> None:
    """Put judged rows in the place of measured ones, those with a time first, all in one go."""
    for draft in drafts:
        _rank(draft)
    pairs: list[tuple[Row, Row]] = []
    helpers: dict[int, Row] = {}
    for draft in drafts:
        for group in draft.groups:
            ranked = [row for row in group if row.measured]
            base = _base(ranked, draft.baseline)
            pairs.extend((row, base) for row in ranked if base is not None and row is not base)
            # Of the baseline they are there already; what is first over it is turned around.
            if ranked and ranked[0] is not base:
                pairs.extend((row, ranked[0]) for row in ranked[1:] if row is not base)
            for row in ranked:
                if not row.case.approximate and (found := helper(row, ranked)) is not None:
                    helpers[id(row)] = found
                    pairs.append((row, found))
    distinct = {(id(new), id(base)): (new, base) for new, base in pairs}
    ratios = dict(zip(distinct, compare_rows(list(distinct.values())), strict=True))
    exact = [
        [row for row in group if row.measured and not row.case.approximate]
        for draft in drafts
        for group in draft.groups
    ]
    behind = [_behind(rows, ratios) for rows in exact]
    fastest = all_slower([_relied_on(*each) for each in zip(exact, behind, strict=True)])
    streams = _judged_streams(drafts)
    places = iter(zip(exact, behind, fastest, strict=True))
    for draft in drafts:
        for number, group in enumerate(draft.groups):
            ranked, others, first = next(places)
            base = _base(group, draft.baseline)
            judged = []
            for row in group:
                if not row.measured:
                    judged.append(row)
                    continue
                index = next((at for at, each in enumerate(ranked) if each is row), None)
                own = None if base is row else base
                helped_by = helpers.get(id(row))
                judged.append(
                    replace(
                        row,
                        rank=None if index is None else index + 1,
                        base=own,
                        to_baseline=ratios.get((id(row), id(base))),
                        ratio_doubts=() if own is None else all_doubts(row, own),
                        ahead=_ratio(row, ranked[1], ratios)
                        if index == 0 and len(ranked) > 1
                        else None,
                        behind=others if index == 0 else {},
                        fastest=first and index == 0,
                        helper=helped_by,
                        helper_ratio=None if helped_by is None else _ratio(helped_by, row, ratios),
                        untried=() if row.case.approximate else untried(row, group),
                        stream=streams.get(id(row), row.stream),
                    )
                )
            draft.groups[number] = judged


def _rank(draft: _Draft) -> None:
    """Order the measured rows of each group by their time, and give them their bridges."""
    for number, group in enumerate(draft.groups):
        ranked = sorted(
            (row for row in group if row.measured),
            key=lambda row: (row.case.approximate, row.time, row.case.backend),
        )
        rest = [row for row in group if not row.measured]
        draft.groups[number] = [*with_bridges(ranked), *rest]
    even = iter(with_evenness([row for group in draft.groups for row in group if row.measured]))
    draft.groups = [
        [next(even) if row.measured else row for row in group] for group in draft.groups
    ]


def _judged_streams(drafts: Sequence[_Draft]) -> dict[int, latency.StreamProcesses]:
    """The streams with the ratios of their percentiles to the baseline's, by the ids of rows."""
    found: list[tuple[Row, latency.StreamProcesses, latency.StreamProcesses]] = []
    for draft in drafts:
        for group in draft.groups:
            base = _base(group, draft.baseline)
            if base is not None and base.stream is not None:
                found += [
                    (row, row.stream, base.stream)
                    for row in group
                    if row is not base and row.stream is not None
                ]
    ratios = latency.compared([(own, base) for _, own, base in found])
    return {
        id(row): replace(own, to_baseline=each)
        for (row, own, _), each in zip(found, ratios, strict=True)
    }


def _base(group: Sequence[Row], baseline: str) -> Row | None:
    return next((row for row in group if row.measured and row.case.backend == baseline), None)


def _behind(
    ranked: Sequence[Row], ratios: Mapping[tuple[int, int], Comparison]
) -> dict[str, Comparison]:
    """Return what each other takes over the first, by backend."""
    return {row.case.backend: _ratio(row, ranked[0], ratios) for row in ranked[1:]}


def _relied_on(ranked: Sequence[Row], behind: Mapping[str, Comparison]) -> list[Comparison]:
    """Return what the star rests on, INVALID rows too; none if a ratio is doubtful."""
    if not ranked or ranked[0].invalid or any(doubts(row, ranked[0]) for row in ranked[1:]):
        return []
    return list(behind.values())


def _ratio(new: Row, base: Row, ratios: Mapping[tuple[int, int], Comparison]) -> Comparison:
    """Of two rows that were compared, whichever was held against the other."""
    found = ratios.get((id(new), id(base)))
    return ratios[(id(base), id(new))].inverse if found is None else found


def _order(row: Row) -> tuple[object, ...]:
    """CPU before GPUs, kinds in their order, inference before training, small first."""
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
        not row.measured,
        case.backend,
    )


@dataclass(frozen=True)
class BreakEven:
    """After so many steps the whole time, from nothing on, is the same for both backends.

    steps: 0 if the faster one does not even start later. low, high: for the ends of the ratio's
    interval; high is infinite where the ratio may be 1. later: seconds by which the first result
    comes later.
    """

    steps: float
    low: float
    high: float
    later: float


def break_even(row: Row, other: Row, ratio: Comparison) -> BreakEven | None:
    """After how many steps ``row`` is ahead of ``other``; None if it never is, or is not known.

    ratio: its time over the other's. The first results' times are medians without an interval of
    their own: the steps' interval comes from the ratio alone.
    """
    first, others_first = row.first_result, other.first_result
    if first is None or others_first is None or ratio.ratio.mid >= 1:
        return None
    later = first - others_first

    def steps(value: float) -> float:
        # The first step is part of the first result, and is over by then.
        gain = other.time * (1 - value)
        return max(0.0, later) / gain if gain > 0 else (0.0 if later <= 0 else math.inf)

    return BreakEven(steps(ratio.ratio.mid), steps(ratio.ratio.low), steps(ratio.ratio.high), later)


@dataclass(frozen=True)
class BreakEvenPair:
    """A row that pays back against another of the same work."""

    row: Row
    other: Row
    after: BreakEven


def pairs(group: Sequence[Row]) -> list[BreakEvenPair]:
    """Of the rows of one group, each that is FASTER than another and starts later."""
    rows = [row for row in group if row.measured and row.first_result is not None]
    found = [
        (row, other)
        for row in rows
        for other in rows
        if row.time < other.time and (row.first_result or 0.0) > (other.first_result or 0.0)
    ]
    judged = compare_rows(found)
    shown = []
    for (row, other), ratio in zip(found, judged, strict=True):
        after = break_even(row, other, ratio)
        if ratio.verdict is Verdict.FASTER and after is not None:
            shown.append(BreakEvenPair(row, other, after))
    return shown
