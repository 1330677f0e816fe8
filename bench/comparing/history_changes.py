"""Since when a case, a backend or all of a device is slower, over the sessions of a machine.

Turns a machine's history into the table that ``judging.movements`` reads, and what it finds back
into sessions, cases and the versions that changed there; and applies a ``--fail-on`` rule to that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.comparing.comparison import Rule
from bench.comparing.sessions import Change, History, Line, Machine, Moved, Session
from bench.judging.changes import FloatArray
from bench.judging.movements import Movement, enough, movements
from bench.judging.verdict import Verdict

LONGEST = 100
"""Sessions that are looked at, the last: what is asked grows with their square, and who has not
acted on a change after a hundred nights will not."""


@dataclass(frozen=True)
class Guard:
    """What a rule found: the lasting changes for the worse that broke it, with their machines.

    judged, short: on how many machines the history was long enough to tell, and on how many not.
    """

    rule: Rule
    failed: tuple[tuple[Machine, Moved], ...]
    judged: int
    short: int


def with_moves(history: History) -> History:
    """The same history with what moved on each machine."""
    return replace(
        history,
        machines=tuple(replace(each, moved=_moved(each)) for each in history.machines),
    )


def judge(rule: Rule, history: History) -> Guard:
    """Which changes for the worse last until now and, with a threshold, are surely beyond it."""
    failed = [
        (machine, moved)
        for machine in history.machines
        for moved in machine.moved or ()
        if moved.movement.verdict is Verdict.SLOWER
        and moved.back is None
        and (rule.threshold is None or moved.movement.ratio.low > 1 + rule.threshold)
    ]
    short = sum(machine.moved is None for machine in history.machines)
    return Guard(rule, tuple(failed), len(history.machines) - short, short)


def _moved(machine: Machine) -> tuple[Moved, ...] | None:
    """What moved, device by device: a new driver of a GPU is nothing to the CPU."""
    sessions = machine.sessions[-LONGEST:]
    found: list[Moved] = []
    judged = False
    for device in dict.fromkeys(line.case.device for line in machine.lines):
        lines = [line for line in machine.lines if line.case.device == device]
        logs = _table(lines, sessions)
        judged = judged or enough(logs)
        found += [
            _told(each, lines, sessions)
            for each in movements(logs, [line.case.backend for line in lines])
        ]
    found.sort(key=lambda each: each.session.number)
    return tuple(found) if judged else None


def _table(lines: Sequence[Line], sessions: Sequence[Session]) -> FloatArray:
    """The log of each case's time in each session; not a number where it has none."""
    columns = {session.number: column for column, session in enumerate(sessions)}
    logs = np.full((len(lines), len(sessions)), np.nan)
    for row, line in enumerate(lines):
        for point in line.points:
            if point.time is not None and point.session.number in columns:
                logs[row, columns[point.session.number]] = math.log(point.time.mid)
    return logs


def _told(found: Movement, lines: Sequence[Line], sessions: Sequence[Session]) -> Moved:
    back = found.taken_back
    return Moved(
        found,
        sessions[found.before],
        sessions[found.at],
        tuple(lines[row].case for row in found.rows),
        _between(sessions[found.before + 1 : found.at + 1]),
        None if back is None else sessions[back],
    )


def _between(sessions: Sequence[Session]) -> tuple[Change, ...]:
    """What changed in any of these, from what it was before the first to what it is in the last."""
    found: dict[str, Change] = {}
    for session in sessions:
        for change in session.changes:
            first = found.get(change.name, change)
            found[change.name] = replace(change, before=first.before)
    kept = [change for change in found.values() if change.before != change.after]
    return tuple(sorted(kept, key=lambda change: not change.version))
