"""Test that the fuzzer reports what it must report, and run it for a minute."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attack import fuzz_bindings
from tests.attack.fuzz_bindings import Found, Rng, WrongResultError, attempt, run_child
from tests.lstm_impl.backends.test_fused_cpu_kernels import needs_compiler

SAN = "==1==ERROR: AddressSanitizer: heap-buffer-overflow"


def attempted(folder: Path, words: str, monkeypatch: pytest.MonkeyPatch) -> Found:
    """Return what the parent finds in a child that runs these words of a shell."""
    python = folder / "python"
    # The last argument is the child's folder.
    script = '#!/bin/sh\nfor folder; do :; done\necho "trial 7: odd arrays" > "$folder/last.txt"\n'
    python.write_text(script + words, "ascii")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    found = Found()
    attempt("jax", found, seed=3, seconds=0.0, folder=folder, variables={"PATH": "/bin:/usr/bin"})
    return found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("kill -SEGV $$", "the process ended with -11 in trial 7: odd arrays"),
        (f"echo '{SAN}'; exit 99", "heap-buffer-overflow"),
        (f"echo '{SAN}'; exit 0", "heap-buffer-overflow"),
        ("echo 'a.cc:1: runtime error: overflow'; exit 1", "runtime error"),
        ('echo "WrongResultError: 2 for 1" > "$folder/wrong.txt"; exit 0', "2 for 1"),
        ("sleep 9", "did not end in trial 7"),
    ],
)
def test_fuzzer_reports_a_child_that_fails(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_bindings, "PATIENCE", 0.5 if "sleep" in words else 60.0)
    found = attempted(tmp_path, words, monkeypatch)
    (problem,) = found.problems
    assert message in problem
    assert "seed 3" in problem
    assert found.next == 8


def test_fuzzer_goes_on_after_a_child_that_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = '{"next": 8, "counts": {"right": 5}}'
    words = f"echo '{counts}' > \"$folder/counts.json\"; exit 0"
    found = attempted(tmp_path, words, monkeypatch)
    assert (found.problems, found.trials, found.next) == ([], Counter(right=5), 8)


def test_fuzzer_does_not_count_a_graph_that_tensorflow_alone_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = 'echo "trial 7: [TensorFlow alone] x" > "$folder/last.txt"; kill -ABRT $$'
    found = attempted(tmp_path, words, monkeypatch)
    assert (found.problems, found.trials) == ([], Counter({"TensorFlow alone crashed": 1}))


def test_fuzzer_keeps_a_wrong_result_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def trials() -> Callable[..., str]:
        def trial(rng: Rng, note: Callable[[str], None]) -> str:
            drawn.append(rng.random())
            note("a layer")
            if len(drawn) == 2:
                raise WrongResultError("2 for 1")
            return "right"

        return trial

    monkeypatch.setattr(fuzz_bindings, "made_trials", trials, raising=False)
    target = ("tests.attack.fuzz_bindings", "", "made_trials")
    monkeypatch.setattr(fuzz_bindings, "TARGETS", {"made": target})
    run_child("made", 1, 4, 0.2, tmp_path)
    assert "trial 5: a layer" in (tmp_path / "wrong.txt").read_text()
    first = list(drawn)
    drawn.clear()
    run_child("made", 1, 4, 0.2, tmp_path, only=True)
    assert drawn == first[:1]


@pytest.mark.slow
@needs_compiler
def test_bindings_under_the_address_sanitizer_take_any_arrays_and_graphs(tmp_path: Path) -> None:
    script = Path(fuzz_bindings.__file__)
    command = [sys.executable, str(script), "--seconds", "60", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
