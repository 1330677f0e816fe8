"""Show a history in a terminal, as Markdown, CSV or a picture, with the changes first."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from bench.render import labels, quantities
from bench.render.compare import RATIO, WIDTH, annotation, by_reason, threshold_text
from bench.render.data import OF_VALIDITY, attributes, csv_records
from bench.render.escape import clean, terminal_picture
from bench.render.labels import RATIO_INTERVAL, compact_verdict
from bench.render.messages import problem_lines, reason_texts
from bench.render.quantities import count, join_names, percent, seconds, times_as_fast, times_bounds
from bench.render.table import Block, Column, Document, Standing, TableCell, TextTable
from bench.stats.change_points import LEAST, LEVEL, LONGEST, Scope
from bench.stats.comparison import Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, VERDICT_CONFIDENCE, Interval
from bench.verdicts.case_results import CaseResult
from bench.verdicts.history import (
    CaseHistory,
    Change,
    History,
    LastingChange,
    MachineHistory,
    Point,
    RuleResult,
)

HEADING = "What changed for longer than a session"
_MOST_NAMES = 3
_MOST_CHANGES = 4
_BARS = "▁▂▃▄▅▆▇█"
_LEAST_SPAN = 1.25
"""The least factor that a sparkline spans. With less, the noise of equal sessions would fill it."""


def what(machine: MachineHistory, lasting: LastingChange) -> str:
    """Return ``all 12 cases``, ``scan (4 cases)`` or a case.

    The text names the device if there are several.
    """
    devices = {line.case.device for line in machine.lines}
    on = f" on {clean(lasting.cases[0].device, 20)}" if len(devices) > 1 else ""
    if lasting.event.scope is Scope.ALL:
        number = len(lasting.cases)
        return (f"all {number:,} cases" if number > 1 else "the only case") + on
    if lasting.event.scope is Scope.BACKENDS:
        names = list(map(labels.name, dict.fromkeys(case.backend for case in lasting.cases)))
        return f"{join_names(names, _MOST_NAMES)} ({count(len(lasting.cases), 'case')}){on}"
    return join_names([clean(case.id, 120) for case in lasting.cases], _MOST_NAMES)


def list_changes(changes: Sequence[Change], most: int = _MOST_CHANGES) -> str:
    """Return the changed versions by name, and how many other things changed."""
    versions = [_change(each) for each in changes if each.version]
    others = len(changes) - len(versions)
    shown = quantities.shorten(versions, most)
    if others:
        shown.append(f"{count(others, 'other')}{'' if versions else ' than versions'}")
    return "; ".join(shown)


def _change(change: Change) -> str:
    """Return ``tensorflow 2.20.0 → 2.21.0``."""
    name = clean(change.name.removeprefix("libraries."), 60)
    return f"{name} {clean(change.before, 60)} → {clean(change.after, 60)}"


def _speed(ratio: Interval) -> tuple[str, str]:
    """Return how many times as fast, and the interval of that."""
    return times_as_fast(ratio.mid, 3), times_bounds(ratio.low, ratio.high, 3)


def _when(lasting: LastingChange) -> tuple[str, str]:
    """Return since which session a change lasts, and what changed in the machine then."""
    if lasting.event.gradual:
        first, last = lasting.before.number, lasting.session.number
        return f"gradually from #{first} to #{last}", "a little in each session"
    return f"since #{lasting.session.number}", list_changes(lasting.changes)


def gate_line(guard: RuleResult) -> str:
    """Return the result of the rule."""
    text = guard.rule.text
    if guard.judged == 0:
        return f"--fail-on {text}: passed without a check, because the history is too short."
    beyond = threshold_text(guard.rule)
    if not guard.failed:
        return f"--fail-on {text}: passed, no case has become SLOWER{beyond} and stayed so."
    found = [f"{what(machine, lasting)} {_when(lasting)[0]}" for machine, lasting in guard.failed]
    return f"--fail-on {text}: FAILED, SLOWER{beyond}: {'; '.join(found)}."


def error_lines(guard: RuleResult) -> list[str]:
    """Return an error for GitHub Actions for each change that broke the rule."""
    found = []
    for machine, lasting in guard.failed:
        speed, bounds = _speed(lasting.event.ratio)
        text = (
            f"{what(machine, lasting)}: {speed} times as fast as before ({bounds}); changed there: "
            f"{_when(lasting)[1]}"
        )
        first = lasting.before if lasting.event.gradual else lasting.session
        found.append(annotation("error", f"SLOWER since {first.started:%Y-%m-%d}", text))
    return found


# Data

CSV_COLUMNS = (
    *("host", "machine_id", "case_id", "session", "number", "started", "suite", "outcome"),
    *("processes", "time_s", "time_low_s", "time_high_s", "valid", "invalid_reasons"),
    *("time_valid", "time_reasons", *RATIO, "ratio_valid", "ratio_reasons"),
    *("versions_changed", "also_changed"),
    *("moved", "moved_verdict", "moved_ratio", "moved_ratio_low", "moved_ratio_high"),
)

_Getters: TypeAlias = Mapping[str, Callable[[Any], object]]
_RATIO_VALIDITY: _Getters = {
    "ratio_valid": lambda point: not point.ratio_problems if point.to_previous else None,
    "ratio_reasons": lambda point: problem_lines(point.ratio_problems),
}
_TIME = attributes("processes", time_s="mid", time_low_s="low", time_high_s="high")
_MOVED = {
    **attributes(moved="scope.value", moved_verdict="verdict.value", moved_ratio="ratio.mid"),
    **attributes(moved_ratio_low="ratio.low", moved_ratio_high="ratio.high"),
}


def as_csv(history: History) -> Iterator[str]:
    """Return one row per case and session, in seconds and plain ratios."""
    rows = (_records(machine, line) for machine in history.machines for line in machine.lines)
    return csv_records(CSV_COLUMNS, itertools.chain.from_iterable(rows))


def _records(machine: MachineHistory, line: CaseHistory) -> Iterator[dict[str, object]]:
    # A lasting change is in the row of the first session after it that has a time. Of two changes
    # in the same session, that row has the second, which affects fewer cases.
    moves = {
        later[0].session.number: lasting.event
        for lasting in machine.lasting or ()
        if line.case in lasting.cases
        and (later := [p for p in line.measured if p.session.number >= lasting.session.number])
    }
    for point in line.points:
        session = point.session
        record: dict[str, object] = {
            "host": session.runs[0].host,
            "machine_id": machine.id,
            "case_id": line.case.id,
            "session": session.id,
            "number": session.number,
            "started": session.started.isoformat(),
            "suite": session.suites,
            "outcome": _outcome(point.result),
        }
        for name, wanted in (("versions_changed", True), ("also_changed", False)):
            shown = [_change(change) for change in point.changes if change.version is wanted]
            record[name] = "; ".join(shown)
        result = point.result
        parts: list[tuple[object, _Getters]] = [
            *((result.interval, _TIME), (point.to_previous, RATIO), (result, OF_VALIDITY)),
            *((point, _RATIO_VALIDITY), (moves.get(session.number), _MOVED)),
        ]
        for part, getters in parts:
            if part is not None:
                record |= {name: get(part) for name, get in getters.items()}
        yield record


def texts(history: History, shown: Document) -> dict[str, Callable[[], str | Iterable[str]]]:
    """Return the function that makes each format other than a terminal's, given the document
    ``shown``.
    """
    return {
        "markdown": shown.markdown,
        "csv": lambda: as_csv(history),
        "svg": lambda: terminal_picture(shown.terminal, "python -m bench.history", WIDTH),
    }


# Documents


def document(history: History, sessions: bool = False, guard: RuleResult | None = None) -> Document:
    """Return what changed, then the sessions, then one line per case.

    With ``sessions``, all sessions of each case are shown in place of these lines.
    """
    blocks = [] if guard is None else [Block(lines=[gate_line(guard)], style="bold")]
    for machine in history.machines:
        host = clean(machine.name, 60) or "an unnamed machine"
        counts = f"{count(len(machine.sessions), 'session')}, {count(len(machine.lines), 'case')}"
        blocks.append(Block(f"History on {host}: {counts}", level=2))
        if machine.lasting:
            blocks.append(Block(HEADING, table=changes_table(machine)))
        blocks.append(Block(table=_sessions(machine)))
        if sessions:
            for line in machine.lines:
                bars = f"  {sparkline(line, machine)}" if len(machine.sessions) > 1 else ""
                table = TextTable.of(_COLUMNS, map(_cells, line.points))
                blocks.append(Block(clean(line.case.id, 160) + bars, table=table))
        else:
            blocks.append(Block(table=_overview(machine)))
        blocks.append(Block(lines=method(machine), style="dim"))
        for title, of_time in {"INVALID": False, "Unreliable times": True}.items():
            lines = by_reason(
                (problem, f"{line.case.id} in #{point.session.number}")
                for line in machine.lines
                for point in line.points
                for problem in (point.result.validity.of_time if of_time else point.result.invalid)
            )
            if lines:
                title = "Why times are INVALID" if title == "INVALID" else title
                blocks.append(Block(f"{title}, and where", lines, level=4, indent=2))
    if history.notes:
        lines = [clean(note, 500) for note in history.notes]
        blocks.append(Block("Notes", lines, level=4, indent=2))
    return Document(blocks)


def changes_table(machine: MachineHistory) -> TextTable:
    """Lay out one line per change, in chronological order."""
    lines: list[list[TableCell | str]] = []
    for lasting in machine.lasting or ():
        verdict = lasting.event.verdict
        until = "" if lasting.reverted is None else f" until #{lasting.reverted.number}"
        since = f"#{lasting.session.number} {lasting.session.started:%Y-%m-%d}"
        if lasting.event.gradual:
            since = f"#{lasting.before.number} to #{lasting.session.number}, gradually"
        lines.append(
            [
                since,
                what(machine, lasting),
                *_speed(lasting.event.ratio),
                TableCell(f"{verdict}{until}", style=Standing.of(verdict).style),
                _when(lasting)[1],
            ]
        )
    return TextTable.of(
        [
            Column("since", no_wrap=True),
            Column("what"),
            Column("speed", right=True, no_wrap=True),
            *(Column(heading, no_wrap=True) for heading in (RATIO_INTERVAL, "verdict")),
            Column("changed there"),
        ],
        lines,
    )


def _sessions(machine: MachineHistory) -> TextTable:
    """Lay out one line per session, with what changed in it."""
    return TextTable.of(
        [
            Column("session", right=True, no_wrap=True),
            *(Column(heading, no_wrap=True) for heading in ("start (UTC)", "suite")),
            Column("processes", right=True, no_wrap=True),
            Column("changed"),
        ],
        [
            [
                str(session.number),
                f"{session.started:%Y-%m-%d %H:%M}",
                clean(session.suites, 40),
                str(len(session.runs)),
                list_changes(session.changes, 20),
            ]
            for session in machine.sessions
        ],
    )


_COLUMNS = (
    Column("#", no_wrap=True),
    Column("step", right=True, no_wrap=True),
    Column(labels.TIME_INTERVAL, no_wrap=True),
    Column("speed", right=True, no_wrap=True),
    *(Column(heading, no_wrap=True) for heading in (RATIO_INTERVAL, "verdict")),
    Column("changed since", needed=1),
)


def _outcome(result: CaseResult) -> str:
    text = f"{result.outcome.replace('_', ' ')}: {reason_texts(result.reason)[0]}"
    return result.outcome if result.measured else text


def _cells(point: Point) -> list[TableCell]:
    """Return the cells of a session. The cell ``verdict`` also says INVALID."""
    number = f"#{point.session.number}"
    if point.result.interval is None:
        return list(
            map(TableCell, (number, "—", "", "", "", clean(_outcome(point.result), 80), ""))
        )
    time, to_previous = point.result.interval, point.to_previous
    sign = labels.UNRELIABLE if point.result.validity.of_time else ""
    speed, bounds, verdict, style = "", "", "", ""
    if to_previous is not None:
        speed, bounds = _speed(to_previous.ratio)
        speed += "*" if to_previous.allowance else ""
        verdict, style = compact_verdict(to_previous), Standing.of(to_previous.verdict).style
    if point.result.invalid or point.ratio_problems:
        verdict = f"{verdict} (INVALID)".strip()
    step = f"{sign}{seconds(time.mid)}"
    cells = (number, step, labels.bounds_of_time(time, time.mid), speed, bounds)
    return [
        *map(TableCell, cells),
        TableCell(verdict, style=style),
        TableCell(list_changes(point.changes, 2)),
    ]


def _overview(machine: MachineHistory) -> TextTable:
    """Lay out one line per case: cases that just changed first, the largest change at the top."""

    def news(line: CaseHistory) -> float:
        last = line.points[-1].to_previous
        changed_now = last is not None and last.verdict in (Verdict.FASTER, Verdict.SLOWER)
        return -abs(last.log_ratio) if last is not None and changed_now else 0.0

    lines: list[list[TableCell | str]] = []
    for line in sorted(machine.lines, key=news):
        last = line.measured[-1]  # A case that was never measured has no line.
        number, now, _, *ratio, _ = _cells(last)
        if last is not line.points[-1]:
            now = TableCell(f"{now.text} ({number.text})")
        lines.append([line.case.id, sparkline(line, machine), now, *ratio])
    columns = [
        Column("case", names=True, most=160),
        *(
            Column(name, right=name in ("now", "speed"), no_wrap=True)
            for name in ("", "now", "speed", RATIO_INTERVAL, "verdict")
        ),
    ]
    return TextTable.of(columns, lines)


def sparkline(line: CaseHistory, machine: MachineHistory) -> str:
    """Return one bar for each session, higher for slower, and a blank where there is no time."""
    logs = {point.session.number: math.log(point.result.time) for point in line.measured}
    middle = (min(logs.values()) + max(logs.values())) / 2
    span = max(max(logs.values()) - min(logs.values()), math.log(_LEAST_SPAN))
    heights = [
        0.5 + (logs[session.number] - middle) / span if session.number in logs else None
        for session in machine.sessions
    ]
    most = len(_BARS) - 1
    return "".join(" " if each is None else _BARS[min(most, int(each * 8))] for each in heights)


def method(machine: MachineHistory) -> list[str]:
    """Return how to read the tables, and how changes were found."""
    if len(machine.sessions) == 1:
        return ["One session is not a history yet. Run the suite again to add a second session."]
    if machine.lasting is None:
        most = max(len(line.measured) for line in machine.lines)
        looked = (
            f"To find when a change began takes {LEAST} sessions with the same case. There are at "
            f"most {most} here."
        )
    else:
        long = len(machine.sessions) > LONGEST
        sessions = f"the last {LONGEST} sessions (trends in all)" if long else "all sessions"
        looked = (
            f"Changes that last longer than a session are sought in {sessions}, for all cases "
            f"together. Where nothing changed, one is found in about {percent(LEVEL)} of "
            "histories. A change of a backend or a case is relative to the cases that did not "
            "change."
        )
    lines = [
        looked + (" None was found." if machine.lasting == () else ""),
        "speed: how many times as fast as in the previous session with the case, with a "
        f"{100 * VERDICT_CONFIDENCE:g}% interval. Above 1, it became faster.",
    ]
    points = [point for line in machine.lines for point in line.points]
    if any(point.to_previous and point.to_previous.allowance for point in points):
        lines.append(
            f"* A session of fewer than {ENOUGH_PROCESSES} processes cannot show how much "
            "processes differ, so an allowance for that is added to the interval."
        )
    if any(point.result.validity.of_time for point in points):
        lines.append(f"{labels.UNRELIABLE_TIME}.")
    return lines
