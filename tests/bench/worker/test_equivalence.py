"""The judge of a case too large for the reference, and shared answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.worker import equivalence
from bench.worker.equivalence import SharedFolder, gate, gate_timed
from bench.worker.timing import JudgedCalls
from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend
from lstm_impl.backends.others.numpy_loop import NumPyLoop
from lstm_impl.proof import Judge, numpy_judge
from tests.bench.worker.scripted_backends import TIMED


def test_judge_large_case_is_a_proven_float64_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivalence, "REFERENCE_OPERATIONS", 1.0)
    monkeypatch.setattr(equivalence, "JUDGES", ("numpy",))
    equivalence.prove.cache_clear()
    model = get_backend("numpy").build(LSTMSpec(3, 4), LSTMWeights.random(LSTMSpec(3, 4)))
    result = equivalence.gate(model, Workload(2, 3, "training"))
    assert result.passed
    assert result.judge == "float64 numpy (itself equal to the NumPy reference)"


def test_prove_wrong_judge_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    equivalence.prove.cache_clear()

    def other(spec: LSTMSpec) -> Judge:
        def run(*args: Any) -> Any:
            found = numpy_judge(spec).run(*args)
            return found | {"y": 2 * found["y"]}

        return Judge("reference of another network", run)

    monkeypatch.setattr(equivalence, "numpy_judge", other)
    with pytest.raises(RuntimeError, match="numpy cannot judge in float64: y differs"):
        equivalence.prove("numpy", LSTMSpec(3, 4, dtype="float64"))
    equivalence.prove.cache_clear()


SPEC = LSTMSpec(3, 4)
WORK = Workload(2, 5, "training")


@pytest.mark.parametrize("where", [0, 31, 200, -1])
def test_shared_folder_changed_file_returns_none(
    tmp_path: Path, where: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SharedFolder(tmp_path)
    folder.keep("a", bytes(500))
    assert folder.find("a") == bytes(500)
    assert folder.find("b") is None
    monkeypatch.setattr(equivalence, "LARGEST_FOLDER", 600)
    folder.keep("b", bytes(500))  # there is no space
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    data = bytearray((tmp_path / "a").read_bytes())
    (tmp_path / "a").write_bytes(data[: where % len(data)])
    assert folder.find("a") is None
    data[where] ^= 1
    (tmp_path / "a").write_bytes(data)
    assert folder.find("a") is None
    gone = SharedFolder(tmp_path / "gone")
    gone.keep("a", bytes(5))
    assert gone.find("a") is None


@pytest.fixture
def another_process(tmp_path: Path) -> Iterator[None]:
    """Share answers through a folder, and forget those of this process."""
    equivalence.share_answers(SharedFolder(tmp_path))
    equivalence._answers.clear()
    yield
    equivalence.share_answers(None)
    equivalence._answers.clear()


def judge_that_counts(spec: LSTMSpec, calls: list[int]) -> Judge:
    reference = numpy_judge(spec)

    def run(*arguments: object) -> object:
        calls.append(1)
        return reference.run(*arguments)  # type: ignore[arg-type]

    return Judge(reference.name, run)  # type: ignore[arg-type]


@pytest.mark.usefixtures("another_process")
def test_gate_second_process_reads_the_answers_of_the_first() -> None:
    calls: list[int] = []
    found = []
    for seed in (0, 0, 1):
        model = get_backend("numpy").build(SPEC, LSTMWeights.random(SPEC, seed), "cpu")
        found.append(gate(model, WORK, seed, judge_that_counts(SPEC, calls)))
        equivalence._answers.clear()
    assert found[0] == found[1]
    first, others = len(calls) // 2, len(calls)
    assert others == 2 * first > 0  # seed 1 needs another answer


@pytest.mark.usefixtures("another_process")
def test_gate_wrong_model_with_shared_answer_fails() -> None:
    right = LSTMWeights.random(SPEC)
    assert gate(get_backend("numpy").build(SPEC, right, "cpu"), WORK).passed
    equivalence._answers.clear()
    wrong = get_backend("numpy").build(SPEC, right, "cpu")
    wrong._weights = LSTMWeights.random(SPEC, 5)  # type: ignore[attr-defined]
    assert not gate(wrong, WORK).passed


@pytest.mark.parametrize("workload", [TIMED[1], TIMED[3], TIMED[-1]], ids=str)
def test_gate_last_chosen_inputs_passes(workload: Workload) -> None:
    model = NumPyLoop().build(
        SPEC, LSTMWeights.random(SPEC, seed=2), batch_major=workload.batch_major
    )
    step = model.prepare(workload, seed=5)
    assert step.use is not None
    assert step.results is not None
    calls = 1 if step.restart is None else 3
    for number in (1, 0, 1):
        numbers = tuple(range(number, number + calls))
        step.use([*numbers, 9])
        if step.restart is not None:
            step.run()  # updates the weights, and negates dy
            step.restart()
            step.use(numbers)
        results = tuple(step.results(step.run()) for _ in numbers)
        found = gate_timed(model, workload, 5, JudgedCalls(numbers, results))
        assert found.passed, found.describe()
        others = tuple(each + 1 for each in numbers)
        assert not gate_timed(model, workload, 5, JudgedCalls(others, results)).passed
