"""Start worker processes on this machine, read their journals, and end them with their children."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Protocol

import psutil

from bench import records
from bench.machine.fields import ResultError
from bench.machine.writing import Writer, lock, read_writer, running_writer, write, write_bytes
from bench.records.digest import with_digest
from bench.records.schema import ResultFile
from bench.session.session import FOLDER, Environment, Session, Work, journals
from bench.worker.order import SuitePart, WorkOrder

LAST_OUTPUT = 4000
"""The number of bytes at the end of a worker's output that are searched for errors."""

_IN_FRONT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]): sys.exit("the manager is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""The program that runs before a worker and becomes it. On Linux the kernel then kills the worker
if the manager is killed (PR_SET_PDEATHSIG is 1, SIGKILL is 9). A worker ignores SIGINT, since the
manager ends it: a SIGINT that a backend sends would look like Ctrl-C.
"""

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: descendants that lose their parent become children of this process."""


class LostError(RuntimeError):
    """The machine of a worker is gone or does not answer. The message says why in one line.

    blame: whether the measured cases may be the cause, and not the machine's owner or its disk.
    """

    def __init__(self, why: str, *, blame: bool = True) -> None:
        super().__init__(why)
        self.blame = blame


class Worker(Protocol):
    """A process that measures one ``Work``.

    If it runs on another machine that is gone, ``poll``, ``lines`` and ``kill`` raise LostError.
    ``settle`` then makes a file from the lines that arrived.
    """

    def poll(self) -> int | None:
        """Return the exit code (negative for a signal), or None while the worker runs."""

    def lines(self) -> Sequence[Mapping[str, object]]:
        """Return the lines of the journal that are new since the last call."""

    def kill(self) -> None:
        """End the worker and its children, and wait until they have ended."""

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        """Return the result file, or None if the worker never began.

        outcomes: the outcomes that the worker could not record itself. Raises ResultWriteError.
        """

    def last_output(self) -> str:
        """Return the end of what the worker printed."""


class Executor(Protocol):
    """Starts workers."""

    def start(self, work: Work) -> Worker:
        """Start a worker. Raise ResultWriteError if its work order cannot be written."""


@dataclass(frozen=True)
class LocalExecutor:
    """Starts worker processes on this machine. Only one of them measures at a time.

    folder: the folder of the results. seconds: the measuring time of each case, by ``Case.group``.
    inherit: a file that each worker keeps open (the machine's lock). judged: a folder in which
    workers share the gate's reference results. python: this interpreter, or that of another
    environment with a copy of this suite. side_by_side: how many workers start at the same time and
    take turns in measuring. running: the process ids of the running workers.
    """

    session: Session
    folder: Path
    seconds: Mapping[str, float]
    inherit: int | None = None
    judged: Path | None = None
    python: str = sys.executable
    side_by_side: int = 1
    running: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if sys.platform == "linux":
            # A daemon that a backend starts leaves its process group and becomes our child.
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)

    def start(self, work: Work) -> LocalWorker:
        """Start a worker in a process group of its own, with its work order in a file."""
        path = self.folder / FOLDER / f"{self.session.id}.{work.number}.order.json"
        with self._turn() as turn:
            write_bytes(path, self.order(work, path.name, turn).to_json())
            kept = [each for each in (self.inherit, turn) if each is not None]
            command = self.command(path.absolute())
            worker = LocalWorker(command, self.session, self.folder, kept, work.environment)
        worker.order = path
        worker.siblings = self.running
        self.running.add(worker.pid)
        return worker

    def command(self, order: Path) -> list[str]:
        """Return the command of a worker.

        order: the file of its work order.
        """
        return [self.python, "-m", "bench.worker", str(order)]

    def order(self, work: Work, name: str, turn: int | None = None) -> WorkOrder:
        """Return the work order for ``work``.

        name: the name of the order's file, which lists the cases; results record it. turn: the open
        file whose lock is a turn in measuring.
        """
        chosen = self.session.options
        options = replace(
            chosen,
            cases=name,
            session=self.session.id,
            order_seed=work.order_seed,
            share=None if work.share == 1.0 else round(work.share, 4),
            memory=work.memory,
            load=chosen.load or None,
            busy="force",  # The manager holds the lock, or continues without it.
            results=str(self.folder.absolute()),
            judged=None if self.judged is None else str(self.judged.absolute()),
            turn=turn,
        )
        groups = dict.fromkeys(case.group for case in work.cases)
        part = SuitePart(
            self.session.suite_name,
            [case.to_dict() for case in work.cases],
            {group: self.seconds[group] for group in groups if group in self.seconds},
        )
        return WorkOrder(options, dict(work.environment), part)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[int | None]:
        """Yield a descriptor whose lock is a turn in measuring, or None if there are no turns.

        The worker that inherits the descriptor holds the lock.
        """
        if self.judged is None or self.side_by_side == 1:
            yield None
            return
        descriptor = os.open(self.judged / "turn", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(descriptor, wait=False, shared=True)
            yield descriptor
        finally:
            os.close(descriptor)


_GENERATIONS = 100
"""How often children are searched for and killed, since they may start others in the meantime."""

_REAPED_WITHIN = 1.0
"""How long to wait for killed processes, in seconds. A process that waits for a disk takes longer
and is left alone.
"""


class LocalWorker:
    """A worker process on this machine."""

    def __init__(
        self,
        command: Sequence[str],
        session: Session,
        folder: Path,
        inherit: Sequence[int] = (),
        environment: Environment = (),
    ) -> None:
        self.order: Path | None = None
        self.siblings: set[int] = set()
        self._session = session
        self._folder = folder
        self._known = {*folder.glob(f"{session.suite_name}-*.json*")}  # These include journals.
        self._journal: Path | None = None
        self._lines: BinaryIO | None = None
        self._others = {child.pid for child in psutil.Process().children()}
        # A file without a name disappears with the process.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._output.close)
        command = [sys.executable, "-I", "-S", "-c", _IN_FRONT, str(os.getpid()), *command]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict(environment)},
            start_new_session=True,  # Ctrl-C then reaches only the manager, which ends the group.
            pass_fds=inherit,
        )

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def journal(self) -> str:
        """Return the name of the journal. It is empty until there is one."""
        return self._journal.name if self._journal else ""

    def poll(self) -> int | None:
        """Return the exit code, or None while the worker runs."""
        return self._process.poll()

    def lines(self) -> Sequence[Mapping[str, object]]:
        """Return the complete lines of the journal that are new since the last call."""
        try:
            if self._lines is None:
                path = self._find_journal()
                if path is None:
                    return []
                # The file stays open, so that its last line can be read after the journal was
                # converted.
                self._lines = path.open("rb")
            before = self._lines.tell()
            data = self._lines.read()
            complete = data[: data.rfind(b"\n") + 1]
            self._lines.seek(before + len(complete))
        except OSError:
            return []
        return [line for line in map(_parse_line, complete.splitlines()) if line is not None]

    def kill(self) -> None:
        """Send SIGKILL to the worker and all its descendants, including daemons."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.siblings.discard(self.pid)
        # Descendants whose parent is killed become our children.
        for _ in range(_GENERATIONS):
            others = self._others | self.siblings
            left = [each for each in psutil.Process().children() if each.pid not in others]
            if not left:
                return
            for each in left:
                with contextlib.suppress(psutil.Error):
                    each.kill()
            psutil.wait_procs(left, timeout=_REAPED_WITHIN)

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        """Return the result file. Make it from the journal if the worker could not."""
        self.kill()  # Descendants may outlive the worker.
        if self._lines is not None:
            self._lines.close()
        if self.order is not None:
            with contextlib.suppress(OSError):
                self.order.unlink(missing_ok=True)
        path = self._find_journal() or self._find_result()
        return None if path is None else settle(path, outcomes)

    def last_output(self) -> str:
        """Return the end of what the worker printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - LAST_OUTPUT))
        return self._output.read().decode("utf-8", "replace")

    def _find_journal(self) -> Path | None:
        for path in () if self._journal else journals(self._folder, self._session.suite_name):
            ours = path not in self._known and _read_session(path) == self._session.id
            if ours and self._may_be_ours(read_writer(path)):
                self._journal = path
        return self._journal

    def _find_result(self) -> Path | None:
        """Return the file of a worker that had finished before its journal was searched for."""
        for path in {*self._folder.glob(f"{self._session.suite_name}-*.json")} - self._known:
            with contextlib.suppress(ResultError):
                session = records.read(path).run.session
                writer = json.loads(path.read_bytes())["lstm"].get("writer")
                if session == self._session.id and self._may_be_ours(Writer.from_data(writer)):
                    return path
        return None

    def _may_be_ours(self, writer: Writer | None) -> bool:
        """Return whether a file may be ours.

        A worker of another manager may measure the same session and write files too.
        """
        here = Writer.this_process()
        if writer is None or (writer.boot, writer.namespace) != (here.boot, here.namespace):
            return True
        return writer.pid == self._process.pid


def settle(path: Path, outcomes: Sequence[Mapping[str, object]] = ()) -> ResultFile | None:
    """Return the result file of a run that has ended, made from its journal if there is one.

    outcomes: further outcomes to record. A journal that does not name its run is deleted, and the
    result is None.

    Raises ResultWriteError if the file cannot be written. The journal then stays.
    """
    journal = records.journal_path(path) if path.suffix == ".json" else path
    made = records.json_path(journal)
    try:
        try:
            file = records.read(made)
        except ResultError:
            made = records.journal_to_json(journal)
            file = records.read(made)
        if outcomes:
            data = json.loads(made.read_bytes())
            data["lstm"]["outcomes"] += list(outcomes)
            write(made, with_digest(data))
            file = records.read(made)
    except ResultError:
        if _read_session(journal) is None:
            with contextlib.suppress(OSError):
                journal.unlink()
        return None
    with contextlib.suppress(OSError):
        journal.unlink(missing_ok=True)
    return file


def settle_all(session: Session, folder: Path, *, exclusive: bool) -> None:
    """Settle every journal that killed workers of a session have left.

    Journals whose writer still runs stay.

    exclusive: whether no other run measures. A journal without a complete line then belongs to no
    running worker.
    """
    for path in journals(folder, session.suite_name):
        found = _read_session(path)
        mine = found == session.id or (found is None and exclusive)
        if mine and not running_writer(path):
            settle(path)


def _read_session(journal: Path) -> str | None:
    """Return the session that the first line names, which may be empty.

    The result is None for an incomplete line.
    """
    try:
        with journal.open("rb") as file:
            first = file.readline()
    except OSError:
        return ""
    if not first.endswith(b"\n"):
        return None
    run = (_parse_line(first) or {}).get("run")
    session = run.get("session") if isinstance(run, Mapping) else None
    return session if isinstance(session, str) else ""


def _parse_line(line: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
