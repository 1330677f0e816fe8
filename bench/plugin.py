"""Add a suite's options to pytest: ``pytest --benchmark-only`` measures, ``pytest`` runs tests.

Measuring itself is in ``worker.pytest_session``. This plugin is loaded wherever the package is
installed, so it imports nothing slow until there is something to measure.
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
"""Defaults for pytest-benchmark's table: its ten columns do not fit a terminal, and its order by
the minimum may differ from the medians of the report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("lstm", "LSTM benchmark suite (with --benchmark-only)")
    for name, option in options.declared():
        group.addoption(f"--lstm-{name.replace('_', '-')}", **option.parsing)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore this project's tests with --benchmark-only, and its benchmarks without."""
    if _benchmark_only(config):
        return True if collection_path.is_relative_to(TESTS) else None
    is_benchmark = collection_path.parent == BENCH and collection_path.name.startswith("bench_")
    return True if is_benchmark else None


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark reads the options changed here
def pytest_configure(config: pytest.Config) -> None:
    """Prepare to measure, if that was requested."""
    _refuse_separate_paths(config)
    if not _measures(config):
        return
    chosen = MeasurementOptions.from_pytest(config.getoption)
    chosen.set_threads()
    if config.getoption("numprocesses", None) or config.getoption("dist", "no") != "no":
        raise pytest.UsageError(
            "--benchmark-only does not go with -n or --dist: benchmarks that run at the same time "
            "slow one another down"
        )
    # A case without a time does not use the fixture. A project's own filters are for its tests:
    # warnings of backends are recorded with their case, those of the suite are shown.
    config.addinivalue_line("filterwarnings", "default")
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used at all")
    # Other projects have other patterns for test files.
    config.addinivalue_line("python_files", str(BENCH / "bench_*.py"))
    given = [str(argument).partition("=")[0] for argument in config.invocation_params.args]
    if config.option.benchmark_columns is None:
        config.option.benchmark_columns = list(COLUMNS)
    if "--benchmark-sort" not in given:
        config.option.benchmark_sort = SORT
    # Imported after threads are set: what it imports reads them once.
    from bench.worker.pytest_session import Measuring

    config.pluginmanager.register(Measuring(config, chosen), "lstm-measuring")


def _benchmark_only(config: pytest.Config) -> bool:
    return bool(config.getoption("benchmark_only", False))


def _measures(config: pytest.Config) -> bool:
    """Whether this pytest runs our benchmarks: by --benchmark-only, or by name."""
    if config.getoption("benchmark_skip", None) is None:  # pytest-benchmark is switched off
        return False
    places = [_argument_path(argument.partition("::")[0], config) for argument in config.args]
    if _benchmark_only(config):
        return any(BENCH.is_relative_to(place) or place.parent == BENCH for place in places)
    named = any(place.parent == BENCH and place.name.startswith("bench_") for place in places)
    return named and not config.getoption("benchmark_skip")


def _argument_path(argument: str, config: pytest.Config) -> Path:
    """Return the path that an argument of pytest names, with --pyargs by a module of ours."""
    if config.getoption("pyargs", False) and argument.partition(".")[0] == BENCH.name:
        names = argument.split(".")[1:]
        return BENCH.joinpath(*names[:-1], f"{names[-1]}.py") if names else BENCH
    return (config.invocation_params.dir / argument).resolve()


def _refuse_separate_paths(config: pytest.Config) -> None:
    """Refuse a path after a space, with which pytest would find no benchmark.

    pytest looks for its root before it knows our options, and takes such a path for tests.
    """
    arguments = config.invocation_params.args
    for option, value in itertools.pairwise(arguments):
        if option not in ("--lstm-results", "--lstm-suite", "--lstm-cases", "--lstm-judged"):
            continue
        path = (config.invocation_params.dir / value).resolve()
        taken = path.exists() and path.is_relative_to(config.rootpath)
        # A root above the project is wrong, too: its settings are not found from there.
        if taken and config.rootpath != BENCH.parent:
            raise pytest.UsageError(
                f"write {option}={printable(value)}, with =: pytest takes a path that stands alone "
                "for the folder of the tests"
            )


@pytest.fixture
def lstm_case(request: pytest.FixtureRequest) -> Case:
    """Return the case of this item."""
    measuring: Measuring = request.config.pluginmanager.getplugin("lstm-measuring")
    return measuring.cases[request.param]


@pytest.fixture
def lstm_measure(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[Case], None]:
    """Return a function that measures a case and records its samples."""
    measuring: Measuring = request.config.pluginmanager.getplugin("lstm-measuring")
    return lambda case: measuring.publish(case, benchmark)
