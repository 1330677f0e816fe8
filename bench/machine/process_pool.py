"""Several processes at once that take orders and answer them, in JSON, and that end together.

Workers that wait for one another wait for ever where one is gone, so every such order has its time,
and one that dies, or that is not done in time, ends them all: ``PoolError`` says in one line who it
was and what it said last. It knows processes, not what they are told to do.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import psutil

from bench.machine.fields import printable
from bench.machine.fresh import ending
from bench.machine.processes import kill_group
from bench.machine.writing import Closing

LOOK_EVERY = 0.1
"""Seconds between two looks at whether all still live."""

LAST_WORDS = 1.0
"""Seconds in which one that has failed may turn out to have lost another, which died before."""

_LONGEST = 300
"""Letters of a last line that are reported: a framework's message can be a whole program."""

_LOG_END = 20_000
"""Bytes at the end of a log in which its last line is looked for."""

ERROR = "error"
"""The key of an answer that says why there is none."""

_Answers: TypeAlias = queue.Queue[tuple[str, Any]]
"""Of all processes, as they come, with who answered."""


class PoolError(RuntimeError):
    """One of the processes died, failed or was not done in time; one line, who and why."""


class FailedError(PoolError):
    """One of them answered that it could not do it; said: its words."""

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
        self._hands: dict[str, _Hand] = {}
        self._answers: _Answers = queue.Queue()
        self._folder = Path(tempfile.mkdtemp(prefix="lstm-pool-"))
        try:
            for name, launch in launches.items():
                log = self._folder / f"{len(self._hands)}.log"
                self._hands[name] = _Hand(name, launch, log, self._answers)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill all that is left, with what they have started."""
        for hand in self._hands.values():
            hand.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pids(self) -> dict[str, int]:
        """Who is which process."""
        return {name: hand.process.pid for name, hand in self._hands.items()}

    def ask(
        self, orders: Mapping[str, Mapping[str, object]], seconds: float, what: str
    ) -> dict[str, Any]:
        """What each answers to its order; those without one stay idle.

        what: they do, for the error. Raises PoolError, of anyone who was not done in ``seconds``,
        of any who died, ordered or not, and of one that answered with an error.
        """
        for name, order in orders.items():
            self._hands[name].order(order)
        end = time.monotonic() + seconds
        answers: dict[str, Any] = {}
        while len(answers) < len(orders):
            self._look(what)
            if time.monotonic() >= end:
                late = [name for name in orders if name not in answers]
                raise PoolError(self._late(late, seconds, what))
            # One that has failed is heard at once, though another is waited for.
            with contextlib.suppress(queue.Empty):
                name, answer = self._answers.get(timeout=LOOK_EVERY)
                answers[name] = self._checked(name, answer, what)
        return {name: answers[name] for name in orders}

    def share(
        self,
        orders: Callable[[], Mapping[str, object] | None],
        wanted: Callable[[], bool],
        what: str,
    ) -> Iterator[Any]:
        """What they answer to orders that any of them may have, as it comes.

        orders: the next one, for anyone who is idle; None where none is to be begun. It ends when
        all are idle, or as soon as it is not ``wanted`` any more. Raises PoolError as ``ask`` does,
        but an order takes as long as it takes.
        """
        idle = list(self._hands)
        while wanted():
            while idle and (order := orders()) is not None:
                self._hands[idle.pop()].order(order)
            if len(idle) == len(self._hands):
                return
            self._look(what)
            try:
                name, answer = self._answers.get(timeout=LOOK_EVERY)
            except queue.Empty:
                continue
            idle.append(name)
            yield self._checked(name, answer, what)

    def _checked(self, name: str, answer: Any, what: str) -> Any:
        if not (isinstance(answer, dict) and ERROR in answer):
            return answer
        end = time.monotonic() + LAST_WORDS
        while time.monotonic() < end:
            self._look(what)
            time.sleep(LOOK_EVERY)
        said = printable(str(answer[ERROR]), _LONGEST)
        raise FailedError(f"{name} failed {what}: {said}", said)

    def _look(self, what: str) -> None:
        """Raise PoolError if any has died."""
        for name, hand in self._hands.items():
            code = hand.process.poll()
            if code is not None:
                said = hand.said() or "it said nothing"
                raise PoolError(f"{name} {ending(code)} {what}; its last line: {said}")

    def _late(self, names: Sequence[str], seconds: float, what: str) -> str:
        shown = []
        for name in names:
            hand = self._hands[name]
            said = hand.said() or "nothing"
            shown.append(f"{name}, {hand.state()}, said last: {said}")
        return f"not done within {seconds:g} s {what}: {'; '.join(shown)}"


class _Hand:
    """One process with its pipes and its log."""

    def __init__(self, name: str, launch: Launch, log: Path, answers: _Answers) -> None:
        self._name, self._log, self._answers = name, log, answers
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *launch.words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=dict(launch.environment),
                # A group of its own, so that what it starts can be ended with it.
                start_new_session=True,
            )
        assert self.process.stdout is not None
        reader = threading.Thread(
            target=self._read, args=(self.process.stdout,), name=f"answers of {name}", daemon=True
        )
        reader.start()

    def _read(self, answers: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed while it is read
            for line in answers:
                with contextlib.suppress(ValueError):  # cut where it was killed
                    self._answers.put((self._name, json.loads(line)))

    def order(self, order: Mapping[str, object]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone: the next look says so
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def said(self) -> str:
        """The last line of its log."""
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - _LOG_END))
            lines = file.read().decode(errors="replace").strip().splitlines()
            return printable(lines[-1].strip(), _LONGEST) if lines else ""
        return ""

    def state(self) -> str:
        """What the system says it does: ``stopped`` of one that was, ``sleeping`` of one that
        waits."""
        try:
            return str(psutil.Process(self.process.pid).status())
        except psutil.Error:
            return "gone"

    def kill(self) -> None:
        kill_group(self.process)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not written goes nowhere
                    pipe.close()


def serve(handle: Callable[[dict[str, Any]], object]) -> None:
    """In one of the processes: answer orders until there are no more, or nobody to give them.

    What ``handle`` raises is the answer. What a framework prints goes to the log.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            orders.put(json.loads(line))
        # Anyone who gave the orders is gone, and this process may be waiting for another in a
        # framework's own code, which knows no interruption.
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
