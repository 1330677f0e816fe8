"""Pool the processes that measured a case into one result: its time, its figures and its problems.

A ``CaseResult`` is the first of two stages and says nothing about other cases. ``ranking`` builds
the second stage from it. Every report, comparison, history and picture uses these two stages.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.case.cases import Case
from bench.machine.reasons import NO_REASON, Reason
from bench.records.schema import Figures, Measurement, Outcome
from bench.stats import latency
from bench.stats.bound import NOT_KNOWN, Bound, bound
from bench.stats.intervals import CaseInterval, case_intervals, percentiles
from bench.stats.latency import StreamProcesses
from bench.stats.nodes import Item
from bench.stats.ratios import RunSamples
from bench.stats.trust import NO_PROBLEMS, OF_TIME, Problem, Side, Validity, pool
from lstm_impl.proof.comparison import OUTPUT_ERROR

MEASURED = "measured"
"""The outcome of a case that has a time."""


@dataclass(frozen=True)
class CaseResult:
    """Hold what all processes say of one case, without a comparison to any other case.

    Attributes
    ----------
    case
        What was measured.
    outcome
        ``measured``, or why there is no time (one of ``schema.OUTCOMES``). Without a time, the
        reason says more, and all other attributes are empty.
    runs
        The samples of each process.
    interval
        The median over the processes with its interval, in seconds per step.
    disturbed
        The ids of processes with reasons other than the spread of their samples.
    setup
        The medians over the processes, in seconds, by name (``build_s``).
    memory, roofs, energy
        The medians over the processes that have such figures, by name.
    roofs_by
        The owner of each roof in most of the processes, by the names of ``roofs``.
    steady
        Whether every process reached a steady state; None if a process does not say.
    validity
        Whether the time can be trusted, and the ratios to other cases.
    remarks
        The warnings of the backend's code and its changes of the process, each once.
    stream
        The calls of a stream.
    fallback
        What most of the processes ran in place of what the backend's name suggests; empty if they
        ran that.
    bound
        What takes most of a step, as far as that is known.
    error
        The largest relative error of the outputs (root mean squares) over the processes. Only an
        approximate backend has one.
    """

    case: Case
    outcome: str
    reason: Reason = NO_REASON
    runs: tuple[RunSamples, ...] = ()
    interval: CaseInterval | None = None
    disturbed: frozenset[str] = frozenset()
    setup: Mapping[str, float | None] = field(default_factory=dict)
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

    @cached_property
    def percentiles(self) -> Mapping[int, float]:
        """Return the percentiles of the samples of all undisturbed processes, in seconds."""
        return percentiles([run.samples for run in self.runs if run.run not in self.disturbed])

    @property
    def samples(self) -> int:
        """Return the number of samples in all processes."""
        return sum(run.samples.size for run in self.runs)

    @property
    def time(self) -> float:
        """Return the median time of a step in seconds. Only a measured case has one."""
        assert self.interval is not None
        return self.interval.mid

    @property
    def measured(self) -> bool:
        """Whether the case has a time."""
        return self.interval is not None

    @property
    def invalid(self) -> tuple[Problem, ...]:
        """Return the reasons why the time and every ratio of the case are INVALID."""
        return self.validity.invalid

    @property
    def side(self) -> Side:
        """Return the case as a side of a ratio, for ``trust.find_ratio_problems``."""
        return self.validity, self.runs

    @property
    def first_result(self) -> float | None:
        """Return the seconds until the first result: building, tracing, and the first call."""
        found = [self.setup.get(key) for key in ("build_s", "trace_s", "first_call_s")]
        known = [each for each in found if each is not None]
        return sum(known) if known else None

    @property
    def sequences_per_s(self) -> float | None:
        """Return the sequences of the batch divided by the time of a step."""
        return self.case.workload.batch / self.time if self.measured else None

    @property
    def timesteps_per_s(self) -> float | None:
        """Return the timesteps of all sequences without padding, divided by the time of a step."""
        return self.case.workload.valid_timesteps() / self.time if self.measured else None

    @property
    def time_per_timestep(self) -> float | None:
        """Return the seconds of one timestep of the batch."""
        return self.time / self.case.workload.timesteps if self.measured else None


_GRAVITY = ("failed", "crashed", "timed_out", "interrupted", "refused", "not_measured")
"""All outcomes, the most severe first. A failed gate is reported rather than a missing device."""


def case_results(cases: Sequence[tuple[Sequence[Item], Mapping[str, str]]]) -> list[CaseResult]:
    """Return the result of each case, and compute the intervals of all cases together.

    Parameters
    ----------
    cases
        For each case its items, and the node of each run by the run's id. The second mapping is
        empty where nodes are not distinguished.
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
            found.append(_pool(own, outcomes, next(times), nodes))
        else:
            worst = min(outcomes, key=lambda item: _GRAVITY.index(item.outcome))
            found.append(CaseResult(worst.case, worst.outcome, worst.reason))
    return found


def _pool(
    measured: Sequence[Measurement],
    outcomes: Sequence[Outcome],
    interval: CaseInterval,
    nodes: Mapping[str, str],
) -> CaseResult:
    """Return the result of a case that at least one process measured."""
    validity = pool(measured, outcomes, interval)
    steady = {item.steady for item in measured}
    case, work = measured[0].case, measured[0].case.workload
    # Count only timesteps that are not padding.
    valid = work.valid_timesteps() / (work.batch * work.timesteps)
    roofs = _figures([item.roofs for item in measured])
    fallbacks = [item.evidence.get("fallback") for item in measured]
    owners: dict[str, list[str]] = {}
    for item in measured:
        for key, value in (item.roofs or {}).items():
            if key.endswith("_by") and isinstance(value, str):
                owners.setdefault(f"of_{key.removesuffix('_by')}", []).append(value)
    roofs_by = {key: statistics.mode(values) for key, values in owners.items()}
    return CaseResult(
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
        stream=latency.combine_streams(measured, nodes),
        fallback=statistics.mode(each if isinstance(each, str) else "" for each in fallbacks),
        error=_error(measured) if case.approximate else None,
        bound=Bound(NOT_KNOWN) if validity.invalid else bound(roofs, roofs_by, valid),
        remarks=tuple(dict.fromkeys(text for item in measured for text in item.remarks)),
    )


def _error(items: Sequence[Measurement]) -> float | None:
    found = (item.gate.get("errors") for item in items)
    values = [each.get(OUTPUT_ERROR) for each in found if isinstance(each, Mapping)]
    return max((each for each in values if isinstance(each, int | float)), default=None)


def _setup(items: Sequence[Measurement]) -> dict[str, float | None]:
    middles = _figures([item.setup for item in items])
    # The time of compiling is a difference of two times, which noise can make negative. It is then
    # unknown. Negative values do count in the median, which would be too high without them.
    keys = ("build_s", "trace_s", "compile_s", "first_call_s")
    return {key: middle if (middle := middles.get(key, -1.0)) >= 0 else None for key in keys}


def _figures(items: Sequence[Figures | None]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for item in items:
        for key, value in (item or {}).items():
            if isinstance(value, int | float):
                found.setdefault(key, []).append(value)
    return {key: float(statistics.median(values)) for key, values in found.items()}
