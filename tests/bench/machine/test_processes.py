from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench.machine import processes
from bench.machine.process_pool import FailedError, Launch, PoolError, ProcessPool
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


SERVE = """
import os, sys, time
from bench.machine.process_pool import serve

def handle(order):
    if order["do"] == "echo":
        print("what a framework prints")
        return {"said": order["word"]}
    if order["do"] == "fail":
        raise ValueError("the other one is gone")
    if order["do"] == "die":
        print("my last words\\nno memory", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    time.sleep(3600)

serve(handle)
"""

PATIENT = 120.0
"""Seconds that no machine needs."""


@pytest.fixture
def pair() -> Iterator[ProcessPool]:
    launch = Launch(("-c", SERVE), dict(os.environ))
    with ProcessPool({"first": launch, "second": launch}) as pool:
        yield pool


def echo(word: str) -> dict[str, object]:
    return {"do": "echo", "word": word}


def test_each_answers_its_own_order_and_who_has_none_stays_idle(pair: ProcessPool) -> None:
    assert pair.ask({"first": echo("a"), "second": echo("b")}, PATIENT, "in a test") == {
        "first": {"said": "a"},
        "second": {"said": "b"},
    }
    assert pair.ask({"second": echo("c")}, PATIENT, "in a test") == {"second": {"said": "c"}}


def test_one_that_dies_is_named_with_its_last_line_though_another_is_waited_for(
    pair: ProcessPool,
) -> None:
    pair.ask({"first": echo("a"), "second": echo("b")}, PATIENT, "in a test")
    with pytest.raises(PoolError) as raised:
        pair.ask({"first": {"do": "hang"}, "second": {"do": "die"}}, PATIENT, "while it was timed")
    assert str(raised.value) == (
        "second was ended by SIGKILL (as a rule: no memory was left) while it was timed; its last "
        "line: no memory"
    )
    pair.close()
    assert not any(map(alive, pair.pids.values()))


def test_an_error_is_an_answer(pair: ProcessPool) -> None:
    with pytest.raises(FailedError) as raised:
        pair.ask({"first": {"do": "hang"}, "second": {"do": "fail"}}, PATIENT, "in a test")
    assert raised.value.said == "ValueError: the other one is gone"
    assert str(raised.value).startswith("second failed in a test: ")


def test_one_that_hangs_is_ended_and_named(pair: ProcessPool) -> None:
    pair.ask({"first": echo("a"), "second": echo("b")}, PATIENT, "in a test")
    os.kill(pair.pids["second"], signal.SIGSTOP)
    with pytest.raises(PoolError) as raised:
        pair.ask({"second": echo("c")}, 0.3, "while it was timed")
    assert "not done within 0.3 s while it was timed: second, said last" in str(raised.value)
    pair.close()
    assert not any(map(alive, pair.pids.values()))


def test_all_end_when_who_started_them_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, psutil
from bench.machine.process_pool import ProcessPool, Launch
from bench.machine.processes import busy
with busy(1), ProcessPool({{"one": Launch(("-c", {SERVE!r}), dict(os.environ))}}) as pool:
    pool.ask({{"one": {{"do": "echo", "word": "a"}}}}, {PATIENT}, "in a test")
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    pool.ask({{"one": {{"do": "hang"}}}}, {PATIENT}, "in a test")
"""
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, cwd=ROOT, env=environ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    end = time.monotonic() + PATIENT
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, pids)), "one outlived whoever started it"
