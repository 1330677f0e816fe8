import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.worker.group import KEPT, Output, Printed


@pytest.fixture
def output() -> Iterator[Output]:
    found = Output()
    yield found
    found.close()


def test_output_python_native_and_child_processes_is_kept(output: Output) -> None:
    with output:
        print("by print")
        print("to stderr", file=sys.stderr)
        os.write(2, b"by a library in C\n")
        subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
    text = "by print\nto stderr\nby a library in C\nby a child\n"
    assert output.take() == Printed(len(text), text)
    assert output.take() == Printed()


def test_output_is_not_printed_elsewhere(output: Output, capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with output:
        print("hidden")
        os.write(1, b"hidden too\n")
    print("after")
    os.write(2, b"after too\n")
    assert capfd.readouterr() == ("before\nafter\n", "after too\n")


def test_output_large_keeps_beginning_and_end(output: Output) -> None:
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


def test_output_stream_closed_by_a_backend_stays_open(output: Output) -> None:
    with output:
        sys.stdout.close()
        sys.stderr.close()
        print("still")
        print("there", file=sys.stderr)
    assert output.take().text == "still\nthere\n"


def test_output_closed_leaves_no_open_file() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    output = Output()
    with output:
        print("gone")
    output.close()
    output.close()
    assert count() == before
