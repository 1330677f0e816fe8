"""How a history is shown: in a terminal, as Markdown, CSV, or a picture.

This room knows a finished ``history.History`` and nothing of how it came about. Names and reasons
in it come from result files, which may come from anywhere: each format makes them harmless.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.comparing.history import Change, History, HistoryError, Line, Machine, Point, Session
from bench.comparing.history_data import comma_separated
from bench.disk.writing import write_bytes
from bench.judging.process_means import ENOUGH_PROCESSES, VERDICT_CONFIDENCE
from bench.judging.ratios import Comparison
from bench.judging.verdict import Verdict
from bench.telling import command_line, drawing
from bench.telling.deliver import WIDTH
from bench.telling.inert import clean, code
from bench.telling.inert import markdown as escaped
from bench.telling.marks import (
    DOUBTFUL,
    DOUBTFUL_TIME,
    RATIO_INTERVAL,
    TIME_INTERVAL,
    bounds_of_time,
)
from bench.telling.quantities import count, seconds, times_as_fast, times_bounds
from bench.telling.terminal import text_console
from bench.telling.verdict_words import compact_verdict

MARK = "▲"
"""Before versions that changed."""

_HEADINGS = (
    "#",
    "step",
    TIME_INTERVAL,
    "speed",
    RATIO_INTERVAL,
    "verdict",
    "changed since",
)
_NARROW = 80
_BARS = "▁▂▃▄▅▆▇█"

# A sparkline spans at least this factor, or else the noise of equal sessions would fill it.
_LEAST_SPAN = 1.25

# A line names so many changes; the list of sessions and CSV have all.
_FEW = 2
_MOST = 20
_STYLES = {
    Verdict.FASTER: "bold green",
    Verdict.SLOWER: "bold red",
    Verdict.SAME: "cyan",
    Verdict.UNCLEAR: "yellow",
}

_ASCII = str.maketrans({**dict(zip(_BARS, "12345678", strict=True)), MARK: "*"})


def show(history: History, kind: str, output: Path | None, *, sessions: bool = False) -> None:
    """Write the history to a file, or else to standard output.

    sessions: in a terminal, each case with all its sessions; else a line a case.

    Raises HistoryError where matplotlib is wanted and missing, ResultWriteError for a file that
    cannot be written.
    """
    if kind in drawing.FORMATS:
        if not drawing.available():
            raise HistoryError(f"a picture needs matplotlib: {drawing.INSTALL}")
        from bench.comparing import history_picture

        data = history_picture.picture(history, kind)
    elif kind == "terminal" and output is None:
        wide = command_line.width_is_known()
        _terminal(history, text_console(width=None if wide else WIDTH), sessions)
        sys.stdout.flush()
        return
    else:
        text = (
            _plain(history, sessions)
            if kind == "terminal"
            else markdown(history)
            if kind == "markdown"
            else comma_separated(history)
        )
        data = text.encode("utf-8", "replace")
    if output is None:
        sys.stdout.write(data.decode())
        sys.stdout.flush()
    else:
        write_bytes(output, data)
        print(f"written: {clean(str(output))}", file=sys.stderr)


def _plain(history: History, sessions: bool) -> str:
    console = text_console(file=io.StringIO(), width=WIDTH, no_color=True)
    _terminal(history, console, sessions)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


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
    versions = [change.words for change in changes if change.version]
    others = sum(not change.version for change in changes)
    told = versions[:most]
    if len(versions) > most:
        told.append(f"{len(versions) - most} more")
    if others:
        told.append(f"{others} other" if told else f"{others} other than versions")
    return (f"{MARK} " * bool(versions)) + "; ".join(told)


def _session_words(session: Session) -> list[str]:
    return [
        str(session.number),
        f"{session.started:%Y-%m-%d %H:%M}",
        clean(session.suites, 40),
        str(len(session.runs)),
        changed(session.changes, _MOST),
    ]


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
        lines.append(f"{DOUBTFUL_TIME}.")
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


def _where(machine: Machine, reasons: Callable[[Point], Sequence[str]]) -> list[str]:
    found: dict[str, list[str]] = {}
    for line in machine.lines:
        for point in line.points:
            for reason in reasons(point):
                where = f"{clean(line.case.id, 120)} in #{point.session.number}"
                found.setdefault(clean(reason), []).append(where)
    return [
        f"{reason}: {', '.join(places[:5])}"
        + (f" and {len(places) - 5} more" if len(places) > 5 else "")
        for reason, places in found.items()
    ]


def _cells(point: Point) -> list[str]:
    """One row of a case's table; ``verdict`` also says INVALID."""
    number = f"#{point.session.number}"
    if point.time is None:
        return [number, "—", "", "", "", clean(point.outcome, 80), ""]
    time, to_before = point.time, point.to_before
    sign = DOUBTFUL if point.of_time else ""
    cells = [number, f"{sign}{seconds(time.mid)}", bounds_of_time(time, time.mid)]
    cells += ["", "", ""] if to_before is None else _ratio_cells(to_before)
    if point.reasons or point.of_ratio:
        cells[-1] = f"{cells[-1]} (INVALID)".strip()
    return [*cells, changed(point.changes, _FEW)]


def _ratio_cells(found: Comparison) -> list[str]:
    star = "*" if found.allowance else ""
    return [
        times_as_fast(found.ratio.mid, 3) + star,
        times_bounds(found.ratio.low, found.ratio.high, 3),
        compact_verdict(found),
    ]


# A terminal


def _terminal(history: History, console: Console, sessions: bool) -> None:
    plain = not console.encoding.lower().startswith("utf")

    def text(words: str, style: str = "") -> Text:
        return Text(words.translate(_ASCII) if plain else words, style=style)

    for index, machine in enumerate(history.machines):
        if index:
            console.print()
        console.print(text(_title(machine), "bold"))
        console.print()
        table = _table(("session", "start (UTC)", "suite", "processes", "changed"), right=(0, 3))
        for session in machine.sessions:
            table.add_row(*(text(each) for each in _session_words(session)))
        console.print(table)
        if not sessions:
            console.print()
            console.print(_overview(machine, text))
        for line in machine.lines if sessions else ():
            console.print()
            heading = text(clean(line.case.id, 160), "bold")
            if len(machine.sessions) > 1:
                heading.append_text(text(f"  {sparkline(line, machine)}", "cyan"))
            console.print(heading)
            # Where there is no room for what changed in a column, it stands below the table.
            headings = _HEADINGS[:-1] if console.width < _NARROW else _HEADINGS
            table = _table(headings, right=(1, 3))
            parts: list[Table | Text] = [table]
            for point in line.points:
                cells = [text(each) for each in _cells(point)]
                if point.to_before is not None:
                    cells[5].stylize(_STYLES[point.to_before.verdict])
                if len(headings) < len(cells) and cells[-1]:
                    parts.append(text(f"{cells[0].plain} {_HEADINGS[-1]}: {cells[-1].plain}"))
                table.add_row(*cells[: len(headings)])
            for part in parts:
                console.print(Padding(part, (0, 0, 0, 2)))
        for words in _method(machine):
            console.print()
            console.print(text(words, "dim"))
        for title, lines in _doubts(machine):
            _lines(console, title, [text(each) for each in lines])
    _lines(console, "Notes", [text(clean(note, 500)) for note in history.notes])


def _overview(machine: Machine, text: Callable[[str, str], Text]) -> Table:
    """A line a case: those that changed last come first, the largest change before the others."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("case", overflow="fold", ratio=1)  # gives way, and none of the others
    for name in ("", "now", "speed", RATIO_INTERVAL, "verdict"):
        numbers = name in ("now", "speed")
        table.add_column(name, justify="right" if numbers else "left", no_wrap=True)
    table.expand = True
    for line in sorted(machine.lines, key=_news):
        last = line.measured[-1]  # a case that was never measured has no line
        number, now, _, *ratio, _ = _cells(last)
        style = "" if last.to_before is None else _STYLES[last.to_before.verdict]
        if last is not line.points[-1]:
            now = f"{now} ({number})"
        cells = [clean(line.case.id, 160), sparkline(line, machine), now, *ratio]
        table.add_row(*(text(each, style if at == 5 else "") for at, each in enumerate(cells)))
    return table


def _news(line: Line) -> tuple[bool, float]:
    """Those FASTER or SLOWER than before first, by how much."""
    last = line.points[-1].to_before
    if last is None or last.verdict not in (Verdict.FASTER, Verdict.SLOWER):
        return True, 0.0
    return False, -abs(last.log_ratio)


def _lines(console: Console, title: str, lines: Sequence[Text]) -> None:
    if lines:
        console.print()
        console.print(Text(title, style="bold"))
    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2)))


def _table(headings: Sequence[str], right: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(headings):
        last = index == len(headings) - 1
        table.add_column(
            name,
            justify="right" if index in right else "left",
            no_wrap=not last,
            overflow="fold" if last else "ellipsis",
        )
    return table


# Markdown


def markdown(history: History) -> str:
    """The history for an issue or a README; what comes from a file stands as code or escaped."""
    out: list[str] = []
    for machine in history.machines:
        out += [f"## {escaped(_title(machine))}", ""]
        out += [
            "| session | start (UTC) | suite | processes | changed |",
            "|---:|---|---|---:|---|",
        ]
        for session in machine.sessions:
            out.append(f"| {' | '.join(map(_escaped_cell, _session_words(session)))} |")
        for line in machine.lines:
            bars = f" {sparkline(line, machine)}" if len(machine.sessions) > 1 else ""
            out += ["", f"### {code(line.case.id, 160)}{bars}", ""]
            out += [f"| {' | '.join(_HEADINGS)} |", "|---|---:|---|---:|---|---|---|"]
            for point in line.points:
                out.append(f"| {' | '.join(map(_escaped_cell, _cells(point)))} |")
        out += ["", *(f"- {escaped(each)}" for each in _method(machine))]
        for heading, lines in _doubts(machine):
            out += ["", f"#### {heading}", ""]
            out += [f"- {escaped(each, 1000)}" for each in lines]
        out.append("")
    if history.notes:
        out += ["#### Notes", "", *(f"- {escaped(note, 500)}" for note in history.notes), ""]
    return "\n".join(out)


def _escaped_cell(text: str) -> str:
    return escaped(text, 2000)
