import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.machine import processes
from bench.machine.processes import busy
from tests.places import ROOT

DIE_WITH = f"import ctypes, os, sys\n{inspect.getsource(processes.die_with)}"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends it")
def test_die_with_killed_parent_ends_child(tmp_path: Path) -> None:
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
    while alive(pid):  # the kernel needs some time
        time.sleep(0.01)
    # A process whose parent ended before the call ends by itself.
    orphan = f"{DIE_WITH}\ndie_with(1 << 30)\nprint('lives')\n"
    done = subprocess.run(python(orphan), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def test_busy_block_runs_and_ends_its_processes() -> None:
    before = {child.pid for child in children()}
    with busy(2):
        own = [child for child in children() if child.pid not in before]
        assert len(own) == 2
        # Even on a busy machine they together get a tenth of a second in the end.
        while sum(sum(child.cpu_times()[:2]) for child in own) < 0.1:
            time.sleep(0.01)
        assert all(child.is_running() for child in own)
    assert not any(psutil.pid_exists(child.pid) for child in own)


def test_busy_killed_parent_ends_its_processes(tmp_path: Path) -> None:
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
    end = time.monotonic() + 120  # more than any machine needs
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(pid), "it outlived its parent"
