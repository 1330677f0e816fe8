"""Measure the selected cases of a suite, and record each finished case in a journal.

The recorder is the only path from cases to a result file. ``python -m bench.worker`` uses it to
measure all cases of a work order. Under pytest, each item requests one case. The recorder does not
need pytest: the module of pytest-benchmark that computes its statistics does not import pytest.
"""

import contextlib
import itertools
import os
import platform
import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import cpuinfo
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import get_commit_info

from bench import case as suites
from bench import records
from bench.case.cases import REPLICAS, Case
from bench.case.loading import Suite
from bench.cli.options import DEFAULT_SUITE, MeasurementOptions
from bench.machine import environment
from bench.machine.fields import ResultError
from bench.machine.lock import HeldError, LockError, MachineLock
from bench.machine.reading import default_folder, expand_path
from bench.machine.reasons import Reason
from bench.machine.writing import ResultWriteError, delete_partial_files, lock
from bench.records.grouping import group_by
from bench.records.journal import WAITING, Journal
from bench.records.reasons import outcome_as_recorded
from bench.records.schema import Run
from bench.records.seeds import newest_seed
from bench.worker.equivalence import SharedFolder, share_answers
from bench.worker.group import (
    FAILED,
    Bench,
    Measured,
    Output,
    Result,
    Unmeasured,
    failed,
    measure_group,
    start_ahead,
)
from bench.worker.resources import ProcessMemory
from bench.worker.roofs import Roofs
from bench.worker.timing import SHORTEST_BLOCK, StreamConditions, TimingPlan

INTERRUPTED = Unmeasured("interrupted", Reason("stopped"))

Information: TypeAlias = Mapping[str, object]

_T = TypeVar("_T")


# -- what is measured, and where


def load_suite(options: MeasurementOptions, folder: Path) -> Suite:
    """Return the suite that the options name, with the cases that they select.

    folder: relative paths of the user start here. Raises SuiteError.
    """
    suite = suites.load(options.suite or DEFAULT_SUITE, options.choice, folder)
    return suite if options.cases is None else suites.load_cases(folder / options.cases, suite)


def result_folder(options: MeasurementOptions, folder: Path) -> Path:
    """Return the folder of the result file.

    folder: see ``load_suite``. Raises FolderError.
    """
    return folder / expand_path(options.results or default_folder())


def shuffle(items: Iterable[_T], seed: int, group: Callable[[_T], str]) -> list[_T]:
    """Return the items with the groups in random order, and each group's items in random order."""
    order = random.Random(seed)
    groups = list(group_by(items, group).values())
    order.shuffle(groups)
    for each in groups:
        order.shuffle(each)
    return list(itertools.chain(*groups))


def hold_machine(name: str, busy: str | None, tell: Callable[[str], None]) -> MachineLock:
    """Return the machine's lock, which this process holds while it measures.

    name: the name of the suite. busy: the value of the option. With ``force``, another run may hold
    the lock, such as the manager that started this process. tell: receives a line about a run that
    this process waits for.

    Raises HeldError, LockError and InputError.
    """
    held = MachineLock()
    try:
        if busy == "wait":
            held.wait(name, tell)
        else:
            held.acquire(name)
    except (HeldError, LockError):
        if busy != "force":
            raise
    return held


# -- record


class Recorder:
    """Measures the selected cases of a suite and records the results."""

    def __init__(
        self,
        suite: Suite,
        options: MeasurementOptions,
        folder: Path,
        bench: Bench | None = None,
        *,
        hides_output: bool = True,
    ) -> None:
        """Prepare to measure.

        folder: the folder of the result file. hides_output: whether to hide what backends print.
        """
        self.suite = suite
        self.options = options
        self.folder = folder
        self.done: dict[str, Result] = {}
        self.path: Path | None = None
        self.seed = newest_seed() if options.seed is None else options.seed
        self._memory = ProcessMemory(options.threads)
        wanted = suite.memory if options.memory is None else options.memory
        judged = None if options.judged is None else Path(options.judged)
        shared = None if judged is None else SharedFolder(judged)
        share_answers(shared)
        bench = bench or Bench(
            shared=shared,
            roofs=Roofs.of_machine(judged),
            threads=options.threads,
            resident=self._memory.measure if wanted else None,
            case_limit=options.case_limit,
            output=Output() if hides_output else None,
            stream=StreamConditions(options.load or 0, options.deadline),
        )
        self._bench = replace(bench, announce=self._announce)
        self._selected: dict[str, list[Case]] = {}
        self._ready: dict[str, Result] = {}
        self._journal: Journal | None = None

    def select(self, cases: Sequence[Case]) -> None:
        """Select the cases to measure. Cases of one group are measured together."""
        # Replicas come first, because TensorFlow must start with two logical CPUs for them.
        order = sorted(dict.fromkeys(cases), key=lambda case: case.variant != REPLICAS)
        self._selected = group_by(order, lambda case: case.group)

    @property
    def selected(self) -> list[Case]:
        """Return the selected cases."""
        return [case for group in self._selected.values() for case in group]

    def start(self) -> None:
        """Begin the journal. Raise ResultWriteError if it cannot be written."""
        delete_partial_files(self.folder)
        before = environment.read(threads=self.options.threads)
        started = datetime.now(UTC)
        identity = uuid.uuid4().hex
        stamp = started.strftime("%Y%m%dT%H%M%SZ")
        path = self.folder / f"{self.suite.name}-{stamp}-{identity[:8]}.json"
        self._journal = Journal(records.journal_path(path))
        self.path = path
        self._journal.start(
            Run(
                id=identity,
                session=self.options.session or identity,
                suite=self.suite.name,
                seed=self.seed,
                started=started,
                finished=None,
                complete=False,
                host=before.host,
                machine_id=before.machine_id,
                options=self.options.to_record(),
                environment={"before": environment.make_record(before)},
            )
        )

    def take_turn(self) -> None:
        """Start the frameworks of all cases, then wait for the turn to measure.

        Raises ResultWriteError.
        """
        if self.options.turn is None:
            return
        for case in self.selected:
            start_ahead(case, self._bench)
        self._open_journal().begin((), WAITING)
        take_turn(self.options.turn)
        if self._bench.roofs is not None:
            self._bench.roofs.reload()

    def result(self, case: Case) -> Result:
        """Return the result of a case. The first request measures its whole group.

        Raises ResultWriteError.
        """
        if case.id not in self._ready:
            group = [each for each in self._selected[case.group] if each.id not in self.done]
            # Only one group is measured ahead, because a crash loses what is not on disk.
            self._ready = dict.fromkeys((each.id for each in group), INTERRUPTED)
            plan = self.plan(case.group)
            try:
                self._ready = measure_group(group, plan, self.seed, self._bench)
            except ResultWriteError:
                raise
            except Exception as error:
                # This is an error of the suite itself, since errors of backends are caught. It is
                # recorded, or every later process would repeat it.
                broken = failed(error, "suite")
                self._ready = dict.fromkeys(self._ready, broken)
        return self._ready[case.id]

    def measure_all(self) -> None:
        """Measure all selected cases. Raise ResultWriteError."""
        for case in self.selected:
            self.measure(case)

    def measure(self, case: Case) -> Result:
        """Measure a case, write its result to the journal, and return the result.

        The cases of a group are timed in alternation, so the first call for a group measures all of
        its cases. Later calls write and return what was measured then. A result that the reader of
        result files would refuse is recorded as a failure. Raises ResultWriteError.
        """
        result = self.result(case)
        if isinstance(result, Measured):
            try:
                self._open_journal().benchmark(self.entry(case, result))
            except ResultError as error:
                result = Unmeasured(FAILED, Reason("not_recordable", {"error": str(error)}))
        self._finish_case(case, result)
        return result

    def _finish_case(self, case: Case, result: Result) -> None:
        if isinstance(result, Unmeasured):
            outcome = outcome_as_recorded(case, result.outcome, result.reason)
            self._open_journal().outcome(outcome)
        self.done[case.id] = result
        self._ready.pop(case.id, None)

    def entry(self, case: Case, measured: Measured) -> dict[str, Any]:
        """Return a measured case as pytest-benchmark stores it, with our data in ``extra_info``."""
        plan, name = self.plan(case.group), f"test_case[{case.id}]"
        stats = Stats()
        for sample in measured.series.samples:
            stats.update(sample)
        return {
            "group": case.group,
            "name": name,
            "fullname": f"bench/bench_cases.py::{name}",
            "params": {"lstm_case": case.id},
            "param": case.id,
            "extra_info": {"lstm": measured.to_extra(case, plan.seed)},
            "options": {
                "disable_gc": False,
                "timer": "perf_counter",
                "min_rounds": 1,
                "max_time": plan.seconds,
                "min_time": SHORTEST_BLOCK,
                "precision": plan.precision,
                # The confidence of the intervals by which timing decides when to stop.
                "confidence": 0.95,
                "warmup": True,
            },
            "stats": {
                **stats.as_dict(),
                "data": stats.data,
                "iterations": measured.series.calls,
            },
        }

    def finish(
        self,
        machine_info: Information | None = None,
        commit_info: Information | None = None,
        *,
        interrupted: bool = False,
    ) -> Path | None:
        """End the run and write its file. Return None if the run never started.

        machine_info, commit_info: what pytest-benchmark records. If they are None, they are read
        here.

        Raises ResultWriteError and ResultError.
        """
        self._memory.close()
        if self._bench.output is not None:
            self._bench.output.close()
        if self._journal is None:
            return None
        with self._journal as journal:
            if interrupted:
                # The times of an interrupted group are not valid.
                for case in [case for case in self.selected if case.id in self._ready]:
                    self._finish_case(case, INTERRUPTED)
            complete = not interrupted and all(case.id in self.done for case in self.selected)
            after = environment.read(threads=self.options.threads)
            journal.finish(environment_after=after.to_dict(), complete=complete)
        self._journal = None
        machine = read_machine_info() if machine_info is None else machine_info
        commit = get_commit_info() if commit_info is None else commit_info
        self.path = records.journal_to_json(journal.path, machine, commit)
        with contextlib.suppress(OSError):  # A journal next to its result file does no harm.
            journal.path.unlink()
        return self.path

    def plan(self, group: str) -> TimingPlan:
        """Return how a group is measured."""
        options = self.options
        seconds = options.budget or self.suite.seconds[group]
        # Each group has its own seed, and therefore another order of backends.
        seed = random.Random(f"{self.seed}/{group}").getrandbits(32)
        judged = None
        if options.session is not None:  # Replicates share the reference's answers.
            judged = random.Random(f"{options.session}/{group}/judged").getrandbits(63)
        share = 1.0 if options.share is None else options.share
        precision = TimingPlan.precision if options.precision is None else options.precision
        return TimingPlan(seconds * share, precision, seed, judged=judged)

    def _announce(self, cases: Sequence[Case], phase: str = "") -> None:
        self._open_journal().begin([case.id for case in cases], phase)

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("Recorder.start was not called")
        return self._journal


def take_turn(descriptor: int) -> None:
    """Wait until no other process of the session starts or measures, and keep the lock.

    descriptor: an open file. Before this process started, the manager took a shared lock on it for
    this process, so that no other process measures while this one starts.
    """
    # If a backend has closed the file, processes that measure at the same time are recorded as
    # busy.
    with contextlib.suppress(OSError):
        # Processes that a backend starts must not keep the lock.
        os.set_inheritable(descriptor, False)
        lock(descriptor, wait=True)


@contextlib.contextmanager
def finish_recording(recorder: Recorder) -> Iterator[None]:
    """Finish the recorder's file at the end of the block, even after an interruption.

    Raises ResultWriteError and ResultError.
    """
    try:
        yield
    except KeyboardInterrupt:
        recorder.finish(interrupted=True)
        raise
    except BaseException:
        # The error that ended the block matters more. The journal holds what was measured.
        with contextlib.suppress(ResultWriteError, ResultError):
            recorder.finish()
        raise
    recorder.finish()


def read_machine_info() -> dict[str, object]:
    """Return what pytest-benchmark records about a machine, read without importing pytest."""
    return {
        "node": platform.node(),
        "processor": platform.processor(),
        "machine": platform.machine(),
        "python_compiler": platform.python_compiler(),
        "python_implementation": platform.python_implementation(),
        "python_implementation_version": platform.python_version(),
        "python_version": platform.python_version(),
        "python_build": platform.python_build(),
        "release": platform.release(),
        "system": platform.system(),
        "cpu": cpuinfo.get_cpu_info() or {},
    }
