"""Add the options of a suite to pytest: ``pytest --benchmark-only`` measures, ``pytest`` tests.

``worker.pytest_session`` measures. pytest loads this plugin wherever the package is installed, so
the plugin imports nothing slow until there is something to measure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.cli import options
from bench.cli.options import MeasurementOptions
from bench.machine.fields import printable

if TYPE_CHECKING:
    from bench.case.cases import Case
    from bench.worker.pytest_session import Measuring

BENCH = Path(__file__).resolve().parent
TESTS = BENCH.parent / "tests"

COLUMNS, SORT = ("median", "iqr", "min", "rounds", "iterations"), "median"
"""The defaults for pytest-benchmark's table. Its ten columns do not fit a terminal, and its order
by the minimum may differ from the order by the median in the report.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a measurement to pytest."""
    group = parser.getgroup("lstm", "LSTM benchmark suite (with --benchmark-only)")
    for name, option in options.iterate_options():
        group.addoption(f"--lstm-{name.replace('_', '-')}", **option.parsing)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore this project's tests with --benchmark-only, and its benchmarks without it."""
    if _benchmark_only(config):
        return True if collection_path.is_relative_to(TESTS) else None
    is_benchmark = collection_path.parent == BENCH and collection_path.name.startswith("bench_")
    return True if is_benchmark else None


# pytest-benchmark must read the options only after they are changed here.
@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare the measurement if this pytest run measures."""
    _refuse_separate_paths(config)
    if not _measures(config):
        return
    chosen = MeasurementOptions.from_pytest(config.getoption)
    chosen.set_threads()
    if config.getoption("numprocesses", None) or config.getoption("dist", "no") != "no":
        raise pytest.UsageError(
            "--benchmark-only cannot be combined with -n or --dist: benchmarks that run at the "
            "same time slow one another down; leave out -n and --dist"
        )
    # A case without a time does not use the benchmark fixture, which is no reason for a warning.
    # The filters that a project sets are meant for its tests: here the warnings of backends are
    # recorded with their case, and the warnings of the suite are shown.
    config.addinivalue_line("filterwarnings", "default")
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used at all")
    # Another project may have set other patterns for test files.
    config.addinivalue_line("python_files", str(BENCH / "bench_*.py"))
    given = [str(argument).partition("=")[0] for argument in config.invocation_params.args]
    if config.option.benchmark_columns is None:
        config.option.benchmark_columns = list(COLUMNS)
    if "--benchmark-sort" not in given:
        config.option.benchmark_sort = SORT
    # Import it only now, after the number of threads is set: the modules it imports read that
    # number once.
    from bench.worker.pytest_session import Measuring

    config.pluginmanager.register(Measuring(config, chosen), "lstm-measuring")


def _benchmark_only(config: pytest.Config) -> bool:
    return bool(config.getoption("benchmark_only", False))


def _measures(config: pytest.Config) -> bool:
    """Return whether this run executes our benchmarks.

    It does if the user gives --benchmark-only or names the benchmarks.
    """
    if config.getoption("benchmark_skip", None) is None:  # pytest-benchmark is switched off.
        return False
    places = [_argument_path(argument.partition("::")[0], config) for argument in config.args]
    if _benchmark_only(config):
        return any(BENCH.is_relative_to(place) or place.parent == BENCH for place in places)
    named = any(place.parent == BENCH and place.name.startswith("bench_") for place in places)
    return named and not config.getoption("benchmark_skip")


def _argument_path(argument: str, config: pytest.Config) -> Path:
    """Return the path that an argument of pytest names.

    With --pyargs the argument may be the name of one of our modules.
    """
    if config.getoption("pyargs", False) and argument.partition(".")[0] == BENCH.name:
        names = argument.split(".")[1:]
        return BENCH.joinpath(*names[:-1], f"{names[-1]}.py") if names else BENCH
    return (config.invocation_params.dir / argument).resolve()


def _refuse_separate_paths(config: pytest.Config) -> None:
    """Raise UsageError for an option whose path is a separate argument.

    pytest determines its root directory before it knows our options. It would take such a path for
    the folder of the tests and then find no benchmark.
    """
    arguments = config.invocation_params.args
    for option, value in itertools.pairwise(arguments):
        if option not in ("--lstm-results", "--lstm-suite", "--lstm-cases", "--lstm-judged"):
            continue
        path = (config.invocation_params.dir / value).resolve()
        taken = path.exists() and path.is_relative_to(config.rootpath)
        # A root above the project is wrong as well: pytest does not find the project's settings
        # from there.
        if taken and config.rootpath != BENCH.parent:
            raise pytest.UsageError(
                f"write {option}={printable(value)} with =: pytest takes a separate path for the "
                "folder of the tests, and would find no benchmark"
            )


@pytest.fixture
def lstm_case(request: pytest.FixtureRequest) -> Case:
    """Return the case that this test item measures."""
    measuring: Measuring = request.config.pluginmanager.getplugin("lstm-measuring")
    return measuring.cases[request.param]


@pytest.fixture
def lstm_measure(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[Case], None]:
    """Return a function that measures a case and records its samples."""
    measuring: Measuring = request.config.pluginmanager.getplugin("lstm-measuring")
    return lambda case: measuring.publish(case, benchmark)
