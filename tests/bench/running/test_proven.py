"""What came of a proof: its time, its verdict in words, its archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.running import proven
from bench.running.matrix import Checked
from bench.running.proven import Budget
from tests.bench.running.made_proofs import NO, proof_on, words


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
