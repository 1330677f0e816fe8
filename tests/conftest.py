"""What all tests need of the process that runs them."""

import functools
import gc
import importlib.util
import os
import signal

import pytest

# What a shell sends to the background ignores Ctrl-C, and so does every process started from there.
# Tests of Ctrl-C would then wait for what never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _apart_from_the_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests pass beside a benchmark, whose lock is the machine's, and beside one another.

    What they measure is no machine's best, and what the user's own runs measured is none of theirs.
    Not when this file is loaded: ``pytest --benchmark-only`` loads it too.
    """
    os.environ["LSTM_LOCK"] = str(tmp_path_factory.mktemp("machine") / "lock")
    os.environ["LSTM_ROOFS"] = "off"
    os.environ["LSTM_DECISIONS"] = str(tmp_path_factory.mktemp("decisions"))
    # What a test starts is no worker of pytest-xdist, which measures nothing.
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        os.environ.pop(name, None)
    os.environ.pop("COLUMNS", None)  # nor does it write to this terminal


@pytest.fixture(scope="session", autouse=True)
def _what_is_imported_stays() -> None:
    """A framework is a million objects, and going through them takes the garbage collector 0.6 s.

    It leaves alone what was there when the first test began.
    """
    gc.freeze()


def pytest_pycollect_makemodule() -> None:
    """Before a file of tests is imported, which no benchmark is."""
    gc.set_threshold(20_000)  # nor does it come often: what is imported stays
    _no_deadlines()


@functools.cache
def _no_deadlines() -> None:
    """A property does not fail because the machine is busy: Hypothesis gives an example 200 ms."""
    if importlib.util.find_spec("hypothesis") is not None:
        from hypothesis import HealthCheck, settings

        slow = [HealthCheck.too_slow]
        # Of what is usual here: in CI the examples are always the same.
        usual = settings.default
        settings.register_profile("busy", usual, deadline=None, suppress_health_check=slow)
        settings.load_profile("busy")
