"""Follow every case over the sessions of a machine, and find lasting changes.

In each session, the time of a case has an interval and a ratio to the previous session, with a
verdict. Lasting changes come from ``change_points``, with the versions that changed at that point.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

import numpy as np

from bench.case.cases import Case
from bench.records.grouping import group_by
from bench.records.schema import Measurement, Outcome, Results, Run
from bench.stats.change_points import ChangeEvent, change_events, enough
from bench.stats.comparison import Comparison, Verdict
from bench.stats.nodes import Item, distinct
from bench.stats.ratios import compare
from bench.stats.trust import Problem
from bench.verdicts.case_results import CaseResult, case_results
from bench.verdicts.pairs import Rule, environment_differences
from bench.verdicts.sections import NothingToReportError


@dataclass(frozen=True)
class Change:
    """Describe a difference from the previous session.

    version: whether a version differs, or something that matters as much.
    """

    name: str
    before: str
    after: str
    version: bool


@dataclass(frozen=True)
class SessionReplicates:
    """Replicates of one measurement on one machine.

    number: the place in the machine's history, from 1. changes: the differences from the previous
    session; the first session has none.
    """

    number: int
    id: str
    runs: tuple[Run, ...]
    changes: tuple[Change, ...]

    @property
    def started(self) -> datetime:
        """Return when the first run of the session began, in UTC."""
        return min(run.started for run in self.runs)

    @property
    def suites(self) -> str:
        """Return the suites that were run."""
        return ", ".join(dict.fromkeys(run.suite for run in self.runs))


@dataclass(frozen=True)
class Point:
    """A case in one session, compared with the last session that has a time of it.

    to_previous: its time over that in the other session, or None for the first time.
    ratio_problems: why this ratio is unreliable. changes: what has changed since that session.
    """

    session: SessionReplicates
    result: CaseResult
    to_previous: Comparison | None = None
    ratio_problems: tuple[Problem, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class CaseHistory:
    """Hold the times of a case in the sessions of one machine, the earliest first."""

    case: Case
    points: tuple[Point, ...]

    @property
    def measured(self) -> tuple[Point, ...]:
        """Return the points with a time."""
        return tuple(point for point in self.points if point.result.measured)


@dataclass(frozen=True)
class LastingChange:
    """Hold a change of times that lasts longer than one session.

    before, session: the last session before the change, and the first one after it. changes: the
    versions and settings that changed between these two. reverted: the session from which most of
    the change is gone, if any.
    """

    event: ChangeEvent
    before: SessionReplicates
    session: SessionReplicates
    cases: tuple[Case, ...]
    changes: tuple[Change, ...]
    reverted: SessionReplicates | None = None


@dataclass(frozen=True)
class MachineHistory:
    """The history of one machine.

    name: its host name, followed by its id if another machine has the same name. lasting: its
    lasting changes, or None if no case has been measured often enough.
    """

    name: str
    id: str
    sessions: tuple[SessionReplicates, ...]
    lines: tuple[CaseHistory, ...]
    lasting: tuple[LastingChange, ...] | None


@dataclass(frozen=True)
class History:
    """Hold the history of each machine, and notes on how the results were read."""

    machines: tuple[MachineHistory, ...]
    notes: tuple[str, ...] = ()


# Values of an environment that are versions, or that determine how the work is done, come first.
_VERSIONS = re.compile(
    r"commit$|libraries\.|python$|tensorflow\.|gpus\[\d+\]\.(driver|cuda|name)|kernel$|system$"
    r"|container$|threads\.|cpu\.name$|cpu\.governor$|variables\."
)


def build(results: Results, *, pattern: str = "*") -> History:
    """Return how the time of each case changed from run to run.

    pattern: a shell pattern for the ids of cases (``keras/*training*``).

    Raises NothingToReportError if no measured case matches.
    """
    commits = {file.run.id: file.commit for file in results.files}
    measured = results.measurements
    items: list[Measurement | Outcome] = [*measured, *results.outcomes]
    wanted = [item for item in items if fnmatchcase(item.case.id, pattern)]
    if not measured:
        raise NothingToReportError("no_measured_case")
    if not any(isinstance(item, Measurement) for item in wanted):
        known = sorted({item.case.backend for item in measured})
        example = measured[0].case.id
        raise NothingToReportError("no_case_fits", pattern=pattern, example=example, known=known)
    names = distinct({item.run.machine_id: item.run.machine for item in measured})
    machines = [
        _machine(names[machine], machine, found, commits)
        for machine, found in group_by(wanted, lambda item: item.run.machine_id).items()
        if any(isinstance(item, Measurement) for item in found)
    ]
    machines.sort(key=lambda each: each.sessions[-1].started, reverse=True)
    return History(tuple(machines), results.notes)


def since(results: Results, moment: datetime) -> Results:
    """Return the results of sessions that began at this moment or later.

    Raises NothingToReportError if there are none.
    """
    sessions = group_by((file.run for file in results.files), lambda run: run.session)
    begun = {session: min(run.started for run in runs) for session, runs in sessions.items()}
    files = tuple(file for file in results.files if begun[file.run.session] >= moment)
    if not files:
        last = max(begun.values())
        raise NothingToReportError("no_session_since", moment=moment, last=last)
    return replace(results, files=files)


def _machine(
    name: str, machine: str, items: Sequence[Measurement | Outcome], commits: Mapping[str, str]
) -> MachineHistory:
    runs = group_by({item.run.id: item.run for item in items}.values(), lambda run: run.session)
    ordered = sorted(runs.items(), key=lambda each: min((run.started, run.id) for run in each[1]))
    sessions: list[SessionReplicates] = []
    for number, (session, during) in enumerate(ordered, start=1):
        here = tuple(during)
        before = sessions[-1].runs if sessions else here
        sessions.append(SessionReplicates(number, session, here, _changes(before, here, commits)))
    by_case = group_by(items, lambda item: item.case.id).values()
    lines = [_line(found, sessions, commits) for found in by_case]
    measured = tuple(line for line in lines if line.measured)
    return MachineHistory(
        name, machine, tuple(sessions), measured, _lasting_changes(measured, sessions)
    )


def _line(
    items: Sequence[Item], sessions: Sequence[SessionReplicates], commits: Mapping[str, str]
) -> CaseHistory:
    by_session = group_by(items, lambda item: item.run.session)
    present = [session for session in sessions if session.id in by_session]
    points: list[Point] = []
    last: Point | None = None
    for session, result in zip(
        present, case_results([(by_session[session.id], {}) for session in present]), strict=True
    ):
        point = Point(session, result)
        if result.measured and last is not None:
            point = _compare(point, last, commits)
        points.append(point)
        last = point if result.measured else last
    return CaseHistory(items[0].case, tuple(points))


def _compare(point: Point, last: Point, commits: Mapping[str, str]) -> Point:
    """Return a point with its ratio to an earlier one, and what changed between the two."""
    # Sessions are never paired by rounds.
    both = [[run.without_rounds for run in each.result.runs] for each in (point, last)]
    problems = point.result.validity.unpaired + last.result.validity.unpaired
    return Point(
        point.session,
        point.result,
        to_previous=compare(*both),
        ratio_problems=tuple(dict.fromkeys(problems)),
        changes=_changes(last.session.runs, point.session.runs, commits),
    )


def _changes(
    before: Sequence[Run], after: Sequence[Run], commits: Mapping[str, str]
) -> tuple[Change, ...]:
    """Return the differences between the runs of two sessions, versions first."""
    found = [
        Change(name, there, here, _VERSIONS.match(name) is not None)
        for name, there, here in environment_differences(before, after)
    ]
    sides = [dict.fromkeys(commits.get(run.id, "") for run in runs) for runs in (before, after)]
    if set(sides[0]) != set(sides[1]):
        # A commit consists of its first digits, and a note if there were changes.
        parts = [[commit.partition(" ") for commit in side] for side in sides]
        there, here = (
            " or ".join(f"{name[:10]}{blank}{rest}" or "not recorded" for name, blank, rest in side)
            for side in parts
        )
        found.insert(0, Change("commit", there, here, True))
    return tuple(sorted(found, key=lambda change: not change.version))


@dataclass(frozen=True)
class RuleResult:
    """The lasting changes for the worse that broke a rule.

    judged: the number of machines with enough sessions.
    """

    rule: Rule
    failed: tuple[tuple[MachineHistory, LastingChange], ...]
    judged: int


def judge(rule: Rule, history: History) -> RuleResult:
    """Find the changes for the worse that still last and are significantly beyond the rule."""
    failed = [
        (machine, lasting)
        for machine in history.machines
        for lasting in machine.lasting or ()
        if lasting.event.verdict is Verdict.SLOWER
        and lasting.reverted is None
        and (rule.threshold is None or lasting.event.ratio.low > 1 + rule.threshold)
    ]
    judged = sum(machine.lasting is not None for machine in history.machines)
    return RuleResult(rule, tuple(failed), judged)


def _lasting_changes(
    every: Sequence[CaseHistory], sessions: Sequence[SessionReplicates]
) -> tuple[LastingChange, ...] | None:
    """Return the lasting changes of each device, or None if no case has enough times."""
    columns = {session.number: column for column, session in enumerate(sessions)}
    found: list[LastingChange] = []
    judged = False
    for lines in group_by(every, lambda line: line.case.device).values():
        logs = np.full((len(lines), len(sessions)), np.nan)
        for row, line in enumerate(lines):
            for point in line.points:
                if point.result.measured and point.session.number in columns:
                    logs[row, columns[point.session.number]] = math.log(point.result.time)
        judged = judged or enough(logs)
        found += [
            LastingChange(
                each,
                sessions[each.before],
                sessions[each.at],
                tuple(lines[row].case for row in each.rows),
                () if each.gradual else _between(sessions[each.before + 1 : each.at + 1]),
                None if each.reverted is None else sessions[each.reverted],
            )
            for each in change_events(logs, [line.case.backend for line in lines])
        ]
    found.sort(key=lambda each: each.session.number)
    return tuple(found) if judged else None


def _between(sessions: Sequence[SessionReplicates]) -> tuple[Change, ...]:
    """Return the combined changes of these sessions, from before the first to the last."""
    found: dict[str, Change] = {}
    for session in sessions:
        for change in session.changes:
            first = found.get(change.name, change)
            found[change.name] = replace(change, before=first.before)
    kept = [change for change in found.values() if change.before != change.after]
    return tuple(sorted(kept, key=lambda change: not change.version))
