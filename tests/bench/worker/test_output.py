from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.worker.output import KEPT, Output, Printed
from tests.places import ROOT


@pytest.fixture
def output() -> Iterator[Output]:
    found = Output()
    yield found
    found.close()


def test_what_is_printed_is_kept_from_python_from_below_it_and_from_children(
    output: Output,
) -> None:
    with output:
        print("by print")
        print("to stderr", file=sys.stderr)
        os.write(2, b"by a library in C\n")
        subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
    told = "by print\nto stderr\nby a library in C\nby a child\n"
    assert output.take() == Printed(len(told), told)
    assert output.take() == Printed()


def test_nothing_of_it_is_seen_elsewhere(output: Output, capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with output:
        print("hidden")
        os.write(1, b"hidden too\n")
    print("after")
    os.write(2, b"after too\n")
    assert capfd.readouterr() == ("before\nafter\n", "after too\n")


def test_of_much_the_beginning_and_the_end_are_kept(output: Output) -> None:
    with output:
        os.write(1, b"first")
        for _ in range(200):
            os.write(1, b"x" * 2**18)
        os.write(1, b"last")
    found = output.take()
    assert found.size == 200 * 2**18 + 9
    assert found.text.startswith("firstxxx")
    assert found.text.endswith("xxxlast")
    assert f"... ({found.size - 2 * KEPT} bytes are left out) ..." in found.text
    assert len(found.text) < 3 * KEPT


MEASURED = """
import os
import psutil
from bench.worker.output import Output

def peak(process):
    # Not getrusage: that of a process begins with the size of whoever started it.
    status = open(f"/proc/{process.pid}/status").read()
    return int(status.partition("VmHWM:")[2].split()[0])

output = Output()
with output:
    for _ in range(1024):
        os.write(2, b"x" * 2**20)
found = output.take()
here = psutil.Process()
peaks = [peak(each) for each in (here, *here.children())]
output.close()
print(found.size, max(peaks), len(peaks))
"""


def test_a_gigabyte_takes_neither_memory_nor_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    size, peak, processes = map(int, done.stdout.split())
    assert size == 2**30
    assert processes == 2  # the small one that keeps the output is one of them
    assert peak < 200_000  # in kB: Python with NumPy, which the package imports, takes 40,000
    assert not list(tmp_path.iterdir())


def test_a_stream_that_is_closed_stays_open(output: Output) -> None:
    with output:
        sys.stdout.close()
        sys.stderr.close()
        print("still")
        print("there", file=sys.stderr)
    assert output.take().text == "still\nthere\n"


@pytest.mark.parametrize("asked", [True, False])
def test_a_keeper_that_was_killed_is_replaced(output: Output, asked: bool) -> None:
    with output:
        print("lost")
    assert output._keeper is not None
    output._keeper.kill()
    output._keeper.wait()
    if asked:
        assert output.take() == Printed()
    with output:
        print("kept")
    assert output.take().text == "kept\n"
    with output:
        print("and kept")
    assert output.take().text == "and kept\n"


ENDED = """
import os
from bench.worker.output import Output
output = Output()
output.__enter__()
assert output._keeper is not None
print(output._keeper.pid, file=open(3, "w"))
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_the_keeper_ends_with_whoever_it_works_for() -> None:
    import psutil

    reader, writer = os.pipe()
    code = ENDED.replace("open(3,", f"open({writer},")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, pass_fds=(writer,), timeout=300)
    os.close(writer)
    with os.fdopen(reader) as file:
        number = int(file.read())
    assert done.returncode == -9
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(number).wait(timeout=300)


def test_a_closed_one_leaves_nothing_open() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    output = Output()
    with output:
        print("gone")
    output.close()
    output.close()
    assert count() == before
