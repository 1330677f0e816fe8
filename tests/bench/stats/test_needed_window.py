"""Which map is taken, and how long a window a dependency needs by it, and plainly beyond it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.machine.fields import ResultError
from bench.records import maps
from bench.records.maps import TASKS, LearningMap, newest, parted, untold
from bench.render.recommend import map_source, needed
from bench.stats.recommend import need
from tests.bench import made_windows as made
from tests.bench.records.test_maps import a_map, cell
from tests.places import REFERENCE

Cells = Mapping[tuple[str, int, int], bool]
"""Whether a task at a distance was learned through a window."""


def map_of(found: Cells) -> LearningMap:
    """A map with the state carried."""
    return a_map(
        *(
            cell(task=task, distance=d, window=k, stride=k, loss=0.0 if good else 0.7)
            for (task, d, k), good in found.items()
        )
    )


def of_task(task: str, rows: Mapping[int, Mapping[int, bool]]) -> Cells:
    return {(task, d, k): good for d, row in rows.items() for k, good in row.items()}


def row(learned: set[int], windows: tuple[int, ...] = (3, 5, 10, 15, 30, 60)) -> dict[int, bool]:
    return {k: k in learned for k in windows}


ECHO = of_task(
    "echo",
    {1: row({3, 5, 10, 15, 30, 60}), 3: row({5, 10, 15, 30}), 8: row({15}), 20: row(set())},
)
COPY = of_task("copy", {8: row({15, 30, 60}), 20: row({30, 60}), 50: row(set())})

cells = st.dictionaries(
    st.tuples(st.sampled_from(TASKS), st.integers(1, 60), st.integers(1, 120)),
    st.booleans(),
    max_size=40,
)


def windows_of(learned: LearningMap | None) -> list[int]:
    return [need(d, learned).window for d in range(1, 501)]


@settings(max_examples=60, deadline=None)
@given(cells)
@example({})
@example({**ECHO, **COPY})
@example(of_task("echo", {8: row({15}), 9: row({10})}))
@example({("echo", 2, 3): False, ("echo", 2, 5): True, ("echo", 8, 60): True})
@example({**of_task("echo", {8: row({60})}), **of_task("copy", {20: row({30})})})
def test_a_longer_dependency_never_gets_a_shorter_window(found: Cells) -> None:
    windows = windows_of(map_of(found))
    assert windows == sorted(windows)


@settings(max_examples=60, deadline=None)
@given(cells, st.integers(1, 500))
def test_what_is_told_to_be_learned_was_and_what_is_assumed_is_more_than_just_past(
    found: Cells, dependency: int
) -> None:
    learned = map_of(found)
    answer = need(dependency, learned)
    enough = {k for (_, d, k), good in found.items() if good and d >= dependency}
    if not answer.assumed:
        assert enough
        assert answer.window >= min(enough)
        assert answer.window in {k for (_, _, k), good in found.items() if good}
    else:
        assert answer.window >= 2 * dependency + 1
        assert "assumed is" in needed(answer)


@settings(max_examples=60, deadline=None)
@given(cells, st.integers(1, 500), st.integers(1, 500))
def test_no_window_is_longer_than_the_sequence(found: Cells, dependency: int, steps: int) -> None:
    free, cut = need(dependency, map_of(found)), need(dependency, map_of(found), steps)
    assert cut.window == min(free.window, steps)
    assert ("the whole sequence" in needed(cut)) is (free.window > steps)


def test_the_reference_map_gives_no_window_just_past_the_dependency() -> None:
    (found,) = maps.collect([REFERENCE]).maps
    windows = windows_of(found)
    assert windows == sorted(windows)
    assert [windows[d - 1] for d in (1, 3, 4, 8, 9, 20)] == [3, 5, 15, 15, 30, 30]
    assert need(21, found).assumed
    for d, window in enumerate(windows, 1):
        assert window >= 1.5 * d
        # And no window of which the map says, in every task that was tried, that it is too short.
        tried = {
            task: found.learned(d, window, True, task)
            for task in found.tasks()
            if found.learned(d, window, True, task) is not None
        }
        assert not tried or any(tried.values())


def test_every_task_that_learned_it_is_named_and_the_one_that_takes_more_decides() -> None:
    copy = of_task("copy", {8: row({30, 60})})
    found = need(7, map_of({**ECHO, **copy}))
    assert (found.window, found.assumed) == (30, False)
    assert "the echo of 8 was learned through 15" in needed(found)
    assert "copy memory of 8 was learned through 30" in needed(found)


def test_a_task_that_ends_before_is_named_and_keeps_its_window_as_the_least() -> None:
    found = need(20, map_of({**ECHO, **COPY}))
    assert (found.window, found.assumed) == (30, False)
    assert "copy memory of 20 was learned through 30" in needed(found)
    assert "the echo only up to 8, through 15" in needed(found)
    wide = {**of_task("echo", {8: row({60})}), **of_task("copy", {20: row({30})})}
    assert need(20, map_of(wide)).window == 60


def test_past_the_map_what_is_assumed_is_said_and_is_no_less_than_what_was_learned() -> None:
    found = need(21, map_of({**ECHO, **COPY}))
    assert found.assumed
    assert found.window == 43
    assert "the echo was tried up to 20 only" in needed(found)
    assert "copy memory of 50 was learned through no window (3 to 60)" in needed(found)
    assert "assumed is 2 times the dependency and one timestep" in needed(found)
    steep = need(10, map_of(of_task("echo", {3: row({15}), 4: row({15})})))
    assert steep.window == 51
    assert "assumed is 5 times the dependency and one timestep, as many times as" in needed(steep)


def test_the_shortest_window_that_was_tried_says_nothing_of_what_it_takes() -> None:
    """A distance of 1 learned through 10, where nothing shorter was tried: not ten times."""
    some = of_task("echo", {1: row({10, 30}, (10, 30)), 12: row({30}, (10, 30))})
    assert need(20, map_of(some)).window == 51  # 2.5 times, from 12 through 30


def test_without_a_map_twice_the_dependency_and_one_timestep_are_assumed() -> None:
    found = need(20, None)
    assert (found.window, found.assumed) == (41, True)
    assert needed(found).startswith("there is no map of what windows learn; assumed is 2 times")
    windows = windows_of(None)
    assert windows == sorted(windows)


def test_a_map_in_which_nothing_was_learned_says_so() -> None:
    found = need(8, map_of(of_task("echo", {8: row(set()), 20: row(set())})))
    assert (found.window, found.assumed) == (17, True)
    assert "the echo of 8 was learned through no window (3 to 60)" in needed(found)
    found = need(30, map_of(of_task("echo", {8: row(set())})))
    assert "the echo was learned at no distance" in needed(found)


def test_where_a_longer_window_failed_between_two_the_shorter_is_not_believed() -> None:
    assert need(9, map_of(of_task("echo", {9: row({10, 30})}))).window == 30
    # Past the last one that learned it there are fewer updates: that says nothing against it.
    assert need(9, map_of(of_task("echo", {9: row({10})}))).window == 10


def test_a_distance_learned_through_windows_too_short_for_a_nearer_one_is_told() -> None:
    some = map_of(of_task("echo", {8: row({15}), 9: row({10})}))
    assert need(8, some).window == 15
    found = need(9, some)
    assert (found.window, found.assumed) == (19, True)
    assert "learned through shorter windows alone than shorter distances took" in needed(found)


def test_one_window_may_be_enough_for_several_distances() -> None:
    learned = map_of(of_task("echo", {1: row({5, 10}), 3: row({5, 10}), 8: row({10})}))
    assert [need(d, learned).window for d in (1, 2, 3, 4, 8)] == [5, 5, 5, 10, 10]


@pytest.mark.parametrize("task", TASKS)
def test_a_map_of_a_single_task_is_enough(task: str) -> None:
    found = need(8, map_of(of_task(task, {8: row({15})})))
    assert (found.window, found.assumed) == (15, False)
    assert " and " not in needed(found)


def test_a_whole_sequence_is_not_an_assumption() -> None:
    found = need(30, None, 50)
    assert (found.window, found.assumed) == (50, False)
    assert needed(found) == (
        "the whole sequence, with nothing cut: a longer one would need 61 (there is no map of what "
        "windows learn; assumed is 2 times the dependency and one timestep, with which more "
        "than half of a window's positions reach back to their input)"
    )


# -- which map


def test_the_newest_whole_map_of_the_task_is_taken(tmp_path: Path) -> None:
    assert newest([tmp_path]) == (None, ())
    made.write_learning(tmp_path, {30: 20}, name="learning-a", day=1)
    made.write_learning(tmp_path, {30: 20}, name="learning-b", day=2)
    made.write_learning(tmp_path, {30: 20}, name="learning-c", day=3, task="copy")
    made.write_learning(tmp_path, {30: 20}, name="learning-d", day=4, complete=False)

    def taken(*tasks: str) -> str:
        found, bad = newest([tmp_path], tasks)
        assert found is not None
        assert bad == ()
        return found.run.id

    assert taken("echo") == "learning-b"
    assert taken("echo", "copy") == "learning-c"
    for name in "ab":
        (tmp_path / f"learning-{name}.json").unlink()
    # Better one that was stopped than none.
    assert taken("echo") == "learning-d"
    (tmp_path / "learning-e.json").write_text("{")
    found, (error,) = newest([tmp_path])
    assert found is not None
    assert "learning-e.json" in str(error)


def test_files_are_looked_at_for_times_or_for_a_map_and_folders_for_both(tmp_path: Path) -> None:
    (times,) = made.write_windows(tmp_path, windows=(30,), processes=1)
    path = made.write_learning(tmp_path, {30: 20})
    assert parted([times, tmp_path, path]) == ([times, tmp_path], [tmp_path, path])


def test_what_was_told_already_is_not_told_again() -> None:
    one, same, other = ResultError("a is cut off"), ResultError("a is cut off"), ResultError("b")
    assert untold([one, other], [same]) == [other]


def test_a_map_is_told_with_its_tasks_and_how_it_was_learned(tmp_path: Path) -> None:
    whole = maps.read(made.write_learning(tmp_path, {30: 20}, seeds=1))
    assert map_source(whole) == (
        "learning-made-up.json: the echo with while_loop, 1 seed, 20.0k timesteps seen; learned is "
        "90% of the way to the best possible loss, by every seed"
    )
    cut = maps.read(made.write_learning(tmp_path, {30: 20}, task="copy", complete=False))
    assert map_source(cut, TASKS).startswith(
        "learning-made-up.json: copy memory with while_loop, 2 "
    )
    assert map_source(cut, TASKS).endswith("by every seed; not all of it was measured")
