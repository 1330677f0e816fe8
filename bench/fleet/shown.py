"""How a fleet is shown while it measures: a line for what happens, and one a process begun."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from bench.running.live import state
from bench.running.manager import Progress
from bench.telling.inert import clean
from bench.telling.quantities import count


class Lines:
    """Lines of all machines, for a terminal as for a log: many machines would not fit a picture."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def tell(self, text: str) -> None:
        """One line."""
        self._console.print(Text(clean(text)), soft_wrap=True)


class KindLines:
    """The same for the session of one kind of machine. kind: a few words on it, or empty."""

    def __init__(self, lines: Lines, kind: str) -> None:
        self._lines, self._kind = lines, kind
        self._begun = 0

    def update(self, progress: Progress) -> None:
        """Tell that a process has begun."""
        if progress.number > self._begun:
            self._begun = progress.number
            where = f" on {progress.place}" if progress.place else ""
            cases = count(progress.of, "case")
            self.tell(f"process {progress.number}{where}: {cases} in it; {state(progress)}")

    def tell(self, text: str) -> None:
        """One line, which says of which kind of machine it is."""
        self._lines.tell(f"{self._kind}: {text}" if self._kind else text)
