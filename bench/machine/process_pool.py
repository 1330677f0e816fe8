"""Processes that take orders and answer them, in JSON, and that end together.

Workers that wait for one another wait for ever where one is gone, so every such order has its time,
and one that dies, or that is not done in time, ends them all: ``PoolError`` names it and its last
words in one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine.fields import printable
from bench.machine.fresh import ending, last_words
from bench.machine.processes import kill_group
from bench.machine.writing import Closing

LOOK_EVERY = 0.1
"""Seconds between two looks at whether all still live."""

LAST_WORDS = 1.0
"""Seconds in which one that has failed may turn out to have lost another, which died before."""

ERROR = "error"
"""The key of an answer that says why there is none."""


class PoolError(RuntimeError):
    """One of the processes died, failed or was not done in time; one line, which and why."""


class FailedError(PoolError):
    """One of them answered that it could not do it, and why: ``said``."""

    def __init__(self, text: str, said: str) -> None:
        super().__init__(text)
        self.said = said


@dataclass(frozen=True)
class Launch:
    """words: what ``python`` is given. environment: of the process, all of it."""

    words: Sequence[str]
    environment: Mapping[str, str]


class ProcessPool(Closing):
    """Processes by name, until it is closed, after which none of them is left."""

    def __init__(self, launches: Mapping[str, Launch]) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._folder = Path(tempfile.mkdtemp(prefix="lstm-pool-"))
        self._logs = {name: self._folder / f"{n}.log" for n, name in enumerate(launches)}
        try:
            for name, launch in launches.items():
                self._start(name, launch)
        except BaseException:
            self.close()
            raise

    def _start(self, name: str, launch: Launch) -> None:
        with self._logs[name].open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *launch.words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(launch.environment),
                # A group of its own, so that what it starts can be ended with it.
                start_new_session=True,
            )
        self._processes[name] = process

        def read() -> None:
            assert process.stdout is not None
            with contextlib.suppress(OSError, ValueError):  # closed, or cut where it was killed
                for line in process.stdout:
                    self._answers.put((name, json.loads(line)))

        threading.Thread(target=read, name=f"answers of {name}", daemon=True).start()

    def close(self) -> None:
        """Kill all that is left, with what they have started."""
        for process in self._processes.values():
            kill_group(process)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not written goes nowhere
                        pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pids(self) -> dict[str, int]:
        """The number of each process, by its name."""
        return {name: process.pid for name, process in self._processes.items()}

    def ask(
        self, orders: Mapping[str, Mapping[str, object]], seconds: float, what: str
    ) -> dict[str, Any]:
        """Return what each answers to its order; those without one stay idle.

        what: they do, for the error. Raises PoolError if one is not done in ``seconds``, dies,
        ordered or not, or answers with an error.
        """
        for name, order in orders.items():
            self._order(name, order)
        end = time.monotonic() + seconds
        answers: dict[str, Any] = {}
        while len(answers) < len(orders):
            answers |= self._next(what)
            if time.monotonic() >= end and len(answers) < len(orders):
                late = [
                    f"{name}, said last: {self._said(name)}" for name in orders.keys() - answers
                ]
                raise PoolError(f"not done within {seconds:g} s {what}: {'; '.join(late)}")
        return {name: answers[name] for name in orders}

    def _order(self, name: str, order: Mapping[str, object]) -> None:
        stdin = self._processes[name].stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # it is gone: the next look says so
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()

    def _next(self, what: str) -> dict[str, Any]:
        """The next answer, by the name of its process, if one comes soon. Raises PoolError."""
        self._look(what)
        try:
            name, answer = self._answers.get(timeout=LOOK_EVERY)
        except queue.Empty:
            return {}
        if isinstance(answer, dict) and ERROR in answer:
            end = time.monotonic() + LAST_WORDS
            while time.monotonic() < end:
                self._look(what)
                time.sleep(LOOK_EVERY)
            said = printable(str(answer[ERROR]))
            raise FailedError(f"{name} failed {what}: {said}", said)
        return {name: answer}

    def _look(self, what: str) -> None:
        """Raise PoolError if any has died."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                raise PoolError(f"{name} {ending(code)} {what}; its last line: {self._said(name)}")

    def _said(self, name: str) -> str:
        """The last line of its log."""
        log = self._logs[name].read_bytes()[-20_000:].decode(errors="replace")
        return printable(last_words(log)) or "nothing"


def serve(handle: Callable[[dict[str, Any]], object]) -> None:
    """In one of the processes: answer orders until there are no more.

    What ``handle`` raises is the answer. What a framework prints goes to the log.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            orders.put(json.loads(line))
        # The parent is gone, and this process may be waiting for another in a framework's own
        # code, which knows no interruption.
        os._exit(0)

    threading.Thread(target=read, name="orders", daemon=True).start()
    while True:
        order = orders.get()
        try:
            answer = handle(order)
        except Exception as error:
            answer = {ERROR: f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
