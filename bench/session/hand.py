"""What measures on a node: the workers of this machine, in a scratch folder, asked from elsewhere.

A ``Hand`` is the far end of a ``RemoteExecutor``. It knows nothing of Ray: what it is asked and
what it answers is plain data and the suite's own types, since both ends run the same code.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench import case as suites
from bench.case.loading import Suite, SuiteChoice, SuiteError
from bench.machine import devices, environment
from bench.machine.lock import HeldError, LockError, MachineLock
from bench.machine.writing import Closing
from bench.session.session import Session, Work
from bench.session.workers import LocalExecutor, LocalWorker


@dataclass(frozen=True)
class NodeRequest:
    """What a node is asked to be ready for.

    suite: the name of one of the package, or of a file whose content is ``text``. wait, force:
    while another run measures on the node, wait for it or go on next to it.
    """

    suite: str
    text: bytes | None
    choice: SuiteChoice
    wait: bool = False
    force: bool = False


@dataclass(frozen=True)
class Facts:
    """What a node says of itself: its environment as a result file has it, the suite's cases there,
    and the devices of these that it does not have."""

    host: str
    environment: Mapping[str, object]
    suite: Suite
    absent: tuple[str, ...]


@dataclass(frozen=True)
class WorkerNews:
    """What came of a worker since it was last looked at.

    journal: its journal's name, empty until there is one. code: its exit code, None while it runs.
    When it has ended, words: the last that it printed; name, data: its result file, if it has one.
    """

    lines: tuple[Mapping[str, object], ...] = ()
    journal: str = ""
    code: int | None = None
    words: str = ""
    name: str = ""
    data: bytes | None = None


class Hand(Closing):
    """Measures on the machine it runs on, one process at a time."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="lstm-node-")
        self._folder = Path(self._scratch.name)
        self._lock = MachineLock()
        self._suite: Path | None = None
        self._executors: dict[str, LocalExecutor] = {}
        self._worker: LocalWorker | None = None

    def ready(self, requested: NodeRequest) -> tuple[str, Facts | None]:
        """Take the machine's lock and say what is here; or why nothing can be measured."""
        name = requested.suite
        if requested.text is not None:
            self._suite = self._folder / "suite" / name
            self._suite.parent.mkdir(exist_ok=True)
            self._suite.write_bytes(requested.text)
            name = str(self._suite)
        try:
            suite = suites.load(name, requested.choice)
            if requested.wait:
                self._lock.wait(suite.name, lambda text: None)
            else:
                self._lock.acquire(suite.name)
        except HeldError as error:
            if not requested.force:
                return str(error), None
        except (SuiteError, LockError) as error:
            return str(error), None
        absent = tuple(devices.missing(case.device for case in suite.cases))
        here = environment.read().to_dict()
        return "", Facts(socket.gethostname(), here, suite, absent)

    def start(self, session: Session, work: Work) -> WorkerNews:
        """Begin a process, which is looked at by ``look``."""
        if self._worker is not None:
            self.kill()
        _forget_what_ray_set()
        if session.id not in self._executors:
            if self._suite is not None:
                session = replace(session, suite=str(self._suite))
            folder, judged = self._folder / session.id, self._folder / "judged"
            for each in (folder, judged):
                each.mkdir(exist_ok=True)
            self._executors[session.id] = LocalExecutor(session, folder, self._lock.fd, judged)
        self._worker = self._executors[session.id].start(work)
        return WorkerNews()

    def look(self) -> WorkerNews:
        """What came of it since the last look."""
        if self._worker is None:
            return WorkerNews()
        code = self._worker.poll()  # before its lines are read, so that none is missed
        lines = tuple(self._worker.lines())
        if code is None:
            return WorkerNews(lines, self._worker.journal)
        return self._end(code, lines)

    def kill(self) -> WorkerNews:
        """End it; what came of it."""
        if self._worker is None:
            return WorkerNews()
        self._worker.kill()
        lines = tuple(self._worker.lines())
        return self._end(self._worker.poll() or 0, lines)

    def _end(self, code: int, lines: tuple[Mapping[str, object], ...]) -> WorkerNews:
        worker, self._worker = self._worker, None
        assert worker is not None
        file = worker.settle(())
        seen = WorkerNews(lines, worker.journal, code, worker.last_words())
        if file is None:
            return seen
        seen = replace(seen, name=file.path.name, data=file.path.read_bytes())
        with contextlib.suppress(OSError):  # it is the manager's now
            file.path.unlink()
        return seen

    def close(self) -> None:
        """End what runs, and leave nothing behind."""
        if self._worker is not None:
            self.kill()
        self._lock.close()
        self._scratch.cleanup()


def _forget_what_ray_set(start: Path = Path("/proc/self/environ")) -> None:
    """Ray gives a process OMP_NUM_THREADS by the processors it reserves: measured without Ray, a
    library would choose for itself. What the node's own environment says stays.
    """
    with contextlib.suppress(OSError):
        if b"\0OMP_NUM_THREADS=" in b"\0" + start.read_bytes():
            return
    os.environ.pop("OMP_NUM_THREADS", None)
