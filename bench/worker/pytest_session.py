"""Measure a suite under pytest, with one item for each case.

This is a thin front end of ``recorder``. Each item requests its case from the recorder and passes
it to pytest-benchmark, whose table, files and comparisons then work as usual.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.case.cases import Case
from bench.case.loading import Suite, SuiteError
from bench.cli.options import MeasurementOptions
from bench.machine import devices
from bench.machine.fields import InputError, ResultError, printable
from bench.machine.lock import HeldError, LockError, MachineLock
from bench.machine.reading import DEFAULT_FOLDER, FolderError
from bench.machine.writing import ResultWriteError
from bench.render.messages import counted, outcome_text, reason_line
from bench.render.quantities import count
from bench.stats.trust import OF_TIME
from bench.worker.group import FAILED, Bench, Measured, Unmeasured, prepare
from bench.worker.recorder import Recorder, hold_machine, load_suite, result_folder, shuffle

# -- report in the terminal


def header(suite: Suite, options: MeasurementOptions, folder: Path) -> list[str]:
    """Return lines that say what is measured, where, and for how long at most.

    folder: the folder of the result file.
    """
    counts = Counter(case.device for case in suite.cases)
    missing = {name: reason for name in counts if (reason := devices.explain_missing(name))}
    where = " and ".join(f"{count(cases, 'case')} on {name}" for name, cases in counts.items())
    backends = ", ".join(dict.fromkeys(case.backend for case in suite.cases))
    present = [case.group for case in suite.cases if case.device not in missing]
    seconds = sum(options.budget or suite.seconds[group] for group in present)
    most = f"{math.ceil(seconds)} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"
    return [
        f"lstm: suite {suite.name}: {where} ({backends})",
        *(f"lstm: {reason_line(reason)}" for reason in missing.values()),
        f"lstm: measuring takes at most {most}, plus the time for building and checking; "
        f"results go to {relative_to_here(folder)}",
    ]


def summary(recorder: Recorder) -> Iterator[str]:
    """Yield the numbers of results, and the reasons why some are unreliable or missing."""
    measured = [result for result in recorder.done.values() if isinstance(result, Measured)]
    unreliable = [result for result in measured if result.reasons]
    # A reason in ``OF_TIME`` makes only a time unreliable. Any other reason makes the case INVALID.
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
    """Clean the text of backends and suites for a terminal, which acts on escape codes."""
    return "\n".join(printable(line, 10_000) for line in text.split("\n"))


def relative_to_here(path: Path) -> str:
    """Return a path as a user would type it in the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


FIXTURE = "lstm_case"  # The fixture that gives an item its case.
_MOST_LEFT = 3


class Measuring:
    """The hooks of pytest while a suite is measured."""

    def __init__(self, config: pytest.Config, options: MeasurementOptions) -> None:
        folder = config.invocation_params.dir
        if options.judged is not None:
            options = replace(options, judged=str(folder / options.judged))
        try:
            suite = load_suite(options, folder)
        except SuiteError as error:
            raise pytest.UsageError(str(error)) from None
        try:
            results = result_folder(options, folder)
        except FolderError as error:
            raise pytest.UsageError(f"--lstm-results: {error}") from None
        self.config = config
        # With -s the user wants to see what backends print.
        hides_output = config.getoption("capture") != "no"
        self.recorder = Recorder(suite, options, results, hides_output=hides_output)
        self.cases: dict[str, Case] = {case.id: case for case in suite.cases}
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
            marks = pytest.mark.benchmark(group=case.group)
            # The parameter is the id, which is plain text. A Case would be stored as
            # UNSERIALIZABLE.
            parameters.append(pytest.param(case.id, id=case.id, marks=marks))
        metafunc.parametrize(FIXTURE, parameters, indirect=True)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Shuffle the groups, and the cases in each group, if a seed for the order was given."""
        if (seed := self.recorder.options.order_seed) is None:
            return
        ours = {id(item): case for item in items if (case := self._case(item)) is not None}
        others = [item for item in items if id(item) not in ours]
        items[:] = [
            *others,
            *shuffle(
                (item for item in items if id(item) in ours),
                seed,
                lambda item: ours[id(item)].group,
            ),
        ]

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Select the cases that -k and --deselect leave."""
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
            return  # With --benchmark-disable, everything runs once and nothing is recorded.

        # The lock is held until this process ends.
        suite, busy = self.recorder.suite, self.recorder.options.busy
        try:
            self._lock = hold_machine(suite.name, busy, lambda text: print(text, flush=True))
        except InputError as error:
            raise pytest.UsageError(str(error)) from None
        except (HeldError, LockError) as error:
            raise pytest.UsageError(
                f"{error}; --lstm-busy=wait waits for it, --lstm-busy=force measures anyway"
            ) from None
        try:
            self.recorder.start()
            self.recorder.take_turn()
        except ResultWriteError as error:
            raise pytest.UsageError(f"{error}; choose another folder: --lstm-results DIR") from None

    def publish(self, case: Case, benchmark: Any) -> None:
        """Measure and record a case, and show its samples or the reason why it has none."""
        if benchmark.disabled:  # The case is built, called and judged, but not timed.
            prepared = prepare(case, self.recorder.seed, Bench())
            if isinstance(prepared, Unmeasured):
                _report(prepared)
            return
        try:
            result = self.recorder.measure(case)
        except ResultWriteError as error:
            self._problem = str(error)
            pytest.exit(f"{plain(str(error))}; earlier measurements are kept", returncode=1)
        if isinstance(result, Unmeasured):
            _report(result)
        else:
            self._show(case, result, benchmark)

    def _show(self, case: Case, measured: Measured, benchmark: Any) -> None:
        """Pass a recorded case to pytest-benchmark, for its own table and files."""
        series = measured.series
        benchmark.extra_info.update(self.recorder.entry(case, measured)["extra_info"])
        # The fixture's public calls would time a function, but these samples exist already.
        stats = benchmark._make_stats(series.calls)
        for block in series.blocks:
            stats.update(block)

    @pytest.hookimpl(wrapper=True)
    def pytest_benchmark_group_stats(
        self, benchmarks: list[dict[str, Any]], group_by: str
    ) -> Iterator[None]:
        """Name the rows of the table after their backend.

        The heading names the rest of the case.
        """
        groups = yield
        if group_by == "group":
            for entry in benchmarks:
                if ours := entry["extra_info"].get("lstm"):
                    entry["name"] = ours["case"]["backend"]
        return groups

    # -- ending

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self) -> None:
        """Remember that the run is incomplete."""
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
        lines = header(self.recorder.suite, self.recorder.options, self.recorder.folder)
        left = records.unfinished(self.recorder.folder)
        lines += [f"lstm: {note}" for note in left[:_MOST_LEFT]]
        if (more := len(left) - _MOST_LEFT) > 0:
            lines.append(f"lstm: and {more} more such journals")
        return [plain(line) for line in lines]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was found, where the results are, and what to do next."""
        if not self.recorder.done and not self._problem and not self._interrupted:
            return

        def write(line: str, **markup: bool) -> None:
            terminalreporter.write_line(plain(line), **markup)

        terminalreporter.section(f"LSTM suite {plain(self.recorder.suite.name)}")
        for line in summary(self.recorder):
            write(line)
        if self._interrupted:
            write("stopped early: the file holds the finished cases and is marked as incomplete")
        if self._problem:
            write(self._problem, red=True)
        if self.recorder.path is not None:
            path = relative_to_here(self.recorder.path)
            usual = self.recorder.folder == Path.cwd() / DEFAULT_FOLDER
            write(f"results: {path}")
            write(f"read them: python -m bench.report{'' if usual else f' {path}'}", bold=True)


def _report(result: Unmeasured) -> None:
    line = reason_line(result.reason)
    if result.outcome == FAILED:
        details = f"\n\n{result.details}" if result.details else ""
        pytest.fail(plain(f"{line}{details}"), pytrace=False)
    pytest.skip(plain(line))
