"""How a session is shown while it goes on: a live view on a terminal, plain lines elsewhere.

This room knows progress and words. It starts no thread: what draws while something is measured
takes its time from that, so that the view is drawn when the manager looks, once a second at most.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.machine.closing import Closing
from bench.render import quantities
from bench.render.escape import clean
from bench.render.quantities import count, listed
from bench.session.manager import Progress
from bench.session.schedule import Leader

DRAW_EVERY = 1.0
MOST_LEADERS = 20
"""Rows of the live table: more would not fit the height of a terminal."""


def duration(seconds: float) -> str:
    """A length of time in words: 42 s, 3 min 05 s, 1 h 02 min."""
    whole = math.floor(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class PlainView(Closing):
    """A line when a process begins, and for what goes wrong: for logs and pipes, and for a fleet,
    whose machines would not fit a picture.

    label: of whom it tells, before each line; empty if there is no other.
    """

    def __init__(self, console: Console, label: str = "") -> None:
        self._console = console
        self._label = f"{label}: " if label else ""
        self._number = 0

    def update(self, progress: Progress) -> None:
        """Tell that a process has begun."""
        if progress.number > self._number:  # of machines side by side the others go on
            self._number = progress.number
            self.tell(f"{_number(progress)}: {count(progress.of, 'case')} in it; {state(progress)}")

    def tell(self, text: str) -> None:
        """One line."""
        self._console.print(Text(clean(f"{self._label}{text}")), soft_wrap=True)

    def close(self) -> None:
        """Nothing is open."""


class LiveView(Closing):
    """What runs, what is done, the time that is left, and who leads in each group."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._now = now
        self._drawn = -math.inf

    def update(self, progress: Progress) -> None:
        """Draw it, unless that was done a moment ago."""
        if self._now() - self._drawn >= DRAW_EVERY:
            self._drawn = self._now()
            self._live.update(picture(progress), refresh=True)

    def tell(self, text: str) -> None:
        """One line above the picture, which stays."""
        self._live.console.print(Text(clean(text)))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def close(self) -> None:
        """Take it away."""
        self._live.stop()


def view(console: Console) -> LiveView | PlainView:
    """The one that fits where it is shown."""
    return LiveView(console) if console.is_terminal else PlainView(console)


def state(progress: Progress) -> str:
    """How far the session is, in words."""
    if progress.processes is None:
        told = f"{progress.settled} of {count(progress.cases, 'case')} precise"
    else:
        told = f"{progress.settled} of {count(progress.cases, 'case')} finished"
    if progress.budget is None:
        return f"{told}, {duration(progress.spent)} so far"
    return f"{told}, {duration(progress.budget - progress.spent)} left"


def picture(progress: Progress) -> RenderableType:
    """The live view."""
    head = Text.assemble(
        (_number(progress), "bold"),
        f": {progress.done} of {count(progress.of, 'case')} in it; {state(progress)}",
    )
    parts: list[RenderableType] = [head, Text(_busy(progress), style="dim")]
    if progress.leaders:
        parts.append(_table(progress.leaders))
    return Group(*parts)


def _number(progress: Progress) -> str:
    number = f"process {progress.number}"
    if progress.place:
        return f"{number} on {progress.place}"
    if progress.processes is not None:
        number += f" (every case is measured in {progress.processes})"
    return number


def _busy(progress: Progress) -> str:
    if not progress.busy:
        return "between two cases"
    cases = [clean(case, 120) for case in progress.busy]
    return f"{'timing' if progress.timing else 'preparing'} {listed(cases, 2)}"


def _table(leaders: tuple[Leader, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("shortest median so far")
    table.add_column("backend")
    table.add_column("time", justify="right")
    table.add_column("processes", justify="right")
    for leader in leaders[:MOST_LEADERS]:
        table.add_row(
            Text(clean(leader.group, 120)),
            Text(clean(leader.backend, 60)),
            quantities.seconds(leader.time),
            f"{leader.processes}{' ✓' if leader.precise else ''}",
        )
    if len(leaders) > MOST_LEADERS:
        table.add_row(Text(f"and {len(leaders) - MOST_LEADERS} more"))
    return table
