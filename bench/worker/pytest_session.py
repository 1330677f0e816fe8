"""Measure a suite in pytest, with one item for each case.

For the first item of a group the recorder measures the complete group in blocks. Each item then
replays its samples to pytest-benchmark, whose table, files and comparisons use them as usual.
"""

import contextlib
import itertools
import math
import os
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from bench import case as suites
from bench import records
from bench.case.cases import REPLICAS, Case, format_period
from bench.case.loading import Suite, SuiteError
from bench.machine import devices, environment
from bench.machine.fields import InputError, ResultError, printable
from bench.machine.lock import HeldError, LockError, MachineLock
from bench.machine.reading import DEFAULT_FOLDER, FolderError, default_folder, expanded
from bench.machine.reasons import Reason
from bench.machine.writing import ResultWriteError, delete_partial_files, lock
from bench.records.grouping import grouped
from bench.records.journal import WAITING, Journal
from bench.records.schema import Run
from bench.render.messages import counted, outcome_as_recorded, outcome_text, reason_line
from bench.render.quantities import count
from bench.stats.trust import OF_TIME
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
    prepare,
    start_ahead,
)
from bench.worker.resources import ProcessMemory
from bench.worker.roofs import Roofs
from bench.worker.timing import StreamConditions, TimingPlan

# -- record

INTERRUPTED = Unmeasured("interrupted", Reason("stopped"))

Information: TypeAlias = Mapping[str, object]


@dataclass(frozen=True)
class Settings:
    """How a run measures.

    seconds: for each case, in place of the suite's. share: the part of them that is used. session:
    shared by runs that are replicates; None for a run of its own. memory: whether the memory of
    cases on the CPU is measured, None for what the suite says. case_limit: seconds after which
    ``bench.run`` ends a case. load, deadline: ``StreamConditions``. output: whether to hide what
    backends print. shared: a folder of the session. turn: a file to lock before anything is built.
    options: what the user requested, which is recorded.
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
    """Measures the selected cases of a suite and records the results."""

    def __init__(self, suite: Suite, settings: Settings, bench: Bench | None = None) -> None:
        self.suite = suite
        self.settings = settings
        self.done: dict[str, Result] = {}
        self.path: Path | None = None
        self._memory = ProcessMemory(settings.threads)
        wanted = suite.memory if settings.memory is None else settings.memory
        shared = None if settings.shared is None else SharedFolder(settings.shared)
        share_answers(shared)
        bench = bench or Bench(
            shared=shared,
            roofs=Roofs.of_machine(settings.shared),
            threads=settings.threads,
            resident=self._memory.measure if wanted else None,
            case_limit=settings.case_limit,
            output=Output() if settings.output else None,
            stream=StreamConditions(settings.load, settings.deadline),
        )
        self._bench = replace(bench, announce=self._announce)
        self._selected: dict[str, list[Case]] = {}
        self._ready: dict[str, Result] = {}
        self._journal: Journal | None = None

    def select(self, cases: Sequence[Case]) -> None:
        """Select the cases; those of one group are measured together."""
        # Replicas first: TensorFlow must start with two logical CPUs.
        order = sorted(dict.fromkeys(cases), key=lambda case: case.variant != REPLICAS)
        self._selected = grouped(order, lambda case: case.group)

    @property
    def selected(self) -> list[Case]:
        """The selected cases."""
        return [case for group in self._selected.values() for case in group]

    def start(self) -> None:
        """Begin the journal. Raises ResultWriteError if it cannot be written."""
        settings = self.settings
        delete_partial_files(settings.folder)
        before = environment.read(threads=settings.threads)
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
                environment={"before": environment.recorded(before)},
            )
        )

    def take_turn(self) -> None:
        """Start all cases' frameworks, then wait for the turn. Raises ResultWriteError."""
        if self.settings.turn is None:
            return
        for case in self.selected:
            start_ahead(case, self._bench)
        self._open_journal().begin((), WAITING)
        take_turn(self.settings.turn)
        if self._bench.roofs is not None:
            self._bench.roofs.reload()

    def result(self, case: Case) -> Result:
        """Return a case's result; the first request measures its group. Raises ResultWriteError."""
        if case.id not in self._ready:
            group = [each for each in self._selected[case.group] if each.id not in self.done]
            # Only one group is measured ahead: a crash loses what is not on disk.
            self._ready = dict.fromkeys((each.id for each in group), INTERRUPTED)
            plan = self.plan(case.group)
            try:
                self._ready = measure_group(group, plan, self.settings.seed, self._bench)
            except ResultWriteError:
                raise
            except Exception as error:
                # An error of the suite itself: those of backends are caught. It is recorded, or
                # every later process would repeat it.
                broken = failed(error, "suite")
                self._ready = dict.fromkeys(self._ready, broken)
        return self._ready[case.id]

    def record(self, case: Case, result: Result, entry: Information | None = None) -> None:
        """Write a case's result. entry: pytest-benchmark's, if timed. Raises ResultWriteError."""
        if isinstance(result, Measured):
            assert entry is not None
            self._open_journal().benchmark(entry)
        else:
            outcome = outcome_as_recorded(case, result.outcome, result.reason)
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
        """End the run and write its file, None if it never started. Raises ResultWriteError."""
        self._memory.close()
        if self._bench.output is not None:
            self._bench.output.close()
        if self._journal is None:
            return None
        with self._journal as journal:
            if interrupted:
                # The times of an interrupted group are not valid.
                for case in [case for case in self.selected if case.id in self._ready]:
                    self.record(case, INTERRUPTED)
            complete = not interrupted and all(case.id in self.done for case in self.selected)
            after = environment.read(threads=self.settings.threads)
            journal.finish(environment_after=after.to_dict(), complete=complete)
        self._journal = None
        self.path = records.journal_to_json(journal.path, machine_info, commit_info)
        with contextlib.suppress(OSError):  # a journal next to its file is harmless
            journal.path.unlink()
        return self.path

    def plan(self, group: str) -> TimingPlan:
        """Return how a group is measured."""
        settings = self.settings
        seconds = settings.seconds or self.suite.seconds[group]
        # Each group has its own seed, and so another order of backends.
        seed = random.Random(f"{settings.seed}/{group}").getrandbits(32)
        judged = None
        if settings.session is not None:  # replicates share the reference's answers
            judged = random.Random(f"{settings.session}/{group}/judged").getrandbits(63)
        return TimingPlan(seconds * settings.share, settings.precision, seed, judged=judged)

    def _announce(self, cases: Sequence[Case], phase: str = "") -> None:
        self._open_journal().begin([case.id for case in cases], phase)

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("Recorder.start was not called")
        return self._journal


def take_turn(descriptor: int) -> None:
    """Wait until no other process of the session starts or measures, and keep the lock.

    descriptor: of a file on which the manager took a shared lock for this process before it
    started, so that none measures while it starts.
    """
    # If a backend has closed it, processes that measure at the same time are recorded as busy.
    with contextlib.suppress(OSError):
        os.set_inheritable(descriptor, False)  # what a backend starts must not keep it
        lock(descriptor, wait=True)


# -- report in the terminal


def header(suite: Suite, settings: Settings) -> list[str]:
    """Return what is measured, where, and for how long at most."""
    counts = Counter(case.device for case in suite.cases)
    missing = {name: reason for name in counts if (reason := devices.explain_missing(name))}
    where = " and ".join(f"{count(cases, 'case')} on {name}" for name, cases in counts.items())
    backends = ", ".join(dict.fromkeys(case.backend for case in suite.cases))
    present = [case.group for case in suite.cases if case.device not in missing]
    seconds = sum(settings.seconds or suite.seconds[group] for group in present)
    most = f"{math.ceil(seconds)} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"
    return [
        f"lstm: suite {suite.name}: {where} ({backends})",
        *(f"lstm: {reason_line(reason)}" for reason in missing.values()),
        f"lstm: at most {most} of measuring, and what building and checking takes; "
        f"results go to {relative_to_here(settings.folder)}",
    ]


def summary(recorder: Recorder) -> Iterator[str]:
    """Count the results, with the reasons why some are not reliable or missing."""
    measured = [result for result in recorder.done.values() if isinstance(result, Measured)]
    unreliable = [result for result in measured if result.reasons]
    # Reasons of ``OF_TIME`` make a time unreliable, others make the case INVALID.
    invalid = sum(any(e.code not in OF_TIME for e in result.reasons) for result in unreliable)
    parts = [f"{invalid} of them INVALID"] * bool(invalid)
    parts += [f"{len(unreliable) - invalid} with an unreliable time"] * (len(unreliable) > invalid)
    tail = f", {' and '.join(parts)}:" if parts else ""
    yield f"{count(len(measured), 'case')} measured{tail}"
    reasons = counted(("", reason) for result in unreliable for reason in result.reasons)
    yield from (f"  {line} ({count(cases, 'case')})" for line, cases in reasons.items())
    others = [result for result in recorder.done.values() if isinstance(result, Unmeasured)]
    lines = Counter((each.outcome, reason_line(each.reason)) for each in others)
    for (outcome, line), cases in lines.items():
        yield f"{count(cases, 'case')} {outcome_text(outcome)}: {line}"


def plain(text: str) -> str:
    """Clean text of backends and suites for a terminal, which acts on escape codes."""
    return "\n".join(printable(line, 10_000) for line in text.split("\n"))


def relative_to_here(path: Path) -> str:
    """Return a path as a user would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


FIXTURE = "lstm_case"  # gives an item its case
_MOST_LEFT = 3


class Measuring:
    """Hooks of pytest while a suite is measured."""

    def __init__(self, config: pytest.Config) -> None:
        try:
            suite = _suite(config)
        except SuiteError as error:
            raise pytest.UsageError(str(error)) from None
        self.config = config
        self.recorder: Recorder = Recorder(suite, _settings(config))
        self.cases: dict[str, Case] = {case.id: case for case in suite.cases}
        # What pytest-benchmark's timer returns for a case, each block from zero.
        self._readings: dict[str, list[float]] = {case: [] for case in self.cases}
        self._interrupted = False
        self._problem = ""
        self._lock: MachineLock | None = None

    # -- collecting

    @pytest.hookimpl
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one item for each case."""
        if FIXTURE not in metafunc.fixturenames:
            return
        parameters = []
        for case in self.cases.values():
            readings = self._readings[case.id]
            marks = pytest.mark.benchmark(group=case.group, timer=lambda of=readings: of.pop(0))
            # The parameter is the id, which is plain: a Case would be stored as UNSERIALIZABLE.
            parameters.append(pytest.param(case.id, id=case.id, marks=marks))
        metafunc.parametrize(FIXTURE, parameters, indirect=True)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Shuffle groups, and the cases in each, if a seed for it was given."""
        if (seed := self.config.getoption("lstm_order_seed")) is None:
            return
        order = random.Random(seed)
        groups: dict[str, list[pytest.Item]] = {}
        for item in items:
            case = self._case(item)
            groups.setdefault(case.group if case else "", []).append(item)
        others = groups.pop("", [])
        shuffled = list(groups.values())
        order.shuffle(shuffled)
        for group in shuffled:
            order.shuffle(group)
        items[:] = [*others, *itertools.chain(*shuffled)]

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Select what is left after -k and --deselect."""
        self.recorder.select([case for item in session.items if (case := self._case(item))])

    def _case(self, item: pytest.Item) -> Case | None:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            return None
        return self.cases.get(str(item.callspec.params.get(FIXTURE)))

    # -- measuring

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Begin the journal if there is a case."""
        if session.config.option.collectonly or not self.recorder.selected:
            return
        if session.config._benchmarksession.disabled:  # type: ignore[attr-defined]
            return  # --benchmark-disable: everything runs once and nothing is recorded

        # Held until this process ends; for a worker its manager holds it.
        busy = self.config.getoption("lstm_busy")
        try:
            self._lock = MachineLock()
            if busy == "wait":
                self._lock.wait(self.recorder.suite.name, lambda text: print(text, flush=True))
            else:
                self._lock.acquire(self.recorder.suite.name)
        except InputError as error:
            raise pytest.UsageError(str(error)) from None
        except (HeldError, LockError) as error:
            if busy != "force":
                raise pytest.UsageError(
                    f"{error}; --lstm-busy=wait waits for it, --lstm-busy=force goes on all the "
                    "same"
                ) from None
        try:
            self.recorder.start()
            self.recorder.take_turn()
        except ResultWriteError as error:
            raise pytest.UsageError(f"{error}; choose another folder: --lstm-results DIR") from None

    def publish(self, case: Case, benchmark: Any) -> None:
        """Measure a case and record the result, or the reason for none."""
        if benchmark.disabled:  # it is built, called and judged, and not timed
            prepared = prepare(case, self.recorder.settings.seed, Bench())
            if isinstance(prepared, Unmeasured):
                _report(prepared)
            return
        try:
            result = self.recorder.result(case)
            if isinstance(result, Measured):
                try:
                    self._replay(case, result, benchmark)
                    self.recorder.record(case, result, benchmark.stats.as_dict(include_data=True))
                    return
                except ResultError as error:
                    # What our reader would refuse is no result.
                    benchmark.has_error = True
                    result = Unmeasured(FAILED, Reason("not_recordable", {"error": str(error)}))
            self.recorder.record(case, result)
        except ResultWriteError as error:
            benchmark.has_error = True
            self._problem = str(error)
            pytest.exit(f"{plain(str(error))}; what was measured before is kept", returncode=1)
        _report(result)

    def _replay(self, case: Case, measured: Measured, benchmark: Any) -> None:
        """Give the samples to pytest-benchmark as if they were taken now."""
        series = measured.series
        self._readings[case.id][:] = [each for block in series.blocks for each in (0.0, block)]
        seed = self.recorder.plan(case.group).seed
        benchmark.extra_info["lstm"] = measured.to_extra(case, seed)
        try:
            benchmark.pedantic(
                lambda: None, rounds=len(series.blocks), iterations=series.calls, warmup_rounds=0
            )
        except BaseException:
            # Otherwise Ctrl-C here would leave half of the samples as a valid case.
            benchmark.has_error = True
            raise

    @pytest.hookimpl(wrapper=True)
    def pytest_benchmark_group_stats(
        self, benchmarks: list[dict[str, Any]], group_by: str
    ) -> Iterator[None]:
        """Name rows of the table by their backend; the heading names the rest of the case."""
        groups = yield
        if group_by == "group":
            for entry in benchmarks:
                if ours := entry["extra_info"].get("lstm"):
                    entry["name"] = ours["case"]["backend"]
        return groups

    # -- ending

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self) -> None:
        """Remember that the run is not complete."""
        self._interrupted = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the result file from the journal."""
        if self._lock is not None:
            self._lock.close()
        if self.recorder.path is None:
            return
        hook = self.config.hook
        try:
            self.recorder.finish(
                hook.pytest_benchmark_generate_machine_info(config=self.config),
                hook.pytest_benchmark_generate_commit_info(config=self.config),
                interrupted=self._interrupted,
            )
        except (ResultWriteError, ResultError) as error:
            self._problem = self._problem or str(error)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    # -- reporting

    @pytest.hookimpl
    def pytest_report_header(self) -> list[str]:
        """Say what will be measured, and what earlier runs left unfinished."""
        lines = header(self.recorder.suite, self.recorder.settings)
        left = records.unfinished(self.recorder.settings.folder)
        lines += [f"lstm: {note}" for note in left[:_MOST_LEFT]]
        if (more := len(left) - _MOST_LEFT) > 0:
            lines.append(f"lstm: and {more} more such journals")
        return [plain(line) for line in lines]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was found, where it is, and what to do next."""
        if not self.recorder.done and not self._problem and not self._interrupted:
            return

        def write(line: str, **markup: bool) -> None:
            terminalreporter.write_line(plain(line), **markup)

        terminalreporter.section(f"LSTM suite {plain(self.recorder.suite.name)}")
        for line in summary(self.recorder):
            write(line)
        if self._interrupted:
            write("stopped early: the file holds what was finished and says that it is not all")
        if self._problem:
            write(self._problem, red=True)
        if self.recorder.path is not None:
            path = relative_to_here(self.recorder.path)
            usual = self.recorder.settings.folder == Path.cwd() / DEFAULT_FOLDER
            write(f"results: {path}")
            write(f"read them: python -m bench.report{'' if usual else f' {path}'}", bold=True)


# -- options

_RECORDED = (
    *("suite", "device", "backends", "mode", "seed", "budget", "share", "precision", "threads"),
    *("cases", "session", "order_seed", "memory", "case_limit", "period", "load", "deadline"),
    "variant",
)
_SETTINGS = ("seed", "share", "precision", "load", "deadline", "threads", "session", "case_limit")


def _suite(config: pytest.Config) -> Suite:
    get, folder = config.getoption, config.invocation_params.dir
    names = ("backends", "device", "mode", "period", "variant")
    choice = suites.SuiteChoice(*(get(f"lstm_{name}") for name in names))
    suite = suites.load(get("lstm_suite") or "quick", choice, folder)
    if listed := get("lstm_cases"):
        return suites.load_cases(folder / listed, suite)
    return suite


def _settings(config: pytest.Config) -> Settings:
    get = config.getoption
    shared = get("lstm_judged")
    given = {name: get(f"lstm_{name}") for name in _RECORDED}
    chosen = {name: value for name, value in given.items() if value is not None}
    if "period" in chosen:
        chosen["period"] = [format_period(each) for each in chosen["period"]]
    # Results are shared: they do not name private folders.
    chosen |= {name: Path(chosen[name]).name for name in ("suite", "cases") if name in chosen}
    try:
        folder = expanded(get("lstm_results") or default_folder())
    except FolderError as error:
        raise pytest.UsageError(f"--lstm-results: {error}") from None
    return Settings(
        folder=config.invocation_params.dir / folder,
        seconds=given["budget"],
        memory={"on": True, "off": False}.get(given["memory"]),
        # With -s the user wants to see it.
        output=config.getoption("capture") != "no",
        shared=shared and config.invocation_params.dir / shared,
        turn=get("lstm_turn"),
        options=chosen,
        **{name: chosen[name] for name in _SETTINGS if name in chosen},
    )


def _report(result: Unmeasured) -> None:
    line = reason_line(result.reason)
    if result.outcome == FAILED:
        details = f"\n\n{result.details}" if result.details else ""
        pytest.fail(plain(f"{line}{details}"), pytrace=False)
    pytest.skip(plain(line))
