"""A map of what truncation windows learn, told: in a terminal, in Markdown, and as data.

In tables rows are distances, columns windows. What comes from a file is data and is escaped where
it is shown. Data for other programs has a row a training; losses are in nats a timestep, never
scaled or rounded, and what has no value is None. This room knows maps; it reads and trains nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from bench.records.maps import LEARNED, Cell, LearningMap, nothing_to_learn
from bench.render import escape
from bench.render.table import Cell as Place
from bench.render.table import Sheet, comma_separated, json_text, numbers

VALUES = ("closed", "loss", "accuracy")

Value = str | float | int | bool | None

TASK_NAMES = {"echo": "Echo", "copy": "Copy memory"}
STATE_NAMES = {True: "state carried", False: "state reset at each window"}


def sheets(found: LearningMap, values: str = "closed") -> list[tuple[str, Sheet]]:
    """The tables of a map with their titles: a task each, with the state carried or reset."""
    result = []
    for task, carried, distances in _parts(found):
        windows = found.windows(task)
        lines: list[list[str | Place]] = [
            [str(d), *(text(found, task, d, k, carried, values) for k in windows)]
            for d in distances
        ]
        updates = ("updates", *(_updates(found, task, k, carried) for k in windows))
        lines.append([Place(each, style="dim") for each in updates])
        sheet = Sheet.of(numbers("d \\ k", *map(str, windows)), lines)
        result.append((f"{TASK_NAMES[task]}, {STATE_NAMES[carried]}", sheet))
    return result


def _parts(found: LearningMap) -> Iterator[tuple[str, bool, tuple[int, ...]]]:
    """Each task with each state that was measured, and the distances."""
    for task, carried in itertools.product(found.tasks(), (True, False)):
        if distances := found.distances(task, carried):
            yield task, carried, distances


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
    return escape.clean("; ".join([f"backend {found.run.backend} on {found.run.device}", *parts]))


def summary(found: LearningMap) -> list[str]:
    """The smallest window that every seed learned through, for each distance, in words."""
    lines = []
    for task, carried, distances in _parts(found):
        parts = []
        for distance in distances:
            window = found.smallest_window(distance, carried, task)
            parts.append(f"d={distance}: {'none' if window is None else f'k={window}'}")
        lines.append(
            f"{TASK_NAMES[task]}, {STATE_NAMES[carried]}, smallest window that every seed "
            f"learned through: {', '.join(parts)}"
        )
    return lines


def terminal(found: LearningMap, values: str, console: Console) -> None:
    """Print the tables."""
    console.print(Text(about(found)))
    for title, sheet in sheets(found, values):
        console.print()
        console.print(Text(title))
        console.print(sheet.grid())
    console.print()
    console.print(Text(legend(values)))
    for line in summary(found):
        console.print(Text(line))


def markdown(found: LearningMap, values: str = "closed") -> str:
    """The same tables in Markdown."""
    blocks = [escape.markdown(about(found))]
    for title, sheet in sheets(found, values):
        blocks += [f"**{title}**", sheet.markdown()]
    blocks.append(legend(values))
    blocks.append("\n".join(f"- {line}" for line in summary(found)))
    return "\n\n".join(blocks) + "\n"


def progress(cell: Cell, done: int, total: int) -> str:
    """One line about a cell that has just been trained."""
    state = "carried" if cell.carried else "reset"
    place = f"{cell.task} d={cell.distance} k={cell.window} {state} seed {cell.seed}"
    if cell.problem:
        reached = escape.clean(cell.problem)
    else:
        closed = cell.closed
        reached = f"loss {cell.loss:.4g} (best {_number(cell.best)})"
        reached += "" if closed is None else f", {percent(closed)}% of the way"
    return f"[{done}/{total}] {place}: {reached}"


def records(found: LearningMap) -> list[dict[str, Value]]:
    """A flat row for each training of the map: a task, a distance, a window, a state, a seed."""
    run = found.run
    return [
        {
            "run": run.id,
            "started": run.started.isoformat(),
            "backend": run.backend,
            "device": run.device,
            "task": cell.task,
            "distance": cell.distance,
            "window": cell.window,
            "stride": cell.stride,
            "carried": cell.carried,
            "seed": cell.seed,
            "timesteps": cell.timesteps,
            "updates": cell.updates,
            "loss": cell.loss,
            "best": cell.best,
            "memoryless": cell.memoryless,
            "closed": cell.closed,
            "learned": cell.learned,
            "accuracy": cell.accuracy,
            "problem": cell.problem or None,
        }
        for cell in found.cells
    ]


def as_csv(found: LearningMap) -> Iterator[str]:
    """``records`` under a line of their names; what a spreadsheet would run is made text."""
    rows = records(found)
    return comma_separated(rows[0], (row.values() for row in rows))


def as_json(found: LearningMap) -> str:
    """What the map was made with, and ``records``, under ``cells``."""
    run = found.run
    document = {
        "run": run.id,
        "complete": run.complete,
        "settings": dict(run.settings),
        "libraries": dict(run.libraries),
        "cells": records(found),
        "notes": list(found.notes),
    }
    return json_text(document)
