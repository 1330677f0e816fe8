"""Test requests to a new process, and the report of how it died."""

import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine import processes
from bench.machine.processes import Died, one_line

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
    assert processes.ending(0) == "ended with exit code 0"
    assert processes.ending(3) == "ended with exit code 3"
    assert processes.ending(-signal.SIGSEGV) == "was ended by SIGSEGV"
    assert processes.ending(-9) == "was ended by SIGKILL (usually because memory ran out)"
    assert processes.ending(-63) == "was ended by signal 63"


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
