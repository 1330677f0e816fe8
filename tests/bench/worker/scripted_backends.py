"""Backends whose times and errors a test sets, and a bench on their clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.case.cases import Case
from bench.machine.disturbance import Activity
from bench.worker import group
from bench.worker.group import Bench, Measured, Unmeasured
from bench.worker.timing import Clock
from lstm_impl import Availability, Backend, LSTMSpec, LSTMWeights, Model, Step, Workload
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.proof import GateResult

SPEC = LSTMSpec(1, 4)
WORK = Workload(2, 6, "training")


TIMED = (
    Workload(4, 6),
    Workload(4, 7, window=3),
    Workload(4, 6, "training", min_length=2),
    Workload(1, 1, "training", batch_major=True),
    Workload(4, 6, "training", batch_major=True),
    *(
        Workload(4, timesteps, "training", window=window, optimizer=optimizer)
        for timesteps, window in ((6, None), (7, 3))
        for optimizer in (None, "sgd", "adam")
    ),
    Workload(2, 40, "training", window=2, optimizer="adam"),
)
"""Workloads of every kind whose last timed call is judged, except streams."""

QUIET = Activity(0.0, 2, 0.0, 0.0, {}, 0, 0, {}, None)


@dataclass
class World:
    """Backends whose times and errors a test sets, on a clock that they move."""

    time: float = 0.0
    log: list[str] = field(default_factory=list)
    backends: dict[str, Backend] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    changes: dict[str, Callable[[], object]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)

    def happen(self, what: str) -> None:
        """Log an event, let its time pass, and raise its error if it has one."""
        self.log.append(what)
        self.time += self.costs.get(what, 0.0)
        self.changes.get(what, lambda: None)()
        if what in self.errors:
            raise self.errors[what]

    def add(self, name: str, **answers: Any) -> Case:
        world = self

        class Scripted(NumPyLoop):
            strategy = name

            def availability(self, device: str = "cpu") -> Availability:
                world.happen(f"{name} availability")
                available: Availability = answers.get("availability", Availability(True))
                return available

            def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
                refusal: str = answers.get("refusal", "")
                return refusal

            def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
                wanted = answers.get("kernel", name)
                return "" if wanted in evidence["kernels"] else f"no {wanted} ran on {device}"

            def _build(self, spec: LSTMSpec, weights: LSTMWeights, *rest: Any) -> Model:
                if spec.hidden_size > 1:
                    world.happen(f"{name} build")
                else:
                    world.happen(f"{name} start")
                return WorldModel(self, spec, "cpu", False, weights)

        class WorldModel(NumPyModel):
            def prepare(self, workload: Workload, seed: int = 0) -> Step:
                if self.spec.hidden_size == 1:
                    return Step(lambda: None, lambda: None, lambda: None)

                def run() -> None:
                    world.time += 0.1
                    world.happen(f"{name} run")

                return Step(run, lambda: None, lambda: world.happen(f"{name} trace"))

            def evidence(self, workload: Workload) -> dict[str, Any]:
                world.happen(f"{name} evidence")
                evidence: dict[str, Any] = answers.get("evidence", {"kernels": [name]})
                return evidence

        self.backends[name] = Scripted()
        return Case(name, SPEC, WORK)

    def gate(self, model: Model, workload: Workload, seed: int) -> GateResult:
        name = model.backend.name
        self.happen(f"{name} gate")
        passed = self.verdicts.get(name, True)
        return GateResult(passed, "judge", {"y": 1e-7 if passed else 0.5}, {"y": 1e-6})

    def bench(self) -> Bench:
        clock = Clock(lambda: self.time, 1e-9)
        return Bench(clock, self.gate, lambda: QUIET, lambda: (), roofs=None)


def measured(result: group.Result) -> Measured:
    assert isinstance(result, Measured), result
    return result


def unmeasured(result: group.Result) -> Unmeasured:
    assert isinstance(result, Unmeasured), result
    return result
