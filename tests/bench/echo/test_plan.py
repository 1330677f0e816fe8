"""What a map of truncation windows is made of: a plan, its cells, and the training of one."""

import functools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.echo.plan import (
    BATCH,
    HIDDEN,
    LEARNING_RATE,
    PARTS,
    Item,
    Plan,
    StoppedError,
    missing,
    train,
    train_with,
)
from bench.echo.settings import SettingsError
from bench.echo.task import COIN_TOSS
from bench.records.maps import Cell
from lstm_impl import get_backend
from tests.bench.echo.made_models import Failing

SMALL = Plan(tasks=("echo",), distances=(1,), windows=(3, 6), seeds=1, timesteps=60, batch=4)


MISSING = object()


# -- plans


PLANS = st.builds(
    Plan,
    tasks=st.sampled_from([("echo",), ("copy",), ("copy", "echo")]),
    distances=st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True).map(tuple),
    windows=st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True).map(tuple),
    states=st.sampled_from([(True,), (False,), (True, False)]),
    seeds=st.integers(1, 3),
    timesteps=st.integers(18, 100),
    batch=st.none() | st.integers(1, 5),
    stride=st.none() | st.integers(1, 12),
    learning_rate=st.none() | st.floats(1e-6, 1.0),
)


@settings(deadline=None)
@given(plan=PLANS)
def test_a_plan_trains_each_place_once_where_there_is_something_to_learn(plan: Plan) -> None:
    items = list(plan.items())
    assert len({item.key for item in items}) == len(items)
    expected = {
        (task, d, k, carried, seed)
        for task in plan.tasks
        for d in plan.distances
        for k in plan.windows
        for carried in plan.states
        for seed in range(plan.seeds)
        if carried or k > d
    }
    assert {item.key for item in items} == expected
    # One seed's whole map before the next: stopped early, a map has holes in its last seed only.
    assert [item.seed for item in items] == sorted(item.seed for item in items)


@settings(deadline=None)
@given(plan=PLANS)
def test_a_plan_comes_back_from_its_file(plan: Plan) -> None:
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_file_says_what_each_task_was_given() -> None:
    given = Plan().to_dict()["by_task"]
    assert given == {
        task: {
            "batch": BATCH[task],
            "hidden": HIDDEN[task],
            "optimizer": "adam",
            "learning_rate": LEARNING_RATE[task],
        }
        for task in ("echo", "copy")
    }
    assert replace(SMALL, hidden=7, learning_rate=0.5).to_dict()["by_task"] == {
        "echo": {"batch": 4, "hidden": 7, "optimizer": "adam", "learning_rate": 0.5}
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"widows": [3]}, "widows is unknown"),
        ({"windows": MISSING}, "windows is missing"),
        ({"windows": []}, "windows are to be at least one, each once"),
        ({"windows": 3}, "the plan is not what it should be"),
        ({"by_task": {}}, "by_task is not what this version gives each task"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(change: dict[str, Any], told: str) -> None:
    data = {**SMALL.to_dict(), **change}
    data = {name: value for name, value in data.items() if value is not MISSING}
    with pytest.raises(SettingsError, match=told):
        Plan.from_dict(data)


def test_a_plan_of_other_defaults_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Plan().to_dict()
    monkeypatch.setitem(HIDDEN, "echo", 99)
    with pytest.raises(SettingsError, match="by_task"):
        Plan.from_dict(kept)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tasks": ()}, "tasks"),
        ({"tasks": ("adding",)}, "tasks"),
        ({"distances": (0,)}, "distances"),
        ({"distances": (3, 3)}, "distances"),
        ({"windows": (True,)}, "windows"),
        ({"windows": (3, 31)}, "timesteps"),
        ({"seeds": 0}, "seeds"),
        ({"batch": -1}, "batch"),
        ({"stride": 0}, "stride"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"distances": (240,)}, "echo"),
    ],
)
def test_a_plan_that_makes_no_sense_names_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        replace(SMALL, **changes)
    assert caught.value.field == field


def test_shorter_windows_than_the_stride_have_their_own_length_as_stride() -> None:
    plan = replace(SMALL, stride=4)
    strides = {item.window: plan.settings(item).step for item in plan.items()}
    assert strides == {3: 3, 6: 4}


def test_what_is_missing_is_what_a_map_does_not_hold() -> None:
    from tests.bench.records.test_maps import a_map, cell

    items = list(SMALL.items())
    done = items[1]
    made = cell(
        task=done.task,
        distance=done.distance,
        window=done.window,
        carried=done.carried,
        seed=done.seed,
    )
    assert missing(SMALL, None) == items
    assert missing(SMALL, a_map(made)) == [item for item in items if item != done]


# -- one training


def test_a_window_longer_than_the_distance_learns_the_echo_and_one_as_long_does_not() -> None:
    plan = Plan(tasks=("echo",), distances=(3,), windows=(3, 5), seeds=1, timesteps=2500)
    short, long = (train(plan, Item("echo", 3, window, True, 0)) for window in (3, 5))
    assert long.learned
    assert long.accuracy == 1.0
    assert long.updates == 500
    assert (long.best, long.memoryless) == (0.0, COIN_TOSS)
    assert short.closed is not None
    assert short.closed < 0.3
    # Its parts are of one curve, from the coin toss down to the final loss.
    assert len(long.curve) == PARTS
    assert long.curve[0] > 0.3
    assert max(long.curve[-2:]) < 0.01
    assert long.loss == pytest.approx(np.mean(long.curve[-2:]), rel=0.05)


def test_with_the_state_reset_the_loss_comes_down_to_the_share_that_cannot_be_known() -> None:
    plan = Plan(tasks=("echo",), distances=(1,), windows=(4,), seeds=1, timesteps=2000)
    found = train(plan, Item("echo", 1, 4, False, 0))
    assert found.best == pytest.approx(math.log(2) / 4, rel=1e-3)
    assert found.loss == pytest.approx(found.best, rel=0.05)
    assert found.learned
    # A quarter of the bits is a guess.
    assert found.accuracy == pytest.approx(1 - 0.5 / 4, abs=0.03)


COPY = Plan(tasks=("copy",), distances=(3,), windows=(6,), seeds=1, timesteps=1500)
COPIED = Item("copy", 3, 6, True, 0)


@functools.cache
def trained_to_copy(plan: Plan) -> Cell:
    return train(plan, COPIED)


def test_copy_memory_is_learned_and_only_what_is_asked_for_counts_as_right() -> None:
    found = trained_to_copy(COPY)
    assert found.learned
    assert found.memoryless == pytest.approx(math.log(4) / 4)
    assert found.accuracy is not None
    assert found.accuracy > 0.95
    # One who learns nothing guesses a symbol of four, and is asked for none in three steps of four.
    blind = trained_to_copy(replace(COPY, learning_rate=1e-12, timesteps=600))
    assert blind.accuracy is not None
    assert 0.15 < blind.accuracy < 0.35
    assert blind.closed == pytest.approx(0.0, abs=0.1)


def test_with_blanks_each_step_asks_and_the_bounds_stay_what_they_are() -> None:
    plan = replace(COPY, blanks=True)
    assert plan.settings(COPIED).classes == 5
    # What it has learned of 3000 timesteps; the first of them are those of 1500.
    asked, not_asked = trained_to_copy(replace(plan, timesteps=3000)), trained_to_copy(COPY)
    # To whoever knows the place a blank costs nothing.
    assert (asked.best, asked.memoryless) == (not_asked.best, not_asked.memoryless)
    assert asked.curve[0] > not_asked.curve[0]
    # One who learns nothing guesses one of five at every step; where nothing is asked, of four.
    blind = trained_to_copy(replace(plan, learning_rate=1e-12, timesteps=600))
    assert blind.curve[-1] == pytest.approx(math.log(5), rel=0.15)
    assert blind.closed is not None
    assert blind.closed < -2
    assert asked.accuracy is not None
    assert asked.accuracy > 0.7  # a blank is the answer in three of four steps
    echo = replace(plan, tasks=("echo",))
    assert not echo.settings(Item("echo", 3, 6, True, 0)).blanks


def test_a_plan_from_before_blanks_could_be_asked_for_asks_for_none() -> None:
    data = SMALL.to_dict()
    del data["blanks"]
    assert Plan.from_dict(data) == SMALL
    with pytest.raises(SettingsError, match="blanks is 1; expected True or False"):
        Plan.from_dict({**data, "blanks": 1})


def test_a_training_is_the_same_again_and_another_with_another_seed() -> None:
    item = Item("echo", 1, 3, True, 0)
    assert train(SMALL, item) == train(SMALL, item)
    assert train(SMALL, item).curve != train(SMALL, replace(item, seed=1)).curve


def test_overlapping_windows_make_more_updates_on_the_same_timesteps() -> None:
    apart = train(SMALL, Item("echo", 1, 6, True, 0))
    overlapping = train(replace(SMALL, stride=2), Item("echo", 1, 6, True, 0))
    assert (apart.stride, apart.updates, apart.timesteps) == (6, 10, 60)
    assert (overlapping.stride, overlapping.updates, overlapping.timesteps) == (2, 28, 60)


def test_a_backend_of_a_framework_trains_as_numpy_does() -> None:
    for name in ("while_loop", "jax_scan"):
        if not get_backend(name).availability("cpu"):
            continue
        for item in (Item("echo", 1, 6, True, 0), Item("echo", 1, 3, False, 0)):
            theirs = train(replace(SMALL, backend=name), item)
            ours = train(SMALL, item)
            assert theirs.loss == pytest.approx(ours.loss, rel=1e-4)
            assert replace(theirs, loss=None, curve=()) == replace(ours, loss=None, curve=())
        return
    pytest.skip("no framework is installed")


def test_a_training_that_diverges_is_a_cell_that_says_so() -> None:
    item = Item("echo", 1, 3, True, 0)
    found = train_with(SMALL, item, Failing(SMALL.settings(item).spec, good=4))
    assert "diverged at window 5" in found.problem
    assert (found.loss, found.accuracy, found.learned) == (None, None, False)
    assert len(found.curve) == 4


def test_a_training_stops_when_it_is_asked_to() -> None:
    asked = iter([False, False, True])
    with pytest.raises(StoppedError):
        train(SMALL, Item("echo", 1, 3, True, 0), lambda: next(asked))
