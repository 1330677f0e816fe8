"""The pytest side: ``pytest --benchmark-only`` measures a suite, plain ``pytest`` runs the tests.

Each case is one pytest item. The first item of a group has the recorder measure the group in
alternating blocks; each item then publishes its own samples by replaying them to pytest-benchmark,
whose table, files and comparisons work on them as on any other. This room knows options, items,
reports and words on the terminal. It is loaded wherever the package is installed, so until there is
something to measure it imports nothing that takes time.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.disk.fields import printable
from bench.disk.folder import (
    DEFAULT_FOLDER,
    RESULTS_VARIABLE,
    FolderError,
    default_folder,
    expanded,
)

if TYPE_CHECKING:
    from bench.machine.lock import MachineLock
    from bench.measuring.outcomes import Measured, Unmeasured
    from bench.measuring.recorder import Recorder, Settings
    from bench.suites.cases import Case
    from bench.suites.loading import Suite

BENCH = Path(__file__).resolve().parent
TESTS = BENCH.parent / "tests"
FIXTURE = "lstm_case"
MARKER = "lstm_cases"


THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    "NPROC",  # what XLA's CPU client, and so JAX, sizes its pool by
)
"""Read by the frameworks when they start, and never again: set before any is imported."""

COLUMNS, SORT = ("median", "iqr", "min", "rounds", "iterations"), "median"
"""Of pytest-benchmark's table, unless chosen: its ten do not fit a terminal, and the order by the
minimum would name other winners than the medians that the report goes by."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The suite's options, all with a prefix of their own."""
    group = parser.getgroup("lstm", "LSTM benchmark suite (with --benchmark-only)")

    def add(name: str, metavar: str, text: str, **more: Any) -> None:
        group.addoption(f"--lstm-{name}", metavar=metavar, help=text, default=None, **more)

    add(
        "suite",
        "NAME|FILE",
        "What to measure: a suite of the package (bench/suites/*.toml) or the path of a TOML file "
        "of your own. Default: quick.",
    )
    add(
        "device",
        "DEVICES",
        "Where: cpu, gpu:0, ... or all, separated by commas. Default: what the suite says (quick: "
        "the CPU and every GPU here).",
        type=_names,
    )
    add(
        "backends",
        "NAMES",
        "Which implementations, separated by commas, such as while_loop,while_loop+xla; or all. "
        "Default: those that the suite names.",
        type=_names,
    )
    add("mode", "MODES", "Only inference, or only training. Default: both.", type=_names)
    add(
        "results",
        "DIR",
        f"Folder for the result file. Default: ${RESULTS_VARIABLE} if set, else results.",
    )
    add(
        "seed",
        "N",
        "Seed of weights, inputs and of the order in which backends take turns. Default: 0.",
        type=_whole,
    )
    add(
        "budget",
        "SECONDS",
        "Measuring time for each case (one backend on one shape, mode and device), in place of the "
        "suite's. More narrows the intervals.",
        type=_seconds,
    )
    add(
        "share",
        "PART",
        "Part of that time that is measured, above 0 to 1, so that a budget holds several "
        "processes (bench.run). Default: 1.",
        type=_part,
    )
    add(
        "precision",
        "PERCENT",
        "Stop before the budget is spent once every median's 95%% interval is within this, such as "
        "2%%. Default: 1%%.",
        type=_percent,
    )
    add(
        "threads",
        "N",
        "Threads for every framework: TensorFlow's pools, OpenMP (PyTorch, oneDNN), BLAS, XLA. "
        "Default: each framework's own choice, as a rule one for each processor.",
        type=_positive,
    )
    add(
        "memory",
        "auto|on|off",
        "Whether to measure the peak memory of cases on the CPU too, each in a process of its own "
        "and while nothing is timed: some seconds a case (on a GPU it costs nothing and is always "
        "recorded). Default: auto, what the suite says.",
        choices=("auto", "on", "off"),
    )
    add(
        "case-limit",
        "SECONDS",
        "After how long whoever started this ends it if a case is not done (bench.run).",
        type=_seconds,
    )
    add(
        "cases",
        "FILE",
        "Only the cases in this JSON file: a list of case ids of the suite, or of whole cases.",
    )
    add(
        "busy",
        "refuse|wait|force",
        "While another run measures on this machine: refuse to start, wait for it, or go on all "
        "the same though both spoil each other. Default: refuse.",
        choices=("refuse", "wait", "force"),
    )
    add(
        "judged",
        "DIR",
        "Folder in which the processes of a session share what the reference computed for the "
        "cases that they check (bench.run).",
    )
    add("session", "ID", "Name shared by runs that are replicates of one another (bench.run).")
    add(
        "order-seed",
        "N",
        "Measure the groups, and the backends in each, in a random order with this seed "
        "(bench.run). Default: the suite's order.",
        type=_whole,
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --benchmark-only no test is collected, without it no benchmark.

    Only files of this project: another project's tests and benchmarks are its own business.
    """
    if _only(config):
        return True if collection_path.is_relative_to(TESTS) else None
    is_benchmark = collection_path.parent == BENCH and collection_path.name.startswith("bench_")
    return True if is_benchmark else None


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark reads the options changed here
def pytest_configure(config: pytest.Config) -> None:
    """Load the suite and make ready to measure, if that is what was asked for."""
    config.addinivalue_line(
        "markers", f"{MARKER}(kind): one item for each case of this kind (Case.kind) of the suite."
    )
    _refuse_lone_paths(config)
    if not _measures(config):
        return
    if threads := config.getoption("lstm_threads"):
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    _refuse_xdist(config)
    # Its fixture is not used where a case has no time, which we say ourselves and better.
    # What stands in a project's own settings (ours makes tests of warnings) is for its tests: a
    # backend's warnings are recorded with their case, those of the suite itself are shown.
    config.addinivalue_line("filterwarnings", "default")
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used at all")
    # A project that this is installed into has other names for files of tests; those of its own
    # that bear ours are not meant.
    config.addinivalue_line("python_files", str(BENCH / "bench_*.py"))
    given = [str(argument).partition("=")[0] for argument in config.invocation_params.args]
    if config.option.benchmark_columns is None:
        config.option.benchmark_columns = list(COLUMNS)
    if "--benchmark-sort" not in given:
        config.option.benchmark_sort = SORT
    config.pluginmanager.register(_Measuring(config), "lstm-measuring")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Where there was no benchmark to run, say what runs those of this suite."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and _only(config) and not _measures(config):
        terminalreporter.write_line(
            "no benchmarks here; those of the LSTM suite: "
            f"pytest --benchmark-only --pyargs {BENCH.name}"
        )


def _only(config: pytest.Config) -> bool:
    return bool(config.getoption("benchmark_only", False))


def _measures(config: pytest.Config) -> bool:
    """Whether this pytest was asked to run our benchmarks: by --benchmark-only, or by name."""
    if config.getoption("benchmark_skip", None) is None:  # pytest-benchmark is switched off
        return False
    places = [_place(argument.partition("::")[0], config) for argument in config.args]
    if _only(config):
        return any(BENCH.is_relative_to(place) or place.parent == BENCH for place in places)
    named = any(place.parent == BENCH and place.name.startswith("bench_") for place in places)
    return named and not config.getoption("benchmark_skip")


def _place(argument: str, config: pytest.Config) -> Path:
    """What an argument of pytest names: a path, or with --pyargs a module of ours."""
    if config.getoption("pyargs", False) and argument.partition(".")[0] == BENCH.name:
        names = argument.split(".")[1:]
        return BENCH.joinpath(*names[:-1], f"{names[-1]}.py") if names else BENCH
    return (config.invocation_params.dir / argument).resolve()


def _refuse_lone_paths(config: pytest.Config) -> None:
    """pytest looks for its root before it knows our options and takes their paths for tests' (its
    documentation of rootdir says so): outside the project, no benchmark would be found.
    """
    arguments = config.invocation_params.args
    for option, value in itertools.pairwise(arguments):
        if option not in ("--lstm-results", "--lstm-suite", "--lstm-cases", "--lstm-judged"):
            continue
        path = (config.invocation_params.dir / value).resolve()
        taken = path.exists() and path.is_relative_to(config.rootpath)
        # A root above the project is as bad: its settings are not found from there.
        if taken and config.rootpath != BENCH.parent:
            raise pytest.UsageError(
                f"write {option}={printable(value)}, with =: pytest takes a path that stands alone "
                "for the place of the tests"
            )


def _refuse_xdist(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) or config.getoption("dist", "no") != "no":
        raise pytest.UsageError(
            "--benchmark-only does not go with -n or --dist: benchmarks that run at the same time "
            "slow one another down and none of their times would be true"
        )


class _Measuring:
    """What pytest calls while a suite is measured."""

    def __init__(self, config: pytest.Config) -> None:
        from bench.measuring.recorder import Recorder
        from bench.suites.values import SuiteError

        try:
            suite = _suite(config)
        except SuiteError as error:
            raise pytest.UsageError(str(error)) from None
        self.config = config
        self.recorder: Recorder = Recorder(suite, _settings(config))
        if judged := config.getoption("lstm_judged"):
            from bench.measuring.equivalence import share_answers

            share_answers(config.invocation_params.dir / judged)
        self.cases: dict[str, Case] = {case.id: case for case in suite.cases}
        self._replays: dict[str, _Replay] = {case: _Replay() for case in self.cases}
        self._interrupted = False
        self._problem = ""
        self._lock: MachineLock | None = None

    # -- collecting

    @pytest.hookimpl
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One item for each case of the function's kind."""
        marker = metafunc.definition.get_closest_marker(MARKER)
        if marker is None or FIXTURE not in metafunc.fixturenames:
            return
        parameters = [
            # The parameter is the id, which is plain: a Case would be stored as UNSERIALIZABLE.
            pytest.param(
                case.id,
                id=case.id,
                marks=pytest.mark.benchmark(group=case.group, timer=self._replays[case.id].read),
            )
            for case in self.cases.values()
            if case.kind == marker.args[0]
        ]
        metafunc.parametrize(FIXTURE, parameters, indirect=True)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Bring the items into the order that was asked for."""
        seed = self.config.getoption("lstm_order_seed")
        if seed is None:
            return
        ours: dict[str, list[pytest.Item]] = {}
        for item in items:
            if case := self._case(item):
                ours.setdefault(case.group, []).append(item)
        order = random.Random(seed)
        groups = list(ours.values())
        order.shuffle(groups)
        for group in groups:
            order.shuffle(group)
        others = [item for item in items if self._case(item) is None]
        items[:] = [*others, *(item for group in groups for item in group)]

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell the recorder what is left after -k and --deselect: only that is measured."""
        found = [case for item in session.items if (case := self._case(item))]
        self.recorder.want(found)

    def _case(self, item: pytest.Item) -> Case | None:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            return None
        return self.cases.get(str(item.callspec.params.get(FIXTURE)))

    # -- measuring

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Begin the journal, before the first case and only if there is one."""
        if session.config.option.collectonly or not self.recorder.wanted:
            return
        if session.config._benchmarksession.disabled:  # type: ignore[attr-defined]
            return  # --benchmark-disable: everything runs once and nothing is kept
        from bench.disk.writing import ResultWriteError

        self._take_the_machine()
        try:
            self.recorder.start()
        except ResultWriteError as error:
            raise pytest.UsageError(f"{error}; choose another folder: --lstm-results DIR") from None

    def _take_the_machine(self) -> None:
        """Hold the lock of the machine until this process ends (a worker's manager holds it)."""
        from bench.machine.lock import HeldError, LockError, MachineLock

        busy, self._lock = self.config.getoption("lstm_busy"), MachineLock()
        try:
            if busy == "wait":
                self._lock.wait(self.recorder.suite.name, lambda text: print(text, flush=True))
            else:
                self._lock.acquire(self.recorder.suite.name)
        except (HeldError, LockError) as error:
            if busy != "force":
                raise pytest.UsageError(
                    f"{error}; --lstm-busy=wait waits for it, --lstm-busy=force goes on all the "
                    "same"
                ) from None

    def publish(self, case: Case, benchmark: Any) -> None:
        """Measure a case, or say why not, and keep what was found."""
        from bench.disk.fields import ResultError
        from bench.disk.writing import ResultWriteError
        from bench.measuring.outcomes import FAILED, Measured, Unmeasured

        if benchmark.disabled:
            _try_once(case, self.recorder.settings.seed)
            return
        try:
            result = self.recorder.result(case)
            if isinstance(result, Measured):
                try:
                    self._replay(case, result, benchmark)
                    entry = benchmark.stats.as_dict(include_data=True)
                    self.recorder.keep_time(case, result, entry)
                    return
                except ResultError as error:
                    # What its own reader would refuse is no result, in nobody's file.
                    benchmark.has_error = True
                    result = Unmeasured(FAILED, f"it cannot be recorded: {error}")
            self.recorder.keep_outcome(case, result)
        except ResultWriteError as error:
            benchmark.has_error = True
            self._problem = str(error)
            pytest.exit(f"{_plain(str(error))}; what was measured before is kept", returncode=1)
        _report(result)

    def _replay(self, case: Case, measured: Measured, benchmark: Any) -> None:
        """Hand the samples to pytest-benchmark as if they were taken now."""
        series = measured.series
        self._replays[case.id].load(series.blocks)
        seed = self.recorder.plan(case.group).seed
        benchmark.extra_info["lstm"] = measured.to_extra(case, seed)
        try:
            benchmark.pedantic(
                lambda: None, rounds=len(series.blocks), iterations=series.calls, warmup_rounds=0
            )
        except BaseException:
            # Ctrl-C just here would otherwise leave half of the samples as a good case.
            benchmark.has_error = True
            raise

    @pytest.hookimpl(wrapper=True)
    def pytest_benchmark_group_stats(
        self, benchmarks: list[dict[str, Any]], group_by: str
    ) -> Iterator[None]:
        """Name rows of the table by their backend: the rest of a case is the table's heading."""
        groups = yield
        if group_by == "group":
            for entry in benchmarks:
                if ours := entry["extra_info"].get("lstm"):
                    entry["name"] = ours["case"]["backend"]
        return groups

    # -- ending

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self) -> None:
        """Remember that not everything was measured."""
        self._interrupted = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Make the result file from the journal."""
        from bench.disk.fields import ResultError
        from bench.disk.writing import ResultWriteError

        if self._lock is not None:
            self._lock.release()
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

    # -- telling

    @pytest.hookimpl
    def pytest_report_header(self) -> list[str]:
        """What is going to be measured, and what an earlier run has left unfinished."""
        from bench import results

        header = _header(self.recorder.suite, self.recorder.settings)
        left = results.unfinished(self.recorder.settings.folder)
        header += [f"lstm: {note}" for note in left[:_MOST_LEFT]]
        if (more := len(left) - _MOST_LEFT) > 0:
            header.append(f"lstm: and {more} more such journals")
        return [_plain(line) for line in header]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What was found, where it is, and what to do next."""
        if not self.recorder.done and not self._problem and not self._interrupted:
            return

        def write(line: str, **markup: bool) -> None:
            terminalreporter.write_line(_plain(line), **markup)

        terminalreporter.section(f"LSTM suite {_plain(self.recorder.suite.name)}")
        for line in _summary(self.recorder):
            write(line)
        if self._interrupted:
            write("stopped early: the file holds what was finished and says that it is not all")
        if self._problem:
            write(self._problem, red=True)
        if threads := _threads_left():
            write(f"still running: {', '.join(threads)}: Python waits for it; Ctrl-C ends it")
        if self.recorder.path is not None:
            write(f"results: {_from_here(self.recorder.path)}")
            write(f"read them: python -m bench.report{_report_argument(self.recorder)}", bold=True)


@dataclass
class _Replay:
    """A timer for pytest-benchmark that tells blocks measured before: it starts each at zero."""

    readings: Iterator[float] = field(default_factory=lambda: iter(()))

    def load(self, blocks: Sequence[float]) -> None:
        self.readings = (reading for block in blocks for reading in (0.0, block))

    def read(self) -> float:
        return next(self.readings)


@pytest.fixture
def lstm_case(request: pytest.FixtureRequest) -> Case:
    """The case of this item."""
    measuring: _Measuring = request.config.pluginmanager.getplugin("lstm-measuring")
    return measuring.cases[request.param]


@pytest.fixture
def lstm_measure(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[Case], None]:
    """Call it with the item's case: the case is measured and its samples are kept."""
    measuring: _Measuring = request.config.pluginmanager.getplugin("lstm-measuring")
    return lambda case: measuring.publish(case, benchmark)


# -- options


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("expected at least one name")
    return names


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 4096")
    return int(text)


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no {what} above 0")
    return value


def _seconds(text: str) -> float:
    return _number(text, "number of seconds")


def _part(text: str) -> float:
    if (value := _number(text, "number")) > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def _percent(text: str) -> float:
    return _number(text.removesuffix("%"), "percentage") / 100


def _suite(config: pytest.Config) -> Suite:
    from bench import suites

    get, folder = config.getoption, config.invocation_params.dir
    choice = suites.Choice(get("lstm_backends"), get("lstm_device"), get("lstm_mode"))
    suite = suites.load(get("lstm_suite") or "quick", choice, folder)
    if listed := get("lstm_cases"):
        suite = suites.load_cases(folder / listed, suite)
    return suite


def _settings(config: pytest.Config) -> Settings:
    from bench.measuring.recorder import Settings

    get = config.getoption
    names = (
        *("suite", "device", "backends", "mode", "seed", "budget", "share", "precision", "threads"),
        *("cases", "session", "order_seed", "memory", "case_limit"),
    )
    given = {name: get(f"lstm_{name}") for name in names}
    chosen = {name: value for name, value in given.items() if value is not None}
    # Results are shown around: a file's folder is nobody's business, and no difference of two runs.
    chosen |= {name: Path(chosen[name]).name for name in ("suite", "cases") if name in chosen}
    try:
        folder = expanded(get("lstm_results") or default_folder())
    except FolderError as error:
        raise pytest.UsageError(f"--lstm-results: {error}") from None
    return Settings(
        folder=config.invocation_params.dir / folder,
        seconds=given["budget"],
        threads=given["threads"],
        session=given["session"],
        memory={"on": True, "off": False}.get(given["memory"]),
        case_limit=given["case_limit"],
        # With -s, its user wants to see it.
        output=config.getoption("capture") != "no",
        options=chosen,
        **{name: chosen[name] for name in ("seed", "share", "precision") if name in chosen},
    )


# -- single cases


def _report(result: Unmeasured) -> None:
    """Tell pytest about a case that has no time."""
    from bench.measuring.outcomes import FAILED

    advice = f"; {result.advice}" if result.advice else ""
    if result.outcome == FAILED:
        details = f"\n\n{result.details}" if result.details else ""
        pytest.fail(_plain(f"{result.reason}{advice}{details}"), pytrace=False)
    pytest.skip(_plain(f"{result.reason}{advice}"))


def _try_once(case: Case, seed: int) -> None:
    """Under --benchmark-disable: the case is built, called and judged, and nothing is timed."""
    from bench.measuring.outcomes import Unmeasured
    from bench.measuring.preparing import Bench, prepare

    result = prepare(case, seed, Bench())
    if isinstance(result, Unmeasured):
        _report(result)


def _threads_left() -> list[str]:
    """Names of threads that a backend has left and that Python will wait for at its end."""
    import threading
    from concurrent.futures import thread as pools

    return [
        each.name
        for each in threading.enumerate()
        # A pool's are told to end when Python does.
        if each is not threading.main_thread() and not each.daemon
        if each not in pools._threads_queues
    ]


# -- words

_MOST_REMARKS = 8
_MOST_LEFT = 3
_LONGEST_LINE = 10_000  # letters: all of a long reason, and not a gigabyte


def _header(suite: Suite, settings: Settings) -> list[str]:
    from bench.machine import devices

    missing = {
        name: reason
        for name in dict.fromkeys(case.device for case in suite.cases)
        if (reason := devices.explain_missing(name))
    }
    counts = Counter(case.device for case in suite.cases)
    where = " and ".join(f"{_cases(count)} on {name}" for name, count in counts.items())
    backends = ", ".join(dict.fromkeys(case.backend for case in suite.cases))
    lines = [f"lstm: suite {suite.name}: {where} ({backends})"]
    lines += [f"lstm: no {name}: {reason}" for name, reason in missing.items()]
    seconds = sum(
        settings.seconds or suite.seconds[case.group]
        for case in suite.cases
        if case.device not in missing
    )
    lines.append(
        f"lstm: at most {_duration(seconds)} of measuring, and what building and checking takes; "
        f"results go to {_from_here(settings.folder)}"
    )
    return lines


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def _summary(recorder: Recorder) -> Iterator[str]:
    from bench.judging.trust import OF_TIME
    from bench.measuring.gauges import unweighed
    from bench.measuring.outcomes import Measured, Unmeasured, counted_reasons

    measured = [result for result in recorder.done.values() if isinstance(result, Measured)]
    invalid = [result for result in measured if result.reasons]
    spoilt = sum(any(each.code not in OF_TIME for each in result.reasons) for result in invalid)
    parts = [f"{spoilt} of them INVALID"] * bool(spoilt)
    parts += [f"{len(invalid) - spoilt} with a doubtful time"] * (len(invalid) > spoilt)
    tail = f", {' and '.join(parts)}:" if parts else ""
    yield f"{_cases(len(measured))} measured{tail}"
    for reason, count in counted_reasons(invalid).items():
        more = f" (and {count - 1} more like it)" if count > 1 else ""
        yield f"  {reason.text}{more}; {reason.advice}"
    remarks = Counter(text for result in measured for text in result.remarks)
    for text, count in remarks.most_common(_MOST_REMARKS):
        yield f"said by the code of {_cases(count)}: {text}"
    for why, count in unweighed(result.memory for result in measured).items():
        yield f"memory of {_cases(count)} {why}"
    others = [result for result in recorder.done.values() if isinstance(result, Unmeasured)]
    words = {"not_measured": "not measured", "refused": "refused by their backend"}
    for (outcome, why, advice), count in Counter(
        (each.outcome, each.reason, each.advice) for each in others
    ).items():
        told = f"{why}; {advice}" if advice else why
        yield f"{_cases(count)} {words.get(outcome, outcome)}: {told}"


def _plain(text: str) -> str:
    """Text for a terminal: a backend's reasons and a suite's names may hold what one acts on."""
    return "\n".join(printable(line, _LONGEST_LINE) for line in text.split("\n"))


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def _from_here(path: Path) -> str:
    """A path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _report_argument(recorder: Recorder) -> str:
    if recorder.settings.folder == Path.cwd() / DEFAULT_FOLDER:
        return ""
    assert recorder.path is not None
    return f" {_from_here(recorder.path)}"
