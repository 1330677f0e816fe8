from __future__ import annotations

import subprocess
import sys
import time

import psutil

from bench.machine.load import busy
from tests.places import ROOT


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


def test_none_are_none() -> None:
    before = {child.pid for child in children()}
    with busy(0):
        assert {child.pid for child in children()} == before


def test_they_end_when_who_started_them_is_killed() -> None:
    program = (
        "import sys; from bench.machine.load import busy\n"
        "import psutil, time\n"
        "with busy(1):\n"
        "    print(psutil.Process().children()[0].pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as started:
        assert started.stdout is not None
        pid = int(started.stdout.readline())
        started.kill()
    # However long that takes on a busy machine. Where nobody reaps it, it stays as a zombie.
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
