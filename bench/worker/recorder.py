"""One run: measures a suite's groups as their turns come and puts every finished case on disk.

It knows which cases are wanted, which are done, and the journal, and nothing of pytest.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TypeAlias

from bench import records
from bench.case.cases import Case
from bench.case.loading import Suite
from bench.machine import environment, facts
from bench.machine.writing import ResultWriteError, clear_left_over
from bench.records.grouping import grouped
from bench.records.journal import STARTING, WAITING, Journal
from bench.records.schema import Run
from bench.worker import outcomes
from bench.worker.equivalence import SharedFolder
from bench.worker.group import Bench, measure_group, start_ahead
from bench.worker.outcomes import Measured, Result, Unmeasured
from bench.worker.output import Output
from bench.worker.resources import ProcessMemory
from bench.worker.roofs import Roofs
from bench.worker.timing import NUMBERS, StreamConditions, TimingPlan

INTERRUPTED = Unmeasured(
    "interrupted",
    "stopped from the keyboard while its group was measured",
    "run it again; what was measured before is kept",
)

Information: TypeAlias = Mapping[str, object]


@dataclass(frozen=True)
class Settings:
    """How a run measures.

    seconds: of measuring for each case, in place of the suite's. share: the part of that time that
    is measured. session: what runs that are replicates of one another share; by default a run is
    alone. memory: whether that of cases on the CPU is measured too, None for what the suite says.
    case_limit: seconds after which a case is ended from outside, if it is. load, deadline: of
    streams (``StreamConditions``). output: whether what backends print is kept out of the way.
    shared: a folder of the processes of the session. turn: a file to lock before anything is built.
    options: what the user requested, for the record.
    """

    folder: Path
    seed: int = 0
    seconds: float | None = None
    share: float = 1.0
    precision: float = TimingPlan.precision
    threads: int | None = None
    session: str | None = None
    memory: bool | None = None
    case_limit: float | None = None
    load: int = 0
    deadline: float | None = None
    output: bool = False
    shared: Path | None = None
    turn: int | None = None
    options: Information = field(default_factory=dict)


class Recorder:
    """Measures the wanted cases of a suite, and keeps what was found."""

    def __init__(
        self,
        suite: Suite,
        settings: Settings,
        bench: Bench | None = None,
        read_environment: Callable[[], facts.Environment] | None = None,
    ) -> None:
        self.suite = suite
        self.settings = settings
        self.done: dict[str, Result] = {}
        self.path: Path | None = None
        self._memory = ProcessMemory(settings.threads)
        wanted = suite.memory if settings.memory is None else settings.memory
        self._bench = bench or Bench(
            shared=None if settings.shared is None else SharedFolder(settings.shared),
            roofs=Roofs.of_machine(settings.session or "", settings.shared),
            threads=settings.threads,
            resident=self._memory.measure if wanted else None,
            case_limit=settings.case_limit,
            output=Output() if settings.output else None,
            stream=StreamConditions(settings.load, settings.deadline),
        )
        self._read = read_environment or (lambda: environment.read(threads=settings.threads))
        self._wanted: dict[str, list[Case]] = {}
        self._ready: dict[str, Result] = {}
        self._journal: Journal | None = None

    def want(self, cases: Sequence[Case]) -> None:
        """Say which cases will be requested: those of one group are measured together."""
        self._wanted = grouped(dict.fromkeys(cases), lambda case: case.group)

    @property
    def wanted(self) -> list[Case]:
        """All cases that will be requested."""
        return [case for group in self._wanted.values() for case in group]

    def start(self) -> None:
        """Begin the journal.

        Raises ResultWriteError if it cannot be written.
        """
        settings = self.settings
        clear_left_over(settings.folder)
        before = self._read()
        started = datetime.now(UTC)
        identity = uuid.uuid4().hex
        stamp = started.strftime("%Y%m%dT%H%M%SZ")
        path = settings.folder / f"{self.suite.name}-{stamp}-{identity[:8]}.json"
        self._journal = Journal(records.journal_path(path))
        self.path = path
        self._journal.start(
            Run(
                id=identity,
                session=settings.session or identity,
                suite=self.suite.name,
                seed=settings.seed,
                started=started,
                finished=None,
                complete=False,
                host=before.host,
                machine_id=before.machine_id,
                options=settings.options,
                environment={"before": before.to_dict()},
            )
        )

    def take_turn(self) -> None:
        """Start the frameworks of all wanted cases, then wait for the turn to measure.

        Raises ResultWriteError if the journal cannot be written.
        """
        if self.settings.turn is None:
            return
        bench = self._announcing()
        for case in self.wanted:
            start_ahead(case, bench)
        self._open_journal().begin((), WAITING)
        take_turn(self.settings.turn)
        if bench.roofs is not None:
            bench.roofs.read_again()

    def result(self, case: Case) -> Result:
        """What was found of a case; the first of a group that is requested measures them all.

        Raises ResultWriteError if the journal cannot be written.
        """
        if case.id not in self._ready:
            group = [each for each in self._wanted[case.group] if each.id not in self.done]
            # What is ready and not yet on disk would not outlive a crash, so that no more than one
            # group is ever ready.
            self._ready = dict.fromkeys((each.id for each in group), INTERRUPTED)
            self._ready = self._measure(group)
        return self._ready[case.id]

    def _measure(self, group: Sequence[Case]) -> dict[str, Result]:
        plan = self.plan(group[0].group)
        try:
            return measure_group(group, plan, self.settings.seed, self._announcing())
        except ResultWriteError:
            raise
        except Exception as error:
            # No backend's doing, since those are caught: the suite's own. It is filed all the same,
            # or every process to come would try it again.
            return dict.fromkeys(
                (each.id for each in group), outcomes.failed(error, "in the suite itself")
            )

    def keep(self, case: Case, result: Result, entry: Information | None = None) -> None:
        """Put on disk what was measured of a case, or why it has no time.

        entry: of a measured case as pytest-benchmark makes it, ours within.

        Raises ResultWriteError if it cannot be written.
        """
        if isinstance(result, Measured):
            assert entry is not None
            self._open_journal().benchmark(entry)
        else:
            facts = {"outcome": result.outcome, "reason": result.reason, "advice": result.advice}
            outcome = {"case": case.to_dict(), "case_id": case.id, **facts}
            self._open_journal().outcome(outcome)
        self.done[case.id] = result
        self._ready.pop(case.id, None)

    def finish(
        self,
        machine_info: Information | None = None,
        commit_info: Information | None = None,
        *,
        interrupted: bool = False,
    ) -> Path | None:
        """End the run and make its result file; None if it was never started.

        Raises ResultWriteError if it cannot be written; the journal then stays, and is read as
        well as the file would be.
        """
        self._memory.close()
        if self._bench.output is not None:
            self._bench.output.close()
        if self._journal is None:
            return None
        with self._journal as journal:
            if interrupted:
                # The group in flight has no times that can be trusted.
                for case in [case for case in self.wanted if case.id in self._ready]:
                    self.keep(case, INTERRUPTED)
            complete = not interrupted and all(case.id in self.done for case in self.wanted)
            journal.finish(environment_after=self._read().to_dict(), complete=complete)
        self._journal = None
        self.path = records.journal_to_json(journal.path, machine_info, commit_info)
        with contextlib.suppress(OSError):  # a journal next to its file does no harm
            journal.path.unlink()
        return self.path

    def plan(self, group: str) -> TimingPlan:
        """How a group is measured."""
        settings = self.settings
        seconds = settings.seconds or self.suite.seconds[group]
        # A seed of its own for each group: were it the same, the backends would take turns in the
        # same order in all of them.
        seed = Random(f"{settings.seed}/{group}").getrandbits(32)
        judged = None
        if settings.session is not None:  # replicates share the reference's answers
            judged = Random(f"{settings.session}/{group}").randrange(1, NUMBERS)
        return TimingPlan(seconds * settings.share, settings.precision, seed, judged=judged)

    def _announcing(self) -> Bench:
        """The bench, which says in the journal what it is busy with, to be seen from outside."""

        def announce(cases: Sequence[Case]) -> None:
            self._open_journal().begin([case.id for case in cases])

        def starting(case: Case) -> None:
            self._open_journal().begin([case.id], STARTING)

        return replace(self._bench, announce=announce, starting=starting)

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("Recorder.start was not called")
        return self._journal


def take_turn(descriptor: int) -> None:
    """Wait until no other process of the session starts or measures; held to this one's end.

    descriptor: of a file on which the manager took a shared lock for this process before it
    started, so that nobody measures while it starts.
    """
    import fcntl

    # A backend may have closed it as it started: who then measures at the same time is seen in each
    # case's record, as any other process that keeps the machine busy.
    with contextlib.suppress(OSError):
        os.set_inheritable(descriptor, False)  # what a backend starts must not keep it
        fcntl.flock(descriptor, fcntl.LOCK_EX)
