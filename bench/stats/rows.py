"""Build the judged table of a report: a row for each case, with its interval, ratios and rank.

Every format is made from a ``Report``: sections (one session on one machine) with a row for each
case, compared with the baseline and ranked among the backends that did the same work.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from bench.case.cases import Case
from bench.machine.reasons import NO_REASON, Reason, ReasonedError
from bench.records.grouping import grouped
from bench.records.schema import Figures, Measurement, Outcome, Results, Run
from bench.stats import latency
from bench.stats.bound import CHAIN, HOST, LAUNCHES, NOT_KNOWN, Bound, bound
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.intervals import CaseInterval, case_intervals, percentiles
from bench.stats.latency import StreamProcesses
from bench.stats.nodes import Item, SectionItems, places
from bench.stats.ratios import (
    HeterogeneityTests,
    RunSamples,
    Sides,
    all_slower,
    allow_for,
    compare_all,
)
from bench.stats.trust import NO_PROBLEMS, OF_TIME, Problem, Side, Validity, of_ratio, once, pooled

MEASURED = "measured"
KINDS = ("throughput", "truncation", "streaming")


class NothingToReportError(ReasonedError):
    """Raised where the results do not have what was requested."""


def check_known(option: str, what: str, name: str | None, names: Iterable[str]) -> None:
    """Raise NothingToReportError unless ``name`` is None or one of these backends or devices."""
    known = sorted(set(names))
    if name is not None and name not in known:
        code = "unknown_name" if known else "nothing_to_name"
        raise NothingToReportError(code, option=option, what=what, name=name, known=known)


@dataclass(frozen=True)
class Row:
    """One case of one section, over all runs that have it.

    The rows in ``reference``, ``base`` and ``helper`` have no rank and ratios of their own.

    outcome: ``measured``, or why there is no time (one of ``results.OUTCOMES``), then with a
        reason, and everything below empty.
    interval: seconds per step. disturbed: ids of runs with reasons other than their samples'
        spread. setup: the runs' medians, seconds.
    memory, roofs, energy: the medians over the runs that have such figures, by name. roofs_by:
        the owner of each roof in most of the runs, by the same names (``of_matmul`` and its like).
    validity: whether its time and its ratios are reliable. remarks: the warnings of the backend's
        code and its changes of the process, each once.
    stream: the calls of a stream.
    fallback: what most of the runs ran in place of what its name suggests; empty if they ran that.
    bound: what takes most of its step, as far as that is known.
    error: of an approximate backend, the largest relative error of its outputs (root mean squares)
        over the runs; None of an exact one.
    rank: 1 for the smallest time among the exact backends of the group; None of an approximate one.
    reference: the row of its group over which it is compared with those of other processes; None if
        all have the same processes, or it is this one. heterogeneity: tests of such references.
    base: the baseline's row, None if that was not measured there or is this one.
    to_baseline: this row's time over the baseline's.
    ratio_problems: why that ratio is unreliable, the reasons of either side among them.
    behind: only with rank 1: the time of each other exact row over it, by backend, the next first.
    fastest: whether it is FASTER than every other row of the group, INVALID ones too, judged
        together; it is not if it is INVALID itself or a ratio is unreliable.
    helper: the fastest row of the group that needs less of what binds this one; helper_ratio: its
        time over this one's. untried: backends that are not in the group and need less of it.
    """

    case: Case
    outcome: str
    reason: Reason = NO_REASON
    runs: tuple[RunSamples, ...] = ()
    interval: CaseInterval | None = None
    disturbed: frozenset[str] = frozenset()
    setup: Mapping[str, float | None] | None = None
    memory: Mapping[str, float] = field(default_factory=dict)
    roofs: Mapping[str, float] = field(default_factory=dict)
    roofs_by: Mapping[str, str] = field(default_factory=dict)
    energy: Mapping[str, float] = field(default_factory=dict)
    steady: bool | None = None
    validity: Validity = NO_PROBLEMS
    remarks: tuple[str, ...] = ()
    stream: StreamProcesses | None = None
    fallback: str = ""
    bound: Bound | None = None
    error: float | None = None
    rank: int | None = None
    reference: Row | None = field(default=None, repr=False)
    heterogeneity: HeterogeneityTests | None = field(default=None, repr=False, compare=False)
    base: Row | None = None
    to_baseline: Comparison | None = None
    ratio_problems: tuple[Problem, ...] = ()
    behind: Mapping[str, Comparison] = field(default_factory=dict, repr=False)
    fastest: bool = False
    helper: Row | None = field(default=None, repr=False)
    helper_ratio: Comparison | None = None
    untried: tuple[str, ...] = ()

    @cached_property
    def percentiles(self) -> Mapping[int, float]:
        """The percentiles of the samples of all undisturbed runs, seconds."""
        return percentiles([run.samples for run in self.runs if run.run not in self.disturbed])

    @property
    def samples(self) -> int:
        """How many there are in all runs."""
        return sum(run.samples.size for run in self.runs)

    @property
    def ahead(self) -> Comparison | None:
        """The ratio of its time to the next one's; only with rank 1 and if there is a next one."""
        return next((found.inverse for found in self.behind.values()), None)

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
    def invalid(self) -> tuple[Problem, ...]:
        """The reasons why its time and all of its ratios are unreliable."""
        return self.validity.invalid

    @property
    def side(self) -> Side:
        """The side of a ratio, for ``trust.of_ratio``."""
        return self.validity, self.runs

    @property
    def trusted(self) -> bool:
        """Whether neither its time nor its ratio to the baseline is INVALID."""
        return not (self.validity.invalid or self.ratio_problems)

    @property
    def first_result(self) -> float | None:
        """Seconds from nothing to the first result: building, tracing, and the first call."""
        setup = self.setup or {}
        found = [setup.get(key) for key in ("build_s", "trace_s", "first_call_s")]
        known = [each for each in found if each is not None]
        return sum(known) if known else None

    @property
    def sequences_per_s(self) -> float | None:
        """Sequences of the batch over the time of a step."""
        return self.case.workload.batch / self.time if self.measured else None

    @property
    def timesteps_per_s(self) -> float | None:
        """Timesteps of all sequences without padding over the time of a step."""
        return self.case.workload.valid_timesteps() / self.time if self.measured else None

    @property
    def time_per_timestep(self) -> float | None:
        """Seconds for one timestep of the batch."""
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
        """The first of its runs, for facts that all of them share."""
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
        """The tables in which any row has a time."""
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
        """What its groups differ in: the shape, or the window of one stream."""
        return "window" if self.kind == KINDS[1] else "shape"

    @cached_property
    def groups(self) -> tuple[tuple[Row, ...], ...]:
        """Rows of the same work, the fastest first; groups without any time are left out."""
        groups = grouped(self.rows, lambda row: row.case.group).values()
        return tuple(tuple(rows) for rows in groups if any(row.measured for row in rows))

    def begin(self, most: int) -> tuple[Table, int]:
        """Return its first groups, up to this many rows but at least one, and how many are left."""
        ends = list(itertools.accumulate(len(group) for group in self.groups))
        shown = max(1, sum(end <= most for end in ends))
        if shown >= len(ends):
            return self, 0
        rows = tuple(row for group in self.groups[:shown] for row in group)
        return replace(self, rows=rows), len(ends) - shown

    @cached_property
    def backends(self) -> tuple[str, ...]:
        """The measured backends: the baseline, then by their ranks."""
        return tuple(ranked_backends(self.rows, self.baseline))


@dataclass(frozen=True)
class Report:
    """All sections, the newest session first, and notes on how the results were read."""

    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()


def ranked_backends(rows: Iterable[Row], baseline: str) -> list[str]:
    """Return the backends with a time in these rows: the baseline, then by their mean ranks."""
    ranks: dict[str, list[int]] = {}
    for row in rows:
        if row.rank is not None:
            ranks.setdefault(row.case.backend, []).append(row.rank)
    return sorted(
        ranks, key=lambda name: (name != baseline, sum(ranks[name]) / len(ranks[name]), name)
    )


def stream(case: Case) -> str:
    """Return the group of a truncated case without its window, empty for other cases."""
    if case.workload.window is None:
        return ""
    return replace(case, workload=replace(case.workload, window=None)).group


# Users start from Keras; the plain loop runs everywhere.
USUAL_BASELINES = ("keras", "while_loop")


def usual_baseline(counts: Mapping[str, int]) -> str:
    """Return the first of the usual baselines in ``counts``, else the one measured most often."""
    usual = (name for name in USUAL_BASELINES if name in counts)
    return next(usual, max(counts, key=counts.__getitem__, default=""))


def compare_rows(pairs: Sequence[tuple[Row, Row]]) -> list[Comparison]:
    """Return the ratios of pairs of rows of one group, new and base; over references where needed.

    A ratio over a heterogeneous reference allows for that.
    """
    over = [_reference(new, base) for new, base in pairs]
    sides: list[Sides] = [
        (new.runs, base.runs) if reference is None else (new.runs, base.runs, reference.runs)
        for (new, base), reference in zip(pairs, over, strict=True)
    ]
    found = compare_all(sides)
    for index, ((new, base), reference) in enumerate(zip(pairs, over, strict=True)):
        if reference and new.heterogeneity and found[index].pairing is Pairing.BRIDGED:
            names = reference.case.backend, new.case.backend, base.case.backend
            found[index] = allow_for(found[index], [new.heterogeneity.between(*names)])
    return found


def problems(new: Row, base: Row) -> tuple[Problem, ...]:
    """Return why the ratio of two rows is unreliable, without what makes a side INVALID."""
    if (reference := _reference(new, base)) is None:
        return of_ratio(new.side, base.side)
    over = (of_ratio(row.side, reference.side) for row in (new, base))
    return once((*reference.invalid, *itertools.chain.from_iterable(over)))


def all_problems(new: Row, base: Row) -> tuple[Problem, ...]:
    """Return the same with the reasons of either side."""
    return once((*new.invalid, *base.invalid, *problems(new, base)))


def _reference(new: Row, base: Row) -> Row | None:
    """Return the reference of two rows; None if they share processes or either lacks it."""
    if new.reference is None:
        return None
    one, other, third = ({run.run for run in row.runs} for row in (new, base, new.reference))
    reached = not (one.isdisjoint(third) or other.isdisjoint(third))
    return new.reference if one.isdisjoint(other) and reached else None


def build(results: Results, *, baseline: str | None = None, kind: str = "all") -> Report:
    """Return the report on these results.

    baseline: the backend that ratios refer to; by default, in each section, the first of the
    usual ones that was measured, or else the one that was measured most. kind: of the cases.

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
    """Return a section for each place; the intervals and ratios of all are made in one go.

    baseline: as of ``build``; where a place has no time of it, the usual one of that place.
    """
    cases = [
        (number, items)
        for number, place in enumerate(places)
        for items in grouped(place.items, lambda item: item.case.id).values()
    ]
    measured = case_rows([(items, places[number].node_of) for number, items in cases])
    by_place = grouped(zip(cases, measured, strict=True), lambda each: each[0][0])
    found: list[tuple[Section, list[_Group]]] = []
    for number, place in enumerate(places):
        own = [row for _, row in by_place[number]]
        counts = Counter(row.case.backend for row in own if row.measured)
        exact = Counter(row.case.backend for row in own if row.measured and row.case.ranked)
        usual = usual_baseline(exact or counts)
        chosen = usual if baseline is None or baseline not in counts else baseline
        runs = {item.run.id: item.run for item in place.items}
        ordered = tuple(sorted(runs.values(), key=lambda run: (run.started, run.id)))
        section = Section(ordered, (), chosen, place.nodes, place.node_of)
        found.append((section, list(_groups(own, chosen))))
    ranked = _ranked([group for _, groups in found for group in groups])
    return [
        replace(
            section, rows=tuple(sorted((row for _ in groups for row in next(ranked)), key=_order))
        )
        for section, groups in found
    ]


_GRAVITY = ("failed", "crashed", "timed_out", "interrupted", "refused", "not_measured")


def case_rows(cases: Sequence[tuple[Sequence[Item], Mapping[str, str]]]) -> list[Row]:
    """Return the row of each case from all of its items, without a rank or ratios.

    cases: the items of each, and the node of each run by its id, where nodes are distinguished.
    """
    measured = [[each for each in items if isinstance(each, Measurement)] for items, _ in cases]
    runs = [
        [(nodes.get(item.run.id, ""), item.samples) for item in own]
        for own, (_, nodes) in zip(measured, cases, strict=True)
        if own
    ]
    times = iter(case_intervals(runs))
    found = []
    for own, (items, nodes) in zip(measured, cases, strict=True):
        outcomes = [item for item in items if isinstance(item, Outcome)]
        if own:
            found.append(_row(own, outcomes, next(times), nodes))
        else:
            # A failed gate is reported before a missing device.
            worst = min(outcomes, key=lambda item: _GRAVITY.index(item.outcome))
            found.append(Row(worst.case, worst.outcome, worst.reason))
    return found


def _row(
    measured: Sequence[Measurement],
    outcomes: Sequence[Outcome],
    interval: CaseInterval,
    nodes: Mapping[str, str],
) -> Row:
    validity = pooled(measured, outcomes, interval)
    steady = {item.steady for item in measured}
    case, work = measured[0].case, measured[0].case.workload
    valid = work.valid_timesteps() / (work.batch * work.timesteps)  # those that are no padding
    roofs = _figures([item.roofs for item in measured])
    fallbacks = [item.evidence.get("fallback") for item in measured]
    owners: dict[str, list[str]] = {}
    for item in measured:
        for key, value in (item.roofs or {}).items():
            if key.endswith("_by") and isinstance(value, str):
                owners.setdefault(f"of_{key.removesuffix('_by')}", []).append(value)
    roofs_by = {key: statistics.mode(values) for key, values in owners.items()}
    return Row(
        case=case,
        outcome=MEASURED,
        runs=tuple(RunSamples.of(item, nodes.get(item.run.id, "")) for item in measured),
        interval=interval,
        disturbed=frozenset(
            item.run.id
            for item in measured
            if any(reason.code not in OF_TIME for reason in item.reasons)
        ),
        setup=_setup(measured),
        memory=_figures([item.memory for item in measured]),
        roofs=roofs,
        roofs_by=roofs_by,
        energy=_figures([item.energy for item in measured]),
        steady=False if False in steady else True if steady == {True} else None,
        validity=validity,
        stream=latency.stream_of(measured, nodes),
        fallback=statistics.mode(each if isinstance(each, str) else "" for each in fallbacks),
        error=_error(measured) if case.approximate else None,
        bound=Bound(NOT_KNOWN) if validity.invalid else bound(roofs, roofs_by, valid),
        remarks=tuple(dict.fromkeys(text for item in measured for text in item.remarks)),
    )


OUTPUT_ERROR = "rms y"
"""The name of this error in the gate (``lstm_impl.proof.comparison.RMS``)."""


def _error(items: Sequence[Measurement]) -> float | None:
    found = (item.gate.get("errors") for item in items)
    values = [each.get(OUTPUT_ERROR) for each in found if isinstance(each, Mapping)]
    return max((each for each in values if isinstance(each, int | float)), default=None)


def _setup(items: Sequence[Measurement]) -> dict[str, float | None]:
    middles = _figures([item.setup for item in items])
    # Compiling is a difference of two times, which noise can make negative: then it is not known.
    # Negative ones count in the median, which would be too high without them.
    keys = ("build_s", "trace_s", "compile_s", "first_call_s")
    return {key: middle if (middle := middles.get(key, -1.0)) >= 0 else None for key in keys}


def _figures(items: Sequence[Figures | None]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for item in items:
        for key, value in (item or {}).items():
            if isinstance(value, int | float):
                found.setdefault(key, []).append(value)
    return {key: float(statistics.median(values)) for key, values in found.items()}


# Ranks and ratios within a group


@dataclass(frozen=True)
class _Group:
    """Rows of the same work in one section.

    rows: those with a time, exact ones first, each by its time. rest: those without. base: the
    baseline's, if it has a time. helpers: the helper of a row by the row's id.
    """

    rows: list[Row]
    rest: list[Row]
    base: Row | None
    helpers: Mapping[int, Row]

    @property
    def pairs(self) -> Iterator[tuple[Row, Row]]:
        """New and base of each ratio: to the baseline, to the first row, and of helpers."""
        for row in self.rows:
            helper = self.helpers.get(id(row))
            for new, base in ((row, self.base), (row, self.rows[0]), (helper, row)):
                if new is not None and base is not None and new is not base:
                    yield new, base


def _groups(every: Sequence[Row], baseline: str) -> Iterator[_Group]:
    """Yield the groups of a section, each row with its reference, if not all have the same runs.

    The reference is the row with the most processes; of those with as many, the first that is not
    INVALID. Its heterogeneity is tested for each device by itself.
    """

    @functools.cache
    def heterogeneity(device: str) -> HeterogeneityTests:
        here = (row for row in every if row.measured and row.case.device == device)
        return HeterogeneityTests((row.case.backend, row.runs, bool(row.invalid)) for row in here)

    for group in grouped(every, lambda row: row.case.group).values():
        rows = sorted(
            (row for row in group if row.measured),
            key=lambda row: (not row.case.ranked, row.time, row.case.backend),
        )
        if len({frozenset(run.run for run in row.runs) for row in rows}) > 1:
            best = max(rows, key=lambda row: (len(row.runs), not row.invalid))
            tests = heterogeneity(best.case.device)
            rows = [
                row if row is best else replace(row, reference=best, heterogeneity=tests)
                for row in rows
            ]
        base = next((row for row in rows if row.case.backend == baseline), None)
        helped = ((row, _helper(row, rows)) for row in rows)
        helpers = {id(row): helper for row, helper in helped if helper is not None}
        yield _Group(rows, [row for row in group if not row.measured], base, helpers)


def _ranked(groups: Sequence[_Group]) -> Iterator[list[Row]]:
    """Yield the rows of each group with their ranks and ratios; all are compared in one go."""
    pairs = {(id(new), id(base)): (new, base) for group in groups for new, base in group.pairs}
    ratios = dict(zip(pairs, compare_rows(list(pairs.values())), strict=True))
    streams = {
        key: (new.stream, base.stream)
        for key, (new, base) in pairs.items()
        if new.stream is not None and base.stream is not None
    }
    of_streams = dict(zip(streams, latency.compared(list(streams.values())), strict=True))
    behind: list[dict[str, Comparison]] = []
    relied_on: list[Sequence[Comparison]] = []
    for group in groups:
        exact = [row for row in group.rows if row.case.ranked]
        behind.append({row.case.backend: ratios[id(row), id(exact[0])] for row in exact[1:]})
        # INVALID ones count too, and no unreliable ratio makes a row the fastest.
        firm = exact and not (exact[0].invalid or any(problems(row, exact[0]) for row in exact[1:]))
        relied_on.append(list(behind[-1].values()) if firm else [])
    for group, of_first, fastest in zip(groups, behind, all_slower(relied_on), strict=True):
        backends = {row.case.backend for row in (*group.rows, *group.rest)}
        ranked_rows = list(group.rest)
        for number, row in enumerate(group.rows):
            base = None if row is group.base else group.base
            to_base, ranked, stream = (id(row), id(base)), row.case.ranked, row.stream
            if stream is not None and to_base in of_streams:
                stream = replace(stream, to_baseline=of_streams[to_base])
            helper, device = group.helpers.get(id(row)), row.case.device.partition(":")[0]
            known = UNTRIED.get((row.bound.kind, device), ()) if row.bound and ranked else ()
            ranked_rows.append(
                replace(
                    row,
                    rank=number + 1 if ranked else None,
                    base=base,
                    to_baseline=ratios.get(to_base),
                    ratio_problems=() if base is None else all_problems(row, base),
                    behind=of_first if ranked and number == 0 else {},
                    fastest=fastest and ranked and number == 0,
                    helper=helper,
                    helper_ratio=None if helper is None else ratios[id(helper), id(row)],
                    untried=tuple(name for name in known if name not in backends),
                    stream=stream,
                )
            )
        yield ranked_rows


FEWER = 0.5
"""A row with at most half of the launches of another avoids starting most operators."""

UNTRIED: Mapping[tuple[str, str], tuple[str, ...]] = {
    (LAUNCHES, "cpu"): ("partial_unroll@10", "fused_cpu"),
    (LAUNCHES, "gpu"): ("partial_unroll@10", "cudnn"),
    (HOST, "cpu"): ("torch", "fused_cpu"),
    (HOST, "gpu"): ("torch", "cudnn"),
    (CHAIN, "cpu"): ("fused_cpu",),
    (CHAIN, "gpu"): ("cudnn",),
}
"""Backends that need less of what binds a case on a kind of device."""


def _helper(row: Row, ranked: Sequence[Row]) -> Row | None:
    """Return the fastest row of a group that needs less of what binds this one, if it is faster.

    Of a case that is bound by launches it is one with far fewer, else any faster one. ranked: rows
    by time.
    """
    if not row.case.ranked or row.bound is None or row.bound.kind == NOT_KNOWN:
        return None
    many = row.roofs.get("launches")
    for other in itertools.takewhile(lambda other: other is not row, ranked):
        one = other.roofs.get("launches")
        fewer = one is not None and many is not None and one <= FEWER * many
        if (fewer or row.bound.kind not in (LAUNCHES, HOST)) and not all_problems(other, row):
            return other
    return None


def _order(row: Row) -> tuple[object, ...]:
    """Order rows: CPU before GPUs, by kind, inference before training, small sizes first."""
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
    """The steps after which two backends have taken the same time, from the start on.

    steps: 0 if the faster one does not start later. low, high: for the ends of the ratio's
    interval; high is infinite where the ratio may be 1. later: seconds by which the first result
    comes later.
    """

    steps: float
    low: float
    high: float
    later: float


def break_even(row: Row, other: Row, ratio: Comparison) -> BreakEven | None:
    """Return after how many steps ``row`` is ahead of ``other``; None if never or not known.

    ratio: its time over the other's. The interval of the steps is that of the ratio alone.
    """
    first, others_first = row.first_result, other.first_result
    if first is None or others_first is None or ratio.ratio.mid >= 1:
        return None
    later = first - others_first

    def steps(value: float) -> float:
        gain = other.time * (1 - value)
        return max(0.0, later) / gain if gain > 0 else (0.0 if later <= 0 else math.inf)

    return BreakEven(steps(ratio.ratio.mid), steps(ratio.ratio.low), steps(ratio.ratio.high), later)


def break_even_pairs(group: Sequence[Row]) -> list[tuple[Row, Row, BreakEven]]:
    """Return the pairs of rows of one group of which the first is FASTER and starts later."""
    starts = [(start, row) for row in group if (start := row.first_result) is not None]
    found = [
        (row, other)
        for (late, row), (soon, other) in itertools.permutations(starts, 2)
        if row.time < other.time and late > soon
    ]
    return [
        (*pair, after)
        for pair, ratio in zip(found, compare_rows(found), strict=True)
        if ratio.verdict is Verdict.FASTER and (after := break_even(*pair, ratio)) is not None
    ]
