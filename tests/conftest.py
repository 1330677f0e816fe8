"""Prepare the process that runs the tests."""

import functools
import gc
import importlib.util
import os
import signal

import pytest

# A shell's background jobs ignore Ctrl-C. The processes that they start ignore it too, so tests of
# Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _isolate_from_the_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the tests a lock, results, roofs and decisions of their own, not the user's.

    A fixture, since ``pytest --benchmark-only`` loads this file too.
    """
    os.environ["LSTM_LOCK"] = str(tmp_path_factory.mktemp("machine") / "lock")
    os.environ["LSTM_ROOFS"] = "off"
    os.environ["LSTM_DECISIONS"] = str(tmp_path_factory.mktemp("decisions"))
    # A worker of pytest-xdist would measure nothing.
    xdist = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID")
    shown = ("COLUMNS", "GITHUB_STEP_SUMMARY", "NO_COLOR", "FORCE_COLOR")
    for name in ("LSTM_RESULTS", *xdist, *shown):
        os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def _freeze_imported_objects() -> None:
    """Keep the garbage collector from the million objects of a framework: 0.6 s each time."""
    gc.freeze()


def pytest_pycollect_makemodule() -> None:
    """Prepare before a file of tests is imported; benchmarks are not."""
    gc.set_threshold(20_000)  # imported objects stay, so collect less often
    _load_hypothesis_profile()


@functools.cache
def _load_hypothesis_profile() -> None:
    """Use no deadlines, since machines are busy, and the same examples in every run.

    ``HYPOTHESIS_PROFILE=search`` tries many new examples.
    """
    if importlib.util.find_spec("hypothesis") is not None:
        from hypothesis import HealthCheck, settings

        busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.register_profile("repeat", busy, derandomize=True, database=None)
        settings.register_profile("search", busy, derandomize=False, max_examples=1000)
        settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))
