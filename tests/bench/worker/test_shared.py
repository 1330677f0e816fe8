"""What the processes of a session share: the turn to measure, and evidence."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.worker.preparing import FROM_ANOTHER, SharedEvidence, Turn
from tests.bench.session.made_sessions import A5, B5

TAKES = """
import sys
from pathlib import Path
from bench.worker.preparing import Turn
print("waits", flush=True)
Turn(int(sys.argv[1])).take()
print("measures", Path(sys.argv[2]).exists(), flush=True)
sys.stdin.read()
"""


def locked(path: Path, how: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, how)
    return descriptor


def test_process_measures_when_the_others_have_started_or_ended(tmp_path: Path) -> None:
    path, started = tmp_path / "turn", tmp_path / "started"
    other, own = (locked(path, fcntl.LOCK_SH) for _ in range(2))
    command = [sys.executable, "-c", TAKES, str(own), str(started)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(own,)
    ) as process:
        try:
            os.close(own)
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "waits\n"
            started.touch()
            fcntl.flock(other, fcntl.LOCK_UN)
            assert process.stdout.readline() == "measures True\n"
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)  # none starts meanwhile
        finally:
            process.kill()
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it ends with the process
    os.close(other)


def test_process_without_a_turn_measures_at_once() -> None:
    Turn().take()


def test_process_whose_turn_a_backend_has_closed_goes_on(tmp_path: Path) -> None:
    descriptor = locked(tmp_path / "turn", fcntl.LOCK_SH)
    os.close(descriptor)
    Turn(descriptor).take()


def test_evidence_is_found_by_other_processes_with_the_same_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedEvidence(tmp_path)
    assert shared.find(A5) is None
    shared.keep(A5, {"kernels": ["_MklMatMul"]})
    assert shared.find(A5) == {"kernels": ["_MklMatMul"], FROM_ANOTHER: True}
    assert shared.find(B5) is None
    monkeypatch.setenv("KERAS_BACKEND", "a_different_one")
    assert shared.find(A5) is None


def test_evidence_that_is_damaged_or_cannot_be_kept_is_looked_up_again(tmp_path: Path) -> None:
    shared = SharedEvidence(tmp_path)
    shared.keep(A5, {"kernels": []})
    (path,) = tmp_path.iterdir()
    path.write_text("[")
    assert shared.find(A5) is None
    nowhere = SharedEvidence(path / "a file has no folders")
    nowhere.keep(A5, {})
    assert nowhere.find(A5) is None
    assert SharedEvidence().find(A5) is None
