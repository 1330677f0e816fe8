"""The window that a dependency needs, and recommended windows and backends."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.machine.fields import ResultError
from bench.records import maps
from bench.records.maps import TASKS, LearningMap, find_newest, list_unreported
from bench.render.recommend import as_json, document, window_reason
from bench.verdicts.recommend import (
    NEAR,
    MeasuredWindows,
    NoRecommendation,
    Query,
    Recommendation,
    answer,
    need,
)
from lstm_impl import LSTMSpec, Workload
from lstm_impl.cell import GRU
from tests.bench import made_windows as made
from tests.bench.records.test_maps import a_map, cell
from tests.places import REFERENCE

QUESTION = Query(14, 64, 256)
KERAS = {"keras": made.Cost(1e-3, 2e-4)}


def recommend(
    found: Sequence[MeasuredWindows], question: Query = QUESTION, learned: LearningMap | None = None
) -> Recommendation:
    answered = answer(question, found, learned)
    assert isinstance(answered, Recommendation)
    return answered


def answered(paths: Sequence[Path], reference: Sequence[Path] = ()) -> Recommendation:
    return recommend(made.read_places(paths, reference))


# -- which window


def test_recommend_longer_window_is_named_if_it_saves_much(tmp_path: Path) -> None:
    found = answered(made.write_windows(tmp_path, noise=0.001))
    assert found.longer is not None
    # 1.2 ms and 0.22 ms a timestep: at 30 a timestep takes 0.26 ms, in long windows 0.22.
    assert found.longer.row.case.workload.window in (240, 480)
    assert found.longer.saves == pytest.approx(1 - 0.2225 / 0.26, abs=0.02)
    costs = {"while_loop": made.Cost(1e-4, 1e-4)}  # 3% less: certain, and too little
    found = answered(made.write_windows(tmp_path / "flat", costs, noise=0.0))
    assert found.longer is None


def test_recommend_names_the_significantly_fastest_and_its_cost(
    usual: Sequence[MeasuredWindows],
) -> None:
    found = recommend(usual)
    assert found.best.case.backend == "while_loop+hoisted"
    assert found.fastest
    truth = made.COSTS["while_loop+hoisted"]
    assert found.step.mid == pytest.approx(truth.fixed + 30 * truth.per_timestep, rel=0.03)
    assert found.timestep.mid == pytest.approx(found.step.mid / 30)
    assert (
        found.best.result.memory["peak_bytes"] == truth.base_bytes + 30 * truth.bytes_per_timestep
    )


def test_recommend_backends_not_significantly_slower_are_tied(tmp_path: Path) -> None:
    costs = {
        "keras": made.Cost(1e-3, 1.000e-4),
        "while_loop": made.Cost(1e-3, 1.005e-4),
        "torch": made.Cost(1e-3, 9e-4),
    }
    found = answered(made.write_windows(tmp_path, costs, noise=0.05))
    assert not found.fastest
    tied = {found.best.case.backend, *(each.row.case.backend for each in found.rivals)}
    assert tied == {"keras", "while_loop"}


def test_recommend_untrusted_backends_come_last(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, KERAS)
    faster = {"torch": made.Cost(1e-3, 1e-4)}
    made.join(paths, made.write_windows(tmp_path / "b", faster, valid=False))
    found = answered(paths)
    assert found.best.case.backend == "keras"
    assert [each.row.case.backend for each in found.rivals] == ["torch"]
    assert not found.fastest


# -- from which results


def test_recommend_exact_shape_comes_before_a_near_one(tmp_path: Path) -> None:
    made.write_windows(tmp_path, session="near", day=2, batch=96)
    made.write_windows(tmp_path, session="exact", day=1, batch=64)
    found = answered([tmp_path])
    assert not found.differences
    assert found.best.case.workload.batch == 64


@pytest.mark.parametrize(("batch", "answers"), [(96, True), (97, False), (43, True), (42, False)])
def test_near_shapes_are_within_a_factor(batch: int, answers: bool, tmp_path: Path) -> None:
    assert NEAR == 1.5
    found = answer(QUESTION, made.read_places(made.write_windows(tmp_path, batch=batch)))
    assert isinstance(found, Recommendation) is answers
    if isinstance(found, NoRecommendation):
        assert found.cases
        assert {case.workload.batch for case in found.cases} == {batch}


@pytest.mark.parametrize(
    "question",
    [
        Query(14, 64, 400),
        Query(14, 64, 256, "gpu:0"),
        Query(14, 64, 256, input_size=512),
        Query(14, 64, 256, num_layers=2),
        Query(14, 64, 256, dtype="float16"),
    ],
)
def test_recommend_other_shape_device_or_dtype_is_no_answer(
    question: Query, usual: Sequence[MeasuredWindows]
) -> None:
    assert isinstance(answer(question, usual), NoRecommendation)


def test_recommend_takes_a_gru_for_no_lstm() -> None:
    lstm = Case("keras", LSTMSpec(64, 256), Workload(64, 14, "training"))
    gru = replace(lstm, spec=replace(lstm.spec, cell=GRU()))
    assert Query(14, 64, 256).same_work(lstm)
    assert not Query(14, 64, 256).same_work(gru)


def test_recommend_uses_complete_sequences_without_windows(tmp_path: Path) -> None:
    paths, *others = (
        made.write_windows(
            tmp_path / str(length), windows=(None,), timesteps=length, optimizer=None
        )
        for length in (15, 30, 60)
    )
    for each in others:
        made.join(paths, each)
    found = answered(paths)
    assert (found.place.kind, found.window) == ("throughput", 30)
    assert found.step.mid == pytest.approx(1.2e-3 + 30 * 2.2e-4, rel=0.03)
    assert found.longer is not None
    assert found.longer.saves == pytest.approx(1 - 0.24 / 0.26, abs=0.02)
    cut = made.write_windows(tmp_path, session="cut")
    assert answered([*paths, *cut]).place.kind == "truncation"


def test_recommend_own_results_come_before_the_reference(tmp_path: Path) -> None:
    reference = made.write_windows(tmp_path / "reference", session="reference", host="theirs")
    found = answered([], reference)
    assert not found.place.own
    own = made.write_windows(tmp_path, session="own", host="mine", batch=96)
    found = answered(own, reference)
    assert found.place.own
    assert found.place.section.run.host == "mine"


def test_recommend_window_grows_with_the_dependency(tmp_path: Path) -> None:
    """It holds for few windows of one's own next to others, too."""
    learned = made.make_learned_map({3: 1, 5: 3, 15: 8, 30: 20})
    own = made.write_windows(tmp_path, windows=(17, 34, 68), session="own", timesteps=68)
    theirs = made.write_windows(tmp_path / "b", session="theirs", processes=1)
    given = made.read_places(own, theirs)
    before = 0
    for dependency in range(1, 480):
        found = recommend(given, Query(dependency, 64, 256), learned)
        assert found.window >= max(before, found.need.window)
        before = found.window


def test_recommend_without_an_answer_names_what_was_measured(tmp_path: Path) -> None:
    paths = [
        path
        for batch in (1, 2, 4, 8, 16, 24, 32)
        for path in made.write_windows(
            tmp_path, KERAS, (3, 30), session=f"batch {batch}", batch=batch, processes=1
        )
    ]
    given = made.read_places(paths)
    found = answer(QUESTION, given)
    assert isinstance(found, NoRecommendation)
    batches = dict.fromkeys(case.workload.batch for case in found.cases)
    assert list(batches)[:5] == [32, 24, 16, 8, 4]  # the nearest first
    assert len(batches) == 7
    assert found.nearest is not None
    assert found.nearest.differences == (("batch", 32, 64),)
    elsewhere = answer(Query(14, 64, 256, "gpu:0"), given)
    assert isinstance(elsewhere, NoRecommendation)
    assert elsewhere.places == ("training on cpu",)
    assert elsewhere.nearest is None
    data = json.loads(as_json(QUESTION, found, None, ()))
    assert (data["answered"], data["nearest"]["window"]) == (False, 30)


# -- sequences that end


def test_recommend_window_is_within_the_sequences(usual: Sequence[MeasuredWindows]) -> None:
    found = recommend(usual, Query(14, 64, 256, steps=100))
    assert (found.need.window, found.window) == (29, 30)
    assert found.longer is not None
    assert found.longer.row.case.workload.window == 60
    short = answer(Query(14, 64, 256, steps=16), usual)
    assert isinstance(short, NoRecommendation)  # 30 is too far from 16 to stand for it
    assert short.lengths
    assert short.need.window == 16
    found = recommend(usual, Query(14, 64, 256, steps=25))
    assert not found.need.assumed
    assert (found.window, found.measured_window) == (25, 30)
    assert found.differences == (("timesteps", 30, 25),)


def test_recommend_long_dependency_is_answered_by_the_complete_sequence(tmp_path: Path) -> None:
    """60 is too short, and 120 stands for 100, although it is twice what 61 timesteps need."""
    given = made.read_places(made.write_windows(tmp_path, KERAS, (30, 60, 120), timesteps=120))
    for dependency in (30, 39, 40, 99):
        question = Query(dependency, 64, 256, steps=100)
        found = recommend(given, question)
        assert (found.window, found.measured_window) == (100, 120)
        shown = document(question, found, None, ()).markdown()
        assert "Assuming at least" in shown or dependency > 49
        assert "windows of 120" not in shown.replace("**", "")
        data = json.loads(as_json(question, found, None, ()))
        assert (data["window"], data["measured_window"]) == (100, 120)


@settings(max_examples=100, deadline=None)
@given(
    st.data(),
    st.sets(st.sampled_from(made.WINDOWS), min_size=1),
    st.integers(2, 1500),
)
def test_recommend_answers_within_the_steps_or_says_why_not(
    usual: Sequence[MeasuredWindows], data: st.DataObject, windows: set[int], steps: int
) -> None:
    dependency = data.draw(st.integers(1, steps - 1))
    (place,) = usual
    groups = tuple(rows for rows in place.groups if rows[0].case.workload.window in windows)
    question = Query(dependency, 64, 256, steps=steps)
    found = answer(question, [replace(place, groups=groups)])
    least = min(2 * dependency + 1, steps)
    assert found.need.window == least
    fitting = [each for each in windows if least <= each <= NEAR * steps]
    assert isinstance(found, Recommendation) is bool(fitting)
    if isinstance(found, Recommendation):
        assert found.measured_window == min(fitting)
        assert least <= found.window == min(*fitting, steps) <= steps
        assert found.longer is None or (found.longer.row.case.workload.window or 0) <= steps
    else:
        shown = document(question, found, None, ()).markdown()
        assert f"no window of {least} to {int(NEAR * steps)} timesteps was measured" in shown


def test_recommend_inference_uses_sequences_of_near_length(tmp_path: Path) -> None:
    for steps in (50, 60):
        made.write_windows(
            tmp_path,
            KERAS,
            (None,),
            timesteps=steps,
            session=f"s{steps}",
            mode="inference",
            optimizer=None,
        )
    given = made.read_places([tmp_path])
    found = recommend(given, Query(0, 64, 256, steps=58, mode="inference"))
    assert (found.window, found.measured_window) == (58, 60)
    assert found.differences == (("timesteps", 60, 58),)
    assert not found.need.assumed
    assert found.longer is None
    assert not recommend(given, Query(0, 64, 256, steps=50, mode="inference")).differences
    far = answer(Query(0, 64, 256, steps=500, mode="inference"), given)
    assert isinstance(far, NoRecommendation)
    assert far.lengths
    assert far.need.window == 500


# -- distances between shapes


Cells = Mapping[tuple[str, int, int], bool]
"""Whether a task learned a distance through a window."""


def make_map(found: Cells) -> LearningMap:
    return a_map(
        *(
            cell(task=task, distance=d, window=k, stride=k, loss=0.0 if good else 0.7)
            for (task, d, k), good in found.items()
        )
    )


def select_task(task: str, rows: Mapping[int, Mapping[int, bool]]) -> Cells:
    return {(task, d, k): good for d, row in rows.items() for k, good in row.items()}


def row(learned: set[int], windows: tuple[int, ...] = (3, 5, 10, 15, 30, 60)) -> dict[int, bool]:
    return {k: k in learned for k in windows}


ECHO = select_task(
    "echo", {1: row({3, 5, 10, 15, 30, 60}), 3: row({5, 10, 15, 30}), 8: row({15}), 20: row(set())}
)
COPY = select_task("copy", {8: row({15, 30, 60}), 20: row({30, 60}), 50: row(set())})

cells = st.dictionaries(
    st.tuples(st.sampled_from(TASKS), st.integers(1, 60), st.integers(1, 120)),
    st.booleans(),
    max_size=40,
)


def list_windows(learned: LearningMap | None) -> list[int]:
    return [need(d, learned).window for d in range(1, 501)]


@settings(max_examples=60, deadline=None)
@given(cells)
@example({})
@example({**ECHO, **COPY})
@example(select_task("echo", {8: row({15}), 9: row({10})}))
@example({("echo", 2, 3): False, ("echo", 2, 5): True, ("echo", 8, 60): True})
@example({**select_task("echo", {8: row({60})}), **select_task("copy", {20: row({30})})})
def test_least_window_grows_with_the_dependency(found: Cells) -> None:
    windows = list_windows(make_map(found))
    assert windows == sorted(windows)


@settings(max_examples=60, deadline=None)
@given(cells, st.integers(1, 500))
def test_least_window_is_learned_or_assumed_longer(found: Cells, dependency: int) -> None:
    learned = make_map(found)
    answer = need(dependency, learned)
    enough = {k for (_, d, k), good in found.items() if good and d >= dependency}
    if not answer.assumed:
        assert enough
        assert answer.window >= min(enough)
        assert answer.window in {k for (_, _, k), good in found.items() if good}
    else:
        assert answer.window >= 2 * dependency + 1
        assert "timestep is assumed" in window_reason(answer)


def test_least_window_of_the_reference_map_has_a_margin() -> None:
    (found,) = maps.collect([REFERENCE]).maps
    windows = list_windows(found)
    assert windows == sorted(windows)
    assert [windows[d - 1] for d in (1, 3, 4, 8, 9, 20)] == [3, 5, 15, 15, 30, 30]
    assert need(21, found).assumed
    for d, window in enumerate(windows, 1):
        assert window >= 1.5 * d
        # No window that was too short in every task.
        tried = {
            task: found.learned(d, window, task)
            for task in found.tasks()
            if found.learned(d, window, task) is not None
        }
        assert not tried or any(tried.values())


def test_least_window_keeps_that_of_a_shorter_task() -> None:
    found = need(20, make_map({**ECHO, **COPY}))
    assert (found.window, found.assumed) == (30, False)
    assert "copy memory of 20 was learned in windows of 30" in window_reason(found)
    assert "the echo was learned only up to 8, in windows of 15" in window_reason(found)
    wide = {**select_task("echo", {8: row({60})}), **select_task("copy", {20: row({30})})}
    assert need(20, make_map(wide)).window == 60


def test_least_window_past_the_map_is_assumed_and_not_less() -> None:
    found = need(21, make_map({**ECHO, **COPY}))
    assert found.assumed
    assert found.window == 43
    assert "distances up to 20 were learned" in window_reason(found)
    assert "twice the dependency plus one timestep is assumed" in window_reason(found)


def test_least_window_without_a_map_is_twice_the_dependency() -> None:
    found = need(20, None)
    assert (found.window, found.assumed) == (41, True)
    assert window_reason(found).startswith(
        "no map says which window learns a dependency of 20; twice the dependency"
    )
    windows = list_windows(None)
    assert windows == sorted(windows)


def test_least_window_skips_one_below_a_failed_window() -> None:
    assert need(9, make_map(select_task("echo", {9: row({10, 30})}))).window == 30
    # Windows beyond the last one that learned it, with fewer updates, do not count.
    assert need(9, make_map(select_task("echo", {9: row({10})}))).window == 10


# -- which map


def test_newest_takes_the_newest_complete_map(tmp_path: Path) -> None:
    assert find_newest([tmp_path]) == (None, ())
    made.write_learning(tmp_path, {30: 20}, name="learning-a", day=1)
    made.write_learning(tmp_path, {30: 20}, name="learning-b", day=2)
    made.write_learning(tmp_path, {30: 20}, name="learning-c", day=3, task="copy")
    made.write_learning(tmp_path, {30: 20}, name="learning-d", day=4, complete=False)

    def taken(*tasks: str) -> str:
        found, bad = find_newest([tmp_path], tasks)
        assert found is not None
        assert bad == ()
        return found.run.id

    assert taken("echo") == "learning-b"
    assert taken("echo", "copy") == "learning-c"
    for name in "ab":
        (tmp_path / f"learning-{name}.json").unlink()
    # An incomplete map is better than none.
    assert taken("echo") == "learning-d"
    (tmp_path / "learning-e.json").write_text("{")
    found, (error,) = find_newest([tmp_path])
    assert found is not None
    assert "learning-e.json" in str(error)


def test_unreported_skips_reported_errors() -> None:
    one, same, other = ResultError("a is cut off"), ResultError("a is cut off"), ResultError("b")
    assert list_unreported([one, other], [same]) == [other]
