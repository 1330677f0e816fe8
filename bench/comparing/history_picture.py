"""A history as a picture: the time of each case over the sessions, and where versions changed.

A panel a case; sessions stand at equal distances, since weeks without one tell nothing. A dashed
line with a number stands where a version changed, and below the panels is said what it was. What
changed for longer than a session is shaded in the panels of the cases that moved, with its speed.
This room knows matplotlib through ``drawing``, and finished histories.
"""

from __future__ import annotations

import math

from bench.comparing import history_moves
from bench.comparing.history import Change, History, Line, Machine
from bench.render import drawing
from bench.render.drawing import Axes, Figure
from bench.render.quantities import count, times_as, times_as_fast
from bench.stats.comparison import Verdict

# So many panels can still be read on a page; of more, --case chooses.
MOST_CASES = 12
_COLUMNS = 3
_WIDTH, _PANEL, _LINE = 7.0, 1.75, 0.14  # inches
_MOST_DATES = 5  # below a panel
_MOST_NOTES = 12
_SHADES = {Verdict.SLOWER: "#D55E00", Verdict.FASTER: "#0072B2"}


def picture(history: History, kind: str) -> bytes:
    """The history of the machine that measured last, as a PNG, SVG or PDF file."""
    with drawing.style():
        return drawing.encoded(_draw(history), kind)


def _draw(history: History) -> Figure:
    machine = history.machines[0]
    lines = machine.lines[:MOST_CASES]
    changes = {
        session.number: tuple(change for change in session.changes if change.version)
        for session in machine.sessions
    }
    marks = {number: found for number, found in changes.items() if found}
    notes = [*_notes(marks), *_lasting(machine)]
    columns = min(_COLUMNS, len(lines))
    rows = math.ceil(len(lines) / columns)
    height = rows * _PANEL + _LINE * (len(notes) + 4)
    figure = drawing.figure(_WIDTH, height)
    figure.suptitle(_title(history, len(lines)), fontsize=9, x=0.01, ha="left")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, line in zip(grid, lines, strict=False):
        _panel(axes, line, machine, list(marks))
    for axes in grid[len(lines) :]:
        axes.set_axis_off()
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=7.5, x=0.01, ha="left", color=drawing.INK)
    return figure


def _title(history: History, shown: int) -> str:
    machine = history.machines[0]
    first, last = machine.sessions[0].started, machine.sessions[-1].started
    parts = [
        f"Time of a step on {drawing.label(machine.name) or 'an unnamed machine'}",
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
        told = "; ".join(drawing.label(change.words, 100) for change in found[:2])
        more = f"; {len(found) - 2} more" if len(found) > 2 else ""
        notes.append(f"#{number}  {told}{more}")
    if len(notes) > _MOST_NOTES:
        left = len(notes) - _MOST_NOTES
        notes = [
            *notes[:_MOST_NOTES],
            f"and changes at {count(left, 'more session')} (--format csv)",
        ]
    return notes


def _lasting(machine: Machine) -> list[str]:
    """What the shades mean, a line for each change."""
    found = []
    for moved in machine.moved or ():
        what = history_moves.what(machine, moved)
        speed = times_as(moved.movement.ratio.mid, 3)
        told = f"shaded since #{moved.session.number}: {what}, {speed}, {moved.movement.verdict}"
        found.append(drawing.label(told, 160))
    left = len(found) - _MOST_NOTES
    return (
        [*found[:_MOST_NOTES], f"and {count(left, 'more change')} (--format csv)"]
        if left > 0
        else found
    )


def _shade(axes: Axes, line: Line, machine: Machine) -> None:
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
        color=drawing.INK,
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


def _panel(axes: Axes, line: Line, machine: Machine, marks: list[int]) -> None:
    case = line.case
    work = f"{case.spec.dtype} {case.workload.mode} {drawing.label(case.device, 12)}"
    title = f"{drawing.label(case.backend, 34)}\n{drawing.label(case.shape, 34)}\n{work}"
    axes.set_title(title, loc="left", fontsize=7.5)
    points = [(point, point.time) for point in line.points if point.time is not None]
    size, unit = drawing.scale([time.high for _, time in points])
    xs = [point.session.number for point, _ in points]
    mids = [time.mid / size for _, time in points]
    down = [(time.mid - time.low) / size for _, time in points]
    up = [(time.high - time.mid) / size for _, time in points]
    look = drawing.look(case.backend)
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
        axes.axvline(number - 0.5, color=drawing.SUBTLE, linestyle=(0, (4, 2)), linewidth=0.9)
        axes.text(number - 0.47, top, f"#{number}", va="top", fontsize=6.5, color=drawing.SUBTLE)
    axes.set_ylabel(unit)
    step = math.ceil(len(machine.sessions) / _MOST_DATES)
    ticks = machine.sessions[::step]
    axes.set_xticks(
        [session.number for session in ticks], [f"#{s.number}\n{s.started:%m-%d}" for s in ticks]
    )
