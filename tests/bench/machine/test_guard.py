import gc
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.machine.guard import LONGEST_REMARK, MOST_REMARKS, EscapedError, Guard, Interrupts
from bench.machine.processes import LIMIT_GONE, describe_ending
from tests.places import ROOT


def test_interrupts_raised_exception_is_no_signal() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        with pytest.raises(EscapedError), Guard(interrupts):
            raise KeyboardInterrupt
        assert not interrupts.received
        with interrupts, pytest.raises(KeyboardInterrupt), Guard(interrupts):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.received
        assert signal.getsignal(signal.SIGINT) is not before  # it was nested
    assert signal.getsignal(signal.SIGINT) is before


def change_streams() -> None:
    sys.stdout = sys.stderr = None


def lower(limit: int) -> None:
    resource.setrlimit(limit, (1000, resource.getrlimit(limit)[1]))


CHANGES: dict[str, Callable[[], object]] = {
    "the working directory": lambda: os.chdir("/"),
    "the standard streams": change_streams,
    "NumPy's error state": lambda: np.seterr(all="raise"),
    "the handler of SIGINT": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "the alarm clock": lambda: signal.alarm(1000),
    "garbage collection": gc.disable,
    "the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() - 7),
    "sys.path": sys.path.clear,
    "the limit RLIMIT_FSIZE": lambda: lower(resource.RLIMIT_FSIZE),
    "the limit RLIMIT_NOFILE": lambda: lower(resource.RLIMIT_NOFILE),
    "Python's profiling": lambda: sys.setprofile(lambda *_: None),
}


@pytest.mark.parametrize("what", CHANGES)
def test_guard_changed_setting_is_restored_and_noted(what: str) -> None:
    def state() -> object:
        return (
            *(Path.cwd(), sys.stdout, sys.stderr, np.geterr(), signal.getsignal(signal.SIGINT)),
            *(signal.getitimer(signal.ITIMER_REAL), gc.isenabled(), sys.getrecursionlimit()),
            *(sys.getprofile(), tuple(sys.path), resource.getrlimit(resource.RLIMIT_FSIZE)),
            resource.getrlimit(resource.RLIMIT_NOFILE),
        )

    before = state()
    guard = Guard()
    with guard:
        CHANGES[what]()
    assert state() == before
    assert guard.remarks == [f"it changed {what}, which was restored"]


def test_guard_too_low_recursion_limit_is_restored_first() -> None:
    """Lower the limit like a worker with few calls on its stack."""
    code = """
import sys
from bench.machine.guard import Guard
before, guard = sys.getrecursionlimit(), Guard()
with guard:
    sys.setrecursionlimit(9)
print(sys.getrecursionlimit() == before, guard.remarks)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "True ['it changed the recursion limit, which was restored']" in done.stdout, done.stderr


def test_guard_permanent_limit_ends_process_and_names_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class EndedError(BaseException):
        pass

    def refuse(*arguments: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    def end(code: int) -> None:
        raise EndedError(code)

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(os, "_exit", end)

    def lower_for_good() -> None:
        lower(resource.RLIMIT_NOFILE)
        monkeypatch.setattr(resource, "setrlimit", refuse)

    with pytest.raises(EndedError, match=str(LIMIT_GONE)), Guard():
        lower_for_good()
    monkeypatch.undo()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "permanently lowered RLIMIT_NOFILE" in capfd.readouterr().err
    assert "permanently lowered a limit of the process" in describe_ending(LIMIT_GONE)


def test_guard_many_calls_leave_no_file_open() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(5):
        with Guard():
            pass
    assert count() == before


def test_guard_changed_warning_filters_are_restored() -> None:
    first, second = Guard(), Guard()
    with first:
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
    with second:
        warnings.warn("heard", UserWarning, stacklevel=1)
    assert second.remarks == ["UserWarning: heard"]
    with pytest.raises(UserWarning):  # the filter of these tests is restored
        warnings.warn("an error", UserWarning, stacklevel=1)


def test_note_any_text_gives_few_short_safe_remarks() -> None:
    guard = Guard()
    for number in range(50):
        with guard:
            warnings.warn(f"same\x1b[31m {'x' * 5000}", RuntimeWarning, stacklevel=1)
            warnings.warn(f"number {number}\nand more", RuntimeWarning, stacklevel=1)
    assert len(guard.remarks) == MOST_REMARKS
    assert len(set(guard.remarks)) == MOST_REMARKS
    assert all(len(each) <= LONGEST_REMARK + 3 for each in guard.remarks)
    assert all(each.isprintable() for each in guard.remarks)


FORKED = """
import os, sys
from bench.machine.guard import Guard
try:
    with Guard():
        child = os.fork()
except BaseException as error:
    print("got out", os.getpid(), type(error))
    raise
os.waitpid(child, 0)
print("once")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_guard_returning_child_of_fork_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert (done.stdout, done.returncode) == ("once\n", 0), done.stderr
