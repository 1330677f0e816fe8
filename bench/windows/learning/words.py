"""A map of what truncation windows learn as text: tables in a terminal and in Markdown.

Rows are distances, columns windows. What comes from a file is data and is escaped where it is
shown. This room knows maps and text; it reads and trains nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.results.maps import LEARNED, Cell, LearningMap, nothing_to_learn
from bench.telling import inert
from bench.telling.terminal import text_console

FORMATS = ("terminal", "markdown")
VALUES = ("closed", "loss", "accuracy")

TASK_NAMES = {"echo": "Echo", "copy": "Copy memory"}
STATE_NAMES = {True: "state carried", False: "state reset at each window"}

WIDTH = 100  # where the terminal's own is not known

_PLAIN = str.maketrans({"✓": "+", "–": "-", "·": ".", "≤": "<"})


@dataclass(frozen=True)
class Grid:
    """One table: a task, and the state carried or reset. rows: a distance and its cells' texts."""

    title: str
    windows: tuple[int, ...]
    updates: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


def grids(found: LearningMap, values: str = "closed") -> list[Grid]:
    """The tables of a map, in the order in which they are shown."""
    result = []
    for task in found.tasks():
        windows = found.windows(task)
        for carried in (True, False):
            distances = found.distances(task, carried)
            if not distances:
                continue
            rows = tuple(
                (d, tuple(text(found, task, d, k, carried, values) for k in windows))
                for d in distances
            )
            updates = tuple(_updates(found, task, k, carried) for k in windows)
            title = f"{TASK_NAMES[task]}, {STATE_NAMES[carried]}"
            result.append(Grid(title, windows, updates, rows))
    return result


def text(
    found: LearningMap, task: str, distance: int, window: int, carried: bool, values: str
) -> str:
    """What a table says of one place of the map: the mean over seeds, and who learned it."""
    if nothing_to_learn(distance, window, carried):
        return "–"
    cells = found.seeds(task, distance, window, carried)
    if not cells:
        return ""
    good = [cell for cell in cells if not cell.problem]
    if not good:
        return "diverged"
    learned = sum(cell.learned for cell in cells)
    mark = " ✓" if learned == len(cells) else f" {learned}/{len(cells)}" if learned else ""
    return _value(good, values) + mark


def _value(cells: Sequence[Cell], values: str) -> str:
    if values == "closed":
        shares = [cell.closed for cell in cells if cell.closed is not None]
        return percent(sum(shares) / len(shares)) if shares else "–"
    if values == "accuracy":
        rates = [cell.accuracy for cell in cells if cell.accuracy is not None]
        return f"{100 * sum(rates) / len(rates):.1f}%" if rates else "–"
    losses = [cell.loss for cell in cells if cell.loss is not None]
    return f"{_number(sum(losses) / len(losses))} ({_number(cells[0].best)})"


def percent(share: float) -> str:
    """A share in per cent, without its sign where that rounds away."""
    return str(round(100 * share))


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


def _updates(found: LearningMap, task: str, window: int, carried: bool) -> str:
    for cell in found.cells:
        if (cell.task, cell.window, cell.carried) == (task, window, carried):
            return str(cell.updates)
    return ""


def legend(values: str) -> str:
    """What the numbers of the tables are."""
    meaning = {
        "closed": "per cent of the way from the memoryless loss to the best possible one",
        "loss": "final loss in nats a timestep, and in brackets the best possible one",
        "accuracy": "share of right answers at the end",
    }[values]
    return (
        f"Rows: distance d. Columns: window k. Cells: {meaning}, mean over seeds. "
        f"✓: every seed learned it ({LEARNED:.0%} of the way), 1/2: one of two did. "
        "–: nothing to learn (state reset and k ≤ d)."
    )


def about(found: LearningMap) -> str:
    """What the map was made with, on one line."""
    settings = found.run.settings
    parts = [
        f"{name} {settings[name]}"
        for name in ("seeds", "timesteps", "stride")
        if settings.get(name) is not None
    ]
    if settings.get("blanks") is True:
        parts.append("copy memory asks for blanks")
    by_task = settings.get("by_task")
    for task, given in by_task.items() if isinstance(by_task, dict) else ():
        if isinstance(given, dict):
            words = ", ".join(f"{name} {value}" for name, value in given.items())
            parts.append(f"{task}: {words}".replace("_", " "))
    if not found.run.complete:
        parts.append("not complete")
    return inert.clean("; ".join([f"backend {found.run.backend} on {found.run.device}", *parts]))


def summary(found: LearningMap) -> list[str]:
    """The smallest window that every seed learned through, for each distance, in words."""
    lines = []
    for task in found.tasks():
        for carried in (True, False):
            distances = found.distances(task, carried)
            if not distances:
                continue
            parts = []
            for distance in distances:
                window = found.smallest_window(distance, carried, task)
                parts.append(f"d={distance}: {'none' if window is None else f'k={window}'}")
            lines.append(
                f"{TASK_NAMES[task]}, {STATE_NAMES[carried]}, smallest window that every seed "
                f"learned through: {', '.join(parts)}"
            )
    return lines


def terminal(found: LearningMap, values: str = "closed", console: Console | None = None) -> None:
    """Print the tables."""
    if console is None:
        console = text_console()
        if not console.is_terminal:
            console = text_console(width=max(WIDTH, console.width))
    plain = not _can_say("✓", console.encoding)

    def say(line: str) -> Text:
        return Text(line.translate(_PLAIN) if plain else line)

    console.print(say(about(found)))
    for grid in grids(found, values):
        table = Table(box=box.ASCII if plain else None)
        table.add_column(say("d \\ k"), justify="right")
        for window in grid.windows:
            table.add_column(str(window), justify="right")
        for distance, cells in grid.rows:
            table.add_row(str(distance), *(say(cell) for cell in cells))
        table.add_row("updates", *grid.updates, style="dim")
        console.print()
        console.print(say(grid.title))
        console.print(table)
    console.print()
    console.print(say(legend(values)))
    for line in summary(found):
        console.print(say(line))


def markdown(found: LearningMap, values: str = "closed") -> str:
    """The same tables in Markdown."""
    blocks = [inert.markdown(about(found))]
    for grid in grids(found, values):
        lines = [
            f"| d \\\\ k | {' | '.join(map(str, grid.windows))} |",
            "|---" + "|---:" * len(grid.windows) + "|",
        ]
        lines += [f"| {distance} | {' | '.join(cells)} |" for distance, cells in grid.rows]
        lines.append(f"| updates | {' | '.join(grid.updates)} |")
        blocks += [f"**{grid.title}**", "\n".join(lines)]
    blocks.append(legend(values))
    blocks.append("\n".join(f"- {line}" for line in summary(found)))
    return "\n\n".join(blocks) + "\n"


def progress(cell: Cell, done: int, total: int) -> str:
    """One line about a cell that has just been trained."""
    state = "carried" if cell.carried else "reset"
    place = f"{cell.task} d={cell.distance} k={cell.window} {state} seed {cell.seed}"
    if cell.problem:
        reached = inert.clean(cell.problem)
    else:
        closed = cell.closed
        reached = f"loss {cell.loss:.4g} (best {_number(cell.best)})"
        reached += "" if closed is None else f", {percent(closed)}% of the way"
    line = f"[{done}/{total}] {place}: {reached}"
    return line if _can_say(line, sys.stdout.encoding) else line.encode("ascii", "replace").decode()


def _can_say(letters: str, encoding: str | None) -> bool:
    try:
        letters.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
