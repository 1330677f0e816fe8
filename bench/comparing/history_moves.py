"""Since when a case, a backend or all of a device is slower, over the sessions of a machine.

Turns a machine's history into the table that ``judging.movements`` reads, and what it finds back
into sessions, cases and the versions that changed there; applies a ``--fail-on`` rule to that; and
says it in a table, in sentences, and as GitHub's annotations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.comparing.comparison import Rule
from bench.comparing.history import (
    Change,
    History,
    Line,
    Machine,
    Moved,
    Session,
    versions_of,
)
from bench.comparing.words import annotation
from bench.render.escape import LONGEST_NAME, clean
from bench.render.marks import RATIO_INTERVAL, STYLES
from bench.render.quantities import count, listed, percent, times_as_fast, times_bounds
from bench.render.table import Cell, Column, Sheet
from bench.stats.change_points import (
    LEAST,
    LEVEL,
    LONGEST,
    FloatArray,
    Movement,
    Scope,
    enough,
    movements,
)
from bench.stats.comparison import Verdict


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
    sessions = machine.sessions
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
        () if found.gradual else _between(sessions[found.before + 1 : found.at + 1]),
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


HEADING = "What changed for longer than a session"
_COLUMNS = (
    Column("since", whole=True),
    Column("what"),
    Column("speed", right=True, whole=True),
    *(Column(heading, whole=True) for heading in (RATIO_INTERVAL, "verdict")),
    Column("changed there"),
)
_MOST_NAMES = 3
_MOST_CHANGES = 4


def sheet(machine: Machine) -> Sheet:
    """A line a change, in the order of time."""
    return Sheet.of(_COLUMNS, [_cells(machine, moved) for moved in machine.moved or ()])


def _cells(machine: Machine, moved: Moved) -> list[Cell]:
    ratio, verdict = moved.movement.ratio, moved.movement.verdict
    until = "" if moved.back is None else f" until #{moved.back.number}"
    return [
        Cell(_when(moved)),
        Cell(what(machine, moved)),
        Cell(times_as_fast(ratio.mid, 3)),
        Cell(times_bounds(ratio.low, ratio.high, 3)),
        Cell(f"{verdict}{until}", style=STYLES[verdict]),
        Cell(GRADUALLY if moved.movement.gradual else there(moved.changes)),
    ]


GRADUALLY = "a little in each session"


def _when(moved: Moved) -> str:
    if moved.movement.gradual:
        return f"#{moved.before.number} to #{moved.session.number}, gradually"
    return f"#{moved.session.number} {moved.session.started:%Y-%m-%d}"


def what(machine: Machine, moved: Moved) -> str:
    """``all 12 cases``, ``scan (4 cases)``, ``scan/b32-...``; and the device, if there are more."""
    devices = {line.case.device for line in machine.lines}
    on = f" on {clean(moved.cases[0].device, 20)}" if len(devices) > 1 else ""
    if moved.movement.scope is Scope.ALL:
        number = len(moved.cases)
        return (f"all {number:,} cases" if number > 1 else "the only case") + on
    if moved.movement.scope is Scope.BACKENDS:
        names = [clean(name, LONGEST_NAME) for name in moved.movement.backends]
        return f"{listed(names, _MOST_NAMES)} ({count(len(moved.cases), 'case')}){on}"
    return listed([clean(case.id, 120) for case in moved.cases], _MOST_NAMES)


def there(changes: Sequence[Change]) -> str:
    """What changed between the sessions on either side: versions by name, all else by number."""
    versions, others = versions_of(changes, _MOST_CHANGES)
    told = versions or ["no version that was recorded"]
    return "; ".join([*told, *([f"{others} other"] if others else [])])


def method(machine: Machine) -> list[str]:
    """How it was found out, or why it was not."""
    if machine.moved is None:
        most = max(len(line.measured) for line in machine.lines)
        return [
            f"Since when something is slower, {LEAST} sessions with the same case can tell; here "
            f"are at most {most}."
        ] * (len(machine.sessions) > 1)
    looked = "all sessions"
    if len(machine.sessions) > LONGEST:
        looked = f"the last {LONGEST} sessions, and trends in all of them"
    lines = [
        f"Changes for longer than a session are sought in {looked}, all cases judged together: "
        f"where nothing changed, one is found in about {percent(LEVEL)} of histories."
    ]
    if not machine.moved:
        return [*lines, "None was found."]
    lines.append(
        "Their speed is that after the change against that before it; of a backend or a case, "
        "beside the cases that stayed as they were."
    )
    if any(moved.movement.scope is Scope.ALL for moved in machine.moved):
        lines.append("Where all cases moved, it is the machine, or something that all of them use.")
    return lines


def gate_line(guard: Guard) -> str:
    """What the rule found."""
    text = guard.rule.text
    if guard.judged == 0:
        return f"--fail-on {text}: not judged, the history is too short for it (passed)."
    beyond = guard.rule.beyond
    if not guard.failed:
        return f"--fail-on {text}: passed, nothing has become SLOWER{beyond} and stayed so."
    told = [
        f"{what(machine, moved)} "
        + (
            f"gradually from #{moved.before.number} to #{moved.session.number}"
            if moved.movement.gradual
            else f"since #{moved.session.number}"
        )
        for machine, moved in guard.failed
    ]
    return f"--fail-on {text}: FAILED, SLOWER{beyond}: {'; '.join(told)}."


def error_lines(guard: Guard) -> list[str]:
    """An error for GitHub Actions for each change that broke the rule."""
    found = []
    for machine, moved in guard.failed:
        ratio = moved.movement.ratio
        gradual = moved.movement.gradual
        told = (
            f"{what(machine, moved)}: {times_as_fast(ratio.mid, 3)} times as fast as before "
            f"({times_bounds(ratio.low, ratio.high, 3)}); "
            + (GRADUALLY if gradual else f"changed there: {there(moved.changes)}")
        )
        since = f"{(moved.before if gradual else moved.session).started:%Y-%m-%d}"
        found.append(annotation("error", f"SLOWER since {since}", told))
    return found
