"""Memory and energy beside the times: when they are taken, and that they spoil nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bench.case.cases import Case
from bench.machine import devices
from bench.machine.disturbance import Activity
from bench.records.schema import Figures
from bench.worker import resources
from bench.worker.group import measure_group
from bench.worker.outcomes import Measured
from bench.worker.preparing import Bench
from bench.worker.timing import Clock, TimingPlan
from lstm_impl import Availability, Backend, LSTMSpec, LSTMWeights, Model, Step, Workload
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.proof import GateResult

SPEC, WORK = LSTMSpec(1, 4), Workload(2, 6, "training")
QUIET = Activity(0.0, 2, 0.0, 0.0, {}, 0, 0, {}, None)
HELD: Figures = {"peak_bytes": 300, "steady_bytes": 200, "how": "told"}
USED: Figures = {"joules": 0.5, "idle_watts": 40.0, "how": "told"}


@dataclass
class World:
    """A clock that steps move, and a log of what happens."""

    time: float = 0.0
    log: list[str] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    def resident(self, case: Case, seed: int, limit: float) -> Figures:
        self.log.append(f"memory of {case.backend}")
        self.limits.append(limit)
        return HELD

    def energy(self, step: Step, device: str, seconds: float) -> Figures:
        self.log.append("energy")
        assert seconds == pytest.approx(0.1)
        return USED

    def gauge(self, backend: Backend, device: str) -> Callable[[Step], Figures] | None:
        if device == "cpu":
            return None
        self.log.append("gauge")

        def figures(step: Step) -> Figures:
            self.log.append("figures")
            return HELD

        return figures

    def judged(self, model: Model, workload: Workload, seed: int) -> GateResult:
        self.log.append("gate")
        return GateResult(True, "judge", {"y": 1e-7}, {"y": 1e-6})

    def announced(self, cases: object) -> None:
        self.log.append("announced")

    def bench(self, **changes: Any) -> Bench:
        plain = Bench(
            Clock(lambda: self.time, 1e-9),
            self.judged,
            lambda: QUIET,
            lambda: (),
            announce=self.announced,
            roofs=None,
            gauge=self.gauge,
            resident=self.resident,
            energy=self.energy,
        )
        return replace(plain, **changes)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class ToldModel(NumPyModel):
        def prepare(self, workload: Workload, seed: int = 0) -> Step:
            def run() -> None:
                world.time += 0.1
                world.log.append("run")

            quiet = self.spec.hidden_size == 1
            return Step((lambda: None) if quiet else run, lambda: None, lambda: None)

    class Told(NumPyLoop):
        def availability(self, device: str = "cpu") -> Availability:
            return Availability(True)

        def _build(self, spec: LSTMSpec, weights: LSTMWeights, *rest: Any) -> Model:
            if spec.hidden_size > 1:
                world.log.append("build")
                world.time += 2.0
            return ToldModel(self, spec, "cpu", False, weights)

    monkeypatch.setattr("bench.worker.preparing.get_backend", lambda name: Told())
    monkeypatch.setattr(devices, "explain_missing", lambda device: "")
    return world


def results(world: World, *cases: Case, **changes: Any) -> list[Measured]:
    found = measure_group(cases, TimingPlan(2.0), bench=world.bench(**changes))
    for each in found.values():
        assert isinstance(each, Measured), each
    return [each for each in found.values() if isinstance(each, Measured)]


def test_memory_on_the_cpu_is_measured_when_all_timing_is_over(world: World) -> None:
    cases = [Case(name, SPEC, WORK) for name in ("one", "two")]
    found = results(world, *cases)
    assert world.log[-4:] == ["announced", "memory of one", "announced", "memory of two"]
    assert [each.memory for each in found] == [HELD, HELD]
    assert [each.energy for each in found] == [None, None]


def test_what_is_measured_stands_in_the_result(world: World) -> None:
    (found,) = results(world, Case("one", SPEC, WORK, "gpu:0"))
    extra = found.to_extra(Case("one", SPEC, WORK, "gpu:0"), 0)
    assert extra["memory"] == dict(HELD)
    assert extra["energy"] == dict(USED)


def test_memory_is_not_measured_unless_it_is_wanted(world: World) -> None:
    (found,) = results(world, Case("one", SPEC, WORK), resident=None)
    assert found.memory is None
    assert found.to_extra(Case("one", SPEC, WORK), 0)["memory"] is None
    assert world.log.count("announced") == 2  # prepared, and timed


def test_on_a_gpu_memory_is_that_of_building_and_the_first_call(world: World) -> None:
    (found,) = results(world, Case("one", SPEC, WORK, "gpu:0"), resident=None)
    assert world.log[1:6] == ["gauge", "build", "run", "figures", "gate"]
    assert found.memory == HELD


def test_energy_is_measured_when_all_timing_is_over(world: World) -> None:
    cases = [Case(name, SPEC, WORK, "gpu:0") for name in ("one", "two")]
    found = results(world, *cases)
    assert world.log[-4:] == ["announced", "energy", "announced", "energy"]
    assert [each.energy for each in found] == [USED, USED]


def test_the_limit_follows_what_the_case_took_and_what_it_may_take(world: World) -> None:
    results(world, Case("one", SPEC, WORK))
    results(world, Case("one", SPEC, WORK), case_limit=32.1)
    # Built in 2 s and called once, in 0.1 s.
    assert world.limits[0] == pytest.approx(resources.time_limit(2.1, None))
    assert world.limits[1] == pytest.approx(resources.time_limit(2.1, 30.0))
