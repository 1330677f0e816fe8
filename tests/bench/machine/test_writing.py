"""Test atomic writing of files, and whether the writer of a file still runs."""

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import plot, records, report
from bench.machine import writing
from bench.machine.writing import (
    FRESH,
    ResultWriteError,
    Writer,
    delete_partial_files,
    read_writer,
    running_writer,
    unfinished_name,
    write,
    write_bytes,
)
from bench.records.journal import Journal, LineFile
from tests.bench.full_disk import full_disk
from tests.places import GOLDEN, ROOT


def test_write_bytes_device_stays() -> None:
    write_bytes("/dev/null", b"gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_write_bytes_full_device_raises_and_stays() -> None:
    with pytest.raises(ResultWriteError, match="/dev/full cannot be written: No space left"):
        write_bytes("/dev/full", b"gone")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_write_bytes_fifo_delivers_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    reader.start()
    write_bytes(path, b"x" * 100_000)
    reader.join(300)
    assert found == [b"x" * 100_000]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_write_bytes_link_stays_and_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "a.json", tmp_path / "b.json"
    target.write_text("old")
    link.symlink_to(target)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    target.unlink()
    write_bytes(link, b"anew")  # it led to nothing
    assert link.is_symlink()
    assert target.read_bytes() == b"anew"
    assert [each.name for each in (tmp_path / "far").iterdir()] == ["a.json"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_write_bytes_redirected_stream_keeps_other_output(tmp_path: Path, name: str) -> None:
    if not Path(name).exists():
        pytest.skip(f"no {name} here")
    code = (
        "import sys; from bench.machine.writing import write_bytes\n"
        f"print('before', flush=True); write_bytes({name!r}, b'written\\n')"
    )
    with (tmp_path / "a.txt").open("a") as file:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=file, check=True)
    assert (tmp_path / "a.txt").read_text() == "before\nwritten\n"


def test_append_failed_write_leaves_no_partial_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with LineFile(tmp_path / "a.jsonl") as file:
        file.append({"a": 1})

        def part(to: int, data: bytes) -> int:
            if data[-1:] != b"\n" or len(data) < 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(to, data[:4])

        with monkeypatch.context() as patch:
            patch.setattr(writing.os, "write", part)  # type: ignore[attr-defined]
            with pytest.raises(ResultWriteError, match=r"a\.jsonl cannot be written: No"):
                file.append({"b": 2})
        file.append({"c": float("nan"), "d": np.float32(1.5), "e": [Path("x")]})
    lines = [json.loads(line) for line in file.path.read_text().splitlines()]
    assert lines[0]["a"] == 1
    assert lines[1:] == [{"c": None, "d": 1.5, "e": ["x"]}]


def test_delete_partial_files_keeps_those_of_running_writers(tmp_path: Path) -> None:
    me = Writer.this_process()
    _, started, boot, space = me.token.split("-")
    dead = f"{me.pid}-{int(started) + 1}-{boot}-{space}"
    away = f"{me.pid}-{started}-{'0' * 8}-{space}"
    gone = [f".a.json.{dead}.0123abcd.tmp", f".results.{dead}.0123abcd.part"]
    gone += [".a.json.0123456789ab.tmp", f".a.{away}.89abcdef.tmp"]
    stays = [unfinished_name("a.json"), f".b.{away}.89abcdef.tmp", ".c.json.0123456789ab.tmp"]
    stays += ["a.json", "a.tmp", ".gitignore", f"a.json.{dead}.0123abcd.tmp", ".mine.tmp"]
    old = time.time() - 100_000
    for place in (tmp_path, tmp_path / ".sessions"):
        place.mkdir(exist_ok=True)
        for name in (*gone, *stays):
            (place / name).touch()
        for name in (".a.json.0123456789ab.tmp", f".a.{away}.89abcdef.tmp", "a.tmp", ".mine.tmp"):
            os.utime(place / name, (old, old))
    delete_partial_files(tmp_path)
    for place in (tmp_path, tmp_path / ".sessions"):
        assert {each.name for each in place.iterdir() if each.is_file()} == set(stays)
    delete_partial_files(tmp_path / "nowhere")


KILLED = """
import os, signal
from bench.machine import writing
from bench.machine.fields import ResultError
real = writing.write_all
def half(file, data):
    real(file, data[:10])
    os.kill(os.getpid(), signal.SIGKILL)
writing.write_all = half
writing.write_bytes("a.json", b"x" * 1000)
"""


def test_write_bytes_killed_writer_leaves_only_hidden_file(tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environ)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.json.")
    assert records.collect([GOLDEN / "replicate-1.json", tmp_path]).errors  # without results
    delete_partial_files(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("space", [0, 10])
def test_write_full_disk_keeps_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: int
) -> None:
    path = tmp_path / "a.json"
    write(path, {"old": True})
    monkeypatch.setattr(os, "write", full_disk(space))
    with pytest.raises(ResultWriteError, match=r"a\.json cannot be written: No space left"):
        write(path, {"new": list(range(100))})
    assert json.loads(path.read_text()) == {"old": True}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_commands_full_disk_keep_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for main, name in ((report.main, "a.csv"), (plot.main, "a.svg")):
        path = tmp_path / name
        path.write_text("old")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_disk(0))
            assert main([str(GOLDEN), "--output", str(path)]) not in (0, 1)
        assert "cannot be written: No space left on device" in capsys.readouterr().err
        assert path.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", "a.svg"]


def test_write_unwritable_path_is_named(tmp_path: Path) -> None:
    # A file in place of a folder stops every user, root too.
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.json", tmp_path / "file" / "a.journal.jsonl"):
        with pytest.raises(ResultWriteError) as caught:
            Journal(path) if path.name.endswith("l") else write(path, {})
        assert str(caught.value).startswith(f"{path} cannot be written: ")
    with pytest.raises(ResultWriteError, match="cannot be written"):
        write(tmp_path / "a\0b.json", {})
    with pytest.raises(ResultWriteError, match="cannot be written"):
        write(tmp_path / "a\nb" / ("n" * 500), {})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a\nb", "file"]


WRITING = """
import sys
from bench.machine.writing import ResultWriteError
from bench.records.journal import LineFile
file = LineFile(sys.argv[1])
file.append({"a": 1})
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes a file of lines until it is ended."""
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
    """A journal without a lock, as on a file system without locks."""
    path.write_text(json.dumps({"a": 1, "writer": writer and writer.to_dict()}) + "\n")
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_running_writer_ended_process_gives_nothing(path: Path) -> None:
    with another_process(path) as process:
        who = running_writer(path)
        assert who.startswith(f"process {process.pid} on ")
        assert read_writer(path) is not None
        process.kill()
        process.wait()
        assert running_writer(path) == ""


def test_running_writer_zombie_gives_nothing(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert (
            running_writer(rewritten(path, replace(Writer.this_process(), pid=process.pid))) == ""
        )
    finally:
        process.wait()


def test_running_writer_without_locks_uses_process(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with LineFile(path) as file:
        file.append({"a": 1})
        assert running_writer(path).startswith(f"process {os.getpid()}")
    assert read_writer(path) == Writer.this_process(locks=False)
    assert running_writer(path).startswith(
        f"process {os.getpid()}"
    )  # it cannot be message: it still runs


def test_running_writer_other_machine_counts_while_file_is_fresh(path: Path) -> None:
    other = replace(Writer.this_process(), boot="another", host="far", machine="away")
    assert running_writer(rewritten(path, other)).endswith("on far, it seems")
    assert running_writer(rewritten(path, other, age=2 * FRESH)) == ""


def test_running_writer_restarted_machine_gives_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_here", lambda: ("now", "ns", "name", "id"))
    before = Writer(1, 1, "then", "ns", "name", "id")
    assert before.is_running is False
    assert running_writer(rewritten(path, before)) == ""
    # Two machines may share a name, and containers often have no id.
    assert replace(before, machine="").is_running is None
    monkeypatch.setattr(writing, "_here", lambda: ("now", "ns", "name", ""))
    assert replace(before, machine="").is_running is None


def test_running_writer_other_container_uses_lock(path: Path) -> None:
    inside = replace(Writer.this_process(locks=True), namespace="pid:[1]", host="container")
    assert inside.is_running is None
    assert running_writer(rewritten(path, inside)) == ""
    with LineFile(path.with_name("b.jsonl")) as file:
        file.append({})
        os.ftruncate(file._file, 0)
        os.pwrite(file._file, json.dumps({"writer": inside.to_dict()}).encode() + b"\n", 0)
        assert running_writer(file.path) == f"process {inside.pid} on container"


@pytest.mark.parametrize("first", ["", "{", "[]", '{"writer": 3}', '{"writer": {"pid": "x"}}'])
def test_running_writer_unnamed_without_lock_gives_nothing(path: Path, first: str) -> None:
    path.write_text(first + "\n")
    assert read_writer(path) is None
    assert running_writer(path) == ""


FORKING = """
import os, sys
from bench.machine.writing import ResultWriteError
from bench.records.journal import LineFile
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


def test_line_file_fork_neither_writes_nor_holds_lock(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        refused = process.stdout.readline()
        assert f"only process {process.pid} may write" in refused
        assert process.stdout.readline().startswith("waits ")
        assert process.wait(300) == 0
        assert len(path.read_text().splitlines()) == 1
        assert running_writer(path) == ""
