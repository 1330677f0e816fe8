"""Test the lock of a machine, which names its holder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.machine.lock import HeldError, LockError, MachineLock


def test_wait_held_lock_returns_after_release(tmp_path: Path) -> None:
    first, second = MachineLock(tmp_path / "lock"), MachineLock(tmp_path / "lock")
    first.acquire("quick")
    message: list[str] = []
    second.wait("other", message.append, lambda seconds: first.close())
    assert len(message) == 1
    assert second.fd is not None
    second.close()


def test_lock_surviving_child_still_holds_it(tmp_path: Path) -> None:
    lock = MachineLock(tmp_path / "lock")
    lock.acquire("quick")
    assert lock.fd is not None
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.fd,)
    ) as child:
        lock.close()
        with pytest.raises(HeldError):
            MachineLock(lock.path).acquire("other")
        child.communicate(b"\n")
    MachineLock(lock.path).acquire("other")


def test_acquire_link_or_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(LockError, match="cannot be locked"):
        MachineLock(tmp_path / "lock").acquire("quick")
    assert not (tmp_path / "precious").exists()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LockError, match="pipe cannot be locked: not a regular file"):
        MachineLock(tmp_path / "pipe").acquire("quick")


def test_acquire_held_lock_raises_with_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("x" * 200)  # from another version: it must be replaced
    with MachineLock(path) as first:
        first.acquire("quick")
        assert json.loads(path.read_text())["what"] == "quick"
        before = set(Path("/proc/self/fd").iterdir())
        with pytest.raises(HeldError, match=f"machine: process {os.getpid()}, since .*, quick"):
            MachineLock(path).acquire("other")
        assert set(Path("/proc/self/fd").iterdir()) <= before
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        path.write_text(json.dumps({"pid": dead.pid, "since": "then", "what": "quick"}))
        message = f"machine: a worker that outlives process {dead.pid}, since then, quick"
        with pytest.raises(HeldError, match=message):
            MachineLock(path).acquire("other")
