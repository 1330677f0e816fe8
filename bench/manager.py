"""The manager: fresh worker processes, one after the other, until a session is done.

Each worker is a ``pytest --benchmark-only`` of its own, so that there is one way of measuring. The
manager reads its journal while it works, ends it from outside when a case takes too long (no signal
is seen inside a compiler), notes what it died of, and goes on with the rest in another. What to
measure next is decided in ``schedule``; what a worker is, is hidden behind ``Executor``: a process
here today, and in the tests one that does as it is told.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

import psutil

from bench import results
from bench.cases import Case
from bench.report_text import clean, listed
from bench.result_fields import ResultError
from bench.result_schema import ResultFile
from bench.result_writer import ResultWriteError
from bench.schedule import Leader, Schedule, Watch, Work
from bench.session import Session, cases_path, journals
from bench.writers import Writer, living, writer_of

LOOK_EVERY = 0.2
"""Seconds between two looks at a worker: seldom enough to cost it nothing (a look is the size of a
file), often enough for a limit of seconds."""

LAST_WORDS = 4000
"""Bytes of a worker's output that are looked through for its last words."""

BENCH = Path(__file__).resolve().parent

END_LIMIT = 15.0
"""Seconds that a worker may take to end after it has said that it has finished: it makes its file,
of megabytes, prints a table, and frameworks tidy up. Past this, as a rule, Python waits for a
thread that a backend has left."""

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

_CANNOT_WRITE = re.compile(
    r"^(?:ERROR: |!+ .*?Exit: )(.*? cannot be written: [^;!\n]*)", re.MULTILINE
)
"""How pytest ends when the plugin cannot write."""


class WorkerError(RuntimeError):
    """Workers do not measure what they are asked to; one line that says what the last one said."""


class Stopped(StrEnum):
    """Why no more processes were started."""

    DONE = "done"
    BUDGET = "budget"


class Worker(Protocol):
    """A process that measures one ``Work``."""

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
        """A worker for ``work``. Raises ResultWriteError if it cannot be told what to do."""


@dataclass(frozen=True)
class Progress:
    """How far a session is, to be shown. number: of the process; busy: ids of its cases in work.

    done, of: cases of this process; settled, cases: of the session. Times in seconds.
    """

    number: int
    busy: tuple[str, ...]
    timing: bool
    done: int
    of: int
    settled: int
    cases: int
    spent: float
    budget: float | None
    processes: int | None
    leaders: tuple[Leader, ...]


class View(Protocol):
    """Who shows it."""

    def update(self, progress: Progress) -> None:
        """The present state; called every few tenths of a second."""

    def tell(self, text: str) -> None:
        """Something that happened, in one line."""


class Manager:
    """Runs one session to its end, its budget's, or the keyboard's."""

    def __init__(
        self,
        session: Session,
        executor: Executor,
        view: View,
        save: Callable[[Session], None],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        seconds: Mapping[str, float] | None = None,
        absent: Collection[str] = (),
    ) -> None:
        """seconds: of measuring that the suite gives each case of a group, by ``Case.group``.

        Without them, or where the user chose the time, every process measures for the whole.
        absent: devices that are not here.
        """
        self.session = session
        chosen = session.seconds is not None
        self.schedule = Schedule(
            session.cases,
            session.goal,
            session.seed,
            None if chosen else seconds,
            session.memory,
            absent,
        )
        self._executor = executor
        self._view = view
        self._save = save
        self._now = now
        self._sleep = sleep
        self._begun = now()
        self._before = session.spent
        self._leaders: tuple[Leader, ...] = ()
        self._settled = 0

    @property
    def spent(self) -> float:
        """Seconds that the session has taken."""
        return self._before + self._now() - self._begun

    @property
    def left(self) -> float:
        """Seconds of its budget."""
        budget = self.session.budget
        return float("inf") if budget is None else budget - self.spent

    def run(self) -> Stopped:
        """Measure until there is nothing left to do or no time to do it in.

        Raises KeyboardInterrupt when interrupted, ResultWriteError where results cannot be written,
        WorkerError where workers come to nothing; what was finished is kept in each case.
        """
        self._save(self.session)
        self._take_stock()
        put_off: set[str] = set()
        while work := self.schedule.next(self.left):
            if late := [group for group in self.schedule.put_off if group not in put_off]:
                put_off.update(late)
                self._view.tell(
                    f"put off, since the budget holds too few processes of all: {listed(late, 3)}"
                )
            self._process(work)
            self._take_stock()
            self.session = replace(self.session, spent=self.spent)
            self._save(self.session)
        stopped = Stopped.DONE if self.schedule.finished else Stopped.BUDGET
        self.session = self.session.ended(self.spent)
        self._save(self.session)
        return stopped

    def _take_stock(self) -> None:
        # Once a process, not once a look: it would take processor time from what is measured.
        self._leaders = tuple(self.schedule.leaders())
        self._settled = sum(map(self.schedule.done, self.schedule.cases))

    def _process(self, work: Work) -> None:
        started = self._now()
        worker = self._executor.start(work)
        watch = Watch(work.cases, self.session.case_limit, started)
        ending = _Ending()
        try:
            ending = self._follow(worker, watch, work)
        except BaseException as error:
            worker.kill()
            if isinstance(error, KeyboardInterrupt):
                # What it was busy with gets no outcome: it is missing, and --resume measures it.
                worker.settle(())
            raise
        self._conclude(worker, watch, ending, work)
        measuring = work.share * self.schedule.measuring(work.cases)
        outside = max(0.0, self._now() - started - measuring - watch.once)
        if watch.startup is not None:
            self.schedule.learn_costs(watch.startup, watch.costs, work, outside)

    def _follow(self, worker: Worker, watch: Watch, work: Work) -> _Ending:
        """Look at a worker until it has ended, or end it."""
        finished: float | None = None
        while True:
            code = worker.poll()  # before its lines are read, so that none is missed
            self._see(worker, watch)
            if code is not None:
                return _Ending(code)
            if watch.ended:
                finished = self._now() if finished is None else finished
                if self._now() - finished > END_LIMIT:
                    worker.kill()
                    self._view.tell(
                        f"process {work.number} had finished and did not end: it was ended (as a "
                        "rule a backend has left a thread that goes on)"
                    )
                    return _Ending()
            overdue = watch.overdue(self._now())
            if overdue or self.left <= 0:
                worker.kill()
                self._see(worker, watch)
                return _Ending(in_time=not overdue, in_budget=overdue)
            self._view.update(self._progress(watch, work))
            self._sleep(LOOK_EVERY)

    def _see(self, worker: Worker, watch: Watch) -> None:
        for line in worker.lines():
            watch.see(line, self._now())

    def _conclude(self, worker: Worker, watch: Watch, ending: _Ending, work: Work) -> None:
        """Write down what became of a worker, and tell what it did not."""
        if found := _CANNOT_WRITE.search(worker.last_words()):
            raise ResultWriteError(clean(found[1]))
        how = self._how(ending)
        # Of several that were timed in turn none can be blamed, and of a budget's end none.
        lost = watch.busy if ending.in_budget and not watch.ended else ()
        outcomes = [self._blame(lost[0], watch, ending, how)] if len(lost) == 1 else []
        file = worker.settle(outcomes)
        settled = 0 if file is None else self.schedule.add(file)
        if len(lost) > 1:
            self.schedule.suspect(lost)
            self._view.tell(
                f"process {work.number} {how} while {listed(list(lost), 3)} were timed in "
                "turn; each is measured alone now"
            )
        elif settled == 0 and ending.in_budget:
            said = clean(_error_line(worker.last_words()))
            raise WorkerError(f"process {work.number} {how} and measured nothing: {said}")
        for each in outcomes:
            self._view.tell(f"{each['case_id']} {each['outcome']}: {each['reason']}")
        for outcome in () if file is None else file.outcomes:
            if outcome.outcome == "failed":
                self._view.tell(f"{outcome.case.id} failed: {outcome.reason}")

    def _how(self, ending: _Ending) -> str:
        if not ending.in_time:
            return "was ended at its time limit"
        if not ending.in_budget:
            return "was ended when the budget was spent"
        if ending.code < 0:
            name = _signal_name(-ending.code)
            more = " (as a rule: no memory was left)" if name == "SIGKILL" else ""
            return f"was ended by {name}{more}"
        return f"ended with exit code {ending.code}"

    def _blame(self, case: str, watch: Watch, ending: _Ending, how: str) -> dict[str, object]:
        """What is written down of the case that a worker was busy with at its end."""
        if not ending.in_time:
            outcome = "timed_out"
            reason = (
                f"it took longer than its limit of {self.session.case_limit:g} s, with tracing and "
                f"compiling, and was ended while it was {'timed' if watch.timing else 'prepared'}"
            )
            advice = "allow it more: --case-limit TIME"
        else:
            outcome, reason = "crashed", f"its process {how}"
            advice = "its backend or framework is at fault; run it alone to see all that it prints"
            if ending.code == -signal.SIGKILL:
                advice = "free some memory, or choose a smaller case"
        return {
            "case": self.schedule.cases[case].to_dict(),
            "case_id": case,
            "outcome": outcome,
            "reason": reason,
            "advice": advice,
        }

    def _progress(self, watch: Watch, work: Work) -> Progress:
        return Progress(
            number=work.number,
            busy=watch.busy,
            timing=watch.timing,
            done=len(watch.done),
            of=len(work.cases),
            settled=self._settled,
            cases=len(self.schedule.cases),
            spent=self.spent,
            budget=self.session.budget,
            processes=self.session.goal.processes,
            leaders=self._leaders,
        )


@dataclass(frozen=True)
class _Ending:
    """How a worker ended: by itself with a code, over its limit, or over the budget."""

    code: int = 0
    in_time: bool = True
    in_budget: bool = True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error_line(output: str) -> str:
    """The line that says most: pytest's errors begin with ERROR, or else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1]


# -- workers on this machine


class LocalExecutor:
    """Worker processes on this machine, one at a time.

    folder: where results go. inherit: a file that each worker keeps open (the machine's lock).
    judged: a folder in which workers share what the gate's reference computed.
    """

    def __init__(
        self,
        session: Session,
        folder: Path,
        inherit: int | None = None,
        judged: Path | None = None,
    ) -> None:
        self._session = session
        self._folder = folder
        self._inherit = inherit
        self._judged = judged
        if sys.platform == "linux":
            # A daemon that a backend starts leaves its process group: it is found among our own
            # children in the end.
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)

    def start(self, work: Work) -> Worker:
        """A pytest of its own, in a process group of its own."""
        listing = cases_path(self._folder, self._session.id)
        cases = [case.to_dict() for case in work.cases]
        results.write_bytes(listing, json.dumps(cases).encode())
        return LocalWorker(self._command(work, listing), self._session, self._folder, self._inherit)

    def _command(self, work: Work, listing: Path) -> list[str]:
        session = self._session
        files = sorted(str(path) for path in BENCH.glob("bench_*.py"))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--benchmark-only"]
        options = {
            "suite": session.suite,
            "session": session.id,
            "busy": "force",  # the manager holds the lock, or was told to go on without it
            "seed": session.seed,
            "order-seed": work.order_seed,
            "cases": listing.absolute(),
            "results": self._folder.absolute(),
            "device": session.devices and ",".join(session.devices),
            "backends": session.backends and ",".join(session.backends),
            "mode": session.modes and ",".join(session.modes),
            "threads": session.threads,
            "budget": session.seconds,
            "share": None if work.share == 1.0 else f"{work.share:.4f}",
            "memory": "on" if work.memory else "off",
            "case-limit": session.case_limit,
            "judged": self._judged and self._judged.absolute(),
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
        self, command: Sequence[str], session: Session, folder: Path, inherit: int | None
    ) -> None:
        self._session = session
        self._folder = folder
        self._known = set(_files(folder, session.suite_name))
        self._journal: Path | None = None
        self._lines: BinaryIO | None = None
        self._others = {child.pid for child in psutil.Process().children()}
        # A file without a name: it is gone with the process, and takes no room among the results.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-I", "-S", "-c", _IN_FRONT, str(os.getpid()), *command]
        # What a person sets for their own tests must not change what is measured.
        environ = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,  # Ctrl-C reaches the manager alone, which ends the group
            pass_fds=() if inherit is None else (inherit,),
        )

    def poll(self) -> int | None:
        """Its exit code, or None."""
        return self._process.poll()

    def lines(self) -> Sequence[Mapping[str, object]]:
        """The whole lines that are new in its journal."""
        try:
            if self._lines is None:
                path = self._find_journal()
                if path is None:
                    return self._from_result()
                # Kept open: the last line is read also when the journal has become a file.
                self._lines = path.open("rb")
            before = self._lines.tell()
            data = self._lines.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._lines.seek(before + len(whole))
        except OSError:
            return self._from_result()
        return [line for line in map(_parsed, whole.splitlines()) if line is not None]

    def kill(self) -> None:
        """SIGKILL to it and to all that it has started, daemons among them."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # Whose parent is killed becomes ours: there may be new ones, but not for ever.
        for _ in range(_GENERATIONS):
            left = [each for each in psutil.Process().children() if each.pid not in self._others]
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
        path = self._find_journal() or self._find_result()
        return None if path is None else settle(path, outcomes)

    def last_words(self) -> str:
        """The end of what it printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - LAST_WORDS))
        return self._output.read().decode("utf-8", "replace")

    def _from_result(self) -> Sequence[Mapping[str, object]]:
        """The lines of a journal that has become the result file before all of it was read."""
        path = results.json_path(self._journal) if self._journal else self._find_result()
        if path is None or not _readable(path):
            return []
        data = json.loads(path.read_bytes())
        return [
            *({"benchmark": entry} for entry in data["benchmarks"]),
            *({"outcome": entry} for entry in data["lstm"]["outcomes"]),
            {"finished": data["lstm"]["run"]["finished"]},
        ]

    def _find_journal(self) -> Path | None:
        if self._journal is None:
            for path in journals(self._folder, self._session.suite_name):
                if (
                    path not in self._known
                    and _session_of(path) == self._session.id
                    and self._may_be_ours(writer_of(path))
                ):
                    self._journal = path
        return self._journal

    def _find_result(self) -> Path | None:
        """The file of a worker that was done before its journal was looked for."""
        for path in _files(self._folder, self._session.suite_name):
            if path not in self._known and path.suffix == ".json":
                with contextlib.suppress(ResultError):
                    session = results.read(path).run.session
                    writer = json.loads(path.read_bytes())["lstm"].get("writer")
                    if session == self._session.id and self._may_be_ours(Writer.from_data(writer)):
                        return path
        return None

    def _may_be_ours(self, writer: Writer | None) -> bool:
        """Another manager may work on the same session, if it was forced to."""
        here = Writer.this_process()
        known = writer is not None and (writer.boot, writer.namespace) == (
            here.boot,
            here.namespace,
        )
        return not known or (writer is not None and writer.pid == self._process.pid)


def settle(path: Path, outcomes: Sequence[Mapping[str, object]] = ()) -> ResultFile | None:
    """The result file of a run that has ended, made from its journal if it has left one.

    outcomes: to be added. None if it holds not even which run it was, and then the journal is gone.

    Raises ResultWriteError if the file cannot be written; the journal then stays.
    """
    journal = results.journal_path(path) if path.suffix == ".json" else path
    made = results.json_path(journal)
    try:
        if not _readable(made):
            made = results.journal_to_json(journal)
        if outcomes:
            data = json.loads(made.read_bytes())
            data["lstm"]["outcomes"] += list(outcomes)
            results.write(made, data)
        file = results.read(made)
    except ResultError:
        if _session_of(journal) is None:
            with contextlib.suppress(OSError):
                journal.unlink()
        return None
    with contextlib.suppress(OSError):
        journal.unlink(missing_ok=True)
    return file


def settle_all(session: Session, folder: Path, *, alone: bool) -> None:
    """``settle`` for every journal that killed workers of a session have left.

    Those whose writer lives are left alone (``being_written``). alone: whether no other run goes
    on, so that a journal without a whole line is nobody's.
    """
    for path in journals(folder, session.suite_name):
        found = _session_of(path)
        mine = found == session.id or (found is None and alone)
        if mine and not living(path):
            settle(path)


def being_written(session: Session, folder: Path) -> dict[Path, str]:
    """The journals of a session that are not to be touched, and in words who writes each."""
    found = {}
    for path in journals(folder, session.suite_name):
        if _session_of(path) == session.id and (who := living(path)):
            found[path] = who
    return found


def _files(folder: Path, suite: str) -> list[Path]:
    return [*folder.glob(f"{suite}-*.json"), *journals(folder, suite)]


def _readable(path: Path) -> bool:
    try:
        results.read(path)
    except ResultError:
        return False
    return True


def _session_of(journal: Path) -> str | None:
    """The session that its first line names, perhaps empty; None if that line is not whole."""
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


def cases_words(cases: Sequence[Case]) -> str:
    """So many cases on so many devices."""
    devices = list(dict.fromkeys(case.device for case in cases))
    return f"{len(cases)} cases on {listed(devices)}"
