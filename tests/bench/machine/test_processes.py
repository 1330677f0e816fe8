from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench.machine import processes
from bench.machine.processes import busy
from tests.places import ROOT

DIE_WITH = f"import ctypes, os, sys\n{inspect.getsource(processes.die_with)}"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    """Whether a process is there and does anything: one that waits to be reaped does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def test_a_process_that_ends_in_time_leaves_its_code_and_what_it_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    ended = processes.run(python(code), 30.0, log)
    assert (ended.code, ended.in_time) == (7, True)
    assert sorted(log.read_text().split()) == ["err", "out"]


def late_once(log: Path, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour passes when this word stands in the log: not before the process is so far."""

    def clock() -> float:
        return 3600.0 if log.exists() and word in log.read_text() else 0.0

    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=clock))


def test_a_process_that_is_late_is_interrupted_and_may_still_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    late_once(log, "ready", monkeypatch)
    code = (
        "import time\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('saved')\n"
    )
    ended = processes.run(python(code), 60.0, log, grace=120.0)
    assert ended == processes.Ended(0, False, 3600.0)
    assert log.read_text().split() == ["ready", "saved"]


def test_a_process_that_does_not_heed_the_interrupt_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    late_once(log, "deaf", monkeypatch)
    code = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\ntime.sleep(600)\n"
    )
    ended = processes.run(python(code), 60.0, log, grace=0.5)
    assert ended == processes.Ended(-9, False, 3600.0)


def test_the_children_of_a_process_end_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
    )
    ended = processes.run(python(code), 30.0, log)
    assert ended.in_time
    child = int(log.read_text())
    end = time.monotonic() + 120  # it has been killed; a busy kernel may take a while
    while alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(child)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends it")
def test_a_process_that_dies_with_its_parent_does_so_however_that_ended(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        f"{DIE_WITH}\nimport pathlib, sys, time\ndie_with(int(sys.argv[1]))\n"
        f"pathlib.Path({str(child)!r}).write_text(str(__import__('os').getpid()))\n"
        "print(flush=True)\ntime.sleep(600)\n"
    )
    parent = (
        "import os, signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-I', '-S', '-c', {code!r}, str(os.getpid())],"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run(python(parent), check=False).returncode == -9
    pid = int(child.read_text())
    while alive(pid):  # the kernel ends it, in its own time
        time.sleep(0.01)
    # One whose parent has gone before it asked ends by itself.
    orphan = f"{DIE_WITH}\ndie_with(1 << 30)\nprint('lives')\n"
    done = subprocess.run(python(orphan), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def test_so_many_processes_are_busy_while_it_lasts_and_gone_after() -> None:
    before = {child.pid for child in children()}
    with busy(2):
        own = [child for child in children() if child.pid not in before]
        assert len(own) == 2
        # However busy the machine is, they get a tenth of a second between them sooner or later.
        while sum(sum(child.cpu_times()[:2]) for child in own) < 0.1:
            time.sleep(0.01)
        assert all(child.is_running() for child in own)
    assert not any(psutil.pid_exists(child.pid) for child in own)


def test_busy_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = """
import psutil, time
from bench.machine.processes import busy
with busy(1):
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    time.sleep(3600)
"""
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        (pid,) = map(int, parent.stdout.readline().split())
        parent.kill()
    end = time.monotonic() + 120  # seconds that no machine needs
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(pid), "it outlived its parent"
