"""Test processes that answer a request, and how others ended."""

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine import processes
from bench.machine.processes import Died, keep_busy, one_line
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
    with keep_busy(2):
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
from bench.machine.processes import keep_busy
with keep_busy(1):
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


# Answers


ANSWERING = """\
import os
from bench.machine import processes

def answer(question):
    print("greetings nobody asked for")
    return {"got": question, "by": os.environ["WHO"]}

processes.answer(answer)
"""


def script(folder: Path, text: str) -> list[str]:
    path = folder / "answering.py"
    path.write_text(text)
    return [str(path)]


def test_ask_with_environment_answers_request(tmp_path: Path) -> None:
    question = {"a": [1, None, "é"]}
    found = processes.ask(script(tmp_path, ANSWERING), question, environment={"WHO": "x"})
    assert found == {"got": question, "by": "x"}


@pytest.mark.parametrize(
    ("text", "died"),
    [
        ("import sys; sys.exit(3)", Died(3)),
        ("import sys; print('a', file=sys.stderr); sys.exit(' last ')", Died(1, "last")),
        ("import os; os.kill(os.getpid(), 9)", Died(-9)),
        # It succeeds without an answer.
        ("", Died(0)),
        # An incomplete answer counts as none.
        ("print('{')", Died(0)),
    ],
)
def test_ask_dying_process_gives_code_and_last_line(tmp_path: Path, text: str, died: Died) -> None:
    assert processes.ask(script(tmp_path, text), {}) == died


def test_ask_hanging_process_is_ended(tmp_path: Path) -> None:
    assert processes.ask(script(tmp_path, "import time; time.sleep(600)"), {}, 0.5) == Died(None)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ending_signal_is_named() -> None:
    assert processes.describe_ending(0) == "ended with exit code 0"
    assert processes.describe_ending(3) == "ended with exit code 3"
    assert processes.describe_ending(-signal.SIGSEGV) == "was ended by SIGSEGV"
    assert processes.describe_ending(-9) == "was ended by SIGKILL (usually because memory ran out)"
    assert processes.describe_ending(-63) == "was ended by signal 63"


class Evil(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_one_line_error_without_text_gives_one_line() -> None:
    assert one_line(Evil()).startswith("its text cannot be read")
    assert one_line(ValueError("\n\nfirst\nsecond")) == "first"
    assert one_line(ValueError("Graph execution error:\n\nwhat it was\nmore")) == (
        "Graph execution error: what it was"
    )
    assert one_line(ValueError("nothing follows:")) == "nothing follows:"


@given(st.text())
def test_one_line_any_error_gives_one_line_with_text(text: str) -> None:
    line = one_line(ValueError(text))
    assert len(line.splitlines()) == 1
    assert line.strip() == line
