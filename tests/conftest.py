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
    _load_hypothesis_profile()


@functools.cache
def _load_hypothesis_profile() -> None:
    """No deadlines, since machines are busy, and the same examples in every run.

    ``HYPOTHESIS_PROFILE=search`` looks for new examples, many more of them.
    """
    if importlib.util.find_spec("hypothesis") is not None:
        from hypothesis import HealthCheck, settings

        busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.register_profile("repeat", busy, derandomize=True, database=None)
        settings.register_profile("search", busy, derandomize=False, max_examples=1000)
        settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))
