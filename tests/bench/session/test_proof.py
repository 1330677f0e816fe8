"""The stages of a proof: what counts as a failure, and how much time each has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import gpu_proof
from bench.machine import processes
from bench.machine.processes import Ended
from bench.session import matrix
from bench.session import proof as proof_module
from bench.session.matrix import Checked
from bench.session.proof import (
    RESERVE,
    TESTS,
    Budget,
    Proof,
    Workplace,
    _judge_matrix,
    _judge_measured,
    _measure,
    _tests,
    gpu_tests,
    measured_backends,
    prove,
)
from tests.bench.session.made_proofs import CASE, NO, YES, members, outcome, proof_on, words

IN_TIME, LATE = Ended(0, True, 1.0), Ended(-2, False, 99.0)


@pytest.fixture
def no_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_module, "TESTS", tmp_path / "no-such-folder")


@pytest.mark.parametrize("kind", [matrix.FAILED, matrix.NOT_MEASURED])
def test_a_case_of_the_matrix_that_fails_is_a_failure(kind: str) -> None:
    proof = proof_on()
    proof.checked = [
        Checked("a", "cudnn", matrix.PASSED),
        Checked("b", "cudnn", kind, "no cuDNN kernel ran on gpu:0; the profiler saw sgemm"),
    ]
    _judge_matrix(proof)
    assert proof.code == 1
    assert "failed: matrix: b: no cuDNN kernel ran on gpu:0" in words(proof)


def test_a_case_that_its_backend_refuses_is_no_failure() -> None:
    proof = proof_on()
    proof.checked = [Checked("a", "cudnn", "passed"), Checked("b", "cudnn", "refused", "no bf16")]
    _judge_matrix(proof)
    assert proof.code == 0


def test_a_backend_that_computes_nothing_of_the_matrix_is_not_proven() -> None:
    proof = proof_on({"cudnn": YES, "keras": YES})
    proof.checked = [Checked("a", "cudnn", "passed"), Checked("b", "keras", "refused", "no")]
    _judge_matrix(proof)
    assert proof.failures == ["matrix: keras computed no case of it"]


def test_cases_that_were_not_reached_make_it_incomplete_not_failed() -> None:
    proof = proof_on()
    proof.checked = [Checked("a", "cudnn", "passed"), Checked("b", "cudnn", "not_reached")]
    _judge_matrix(proof)
    assert proof.code == 5
    assert "not done: matrix: 1 of 2 cases were not reached" in words(proof)


@pytest.mark.parametrize("kind", ["failed", "not_measured", "crashed", "timed_out"])
def test_a_case_of_the_suite_that_has_no_time_is_a_failure(kind: str) -> None:
    proof = proof_on()
    proof.wanted, proof.outcomes = 1, [outcome(kind)]
    _judge_measured(proof, [], IN_TIME)
    assert proof.failures == [f"measured: {CASE.id}: for a reason"]


def test_a_suite_that_its_time_was_too_short_for_is_incomplete() -> None:
    proof = proof_on()
    proof.wanted, proof.outcomes = 3, [outcome("refused"), outcome("interrupted")]
    _judge_measured(proof, [], LATE)
    assert proof.code == 5
    assert proof.unfinished == ["measured: 2 of 3 cases were not reached"]


def test_a_suite_that_was_late_but_has_all_its_results_is_done() -> None:
    proof = proof_on()
    proof.wanted, proof.outcomes = 1, [outcome("refused")]
    _judge_measured(proof, [], LATE)
    assert proof.code == 0


def test_a_pytest_that_fails_where_every_case_has_a_result_is_a_failure() -> None:
    proof = proof_on()
    proof.wanted, proof.outcomes = 1, [outcome("refused")]
    _judge_measured(proof, [], Ended(3, True, 1.0))
    assert proof.code == 1


def test_a_pytest_that_dies_is_a_failure() -> None:
    proof = proof_on()
    proof.wanted = 3
    _judge_measured(proof, [], Ended(-11, True, 1.0))
    assert "pytest ended with exit code -11 and 3 of 3 cases have no result" in proof.failures[0]


def test_the_suites_backends_are_measured_and_what_users_have_beside_them() -> None:
    here = ["numpy", "while_loop", "cudnn", "scan", "keras", "torch"]
    found = measured_backends("quick", "gpu:0", here)
    assert sorted(found) == ["cudnn", "keras", "torch", "while_loop"]


def test_a_machine_with_none_of_them_measures_what_it_has() -> None:
    assert measured_backends("quick", "gpu:0", ["scan"]) == ["scan"]


@pytest.mark.parametrize(("seconds", "options"), [(1000.0, 0), (1.0, 1)])
def test_the_suite_is_given_less_time_a_case_where_its_own_would_not_fit(
    seconds: float, options: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str], seconds: float, *rest: object) -> Ended:
        commands.append(command)
        (tmp_path / "measure.log").write_text("collected\nERROR: the folder is full\n")
        return Ended(1, True, 0.0)

    monkeypatch.setattr(processes, "run", run)
    place = Workplace(tmp_path, tmp_path, {}, lambda text: None)
    proof = proof_on({"numpy": YES}, "cpu", "smoke")
    _measure(proof, seconds, place)
    assert "ERROR: the folder is full" in words(proof)
    (command,) = commands
    assert "--benchmark-only" in command
    assert "--lstm-device=cpu" in command
    budgets = [float(each.partition("=")[2]) for each in command if "--lstm-budget" in each]
    assert len(budgets) == options
    # Four cases; 0.4 of the stage's time is for samples.
    assert budgets == [pytest.approx(0.1)] * options


def test_all_stages_together_stay_within_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage takes all that it is given, on a clock that moves by that much."""
    time = [0.0]
    given: list[float] = []

    def stage(proof: Proof, *rest: Any) -> None:
        seconds = rest[-2]
        given.append(seconds)
        time[0] += seconds
        proof.diagnosis = proof_on().diagnosis

    for name in ("_survey", "_matrix", "_tests", "_measure"):
        monkeypatch.setattr(proof_module, name, stage)
    budget = Budget(gpu_proof.SECONDS, RESERVE * gpu_proof.SECONDS, lambda: time[0])
    proof = Proof("gpu:0", "quick", datetime.now(UTC))
    assert prove(proof, None, tmp_path, budget) == 0
    assert len(given) == 4
    assert sum(given) == pytest.approx((1 - RESERVE) * 480)
    # What the suite is left with in the worst case; quick takes about that on a CPU's one device.
    assert given[3] > 140


def test_stages_after_a_survey_that_finds_no_backend_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def survey(proof: Proof, *rest: Any) -> None:
        proof.diagnosis = proof_on({"cudnn": NO}).diagnosis

    monkeypatch.setattr(proof_module, "_survey", survey)
    monkeypatch.setattr(proof_module, "_matrix", lambda *rest: pytest.fail("it was run"))
    proof = Proof("gpu:0", "quick", datetime.now(UTC))
    assert prove(proof, None, tmp_path, Budget(60.0, 5.0)) == 4
    assert "NO BACKEND can use gpu:0" in capsys.readouterr().out
    assert len(list(tmp_path.glob("gpu-proof-*.tar.gz"))) == 1


def test_ctrl_c_leaves_an_archive_of_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def survey(proof: Proof, names: object, seconds: float, place: Workplace) -> None:
        proof.diagnosis = proof_on().diagnosis
        (place.folder / "doctor.json").write_text("{}")

    def interrupted(*rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(proof_module, "_survey", survey)
    monkeypatch.setattr(proof_module, "_matrix", interrupted)
    proof = Proof("gpu:0", "quick", datetime.now(UTC))
    assert prove(proof, None, tmp_path, Budget(60.0, 5.0)) == 130
    assert "INTERRUPTED" in capsys.readouterr().out
    (archive,) = tmp_path.glob("gpu-proof-*.tar.gz")
    files = members(archive)
    assert files["doctor.json"] == "{}"
    assert json.loads(files["summary.json"])["exit_code"] == 130


def run_tests(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> Proof:
    tests = folder / "tests"
    tests.mkdir()
    (tests / "test_imaginary.py").write_text(code)
    (tests / "test_other.py").write_text("def test_other(): raise SystemError\n")
    monkeypatch.setattr(proof_module, "TESTS", tests)
    proof = proof_on()
    _tests(proof, 60.0, Workplace(folder, folder, {}, lambda text: None))
    return proof


@pytest.mark.parametrize(
    ("code", "verdict", "said"),
    [
        ("def test_on_a_gpu_all_is_well(): pass\n", 0, ""),
        ("def test_on_a_gpu_it_breaks(): assert 1 == 2\n", 1, "tests: 1 failed"),
        ("import no_such\ndef test_on_a_gpu_it_runs(): pass\n", 5, "pytest could not run them"),
    ],
)
def test_the_projects_own_tests_for_a_gpu_are_run_and_count(
    code: str,
    verdict: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proof = run_tests(tmp_path, code, monkeypatch)
    assert proof.code == verdict
    assert said in words(proof)
    assert (tmp_path / "tests.log").exists()


def test_an_installed_copy_without_tests_leaves_them_out(tmp_path: Path, no_tests: None) -> None:
    proof = proof_on()
    _tests(proof, 60.0, Workplace(tmp_path, tmp_path, {}, pytest.fail))
    assert proof.code == 0


def test_the_project_has_tests_for_a_gpu() -> None:
    assert gpu_tests(TESTS)
