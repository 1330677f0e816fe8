"""How a history is shown: in a terminal, as Markdown, CSV, or a picture.

This room knows a finished ``history.History`` and nothing of how it came about. Names and reasons
in it come from result files, which may come from anywhere: each format makes them harmless.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from bench.cli.output import ASCII, Target, deliver
from bench.comparing import history_moves as moves
from bench.comparing.history import Change, History, Line, Machine, Point, versions_of
from bench.comparing.history_data import comma_separated
from bench.comparing.history_moves import Guard
from bench.render import drawing, marks
from bench.render.console import print_below
from bench.render.escape import clean, code
from bench.render.escape import markdown as escaped
from bench.render.marks import STYLES, compact_verdict
from bench.render.messages import doubt_line
from bench.render.quantities import count, listed, seconds, times_as_fast, times_bounds
from bench.render.table import Cell, Column, Sheet
from bench.stats.comparison import Verdict
from bench.stats.intervals import ENOUGH_PROCESSES, VERDICT_CONFIDENCE
from bench.stats.trust import Doubt

MARK = "▲"
"""Before versions that changed."""

_SINCE = "changed since"
_COLUMNS = (
    Column("#", whole=True),
    Column("step", right=True, whole=True),
    Column(marks.TIME_INTERVAL, whole=True),
    Column("speed", right=True, whole=True),
    *(Column(heading, whole=True) for heading in (marks.RATIO_INTERVAL, "verdict")),
    Column(_SINCE),
)
_NARROW = 80
_BARS = "▁▂▃▄▅▆▇█"

# A sparkline spans at least this factor, or else the noise of equal sessions would fill it.
_LEAST_SPAN = 1.25

# A line names so many changes; the list of sessions and CSV have all.
_FEW = 2
_MOST = 20


def show(
    history: History,
    kind: str,
    target: Target,
    *,
    sessions: bool = False,
    guard: Guard | None = None,
) -> None:
    """Write the history.

    sessions: in a terminal, each case with all its sessions; else a line a case. guard: what a
    ``--fail-on`` rule found.

    Raises UsageError for a file that cannot be written.
    """
    deliver(
        kind,
        target,
        terminal=lambda console: terminal(history, console, sessions=sessions, guard=guard),
        texts={
            "markdown": lambda: markdown(history, guard),
            "csv": lambda: comma_separated(history),
            **{form: functools.partial(_picture, history, form) for form in drawing.FORMATS},
        },
        letters={**ASCII, _BARS[-1]: str(len(_BARS))},  # of a sparkline, not of a bar
    )


def _picture(history: History, kind: str) -> bytes:
    from bench.comparing import history_picture

    return history_picture.picture(history, kind)


# What is said in words


def sparkline(line: Line, machine: Machine) -> str:
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
    told, others = versions_of(changes, most)
    mark = f"{MARK} " if told else ""
    if others:
        told.append(f"{others} other" if told else f"{others} other than versions")
    return mark + "; ".join(told)


def _sessions(machine: Machine) -> Sheet:
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


def _title(machine: Machine) -> str:
    host = clean(machine.name, 60) or "an unnamed machine"
    counts = f"{count(len(machine.sessions), 'session')}, {count(len(machine.lines), 'case')}"
    return f"History on {host}: {counts}"


def _method(machine: Machine) -> list[str]:
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
        lines.append(f"{marks.DOUBTFUL_TIME}.")
    if len(machine.sessions) == 1:
        lines.append("One session is no history yet: run the suite again to have a second.")
    return lines


def _doubts(machine: Machine) -> list[tuple[str, list[str]]]:
    """Headings with their lines: what is not to be trusted, why and where."""
    found = [
        ("INVALID, and where", _where(machine, lambda point: point.reasons)),
        ("Doubtful times, and where", _where(machine, lambda point: point.of_time)),
    ]
    return [(heading, lines) for heading, lines in found if lines]


def _where(machine: Machine, reasons: Callable[[Point], Sequence[Doubt]]) -> list[str]:
    """A line for each kind of reason, in the words of the first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in machine.lines:
        for point in line.points:
            for doubt in reasons(point):
                where = f"{clean(line.case.id, 120)} in #{point.session.number}"
                found.setdefault(doubt.code, []).append((clean(doubt_line(doubt)), where))
    lines = []
    for told in found.values():
        first = told[0][0]
        differ = any(text != first for text, _ in told)
        places = [where for _, where in told]
        lines.append(
            f"{count(len(places), 'time')}, {'for one ' * differ}{first}: {listed(places, 5)}"
        )
    return lines


def _case(line: Line) -> Sheet:
    """A line a session; ``verdict`` also says INVALID."""
    return Sheet.of(_COLUMNS, map(_cells, line.points))


def _cells(point: Point) -> list[Cell]:
    number = f"#{point.session.number}"
    if point.time is None:
        return list(map(Cell, (number, "—", "", "", "", clean(point.outcome, 80), "")))
    time, to_before = point.time, point.to_before
    sign = marks.DOUBTFUL if point.of_time else ""
    cells = [number, f"{sign}{seconds(time.mid)}", marks.bounds_of_time(time, time.mid)]
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
    history: History, console: Console, *, sessions: bool, guard: Guard | None = None
) -> None:
    """Print the history: each case with all its sessions, or else a line a case."""
    for index, machine in enumerate(history.machines):
        if index:
            console.print()
        console.print(Text(_title(machine), "bold"))
        console.print()
        console.print(_sessions(machine).grid())
        if machine.moved:
            console.print()
            console.print(Text(moves.HEADING, style="bold"))
            console.print(moves.sheet(machine).grid())
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
        for words in [*moves.method(machine), *_method(machine)]:
            console.print()
            console.print(Text(words, "dim"))
        for title, lines in _doubts(machine):
            print_below(console, title, lines)
    if history.notes:
        print_below(console, "Notes", [clean(note, 500) for note in history.notes])
    if guard is not None:
        console.print()
        console.print(Text(moves.gate_line(guard), style="bold red" if guard.failed else ""))


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


def _overview(machine: Machine) -> Sheet:
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
            for name in ("", "now", "speed", marks.RATIO_INTERVAL, "verdict")
        ),
    ]
    return Sheet.of(columns, lines)


def _news(line: Line) -> tuple[bool, float]:
    """Those FASTER or SLOWER than before first, by how much."""
    last = line.points[-1].to_before
    if last is None or last.verdict not in (Verdict.FASTER, Verdict.SLOWER):
        return True, 0.0
    return False, -abs(last.log_ratio)


# Markdown


def markdown(history: History, guard: Guard | None = None) -> str:
    """The history for an issue or a README; what comes from a file stands as code or escaped."""
    out: list[str] = []
    for machine in history.machines:
        out += [f"## {escaped(_title(machine))}", "", _sessions(machine).markdown()]
        if machine.moved:
            out += ["", f"### {moves.HEADING}", "", moves.sheet(machine).markdown()]
        for line in machine.lines:
            bars = f" {sparkline(line, machine)}" if len(machine.sessions) > 1 else ""
            out += ["", f"### {code(line.case.id, 160)}{bars}", "", _case(line).markdown()]
        told = [*moves.method(machine), *_method(machine)]
        out += ["", *(f"- {escaped(each)}" for each in told)]
        for heading, lines in _doubts(machine):
            out += ["", f"#### {heading}", ""]
            out += [f"- {escaped(each, 1000)}" for each in lines]
        out.append("")
    if history.notes:
        out += ["#### Notes", "", *(f"- {escaped(note, 500)}" for note in history.notes), ""]
    if guard is not None:
        out += [f"**{escaped(moves.gate_line(guard), 3000)}**", ""]
    return "\n".join(out)
