"""Run fresh worker processes until a session is done.

Each worker is a process of ``python -m bench.worker`` with one work order. While a worker runs, the
manager reads its journal. If a case takes too long, the manager ends the worker from outside,
because a compiler handles no signal. The manager then records why the worker ended, and another
worker continues with the remaining cases. ``schedule`` decides what to measure next, and an
``Executor`` starts the workers.
"""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bench.case.cases import Case
from bench.machine.processes import describe_ending as ended
from bench.machine.reasons import Reason
from bench.machine.writing import ResultWriteError
from bench.records.journal import STARTING, WAITING
from bench.records.reasons import outcome_as_recorded
from bench.render.escape import clean
from bench.render.messages import reason_texts
from bench.render.quantities import join_names
from bench.session.schedule import Schedule
from bench.session.session import Needs, Session, Work, find_needs
from bench.session.workers import Executor, LostError, Worker, settle_all
from bench.worker.order import CANNOT_WRITE, reported_error

IDLE_LIMIT = 120.0
"""How long a worker may do other things than measure a case, in seconds: start Python, read the
state of the machine, write its file. That takes seconds on a quiet machine. After this limit, the
worker hangs.
"""


class Watch:
    """Follows one worker: what it does, and whether it has exceeded its limit.

    limit: the seconds for each case, which cover both preparing (building, tracing, compiling,
    checking) and timing. Interleaved cases share what is left of their limits. now: when the worker
    was started, by the clock of ``see`` and ``overdue``. seconds: how long each case is to be
    timed, by the id of the case.

    startup: the seconds until the worker could begin its first case. waited: the seconds for which
    it waited for its turn. costs: the seconds that each case of the finished groups took apart from
    timing.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        limit: float,
        now: float,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.busy: tuple[str, ...] = ()
        self.timing = False
        self.done: set[str] = set()
        self.ended = False
        self.startup: float | None = None
        self.waiting = False
        self.waited = 0.0
        self.costs: dict[str, float] = {}
        self._limit = limit
        self._groups = {case.id: case.group for case in cases}
        self._started = self._since = now
        self._group: tuple[str, float] | None = None
        self._seconds = seconds or {}
        self._first = ""
        self._prepared: dict[str, float] = {}
        self._timed: dict[str, float] = {}
        self._frameworks = 0.0

    @property
    def timed(self) -> float:
        """The seconds for which cases were timed, at most as long as planned."""
        return sum(self._timed.values())

    def see(self, line: Mapping[str, object], now: float) -> None:
        """Process a line of the journal. Unknown lines are ignored."""
        begun, phase = line.get("begun"), line.get("phase")
        if phase == STARTING and isinstance(begun, list):
            self.busy, self._since = tuple(map(str, begun)), now
        elif phase == WAITING:
            self.busy, self.waiting, self._since = (), True, now
            self.startup = now - self._started
        elif isinstance(begun, list) and begun:
            if self.waiting:
                self.waiting, self.waited = False, now - self._since
            self._begin(tuple(map(str, begun)), now)
        elif "finished" in line:
            self._enter_group(None, now)
            self.ended, self.busy, self._since = True, (), now
        elif isinstance(case := _of(line.get("outcome") or _of(line, *_OURS), "case_id"), str):
            self.done.add(case)
            if "benchmark" in line:
                planned = self._seconds.get(case, 0.0)
                taken = _seconds(line, "setup", "timing_s")
                self._timed[case] = planned if taken is None else min(planned, taken)
                if case == self._first:
                    # A framework is imported with the first case, which is not a cost of that case.
                    self._frameworks = _seconds(line, "setup", "start_s") or 0.0
            # The group was timed together, so the limit of its remaining cases starts again.
            self.busy, self._since = tuple(each for each in self.busy if each != case), now

    def _begin(self, begun: tuple[str, ...], now: float) -> None:
        if self.startup is None:
            self.startup = now - self._started
            self._first = begun[0]
        if self.busy and not self.timing:
            self._prepared[self.busy[0]] = now - self._since
        # The only case of a group is announced twice: when it is prepared, and when it is timed.
        self.timing = len(begun) > 1 or begun[0] in self._prepared
        self.busy, self._since = begun, now
        self._enter_group(self._groups.get(begun[0]), now)

    def _enter_group(self, group: str | None, now: float) -> None:
        """Divide the time of the group that has ended among its cases.

        A case gets the time of its own preparation, and an equal part of the time that no case
        explains.
        """
        if self._group is not None and self._group[0] != group:
            name, since = self._group
            self._group = None
            cases = [case for case, of in self._groups.items() if of == name]
            own = {case: self._prepared.get(case, 0.0) for case in cases}
            known = (own, self._timed)
            overhead = now - since - sum(each.get(case, 0.0) for each in known for case in cases)
            sharing = [case for case in cases if case in self._timed] or cases
            for case in sharing:
                own[case] += max(0.0, overhead) / len(sharing)
            if self._first in own:
                own[self._first] = max(0.0, own[self._first] - self._frameworks)
            self.costs.update(own)
        if group is not None and self._group is None:
            self._group = (group, now)

    def overdue(self, now: float) -> bool:
        """Return whether the worker has exceeded its limit.

        A waiting worker has no limit, since the worker that it waits for has one.
        """
        if self.waiting:
            return False
        if not self.busy:
            return now - self._since > max(IDLE_LIMIT, self._limit)
        if not self.timing:
            return now - self._since > self._limit
        left = (max(0.0, self._limit - self._prepared.get(case, 0.0)) for case in self.busy)
        return now - self._since > sum(left)


_OURS = ("benchmark", "extra_info", "lstm")


def _seconds(line: Mapping[str, object], *keys: str) -> float | None:
    """Return the time under nested keys of a line's case, or None."""
    seconds = _of(line, *_OURS, *keys)
    return seconds if isinstance(seconds, float) and 0 < seconds < math.inf else None


def _of(value: object, *keys: str) -> object:
    """Return the value under nested keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


LOOK_EVERY = 0.2
"""The interval between two looks at a worker, in seconds. Each look reads what is new in a file."""

END_LIMIT = 15.0
"""How long a worker may take to end after its last case, in seconds. It writes a file of some
megabytes, and frameworks shut down. If it takes longer, Python usually waits for a thread of a
backend.
"""

_OVER = object()
"""What ``next`` returns for a process that has ended."""


class WorkerError(RuntimeError):
    """The workers measure nothing. The message has the last line that one of them printed."""


@dataclass(frozen=True)
class SessionProgress:
    """How far a session has progressed.

    number: the number of the process. busy: the ids of its current cases. timing: whether these are
    timed, not prepared. done, of: the finished cases of this process, and all of them. settled,
    cases: the same for the session. spent, budget: in seconds. place: the machine that it runs on,
    if there are several. planned: the seconds until the end, None before a process has shown how
    long cases take.
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
    place: str = ""
    planned: float | None = None


class ProgressView(Protocol):
    """Shows the progress of a session."""

    def update(self, progress: SessionProgress) -> None:
        """Show the current state. This is called every few tenths of a second."""

    def message(self, text: str) -> None:
        """Print a line about an event."""


@dataclass(frozen=True)
class _Ending:
    """Describe how a worker ended.

    It ended by itself with an exit code, at its limit, or at the end of the budget.
    """

    code: int = 0
    in_time: bool = True
    in_budget: bool = True

    def __str__(self) -> str:
        if not self.in_time:
            return "was stopped at its time limit"
        return ended(self.code) if self.in_budget else "was stopped when the budget was spent"


class Manager:
    """Runs one session until it is done, its budget is spent, or it is interrupted."""

    def __init__(
        self,
        session: Session,
        executor: Executor | None,
        view: ProgressView,
        save: Callable[[Session], None],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        seconds: Mapping[str, float] | None = None,
        absent: Collection[str] = (),
        needs: Needs = find_needs,
        side_by_side: int = 1,
    ) -> None:
        """Create a manager.

        executor: starts the workers of ``step`` and ``run``; None if only ``process`` is used.
        view: shows the progress. save: stores the session. seconds: the measuring time that the
        suite gives each case, by ``Case.group``. A time that the user chose is never shortened.
        absent, needs: see ``Schedule``. side_by_side: how many processes ``step`` starts at the
        same time.
        """
        self.session = session
        self.schedule = Schedule(
            session.cases,
            session.goal,
            session.options.seed or 0,
            None if session.options.budget is not None else seconds,
            session.options.memory or False,
            absent,
            needs,
            side_by_side,
        )
        self._executor, self._view, self._save = executor, view, save
        self._side_by_side, self._now, self._sleep = side_by_side, now, sleep
        self._begun = now()
        self._before = session.spent
        self._settled = 0
        self._planned: float | None = None  # The value of ``spent`` expected at the end.
        self._put_off: set[str] = set()
        self._watches: list[Watch] = []
        self._all_wait_since: float | None = None

    @property
    def spent(self) -> float:
        """The seconds that the session has taken."""
        return self._before + self._now() - self._begun

    @property
    def left(self) -> float:
        """The seconds that are left of the budget."""
        budget = self.session.budget
        return math.inf if budget is None else budget - self.spent

    def add_earlier(self, folder: Path, *, exclusive: bool) -> None:
        """Add the results of earlier processes.

        exclusive: see ``settle_all``. Raises ResultWriteError.
        """
        settle_all(self.session, folder, exclusive=exclusive)
        for file in self.session.files(folder):
            self.schedule.add(file)

    def run(self) -> bool:
        """Measure until no work or no time is left. Return whether all work is done.

        Raises KeyboardInterrupt on an interruption, ResultWriteError if results cannot be written,
        and WorkerError if workers measure nothing. Finished cases are kept in every case.
        """
        self.begin()
        while self.step():
            pass
        return self.end()

    def begin(self) -> None:
        """Save the session before its first process."""
        self._save(self.session)
        self._take_stock()

    def end(self) -> bool:
        """Save the session at its end. Return whether no work is left."""
        self.session = self.session.ended(self.spent)
        self._save(self.session)
        return self.schedule.finished

    def step(self) -> bool:
        """Run processes that start at the same time and take turns in measuring.

        A second process starts only if the budget is enough for both. Returns False if no work or
        no time is left. Raises the same errors as ``run``.
        """
        assert self._executor is not None
        with contextlib.ExitStack() as stack:
            processes: list[Generator[None, None, None]] = []
            promised = 0.0
            for number in range(self._side_by_side):
                work = self._next_work(1, "")
                if work is None:
                    break
                promised += self.schedule.costs.expected(work)
                if number > 0 and promised > self.left:
                    break
                process = self._process(self._executor, work, "")
                stack.callback(process.close)
                next(process, None)
                processes.append(process)
            started = bool(processes)
            while processes := [each for each in processes if next(each, _OVER) is not _OVER]:
                self._sleep(LOOK_EVERY)
        return started

    def process(
        self, executor: Executor, machines: int = 1, place: str = ""
    ) -> Generator[None, None, None] | None:
        """Return a generator that runs one process of the session, or None if there is no work.

        The process starts with the first step of the generator, and each further step looks at it
        once. Closing the generator early ends the process and keeps its finished cases.

        machines, place: see ``Schedule.next``. The generator raises the same errors as ``run``. It
        also raises LostError if the worker's machine is gone; the unfinished work then becomes
        available again.
        """
        work = self._next_work(machines, place)
        return None if work is None else self._process(executor, work, place)

    def _next_work(self, machines: int, place: str) -> Work | None:
        work = self.schedule.next(self.left, machines, place)
        if work is None:
            return None
        if late := [group for group in self.schedule.put_off if group not in self._put_off]:
            self._put_off.update(late)
            self._view.message(
                f"postponed, because the budget is too short for all groups: {join_names(late, 3)}"
            )
        return work

    def _take_stock(self) -> None:
        # This is done once per process, because counting at each look would take processor time
        # from the worker.
        self._settled = sum(map(self.schedule.done, self.schedule.cases))

    def _process(self, executor: Executor, work: Work, place: str) -> Generator[None, None, None]:
        started = self._now()
        self.schedule.running.begin(work, place)
        timed = {case.id: work.share * self.schedule.costs.measuring([case]) for case in work.cases}
        watch = Watch(work.cases, self.session.case_limit, started, timed)
        self._watches.append(watch)
        if self.schedule.costs.startup:  # A process has shown how long starting takes.
            machines = max(1, len(self._watches) // self._side_by_side)
            self._planned = self.spent + self.schedule.expected(self.left) / machines
        try:
            worker = executor.start(work)
            try:
                ending = yield from self._follow(worker, watch, work)
            except LostError as error:
                self._lose(worker, watch, work, error)
                raise
            except BaseException as error:
                with contextlib.suppress(LostError):
                    worker.kill()
                if isinstance(error, KeyboardInterrupt | GeneratorExit):
                    # The current cases get no outcome, so that --resume measures what is missing.
                    worker.settle(())
                raise
            self._conclude(worker, watch, ending, work)
        finally:
            self.schedule.running.end(work)
            self._watches.remove(watch)
        outside = self._now() - started - watch.timed - watch.waited
        if (startup := watch.startup) is not None:
            # Processes that start at the same time share the time of starting.
            own = startup / self._side_by_side
            outside = max(0.0, outside - startup + own)
            self.schedule.costs.learn(work, own, watch.costs, outside)
        self._take_stock()
        self.session = replace(self.session, spent=self.spent)
        self._save(self.session)

    def _follow(self, worker: Worker, watch: Watch, work: Work) -> Generator[None, None, _Ending]:
        """Follow a worker until it has ended, or end it."""
        finished = math.inf
        while True:
            code = worker.poll()  # The code is read before the lines, so that no line is missed.
            self._see(worker, watch)
            now = self._now()
            if code is not None:
                return _Ending(code)
            if watch.ended:
                finished = min(finished, now)
            if now - finished > END_LIMIT:
                worker.kill()
                self._view.message(
                    f"process {work.number} finished but did not exit, so it was stopped (usually "
                    "because a thread of a backend still runs); its results are kept"
                )
                return _Ending()
            overdue = watch.overdue(now) or self._all_wait()
            if overdue or self.left <= 0:
                worker.kill()
                self._see(worker, watch)
                return _Ending(in_time=not overdue, in_budget=overdue)
            if not watch.waiting:  # Show the process that measures.
                self._view.update(self._progress(watch, work))
            yield

    def _all_wait(self) -> bool:
        """Return whether all processes have waited long for a turn.

        A leftover process may then hold the turn.
        """
        if not all(watch.waiting for watch in self._watches):
            self._all_wait_since = None
        elif self._all_wait_since is None:
            self._all_wait_since = self._now()
        since = self._all_wait_since
        return since is not None and self._now() - since > IDLE_LIMIT

    def _see(self, worker: Worker, watch: Watch) -> None:
        for line in worker.lines():
            watch.see(line, self._now())

    def _conclude(self, worker: Worker, watch: Watch, ending: _Ending, work: Work) -> None:
        """Record how a worker ended, with the outcomes that it could not record itself."""
        error = reported_error(worker.last_output())
        if error is not None and error[0] == CANNOT_WRITE:
            raise ResultWriteError(clean(error[1]))
        # If cases were interleaved or the budget was spent, no single case can be blamed.
        lost = watch.busy if ending.in_budget and not watch.ended else ()
        killed = ending.code == -signal.SIGKILL
        code = "process_killed" if killed else "process_ended"
        outcome, reason = "crashed", Reason(code, {"ending": str(ending)})
        if not ending.in_time:
            values = {"limit": self.session.case_limit, "timing": watch.timing}
            outcome, reason = "timed_out", Reason("over_limit", values)
        alone = lost if len(lost) == 1 else ()
        cases = self.schedule.cases
        outcomes = [outcome_as_recorded(cases[case], outcome, reason) for case in alone]
        file = worker.settle(outcomes)
        settled = 0 if file is None else self.schedule.add(file)
        if len(lost) > 1:
            self.schedule.faults.suspects.update(lost)
            self._view.message(
                f"process {work.number} {ending} while {join_names(list(lost), 3)} were "
                "interleaved; each of them is now measured alone"
            )
        elif settled == 0 and ending.in_budget:
            lines = [line.strip() for line in worker.last_output().splitlines() if line.strip()]
            said = error[1] if error is not None else (lines or ["it printed nothing"])[-1]
            line = clean(said)
            raise WorkerError(f"process {work.number} {ending} and measured nothing: {line}")
        self._report(alone, outcome, reason)
        for each in () if file is None else file.outcomes:
            if each.outcome == "failed":
                self._view.message(f"{each.case.id} failed: {reason_texts(each.reason)[0]}")

    def _lose(self, worker: Worker, watch: Watch, work: Work, error: LostError) -> None:
        """Keep the results of a worker whose machine is lost.

        Its current cases become available again.
        """
        busy = () if watch.ended else watch.busy
        given_up = self.schedule.faults.lost(busy) if error.blame else []
        reason = Reason("machines_lost", {"error": str(error)})
        cases = self.schedule.cases
        outcomes = [outcome_as_recorded(cases[case], "crashed", reason) for case in given_up]
        file = worker.settle(outcomes)
        if file is not None:
            self.schedule.add(file)
        message = f"process {work.number} was lost: {error}"
        if again := [case for case in busy if case not in given_up]:
            message += f"; measured again elsewhere: {join_names(again, 3)}"
        self._view.message(message)
        self._report(given_up, "crashed", reason)

    def _report(self, cases: Iterable[str], outcome: str, reason: Reason) -> None:
        for case in cases:
            self._view.message(f"{case} {outcome}: {reason_texts(reason)[0]}")

    def _progress(self, watch: Watch, work: Work) -> SessionProgress:
        return SessionProgress(
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
            place=self.schedule.running.works[work.number][1],
            planned=None if self._planned is None else min(self.left, self._planned - self.spent),
        )


def describe_cases(cases: Sequence[Case]) -> str:
    """Return the number of cases and their devices as text."""
    devices = list(dict.fromkeys(case.device for case in cases))
    return f"{len(cases)} cases on {join_names(devices)}"
