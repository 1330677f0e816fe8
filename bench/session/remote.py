"""A node as the manager sees it: an executor whose workers run elsewhere.

What comes of a worker is written down here line by line, in a journal of the usual kind: when its
node dies, what it had finished is kept as if its process alone had died. This module knows results
and files; how a node is spoken with is hidden behind ``Far``.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.machine.writing import JOURNAL_SUFFIX, LineFile, write_bytes
from bench.records.schema import ResultFile
from bench.render.escape import clean
from bench.session.hand import Seen
from bench.session.manager import CANNOT_WRITE
from bench.session.session import Session
from bench.session.work import Work
from bench.session.workers import LostError, settle

ASK_EVERY = 1.0
"""Seconds between two looks at a worker on a node: each costs the node a message, and some tenths
of a millisecond of a processor."""

SILENCE = 120.0
"""Seconds without an answer after which a node is given up. Ray finds out sooner that one is gone;
this is for one that is there and answers nothing."""

END_WITHIN = 30.0
"""Seconds that a node may take to end a worker."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Answer(Protocol):
    """What a node was asked."""

    def ready(self) -> bool:
        """Whether it has answered, or never will."""

    def get(self, seconds: float) -> Any:
        """What it answered. Raises LostError where it does not, or not within these seconds."""


class Far(Protocol):
    """A ``Hand`` on a node: it does what it is asked one after the other."""

    def ask(self, method: str, *words: Any) -> Answer:
        """Ask it to do something, without waiting for it."""


class RemoteExecutor:
    """Worker processes of one session on one node, one at a time.

    folder: where results go, here.
    """

    def __init__(
        self, far: Far, session: Session, folder: Path, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._far, self._session, self._folder, self._now = far, session, folder, now
        self._worker: RemoteWorker | None = None

    def start(self, work: Work) -> RemoteWorker:
        """A worker for ``work``."""
        started = self._far.ask("start", self._session, work)
        self._worker = RemoteWorker(
            self._far, started, self._session.suite_name, self._folder, self._now
        )
        return self._worker

    def hurry(self) -> None:
        """Have the node end its worker, without waiting for it."""
        if self._worker is not None:
            with contextlib.suppress(LostError):
                self._worker.hurry()


class RemoteWorker:
    """One of them."""

    def __init__(
        self, far: Far, started: Answer, suite: str, folder: Path, now: Callable[[], float]
    ) -> None:
        self._far, self._suite, self._folder, self._now = far, suite, folder, now
        self._answer: Answer | None = started
        self._asked = now()
        self._lost = False
        self._killing: Answer | None = None
        self._journal: LineFile | None = None
        self._early: list[Mapping[str, object]] = []
        self._new: list[Mapping[str, object]] = []
        self._end: Seen | None = None

    def poll(self) -> int | None:
        """Its exit code, or None. Raises LostError."""
        if self._end is None:
            try:
                self._listen()
            except LostError:
                self._lost = True
                raise
        return None if self._end is None else self._end.code

    def _listen(self) -> None:
        silent = self._now() - self._asked
        if self._answer is None:
            if silent >= ASK_EVERY:
                self._answer, self._asked = self._far.ask("look"), self._now()
            return
        if self._answer.ready():
            seen = self._answer.get(0.0)
            self._answer = None
            self._take(seen)
        elif silent > SILENCE:
            raise LostError(f"it has not answered for {SILENCE:.0f} s", blame=False)

    def _take(self, seen: Seen) -> None:
        self._new += seen.lines
        self._keep(seen)
        if seen.code is not None:
            if found := CANNOT_WRITE.search(seen.words):
                raise LostError(f"on that machine {clean(found[1])}", blame=False)
            if seen.data is not None:
                self._named(seen.name, ".json")
            self._end = seen

    def _keep(self, seen: Seen) -> None:
        """Write down what came; the first line says which run it is, so that none goes before."""
        self._early += seen.lines
        if self._journal is None and seen.journal and any("run" in line for line in self._early):
            self._journal = LineFile(self._folder / self._named(seen.journal, JOURNAL_SUFFIX))
        if self._journal is not None:
            for line in self._early:
                self._journal.append(line)
            self._early = []

    def _named(self, name: str, suffix: str) -> str:
        """A file's name as a node gives it, if it is one that a run of this suite could have."""
        stem = name.removesuffix(suffix)
        known = name.endswith(suffix) and stem.startswith(f"{self._suite}-")
        if not known or not _NAME.fullmatch(stem):
            raise LostError(f"it names a result file {clean(name, 60)}", blame=False)
        return name

    def lines(self) -> Sequence[Mapping[str, object]]:
        """What has come to its journal since the last call."""
        found, self._new = self._new, []
        return found

    def hurry(self) -> None:
        """Have it end, without waiting for that. Raises LostError."""
        if self._killing is None and self._end is None and not self._lost:
            self._killing = self._far.ask("kill")

    def kill(self) -> None:
        """End it, and wait until it has ended. Raises LostError."""
        if self._end is not None or self._lost:
            return
        try:
            if self._answer is not None:
                seen = self._answer.get(END_WITHIN)
                self._answer = None
                self._take(seen)
            self.hurry()
            if self._killing is not None:
                self._take(self._killing.get(END_WITHIN))
        except LostError:
            self._lost = True
            raise

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        """Its result file, which the node has made, or else one of the lines that came."""
        if self._journal is not None:
            self._journal.close()
        if self._end is not None and self._end.data is not None:
            path = self._folder / self._end.name
            write_bytes(path, self._end.data)
            return settle(path, outcomes)
        return None if self._journal is None else settle(self._journal.path, outcomes)

    def last_words(self) -> str:
        """The end of what it printed."""
        return "" if self._end is None else self._end.words
