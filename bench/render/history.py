"""Show a history: in a terminal, as Markdown, CSV or a picture, with what changed first.

Names and reasons come from result files, which may come from anywhere: each format escapes them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from bench.render import labels, plot, table
from bench.render.compare import annotation, beyond_words
from bench.render.escape import LONGEST_NAME, clean, code, print_below
from bench.render.escape import markdown as escaped
from bench.render.labels import RATIO_INTERVAL, STYLES, compact_verdict
from bench.render.messages import doubt_line, doubt_lines
from bench.render.plot import Axes, Figure
from bench.render.quantities import (
    count,
    listed,
    percent,
    seconds,
    times_as,
    times_as_fast,
    times_bounds,
)
from bench.render.table import Cell, Column, Sheet
from bench.stats.change_points import (
    LEAST,
    LEVEL,
    LONGEST,
    Scope,
)
from bench.stats.comparison import Verdict
from bench.stats.history import (
    CaseHistory,
    Change,
    History,
    MachineHistory,
    Moved,
    Point,
    RuleResult,
)
from bench.stats.intervals import ENOUGH_PROCESSES, VERDICT_CONFIDENCE, speed
from bench.stats.trust import Doubt

HEADING = "What changed for longer than a session"
_CHANGE_COLUMNS = (
    Column("since", whole=True),
    Column("what"),
    Column("speed", right=True, whole=True),
    *(Column(heading, whole=True) for heading in (RATIO_INTERVAL, "verdict")),
    Column("changed there"),
)
_MOST_NAMES = 3
_MOST_CHANGES = 4


def changes_table(machine: MachineHistory) -> Sheet:
    """A line a change, in the order of time."""
    return Sheet.of(
        _CHANGE_COLUMNS, [_change_cells(machine, moved) for moved in machine.moved or ()]
    )


def _change_cells(machine: MachineHistory, moved: Moved) -> list[Cell]:
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


def what(machine: MachineHistory, moved: Moved) -> str:
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
    described = versions or ["no version that was recorded"]
    return "; ".join([*described, *([f"{others} other{'s' * (others > 1)}"] if others else [])])


def changes_method(machine: MachineHistory) -> list[str]:
    """How it was found out, or why it was not."""
    if machine.moved is None:
        most = max(len(line.measured) for line in machine.lines)
        return [
            f"Finding when a change began takes {LEAST} sessions with the same case; here are at "
            f"most {most}."
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
        "relative to the cases that did not change."
    )
    if any(moved.movement.scope is Scope.ALL for moved in machine.moved):
        lines.append("Where all cases moved, it is the machine, or something that all of them use.")
    return lines


def gate_line(guard: RuleResult) -> str:
    """What the rule found."""
    text = guard.rule.text
    if guard.judged == 0:
        return f"--fail-on {text}: not judged, the history is too short for it (passed)."
    beyond = beyond_words(guard.rule)
    if not guard.failed:
        return f"--fail-on {text}: passed, nothing has become SLOWER{beyond} and stayed so."
    messages = [
        f"{what(machine, moved)} "
        + (
            f"gradually from #{moved.before.number} to #{moved.session.number}"
            if moved.movement.gradual
            else f"since #{moved.session.number}"
        )
        for machine, moved in guard.failed
    ]
    return f"--fail-on {text}: FAILED, SLOWER{beyond}: {'; '.join(messages)}."


def error_lines(guard: RuleResult) -> list[str]:
    """An error for GitHub Actions for each change that broke the rule."""
    found = []
    for machine, moved in guard.failed:
        ratio = moved.movement.ratio
        gradual = moved.movement.gradual
        text = (
            f"{what(machine, moved)}: {times_as_fast(ratio.mid, 3)} times as fast as before "
            f"({times_bounds(ratio.low, ratio.high, 3)}); "
            + (GRADUALLY if gradual else f"changed there: {there(moved.changes)}")
        )
        since = f"{(moved.before if gradual else moved.session).started:%Y-%m-%d}"
        found.append(annotation("error", f"SLOWER since {since}", text))
    return found


def change_words(change: Change) -> str:
    """``tensorflow 2.20.0 → 2.21.0``, safe to show."""
    name = clean(change.name.removeprefix("libraries."), 60)
    return f"{name} {clean(change.before, 60)} → {clean(change.after, 60)}"


def versions_of(changes: Sequence[Change], most: int) -> tuple[list[str], int]:
    """Return the versions that changed, the first few by name, and how much else did."""
    versions = [change_words(change) for change in changes if change.version]
    more = [f"{len(versions) - most} more"] if len(versions) > most else []
    return versions[:most] + more, len(changes) - len(versions)


CSV_COLUMNS = (
    *("host", "machine_id", "case_id", "session", "number", "started", "suite", "outcome"),
    *("processes", "time_s", "time_low_s", "time_high_s", "valid", "invalid_reasons"),
    *("time_valid", "time_reasons"),
    *("ratio", "ratio_low", "ratio_high", "speedup", "speedup_low", "speedup_high"),
    *("ratio_confidence", "verdict", "ratio_valid", "ratio_reasons"),
    *("versions_changed", "also_changed"),
    *("moved", "moved_verdict", "moved_ratio", "moved_ratio_low", "moved_ratio_high"),
)


def as_csv(history: History) -> Iterator[str]:
    """One row a case and session, in seconds and plain ratios."""
    return table.records(
        CSV_COLUMNS,
        (
            _record(machine, line, point) | _change_record(moves.get(point.session.number))
            for machine in history.machines
            for line in machine.lines
            for moves in [_case_changes(machine, line)]
            for point in line.points
        ),
    )


def _record(machine: MachineHistory, line: CaseHistory, point: Point) -> dict[str, object]:
    session = point.session
    record: dict[str, object] = {
        "host": session.runs[0].host,
        "machine_id": machine.id,
        "case_id": line.case.id,
        "session": session.id,
        "number": session.number,
        "started": session.started.isoformat(),
        "suite": session.suites,
        "outcome": point.outcome or "measured",
    }
    for name, wanted in (("versions_changed", True), ("also_changed", False)):
        shown = [change_words(change) for change in point.changes if change.version is wanted]
        record[name] = "; ".join(shown)
    if point.time is not None:
        record |= {
            "processes": point.time.processes,
            "time_s": point.time.mid,
            "time_low_s": point.time.low,
            "time_high_s": point.time.high,
            "valid": not point.reasons,
            "invalid_reasons": _joined(point.reasons),
            "time_valid": not (point.reasons or point.of_time),
            "time_reasons": _joined((*point.reasons, *point.of_time)),
        }
    if (found := point.to_before) is not None:
        record |= {
            "ratio": found.ratio.mid,
            "ratio_low": found.ratio.low,
            "ratio_high": table.finite(found.ratio.high),
            "speedup": speed(found.ratio.mid),
            "speedup_low": speed(found.ratio.high),
            "speedup_high": table.finite(speed(found.ratio.low)),
            "ratio_confidence": found.ratio.confidence,
            "verdict": found.verdict.value,
            "ratio_valid": not point.of_ratio,
            "ratio_reasons": _joined(point.of_ratio),
        }
    return record


def _case_changes(machine: MachineHistory, line: CaseHistory) -> dict[int, Moved]:
    """The lasting changes of a case, by the number of the first of its sessions after each."""
    found: dict[int, Moved] = {}
    for moved in machine.moved or ():
        later = [
            point.session.number
            for point in line.measured
            if point.session.number >= moved.session.number
        ]
        if line.case in moved.cases and later:
            found[later[0]] = moved  # of two at once the second is that of fewer cases
    return found


def _change_record(moved: Moved | None) -> dict[str, object]:
    if moved is None:
        return {}
    ratio = moved.movement.ratio
    return {
        "moved": moved.movement.scope.value,
        "moved_verdict": moved.movement.verdict.value,
        "moved_ratio": ratio.mid,
        "moved_ratio_low": ratio.low,
        "moved_ratio_high": table.finite(ratio.high),
    }


def _joined(doubts: Sequence[Doubt]) -> str:
    return doubt_lines(doubts)


# So many panels can still be read on a page; of more, --case chooses.
MOST_CASES = 12
_PANELS_ABREAST = 3
_WIDTH, _PANEL, _TEXT_LINE = 7.0, 1.75, 0.14  # inches
_MOST_DATES = 5  # below a panel
_MOST_NOTES = 12
_SHADES = {Verdict.SLOWER: "#D55E00", Verdict.FASTER: "#0072B2"}


def picture(history: History, kind: str) -> bytes:
    """The history of the machine that measured last, as a PNG, SVG or PDF file."""
    with plot.style():
        return plot.encoded(_draw(history), kind)


def _draw(history: History) -> Figure:
    machine = history.machines[0]
    lines = machine.lines[:MOST_CASES]
    changes = {
        session.number: tuple(change for change in session.changes if change.version)
        for session in machine.sessions
    }
    marks = {number: found for number, found in changes.items() if found}
    notes = [*_notes(marks), *_lasting(machine)]
    columns = min(_PANELS_ABREAST, len(lines))
    rows = math.ceil(len(lines) / columns)
    height = rows * _PANEL + _TEXT_LINE * (len(notes) + 4)
    figure = plot.empty_figure(_WIDTH, height)
    figure.suptitle(_picture_title(history, len(lines)), fontsize=9, x=0.01, ha="left")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, line in zip(grid, lines, strict=False):
        _panel(axes, line, machine, list(marks))
    for axes in grid[len(lines) :]:
        axes.set_axis_off()
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=7.5, x=0.01, ha="left", color=plot.INK)
    return figure


def _picture_title(history: History, shown: int) -> str:
    machine = history.machines[0]
    first, last = machine.sessions[0].started, machine.sessions[-1].started
    parts = [
        f"Time of a step on {plot.label(machine.name) or 'an unnamed machine'}",
        f"{first:%Y-%m-%d}" + (f" to {last:%Y-%m-%d}" if last.date() != first.date() else ""),
        count(len(machine.sessions), "session"),
    ]
    if shown < len(machine.lines):
        parts.append(f"{shown} of {len(machine.lines)} cases (--case chooses)")
    if len(history.machines) > 1:
        parts.append(f"{count(len(history.machines) - 1, 'more machine')} not shown")
    return " · ".join(parts)


def _notes(marks: dict[int, tuple[Change, ...]]) -> list[str]:
    """What the numbers of the dashed lines mean."""
    notes = []
    for number, found in marks.items():
        text = "; ".join(plot.label(change_words(change), 100) for change in found[:2])
        more = f"; {len(found) - 2} more" if len(found) > 2 else ""
        notes.append(f"#{number}  {text}{more}")
    if len(notes) > _MOST_NOTES:
        left = len(notes) - _MOST_NOTES
        notes = [
            *notes[:_MOST_NOTES],
            f"and changes at {count(left, 'more session')} (--format csv)",
        ]
    return notes


def _lasting(machine: MachineHistory) -> list[str]:
    """What the shades mean, a line for each change."""
    found = []
    for moved in machine.moved or ():
        cases = what(machine, moved)
        speed = times_as(moved.movement.ratio.mid, 3)
        text = f"shaded since #{moved.session.number}: {cases}, {speed}, {moved.movement.verdict}"
        found.append(plot.label(text, 160))
    left = len(found) - _MOST_NOTES
    return (
        [*found[:_MOST_NOTES], f"and {count(left, 'more change')} (--format csv)"]
        if left > 0
        else found
    )


def _shade(axes: Axes, line: CaseHistory, machine: MachineHistory) -> None:
    """From where this case's time changed, until it was taken back or to the end."""
    for moved in machine.moved or ():
        if line.case not in moved.cases:
            continue
        end = machine.sessions[-1].number + 0.5 if moved.back is None else moved.back.number - 0.5
        colour = _SHADES[moved.movement.verdict]
        begin = moved.session.number - 0.5
        axes.axvspan(begin, end, color=colour, alpha=0.12, linewidth=0)
        axes.annotate(
            f"{times_as_fast(moved.movement.ratio.mid, 3)}×",
            (begin, 0),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=6.5,
            color=colour,
        )


def _mark_invalid(axes: Axes, numbers: list[int], mids: list[float]) -> None:
    axes.plot(
        numbers,
        mids,
        linestyle="none",
        marker="x",
        markersize=8,
        markeredgewidth=1.6,
        color=plot.INK,
    )
    axes.annotate(
        "× INVALID",
        (1, 0.02),
        xycoords="axes fraction",
        ha="right",
        va="bottom",
        fontsize=7,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _panel(axes: Axes, line: CaseHistory, machine: MachineHistory, marks: list[int]) -> None:
    case = line.case
    work = f"{case.spec.dtype} {case.workload.mode} {plot.label(case.device, 12)}"
    title = f"{plot.label(case.backend, 34)}\n{plot.label(case.shape, 34)}\n{work}"
    axes.set_title(title, loc="left", fontsize=7.5)
    points = [(point, point.time) for point in line.points if point.time is not None]
    size, unit = plot.scale([time.high for _, time in points])
    xs = [point.session.number for point, _ in points]
    mids = [time.mid / size for _, time in points]
    down = [(time.mid - time.low) / size for _, time in points]
    up = [(time.high - time.mid) / size for _, time in points]
    look = plot.look_of(case.backend)
    axes.errorbar(
        xs,
        mids,
        yerr=[down, up],
        color=look.colour,
        linestyle="none",
        marker="o",
        markersize=3.5,
        elinewidth=1.0,
        capsize=2.5,
    )
    # A line goes from one session to the next: over one that has no time there is none.
    known = dict(zip(xs, mids, strict=True))
    along = [session.number for session in machine.sessions]
    axes.plot(
        along,
        [known.get(number, math.nan) for number in along],
        color=look.colour,
        linewidth=1.2,
    )
    invalid = [point.session.number for point, _ in points if point.reasons]
    if invalid:
        _mark_invalid(axes, invalid, [known[number] for number in invalid])
    _shade(axes, line, machine)
    # From 0, so that a small change looks small.
    axes.set_ylim(0, 1.22 * max(time.high / size for _, time in points))
    axes.set_xlim(0.6, len(machine.sessions) + 0.4)
    top = axes.get_ylim()[1]
    for number in marks:
        axes.axvline(number - 0.5, color=plot.SUBTLE, linestyle=(0, (4, 2)), linewidth=0.9)
        axes.text(number - 0.47, top, f"#{number}", va="top", fontsize=6.5, color=plot.SUBTLE)
    axes.set_ylabel(unit)
    step = math.ceil(len(machine.sessions) / _MOST_DATES)
    ticks = machine.sessions[::step]
    axes.set_xticks(
        [session.number for session in ticks], [f"#{s.number}\n{s.started:%m-%d}" for s in ticks]
    )


MARK = "▲"
"""Before versions that changed."""

_SINCE = "changed since"
_COLUMNS = (
    Column("#", whole=True),
    Column("step", right=True, whole=True),
    Column(labels.TIME_INTERVAL, whole=True),
    Column("speed", right=True, whole=True),
    *(Column(heading, whole=True) for heading in (labels.RATIO_INTERVAL, "verdict")),
    Column(_SINCE),
)
_NARROW = 80
_BARS = "▁▂▃▄▅▆▇█"

# A sparkline spans at least this factor, or else the noise of equal sessions would fill it.
_LEAST_SPAN = 1.25

# A line names so many changes; the list of sessions and CSV have all.
_FEW = 2
_MOST = 20


LETTERS = {_BARS[-1]: str(len(_BARS))}
"""For a terminal with ASCII only: of a sparkline, not of a bar."""


def texts(
    history: History, guard: RuleResult | None = None
) -> dict[str, Callable[[], str | bytes | Iterable[str]]]:
    """Return what makes each format but a terminal's."""
    return {
        "markdown": lambda: markdown(history, guard),
        "csv": lambda: as_csv(history),
        **{form: functools.partial(picture, history, form) for form in plot.FORMATS},
    }


# What is said in words


def sparkline(line: CaseHistory, machine: MachineHistory) -> str:
    """A bar for each session of the machine, higher for slower; a blank where there is no time."""
    times = {point.session.number: point.time.mid for point in line.points if point.time}
    logs = {number: math.log(time) for number, time in times.items()}
    middle = (min(logs.values()) + max(logs.values())) / 2
    span = max(max(logs.values()) - min(logs.values()), math.log(_LEAST_SPAN))
    bars = []
    for session in machine.sessions:
        if session.number not in logs:
            bars.append(" ")
            continue
        height = 0.5 + (logs[session.number] - middle) / span
        bars.append(_BARS[min(len(_BARS) - 1, int(height * len(_BARS)))])
    return "".join(bars)


def changed(changes: Sequence[Change], most: int) -> str:
    """The versions that changed, the first few by name, and how much else did."""
    described, others = versions_of(changes, most)
    mark = f"{MARK} " if described else ""
    if others:
        described.append(
            f"{others} other{'s' * (others > 1)}" if described else f"{others} other than versions"
        )
    return mark + "; ".join(described)


def _sessions(machine: MachineHistory) -> Sheet:
    """A line a session, and what changed in it."""
    return Sheet.of(
        [
            Column("session", right=True, whole=True),
            *(Column(heading, whole=True) for heading in ("start (UTC)", "suite")),
            Column("processes", right=True, whole=True),
            Column("changed"),
        ],
        [
            [
                str(session.number),
                f"{session.started:%Y-%m-%d %H:%M}",
                clean(session.suites, 40),
                str(len(session.runs)),
                changed(session.changes, _MOST),
            ]
            for session in machine.sessions
        ],
    )


def _title(machine: MachineHistory) -> str:
    host = clean(machine.name, 60) or "an unnamed machine"
    counts = f"{count(len(machine.sessions), 'session')}, {count(len(machine.lines), 'case')}"
    return f"History on {host}: {counts}"


def _method(machine: MachineHistory) -> list[str]:
    comparisons = [point.to_before for line in machine.lines for point in line.points]
    lines = []
    if any(comparisons):
        lines.append(
            "speed: how many times as fast as in the session before with the case, with its "
            f"{100 * VERDICT_CONFIDENCE:g}% interval; above 1, it became faster."
        )
    if any(found is not None and found.allowance for found in comparisons):
        lines.append(
            f"* A session of fewer than {ENOUGH_PROCESSES} processes cannot show how much "
            "processes differ, so an allowance was added to the interval."
        )
    times = [point.time for line in machine.lines for point in line.points if point.time]
    if any(time.processes == 1 for time in times):
        lines.append(
            "The interval of a time of one process is of its own samples, and says nothing of what "
            "other processes would have shown."
        )
    if any(point.of_time for line in machine.lines for point in line.points):
        lines.append(f"{labels.DOUBTFUL_TIME}.")
    if len(machine.sessions) == 1:
        lines.append("One session is no history yet: run the suite again to have a second.")
    return lines


def _doubts(machine: MachineHistory) -> list[tuple[str, list[str]]]:
    """Headings with their lines: what is not to be trusted, why and where."""
    found = [
        ("INVALID, and where", _where(machine, lambda point: point.reasons)),
        ("Unreliable times, and where", _where(machine, lambda point: point.of_time)),
    ]
    return [(heading, lines) for heading, lines in found if lines]


def _where(machine: MachineHistory, reasons: Callable[[Point], Sequence[Doubt]]) -> list[str]:
    """A line for each kind of reason, in the words of the first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in machine.lines:
        for point in line.points:
            for doubt in reasons(point):
                where = f"{clean(line.case.id, 120)} in #{point.session.number}"
                found.setdefault(doubt.code, []).append((clean(doubt_line(doubt)), where))
    lines = []
    for described in found.values():
        first = described[0][0]
        differ = any(text != first for text, _ in described)
        places = [where for _, where in described]
        lines.append(
            f"{count(len(places), 'time')}, {'for one ' * differ}{first}: {listed(places, 5)}"
        )
    return lines


def _case(line: CaseHistory) -> Sheet:
    """A line a session; ``verdict`` also says INVALID."""
    return Sheet.of(_COLUMNS, map(_cells, line.points))


def _cells(point: Point) -> list[Cell]:
    number = f"#{point.session.number}"
    if point.time is None:
        return list(map(Cell, (number, "—", "", "", "", clean(point.outcome, 80), "")))
    time, to_before = point.time, point.to_before
    sign = labels.DOUBTFUL if point.of_time else ""
    cells = [number, f"{sign}{seconds(time.mid)}", labels.bounds_of_time(time, time.mid)]
    if to_before is None:
        cells += ["", "", ""]
    else:
        ratio, star = to_before.ratio, "*" if to_before.allowance else ""
        cells += [times_as_fast(ratio.mid, 3) + star, times_bounds(ratio.low, ratio.high, 3)]
        cells.append(compact_verdict(to_before))
    if point.reasons or point.of_ratio:
        cells[-1] = f"{cells[-1]} (INVALID)".strip()
    style = "" if to_before is None else STYLES[to_before.verdict]
    return [
        *map(Cell, cells[:-1]),
        Cell(cells[-1], style=style),
        Cell(changed(point.changes, _FEW)),
    ]


# A terminal


def terminal(
    history: History, console: Console, *, sessions: bool, guard: RuleResult | None = None
) -> None:
    """Print what changed first, then the sessions, then a line a case.

    sessions: in place of these lines each case with all its sessions.
    """
    if guard is not None:
        console.print(Text(gate_line(guard), style="bold red" if guard.failed else ""))
        console.print()
    for index, machine in enumerate(history.machines):
        if index:
            console.print()
        console.print(Text(_title(machine), "bold"))
        console.print()
        if machine.moved:
            console.print(Text(HEADING, style="bold"))
            console.print(changes_table(machine).grid())
            console.print()
        console.print(_sessions(machine).grid())
        if not sessions:
            console.print()
            console.print(_overview(machine).grid())
        for line in machine.lines if sessions else ():
            console.print()
            heading = Text(clean(line.case.id, 160), "bold")
            if len(machine.sessions) > 1:
                heading.append_text(Text(f"  {sparkline(line, machine)}", "cyan"))
            console.print(heading)
            for part in _case_parts(_case(line), console.width):
                console.print(Padding(part, (0, 0, 0, 2)))
        for words in [*changes_method(machine), *_method(machine)]:
            console.print()
            console.print(Text(words, "dim"))
        for title, lines in _doubts(machine):
            print_below(console, title, lines)
    if history.notes:
        print_below(console, "Notes", [clean(note, 500) for note in history.notes])


def _case_parts(sheet: Sheet, width: int) -> list[RenderableType]:
    """Where there is no room for what changed in a column, it stands below the table."""
    if width >= _NARROW:
        return [sheet.grid()]
    below = [
        Text(f"{line[0].text} {_SINCE}: {line[-1].text}") for line in sheet.lines if line[-1].text
    ]
    *columns, last = sheet.columns[:-1]
    kept = sheet.only(range(len(columns) + 1))
    return [replace(kept, columns=(*columns, replace(last, whole=False))).grid(), *below]


def _overview(machine: MachineHistory) -> Sheet:
    """A line a case: those that changed last come first, the largest change before the others."""
    lines: list[list[Cell | str]] = []
    for line in sorted(machine.lines, key=_news):
        last = line.measured[-1]  # a case that was never measured has no line
        number, now, _, *ratio, _ = _cells(last)
        if last is not line.points[-1]:
            now = Cell(f"{now.text} ({number.text})")
        lines.append([line.case.id, sparkline(line, machine), now, *ratio])
    columns = [
        Column("case", names=True, most=160, greedy=True),  # gives way, and none of the others
        *(
            Column(name, right=name in ("now", "speed"), whole=True)
            for name in ("", "now", "speed", labels.RATIO_INTERVAL, "verdict")
        ),
    ]
    return Sheet.of(columns, lines)


def _news(line: CaseHistory) -> tuple[bool, float]:
    """Those FASTER or SLOWER than before first, by how much."""
    last = line.points[-1].to_before
    if last is None or last.verdict not in (Verdict.FASTER, Verdict.SLOWER):
        return True, 0.0
    return False, -abs(last.log_ratio)


# Markdown


def markdown(history: History, guard: RuleResult | None = None) -> str:
    """The history for an issue or a README; what comes from a file stands as code or escaped."""
    out = [] if guard is None else [f"**{escaped(gate_line(guard), 3000)}**", ""]
    for machine in history.machines:
        out += [f"## {escaped(_title(machine))}", ""]
        if machine.moved:
            out += [f"### {HEADING}", "", changes_table(machine).markdown(), ""]
        out.append(_sessions(machine).markdown())
        for line in machine.lines:
            bars = f" {sparkline(line, machine)}" if len(machine.sessions) > 1 else ""
            out += ["", f"### {code(line.case.id, 160)}{bars}", "", _case(line).markdown()]
        shown = [*changes_method(machine), *_method(machine)]
        out += ["", *(f"- {escaped(each)}" for each in shown)]
        for heading, lines in _doubts(machine):
            out += ["", f"#### {heading}", ""]
            out += [f"- {escaped(each, 1000)}" for each in lines]
        out.append("")
    if history.notes:
        out += ["#### Notes", "", *(f"- {escaped(note, 500)}" for note in history.notes), ""]
    return "\n".join(out)
