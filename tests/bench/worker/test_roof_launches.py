"""The launch roof: whose empty loop a case is held against, and what is recorded of it."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from bench.case.cases import Case
from bench.stats.bound import FROM_PYTHON
from bench.worker.roof_libraries import Launcher, Launches, RoofWork, counted, launcher
from bench.worker.roofs import Roofs, RoofsSeen, fastest
from lstm_impl import LSTMSpec, Workload

CASE = Case("a", LSTMSpec(8, 16), Workload(2, 10))
EACH = 2e-6


class World:
    """A clock, and empty loops that take as long as they are told."""

    def __init__(self, each: float = EACH) -> None:
        self.time, self.each, self.made = 0.0, each, 0

    def launcher(self, case: Case, launches: Launches) -> Launcher | None:
        self.made += 1

        def run(count: int) -> None:
            self.time += 16 * count * self.each

        if launches.by == "nobody":
            return None
        if launches.by == "broken":
            raise RuntimeError("no such loop")
        return Launcher("a library 1", RoofWork(run, 16, "its loop"))

    def roofs(self, seen: RoofsSeen | None = None) -> Roofs:
        return Roofs(
            lambda device, frameworks, threads: (),
            lambda: self.time,
            lambda device: 2**20,
            seen,
            self.launcher,
        )


def test_an_empty_loop_of_as_many_operators_is_the_roof() -> None:
    found = World().roofs().of_launches(CASE, Launches(300, "tensorflow", "tensorflow"), 1e-3)
    assert found["launches"] == 300
    assert found["launch_s"] == pytest.approx(300 * EACH)
    assert found["launch_here"] == pytest.approx(300 * EACH)
    assert found["of_launch"] == pytest.approx(0.6)
    assert (found["launch_by"], found["launch_from"]) == ("its loop", "this process")


def test_one_loop_serves_all_cases_of_a_framework_and_each_way_has_its_own() -> None:
    world = World()
    roofs = world.roofs()
    for count in (100, 200):
        roofs.of_launches(CASE, Launches(count, "tensorflow", "tensorflow"), 1.0)
    assert world.made == 1
    roofs.of_launches(CASE, Launches(100, "xla", "tensorflow"), 1.0)
    roofs.of_launches(CASE, Launches(100, "xla", "jax"), 1.0)
    assert world.made == 3


@pytest.mark.parametrize("by", ["nobody", "broken"])
def test_without_such_a_loop_there_are_no_figures_of_it(by: str) -> None:
    found = World().roofs().of_launches(CASE, Launches(3, by, "litert"), 1.0)
    assert not [key for key in found if "launch" in key]
    assert not [key for key in World().roofs().figures(CASE, 1.0) if "launch" in key]


def test_the_fastest_that_any_process_saw_counts(tmp_path: Path) -> None:
    file = tmp_path / "roofs.json"
    asked = Launches(100, "tensorflow", "tensorflow")
    World().roofs(RoofsSeen(file, lambda: 0.0)).of_launches(CASE, asked, 1.0)
    slow = World(3 * EACH).roofs(RoofsSeen(file, lambda: 86400.0))
    found = slow.of_launches(CASE, asked, 1.0)
    assert found["launch_s"] == pytest.approx(100 * EACH)
    assert found["launch_here"] == pytest.approx(300 * EACH)
    assert found["launch_from"] == "this machine, 1970-01-01"


@pytest.mark.parametrize(
    "evidence", [{}, {"launches": 3}, {"launches": "3", "launched_by": "xla"}, {"launches": 0}]
)
def test_evidence_that_does_not_say_leaves_it_unknown(evidence: dict[str, object]) -> None:
    assert counted(evidence, "jax") is None


def test_evidence_says_how_many_and_by_whom() -> None:
    assert counted({"launches": 7, "launched_by": "xla"}, "jax") == Launches(7.0, "xla", "jax")


@pytest.mark.parametrize(
    ("framework", "by"),
    [
        ("tensorflow", "tensorflow"),
        ("tensorflow", "xla"),
        ("jax", "xla"),
        ("torch", "python"),
        ("numpy", "python"),
    ],
)
def test_each_framework_starts_operators_that_do_nothing(framework: str, by: str) -> None:
    pytest.importorskip(framework)
    made = launcher(CASE, Launches(1, by, framework))
    assert made is not None
    each = fastest(made.work, 0.001, time.perf_counter)
    assert 0 < each < math.inf
    assert made.work.by.endswith(FROM_PYTHON) == (by == "python")


def test_who_has_no_loop_has_no_roof() -> None:
    assert launcher(CASE, Launches(1, "python", "litert")) is None
