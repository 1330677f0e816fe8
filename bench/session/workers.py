"""Worker processes on this machine: started, listened to, ended with all that they started."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import psutil

from bench import records
from bench.case.cases import period_words
from bench.machine.fields import ResultError
from bench.machine.writing import Writer, running_writer, write, write_bytes, writer_of
from bench.records.digest import with_digest
from bench.records.schema import ResultFile
from bench.session.session import FOLDER, Environment, Session, Work, journals

LAST_WORDS = 4000
"""Bytes of a worker's output that are looked through for its last words."""

BENCH = Path(__file__).resolve().parents[1]

_IN_FRONT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]): sys.exit("the manager is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Started in front of a worker. On Linux the kernel then kills it if the manager is killed
(PR_SET_PDEATHSIG is 1, SIGKILL 9), which cannot see to it itself. And no SIGINT is for a worker,
which the manager ends: one comes from a backend, and would look like a Ctrl-C."""

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: what loses its parent below this process becomes its child."""


class LostError(RuntimeError):
    """The machine that a worker ran on is gone, or does not answer; one line that says why.

    blame: whether what it measured may be at fault, and not the machine's owner or its disk.
    """

    def __init__(self, why: str, *, blame: bool = True) -> None:
        super().__init__(why)
        self.blame = blame


class Worker(Protocol):
    """A process that measures one ``Work``.

    One that runs on another machine raises LostError from ``poll``, ``lines`` and ``kill`` when
    that is gone; ``settle`` then makes a file of the lines that came.
    """

    def poll(self) -> int | None:
        """Its exit code (negative: a signal), or None while it runs."""

    def lines(self) -> Sequence[Mapping[str, object]]:
        """What has come to its journal since the last call."""

    def kill(self) -> None:
        """End it and its children at once, and wait until it has ended."""

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        """What it has found, in its final file; None if it never began.

        outcomes: what it could not write down itself. Raises ResultWriteError.
        """

    def last_words(self) -> str:
        """The end of what it printed."""


class Executor(Protocol):
    """Where workers run."""

    def start(self, work: Work) -> Worker:
        """A worker for ``work``. Raises ResultWriteError if its list of cases cannot be written."""


# -- workers on this machine


@dataclass(frozen=True)
class LocalExecutor:
    """Worker processes on this machine, of which one measures at a time.

    folder: where results go. inherit: a file that each worker keeps open (the machine's lock).
    judged: a folder in which workers share what the gate's reference computed. python: in which
    they run, this one or that of another environment with a copy of this suite; bench: its folder.
    side_by_side: how many start at the same time, to take turns in measuring. running: their ids.
    """

    session: Session
    folder: Path
    inherit: int | None = None
    judged: Path | None = None
    python: str = sys.executable
    bench: Path = BENCH
    side_by_side: int = 1
    running: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if sys.platform == "linux":
            # A daemon that a backend starts leaves its process group: it is found among our own
            # children in the end.
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)

    def start(self, work: Work) -> LocalWorker:
        """A pytest of its own, in a process group of its own."""
        listing = self.folder / FOLDER / f"{self.session.id}.{work.number}.cases.json"
        cases = [case.to_dict() for case in work.cases]
        write_bytes(listing, json.dumps(cases).encode())
        with self._turn() as turn:
            command = self._command(work, listing, turn)
            kept = [each for each in (self.inherit, turn) if each is not None]
            worker = LocalWorker(command, self.session, self.folder, kept, work.environment)
        worker.listing = listing
        worker.siblings = self.running
        self.running.add(worker.pid)
        return worker

    @contextlib.contextmanager
    def _turn(self) -> Iterator[int | None]:
        """A descriptor by which a worker takes its turn, locked so that none measures until then.

        The lock is the worker's once it has inherited the descriptor, and ends with it.
        """
        if self.judged is None or self.side_by_side == 1:
            yield None
            return
        import fcntl

        descriptor = os.open(self.judged / "turn", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield descriptor
        finally:
            os.close(descriptor)

    def _command(self, work: Work, listing: Path, turn: int | None = None) -> list[str]:
        session = self.session
        files = sorted(str(path) for path in self.bench.glob("bench_*.py"))
        command = [self.python, "-m", "pytest", "-p", "no:cacheprovider", "--benchmark-only"]
        options = {
            "suite": session.suite,
            "session": session.id,
            "busy": "force",  # the manager holds the lock, or goes on without it
            "seed": session.seed,
            "order-seed": work.order_seed,
            "cases": listing.absolute(),
            "results": self.folder.absolute(),
            "device": session.devices and ",".join(session.devices),
            "backends": session.backends and ",".join(session.backends),
            "variant": session.variants and ",".join(session.variants),
            "mode": session.modes and ",".join(session.modes),
            "period": session.periods and ",".join(map(period_words, session.periods)),
            "deadline": session.deadline and period_words(session.deadline),
            "load": session.load or None,
            "threads": session.threads,
            "budget": session.seconds,
            "share": None if work.share == 1.0 else f"{work.share:.4f}",
            "memory": "on" if work.memory else "off",
            "case-limit": session.case_limit,
            "judged": self.judged and self.judged.absolute(),
            "turn": turn,
        }
        given = [f"--lstm-{name}={value}" for name, value in options.items() if value is not None]
        return [*command, *files, *given]


_GENERATIONS = 100
"""Times that children are looked for. Each time all are killed; who makes more as fast goes on."""

_REAPED_WITHIN = 1.0
"""Seconds in which a killed process is gone; one that waits for a disk takes longer: it is left."""


class LocalWorker:
    """One of them."""

    def __init__(
        self,
        command: Sequence[str],
        session: Session,
        folder: Path,
        inherit: Sequence[int] = (),
        environment: Environment = (),
    ) -> None:
        self.listing: Path | None = None
        self.siblings: set[int] = set()
        self._session = session
        self._folder = folder
        self._known = {*_files(folder, session.suite_name), *journals(folder, session.suite_name)}
        self._journal: Path | None = None
        self._lines: BinaryIO | None = None
        self._others = {child.pid for child in psutil.Process().children()}
        # A file without a name: it is gone with the process, and takes no place among the results.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._output.close)  # its last words may be requested at any time
        command = [sys.executable, "-I", "-S", "-c", _IN_FRONT, str(os.getpid()), *command]
        # What a person sets for their own tests must not change what is measured.
        environ = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
        environ |= environment
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,  # Ctrl-C reaches the manager alone, which ends the group
            pass_fds=inherit,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def journal(self) -> str:
        """The name of its journal; empty until there is one."""
        return self._journal.name if self._journal else ""

    def poll(self) -> int | None:
        """Its exit code, or None."""
        return self._process.poll()

    def lines(self) -> Sequence[Mapping[str, object]]:
        """The complete lines that are new in its journal."""
        try:
            if self._lines is None:
                path = self._find_journal()
                if path is None:
                    return []
                # Kept open: the last line is read also when the journal has become a file.
                self._lines = path.open("rb")
            before = self._lines.tell()
            data = self._lines.read()
            complete = data[: data.rfind(b"\n") + 1]
            self._lines.seek(before + len(complete))
        except OSError:
            return []
        return [line for line in map(_parsed, complete.splitlines()) if line is not None]

    def kill(self) -> None:
        """SIGKILL to it and to all that it has started, daemons among them."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.siblings.discard(self.pid)
        # Whose parent is killed becomes ours: there may be new ones, but not for ever.
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
        """Make the result file that it could not make itself, and read it."""
        self.kill()  # what outlives it
        if self._lines is not None:
            self._lines.close()
        if self.listing is not None:
            with contextlib.suppress(OSError):
                self.listing.unlink(missing_ok=True)
        path = self._find_journal() or self._find_result()
        return None if path is None else settle(path, outcomes)

    def last_words(self) -> str:
        """The end of what it printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - LAST_WORDS))
        return self._output.read().decode("utf-8", "replace")

    def _find_journal(self) -> Path | None:
        for path in () if self._journal else journals(self._folder, self._session.suite_name):
            ours = path not in self._known and _session_of(path) == self._session.id
            if ours and self._may_be_ours(writer_of(path)):
                self._journal = path
        return self._journal

    def _find_result(self) -> Path | None:
        """The file of a worker that was done before its journal was looked for."""
        for path in set(_files(self._folder, self._session.suite_name)) - self._known:
            with contextlib.suppress(ResultError):
                session = records.read(path).run.session
                writer = json.loads(path.read_bytes())["lstm"].get("writer")
                if session == self._session.id and self._may_be_ours(Writer.from_data(writer)):
                    return path
        return None

    def _may_be_ours(self, writer: Writer | None) -> bool:
        """Another manager may work on the same session, if it was forced to."""
        here = Writer.this_process()
        if writer is None or (writer.boot, writer.namespace) != (here.boot, here.namespace):
            return True
        return writer.pid == self._process.pid


def settle(path: Path, outcomes: Sequence[Mapping[str, object]] = ()) -> ResultFile | None:
    """The result file of a run that has ended, made from its journal if it has left one.

    outcomes: to be added. None if it holds not even which run it was, and then the journal is gone.

    Raises ResultWriteError if the file cannot be written; the journal then stays.
    """
    journal = records.journal_path(path) if path.suffix == ".json" else path
    made = records.json_path(journal)
    try:
        if not _readable(made):
            made = records.journal_to_json(journal)
        if outcomes:
            data = json.loads(made.read_bytes())
            data["lstm"]["outcomes"] += list(outcomes)
            write(made, with_digest(data))
        file = records.read(made)
    except ResultError:
        if _session_of(journal) is None:
            with contextlib.suppress(OSError):
                journal.unlink()
        return None
    with contextlib.suppress(OSError):
        journal.unlink(missing_ok=True)
    return file


def settle_all(session: Session, folder: Path, *, exclusive: bool) -> None:
    """``settle`` for every journal that killed workers of a session have left.

    Those whose writer lives are left alone. alone: whether no other run goes
    on, so that a journal without a complete line is nobody's.
    """
    for path in journals(folder, session.suite_name):
        found = _session_of(path)
        mine = found == session.id or (found is None and exclusive)
        if mine and not running_writer(path):
            settle(path)


def _files(folder: Path, suite: str) -> list[Path]:
    return [*folder.glob(f"{suite}-*.json")]


def _readable(path: Path) -> bool:
    try:
        records.read(path)
    except ResultError:
        return False
    return True


def _session_of(journal: Path) -> str | None:
    """The session that its first line names, perhaps empty; None if that line is not complete."""
    try:
        with journal.open("rb") as file:
            first = file.readline()
    except OSError:
        return ""
    if not first.endswith(b"\n"):
        return None
    run = (_parsed(first) or {}).get("run")
    session = run.get("session") if isinstance(run, Mapping) else None
    return session if isinstance(session, str) else ""


def _parsed(line: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
