"""The judge of a case too large for the reference, and shared answers."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.worker import equivalence
from bench.worker.equivalence import SharedFolder, gate, gate_timed, select_results
from bench.worker.kept_results import FEWEST_KEPT, SLOTS, JudgedCalls
from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload, get_backend
from lstm_impl.backends.others.numpy_loop import NumPyLoop
from lstm_impl.proof import Judge, make_numpy_judge
from lstm_impl.workload import InputSets
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
            found = make_numpy_judge(spec).run(*args)
            return found | {"y": 2 * found["y"]}

        return Judge("reference of another network", run)

    monkeypatch.setattr(equivalence, "make_numpy_judge", other)
    with pytest.raises(RuntimeError, match=r"numpy cannot judge in float64: .*; y differs"):
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


def test_shared_folder_takes_at_most_a_quarter_of_the_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary files may be in memory, which the measured backends need."""
    total = 4_400

    def usage(folder: Path) -> SimpleNamespace:
        held = sum(path.stat().st_size for path in folder.iterdir())
        return SimpleNamespace(free=total - held)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    folder = SharedFolder(tmp_path)
    for key in "abc":
        folder.keep(key, bytes(500))  # 532 bytes with its digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.fixture
def another_process(tmp_path: Path) -> Iterator[None]:
    """Share answers through a folder, and forget those of this process."""
    equivalence.share_answers(SharedFolder(tmp_path))
    equivalence._answers.clear()
    yield
    equivalence.share_answers(None)
    equivalence._answers.clear()


def judge_that_counts(spec: LSTMSpec, calls: list[int]) -> Judge:
    reference = make_numpy_judge(spec)

    def run(*arguments: object) -> object:
        calls.append(1)
        return reference.run(*arguments)  # type: ignore[arg-type]

    def estimate(*arguments: object) -> object:
        calls.append(1)
        return reference.estimate(*arguments)  # type: ignore[arg-type]

    return Judge(reference.name, run, estimate)  # type: ignore[arg-type]


@pytest.mark.usefixtures("another_process")
def test_gate_second_process_reads_the_answers_of_the_first() -> None:
    calls: list[int] = []
    found, counts = [], []
    for seed in (0, 0, 1):
        model = get_backend("numpy").build(SPEC, LSTMWeights.random(SPEC, seed), "cpu")
        found.append(gate(model, WORK, seed, judge_that_counts(SPEC, calls)))
        counts.append(len(calls))
        equivalence._answers.clear()
    assert found[0] == found[1]
    first, second, third = counts
    assert second == first > 0
    assert third == 2 * first  # seed 1 needs other answers


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


# -- results that are kept of timed calls


def test_large_results_are_kept_in_part_and_small_ones_completely() -> None:
    small = select_results(SPEC, WORK, 5)
    assert (small.slots, small.complete) == (SLOTS, SLOTS)
    large = select_results(LSTMSpec(512, 512), Workload(64, 25, "training"), 5)
    assert large.slots >= SLOTS - 2
    assert 1 <= large.complete <= 4
    assert large.rows == 1
    # Outputs of inference are those of their own sequences: none need be complete.
    inference = select_results(LSTMSpec(512, 512), Workload(64, 25), 5)
    assert (inference.slots, inference.complete) == (SLOTS, 0)
    longest = select_results(LSTMSpec(1024, 1024), Workload(1, 960), 5)
    assert longest.slots == FEWEST_KEPT


@pytest.fixture
def few_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep results as of a large network: one completely, and single sequences of the others."""
    monkeypatch.setattr(equivalence, "SEQUENCE_OPERATIONS", 1.0)
    monkeypatch.setattr(equivalence, "COMPLETE_OPERATIONS", 1.0)


KEPT = (
    Workload(4, 5),
    Workload(4, 7, window=3),
    Workload(5, 6, "training", min_length=1),
    Workload(4, 5, "training", dropout=0.5),
    Workload(4, 7, "training", window=3, gradients="weights+input"),
    Workload(4, 5, "training", optimizer="adam"),
    Workload(4, 7, "training", window=3, optimizer="sgd"),
    Workload(3, 2, "streaming"),
)


def list_kept_calls(model: Model, workload: Workload, wrong_slot: int = -1) -> list[JudgedCalls]:
    """Return what is kept of calls on the inputs of each slot, one result changed by a tenth."""
    step, sets = model.prepare(workload), InputSets(model.spec, workload, 5)
    selection = select_results(model.spec, workload, 5)
    assert step.place is not None
    assert step.results is not None
    found = []
    for slot in range(1, selection.slots + 1):
        if step.restart is not None and not workload.streaming:
            step.restart()
        numbers = selection.numbers(slot)[: 3 if workload.streaming else 1]
        step.place(map(sets, numbers))
        results = [step.results(step.run()) for _ in numbers]
        if slot == wrong_slot:
            results[-1] = {**results[-1], "y": 1.1 * results[-1]["y"]}
        kept = tuple(selection.part(slot, each) for each in results)
        found.append(JudgedCalls(numbers, kept))
    return found


@pytest.mark.usefixtures("few_sequences")
@pytest.mark.parametrize("workload", KEPT, ids=str)
def test_gate_of_kept_sequences_passes_unless_one_is_wrong(workload: Workload) -> None:
    spec = LSTMSpec(3, 4, num_layers=2)
    model = NumPyLoop().build(spec, LSTMWeights.random(spec, seed=2))
    selection = select_results(spec, workload, 5)
    assert selection.rows == 1
    for slot in (-1, 1, selection.slots):
        kept, last = list_kept_calls(model, workload, slot), JudgedCalls((), ())
        if workload.optimizer is not None:
            last = last_updates(model, workload)  # whose weights are judged, too
        if workload.streaming:
            kept, last = kept[:-1], kept[-1]
        found = gate_timed(model, workload, 5, last, kept)
        assert found.passed == (slot == -1), found.describe()
        assert found.passed or found.describe().startswith("y differs")


def last_updates(model: Model, workload: Workload) -> JudgedCalls:
    """Make three updating calls from the start."""
    step, sets = model.prepare(workload), InputSets(model.spec, workload, 5)
    assert step.place is not None
    assert step.results is not None
    assert step.restart is not None
    step.restart()
    results = []
    for number in range(3):
        step.place([sets(number)])
        results.append(step.results(step.run()))
    return JudgedCalls((0, 1, 2), tuple(results))
