"""What came of a proof: its time, its verdict in words, its archive."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.cli.command_line import INTERRUPTED
from bench.session import proof as proven
from bench.session.matrix import Checked
from bench.session.proof import Budget, Proof
from tests.bench.session.made_proofs import NO, YES, members, proof_on, survey_of, words


class FakeClock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_a_stage_gets_its_part_of_what_is_left_beside_the_reserve() -> None:
    clock = FakeClock()
    budget = Budget(480.0, 30.0, clock)
    assert budget.share(0.2) == pytest.approx(90.0)
    clock.time += 50.0
    assert budget.share(0.5) == pytest.approx(200.0)
    assert budget.share(1.0) == pytest.approx(400.0)


def test_time_that_a_stage_leaves_over_goes_to_the_next() -> None:
    clock = FakeClock()
    used, unused = Budget(100.0, 0.0, clock), Budget(100.0, 0.0, clock)
    clock.time += used.share(0.5)
    assert used.share(1.0) == pytest.approx(50.0)
    clock.time -= 40.0
    assert unused.share(1.0) == pytest.approx(90.0)


def test_stages_that_use_all_they_get_end_before_the_reserve_is_touched() -> None:
    clock = FakeClock()
    budget = Budget(480.0, 30.0, clock)
    for part in (0.2, 0.45, 0.25, 1.0):
        clock.time += budget.share(part)
    assert budget.left == pytest.approx(30.0)
    assert budget.share(1.0) == pytest.approx(0.0)


def test_no_time_is_left_after_the_end() -> None:
    clock = FakeClock()
    budget = Budget(60.0, 5.0, clock)
    clock.time += 70.0
    assert (budget.left, budget.share(1.0)) == (0.0, 0.0)
    assert budget.spent == pytest.approx(70.0)


def test_a_gpu_that_no_backend_can_use_is_told_with_what_to_install() -> None:
    proof = proof_on({"numpy": NO, "cudnn": NO, "keras": NO})
    assert proof.code == 4
    assert "cudnn and keras: CUDA libraries are not found: pip install x" in words(proof)


def test_the_kernels_that_cudnn_ran_are_named() -> None:
    proof = proof_on()
    kernels = {"kernels": {"RNN_blockPersist_fp_LSTM": 4}}
    many: dict[str, object] = {"kernels": dict.fromkeys("abcdef", 1)}
    assert proven.cudnn_kernels([Checked("a", "cudnn", "passed", evidence=many)]) == [*"abcde"]
    assert proven.cudnn_kernels([Checked("a", "cudnn", "failed", evidence=many)]) == []
    proof.checked = [
        Checked("a", "cudnn", "passed", evidence=dict(kernels)),
        Checked("b", "keras", "passed", evidence={"kernels": {"sgemm": 1}}),
    ]
    assert proven.cudnn_kernels(proof.checked) == ["RNN_blockPersist_fp_LSTM"]
    assert "cuDNN's kernels were seen: RNN_blockPersist_fp_LSTM" in words(proof)


def test_many_failures_are_cut_and_counted() -> None:
    proof = proof_on()
    proof.failures = [f"number {number}" for number in range(30)]
    said = words(proof)
    assert "number 19" in said
    assert "number 20" not in said
    assert "10 more; see summary.json" in said


def test_an_archive_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        proven.pack(tmp_path / "no-such-folder", tmp_path / "a.tar.gz")
    assert list(tmp_path.iterdir()) == []


def test_before_the_survey_nothing_is_available_and_what_failed_comes_first() -> None:
    proof = Proof("gpu:0", "quick", datetime.now(UTC))
    assert (proof.available, proof.code) == ([], proven.NO_BACKEND)
    assert "NO BACKEND can use gpu:0" in words(proof)
    proof = proof_on()
    found = [proof.code]
    proof.unfinished.append("a")
    found.append(proof.code)
    proof.failures.append("b")
    found.append(proof.code)
    proof.interrupted = True
    found.append(proof.code)
    assert found == [
        proven.PROVEN,
        proven.INCOMPLETE,
        proven.FAILED,
        INTERRUPTED,
    ]


def test_the_reference_need_not_run_on_a_gpu() -> None:
    assert proven.unavailable(survey_of({"numpy": NO, "keras": NO, "cudnn": YES}), "gpu:0") == {
        str(NO): ["keras"]
    }


def test_what_was_found_is_in_the_summary_and_the_archive(tmp_path: Path) -> None:
    proof = proof_on()
    proof.checked = [Checked("a", "cudnn", "passed"), Checked("b", "cudnn", "refused")]
    proof.unfinished, proof.wanted = ["c"], 3
    folder = tmp_path / "made"
    folder.mkdir()
    clock = FakeClock()
    budget = Budget(60.0, 5.0, clock)
    clock.time += 12.34
    proven.write_summary(proof, ["one", "two"], budget, folder)
    files = members(proven.pack(folder, tmp_path / "made.tar.gz"))
    assert files["summary.txt"] == "one\ntwo\n"
    summary = json.loads(files["summary.json"])
    assert summary.pop("verdict").startswith("INCOMPLETE: ")
    assert summary == {
        "schema": 1,
        "device": "gpu:0",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 12.3,
        "budget_seconds": 60.0,
        "exit_code": proven.INCOMPLETE,
        "failures": [],
        "unfinished": ["c"],
        "matrix": {"passed": 1, "refused": 1},
        "measured": 0,
        "wanted": 3,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "made.tar.gz"]
