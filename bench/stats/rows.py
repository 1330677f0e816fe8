"""The report as data: what was measured where, pooled over replicates, ranked, and judged.

A ``Report`` is what every format is made from: sections (one session on one machine), in each a
row a case, with its interval, its ratio to the baseline and its place among the backends that did
the same work. ``judging.table`` has the same as one flat table. This module knows results and
statistics, nothing of how a report looks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from bench.case.cases import Case
from bench.records.grouping import grouped
from bench.records.schema import Run
from bench.stats.bound import Bound
from bench.stats.comparison import Comparison
from bench.stats.intervals import CaseInterval, ReasonedError, percentiles
from bench.stats.latency import StreamProcesses
from bench.stats.pooling import RunSamples
from bench.stats.ratios import HeterogeneityTests
from bench.stats.trust import UNDOUBTED, Doubt, Validity

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
