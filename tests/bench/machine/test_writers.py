from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.machine import writing
from bench.machine.writing import FRESH, LineFile, Writer, living, token_lives, writer_of
from tests.places import ROOT

WRITING = """
import sys
from bench.machine.writing import LineFile, ResultWriteError
file = LineFile(sys.argv[1])
file.append({"a": 1})
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """One that writes a file of lines until it is ended."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.journal.jsonl"


def rewritten(path: Path, writer: Writer | None, *, age: float = 0.0) -> Path:
    """A journal that nobody has locked, as it would be found on a file system without locks."""
    path.write_text(json.dumps({"a": 1, "writer": writer and writer.to_dict()}) + "\n")
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_a_file_of_lines_lives_as_long_as_its_writer(path: Path) -> None:
    with another_process(path) as process:
        who = living(path)
        assert who.startswith(f"process {process.pid} on ")
        assert writer_of(path) is not None
        process.kill()
        process.wait()
        assert living(path) == ""


def test_a_second_writer_is_refused_and_told_whose_it_is(path: Path) -> None:
    with (
        another_process(path) as process,
        pytest.raises(OSError, match="cannot be written") as told,
    ):
        LineFile(path, again=True)
    assert f"it is being written by process {process.pid}" in str(told.value)


def test_without_locks_the_process_is_looked_for(path: Path) -> None:
    me = Writer.this_process()
    assert living(rewritten(path, me, age=10 * FRESH)).startswith(f"process {me.pid}")
    # Numbers of processes are used again: one that was started at another time is another.
    assert living(rewritten(path, replace(me, started=me.started + 1))) == ""


def test_a_zombie_has_ended(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert living(rewritten(path, replace(Writer.this_process(), pid=process.pid))) == ""
    finally:
        process.wait()


def test_a_file_system_without_locks_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with LineFile(path) as file:
        file.append({"a": 1})
        assert living(path).startswith(f"process {os.getpid()}")
    assert writer_of(path) == Writer.this_process(locks=False)
    assert living(path).startswith(f"process {os.getpid()}")  # it cannot be told: it still runs


def test_another_machine_is_believed_while_its_file_is_fresh(path: Path) -> None:
    other = replace(Writer.this_process(), boot="another", host="far", machine="away")
    assert living(rewritten(path, other)).endswith("on far, it seems")
    assert living(rewritten(path, other, age=2 * FRESH)) == ""


def test_a_machine_that_was_started_anew_writes_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_here", lambda: ("now", "ns", "name", "id"))
    before = Writer(1, 1, "then", "ns", "name", "id")
    assert before.lives is False
    assert living(rewritten(path, before)) == ""
    # Two machines may have one name, and containers often have no id.
    assert replace(before, machine="").lives is None
    monkeypatch.setattr(writing, "_here", lambda: ("now", "ns", "name", ""))
    assert replace(before, machine="").lives is None


def test_another_container_of_this_machine_has_the_same_locks(path: Path) -> None:
    inside = replace(Writer.this_process(locks=True), namespace="pid:[1]", host="container")
    assert inside.lives is None
    assert living(rewritten(path, inside)) == ""
    with LineFile(path.with_name("b.jsonl")) as file:
        file.append({})
        os.ftruncate(file._file, 0)
        os.pwrite(file._file, json.dumps({"writer": inside.to_dict()}).encode() + b"\n", 0)
        assert living(file.path) == f"process {inside.pid} on container"


@pytest.mark.parametrize("first", ["", "{", "[]", '{"writer": 3}', '{"writer": {"pid": "x"}}'])
def test_a_journal_that_names_no_writer_is_left_by_it_unless_locked(path: Path, first: str) -> None:
    path.write_text(first + "\n")
    assert writer_of(path) is None
    assert living(path) == ""


def test_a_token_tells_whether_its_process_lives() -> None:
    mine = Writer.this_process().token
    assert token_lives(f".a.json.{mine}.0123abcd.tmp") is True
    pid, started, boot, space = mine.split("-")
    assert token_lives(f"{pid}-{int(started) + 1}-{boot}-{space}") is False
    assert token_lives(f"{pid}-{started}-{'0' * 8}-{space}") is None
    assert token_lives("nothing of the kind") is None


FORKING = """
import os, sys
from bench.machine.writing import LineFile, ResultWriteError
with LineFile(sys.argv[1]) as file:
    file.append({"a": 1})
    child = os.fork()
    if child == 0:
        try:
            file.append({"a": 2})
        except RuntimeError as error:
            print(error, flush=True)
        print("waits", os.getpid(), flush=True)
        os.setsid()
        sys.stdin.read()
        os._exit(0)
    sys.stdout.flush()
    os._exit(0)
"""


def test_a_fork_neither_writes_the_file_nor_keeps_it_alive(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        refused = process.stdout.readline()
        assert f"is written by process {process.pid} alone" in refused
        assert process.stdout.readline().startswith("waits ")
        assert process.wait(300) == 0
        assert len(path.read_text().splitlines()) == 1
        assert living(path) == ""
