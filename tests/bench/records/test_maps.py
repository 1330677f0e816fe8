"""Test reading and querying learning maps."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.machine.writing import write
from bench.records import maps
from bench.records.maps import LearningMap, LearningRun, MapCell, file_data, nothing_to_learn
from bench.schema.types import FreeObject
from tests.bench.mutations import mutate, patched, read_refusal, saved
from tests.places import GOLDEN

WHOLE = GOLDEN / "learning-1.json"

RUN: dict[str, object] = {
    "id": "made",
    "started": "2025-01-01T12:00:00+00:00",
    "finished": "2025-01-01T13:00:00+00:00",
    "complete": True,
    "backend": "numpy",
    "device": "cpu",
    "settings": {},
    "libraries": {},
}


def cell(**changes: Any) -> MapCell:
    usual = MapCell(
        task="echo",
        distance=3,
        window=5,
        stride=5,
        carried=True,
        seed=0,
        timesteps=100,
        updates=20,
        loss=0.1,
        accuracy=0.9,
        best=0.0,
        memoryless=0.6931,
        curve=(0.7, 0.1),
    )
    return replace(usual, **changes)


def a_map(*cells: MapCell) -> LearningMap:
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    run = LearningRun("made", moment, moment, True, "numpy", "cpu", FreeObject(), FreeObject())
    return LearningMap(Path("made.json"), run, cells)


def refusal(path: Path) -> str:
    return read_refusal(maps.read, path)


# -- contents


def test_read_golden_map_gives_its_values() -> None:
    found = maps.read(WHOLE)
    assert (found.run.backend, found.run.complete) == ("numpy", True)
    assert found.run.started == datetime(2026, 11, 25, 9, 10, 38, tzinfo=UTC)
    assert len(found.cells) == 14
    assert found.notes == ()
    assert found.tasks() == ("echo", "copy")
    assert found.distances("echo", carried=False) == (1, 3)
    assert found.windows("copy") == (3, 6)
    (there,) = found.seeds("echo", 1, 3, True)
    assert there.loss == pytest.approx(0.1915, abs=5e-5)
    assert (there.best, there.updates, there.timesteps) == (0.0, 40, 120)
    # The first timestep of each window of three cannot be predicted.
    (there,) = found.seeds("echo", 1, 3, False)
    assert there.best == pytest.approx(math.log(2) / 3, rel=1e-5)


CELLS = st.builds(
    cell,
    task=st.sampled_from(["echo", "copy"]),
    distance=st.integers(0, 2**53),
    window=st.integers(10, 2**53),
    stride=st.integers(1, 10),
    carried=st.booleans(),
    seed=st.integers(0, 2**32),
    timesteps=st.integers(1, 2**53),
    updates=st.integers(0, 2**53),
    loss=st.floats(0, 1e9),
    accuracy=st.none() | st.floats(0, 1),
    memoryless=st.floats(0.7, 10),
    best=st.floats(0, 0.7),
    curve=st.lists(st.floats(0, 1e9), max_size=4).map(tuple),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(CELLS, max_size=5, unique_by=lambda each: each.key))
def test_map_written_is_read_back(tmp_path: Path, cells: list[MapCell]) -> None:
    write(tmp_path / "learning-a.json", file_data(RUN, cells))
    found = maps.read(tmp_path / "learning-a.json")
    assert list(found.cells) == cells
    assert found.run.started == datetime(2025, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("task", "adding", 'task is "adding"; expected one of echo, copy'),
        ("distance", -1, "distance is -1; expected an integer of at least 0"),
        ("window", 0, "window is 0; expected a positive integer"),
        ("stride", 6, "stride is 6; expected a positive integer and at most 5"),
        ("carried", 1, "carried is 1; expected true or false"),
        ("loss", None, "loss is null"),
        ("loss", "low", 'loss is "low"; expected a number from 0 to 1e+09'),
        ("curve", 3, "curve is 3; expected a list"),
        ("wndow", 3, ".wndow is not known (did you mean window?); expected one of task, "),
        ("accuracy", 1.5, "accuracy is 1.5"),
        ("best", 0.8, "best is 0.8"),
        ("curve", [0.1, -0.1], "curve[1] is -0.1"),
        ("problem", "diverged", "loss is 0.1; expected null, because the training has a problem"),
        ("weights", [], ".weights is not known; expected one of task, distance, "),
    ],
)
def test_read_wrong_cell_is_refused_with_place(
    field: str, value: object, message: str, tmp_path: Path
) -> None:
    document = json.loads(json.dumps(file_data(RUN, [cell(seed=1), cell()])))
    document["learning"]["cells"][1][field] = value
    error = refusal(saved(tmp_path / "learning-a.json", document))
    assert error.startswith("learning.cells[1]")
    assert message in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is cut off or not JSON"),
        ("[]", "holds no learning map"),
        ('{"benchmarks": []}', "holds no learning map"),
        ('{"learning": {"schema": 2}}', "learning.schema is 2; expected 1"),
        ('{"learning": {"schema": 1}}', "learning.run is missing"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_read_other_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "learning-a.json").write_text(text)
    assert message in refusal(tmp_path / "learning-a.json")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), count=st.integers(1, 3))
def test_read_mutated_map_gives_map_or_clear_error(
    tmp_path: Path, data: st.DataObject, count: int
) -> None:
    document = json.loads(WHOLE.read_text())
    document["learning"]["cells"] = document["learning"]["cells"][:3]
    mutate(document, data.draw(st.randoms(use_true_random=False)), count)
    check_survives(saved(tmp_path / "learning-a.json", document))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), length=st.integers(0, 30), patch=st.binary(max_size=30))
def test_read_changed_map_bytes_give_map_or_clear_error(
    tmp_path: Path, where: float, length: int, patch: bytes
) -> None:
    check_survives(patched(WHOLE, tmp_path, where, length, patch))


def check_survives(path: Path) -> None:
    found = maps.collect([path])
    assert len(found.maps) + len(found.errors) == 1
    for error in found.errors:
        assert str(error).startswith(str(path))
        assert str(error).isprintable()
    for each in found.maps:
        for one in each.cells:
            assert one.loss is None or math.isfinite(one.loss)
            assert one.learned_share is None or math.isfinite(one.learned_share)


# -- collecting files


def test_collect_maps_newest_first_with_errors(tmp_path: Path) -> None:
    for day in (1, 3, 2):
        run = {**RUN, "id": f"day-{day}", "started": f"2025-01-0{day}T12:00:00+00:00"}
        write(tmp_path / f"learning-{day}.json", file_data(run, [cell()]))
    (tmp_path / "learning-bad.json").write_text("{")
    (tmp_path / "smoke-1.json").write_text("{")  # another command's, not read
    found = maps.collect([tmp_path])
    assert [each.run.id for each in found.maps] == ["day-3", "day-2", "day-1"]
    (error,) = found.errors
    assert "learning-bad.json" in str(error)


# -- queries


def test_learned_share_any_loss_matches_definition() -> None:
    assert cell(memoryless=0.7, best=0.2, loss=0.2).learned_share == pytest.approx(1.0)
    assert cell(memoryless=0.7, best=0.2, loss=0.7).learned_share == pytest.approx(0.0)
    assert cell(memoryless=0.7, best=0.2, loss=0.45).learned_share == pytest.approx(0.5)
    assert cell(memoryless=0.7, best=0.2, loss=1.2).learned_share == pytest.approx(-1.0)
    assert cell(memoryless=0.7, best=0.7, loss=0.7).learned_share is None
    assert cell(memoryless=1.0, best=0.0, loss=0.1).learned
    assert not cell(memoryless=1.0, best=0.0, loss=0.1001).learned


def test_learned_requires_every_seed() -> None:
    good, bad = cell(loss=0.0), cell(loss=0.6, seed=1)
    assert a_map(good).learned(3, 5) is True
    assert a_map(good, bad).learned(3, 5) is False
    assert a_map(good).learned(3, 6) is None
    assert a_map(good, bad).seeds("echo", 3, 5, True) == (good, bad)


OUTCOMES = st.dictionaries(
    st.tuples(st.sampled_from([1, 3, 8]), st.sampled_from([2, 4, 9, 16]), st.booleans()),
    st.lists(st.booleans(), min_size=1, max_size=2),
    max_size=24,
)


@given(outcomes=OUTCOMES, window=st.integers(1, 20))
def test_learnable_distance_matches_definition(
    outcomes: dict[tuple[int, int, bool], list[bool]], window: int
) -> None:
    cells = [
        cell(distance=d, window=k, stride=k, carried=c, seed=seed, loss=0.0 if learned else 0.6931)
        for (d, k, c), seeds in outcomes.items()
        if not nothing_to_learn(d, k, c)
        for seed, learned in enumerate(seeds)
    ]
    here = [each for each in cells if each.carried]
    tried = {(each.distance, each.window) for each in here}
    failed = {(each.distance, each.window) for each in here if not each.learned}
    good = tried - failed
    shorter = sorted({each.window for each in here if each.window <= window})
    expected = max((d for d, k in good if shorter and k == shorter[-1]), default=None)
    assert a_map(*cells).learnable_distance(window) == expected
