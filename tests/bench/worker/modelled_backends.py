"""Backends with a known time for each part of their step, on a simulated clock.

Each computes what the reference computes, so that it passes the gate, and moves the clock by what
its products, operators, copies and pauses take on a machine of known speed. So it is known what
limits each. The registry finds them like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from bench.worker.group import Bench
from bench.worker.roof_libraries import Library, RoofWork, Sizes
from bench.worker.roofs import Roofs
from bench.worker.timing import Clock, Processors
from lstm_impl import (
    Call,
    Event,
    Evidence,
    LSTMSpec,
    LSTMWeights,
    Model,
    Outputs,
    Profile,
    Workload,
    names,
)
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from tests.bench.worker.scripted_backends import QUIET

RATE, BANDWIDTH, LAUNCH = 1e9, 1e10, 1e-5
"""Operations and bytes a second, and seconds to start an operator from Python."""

PEAK = 4 * RATE
"""Rate of independent products; those of a step wait for one another and are slower."""

OPERATORS = 16
"""Operators of a timestep besides the products."""


@dataclass
class Machine:
    """The clock, processor time, and what ran since profiling began."""

    time: float = 0.0
    worked: float = 0.0
    events: list[Event] = field(default_factory=list)

    def run(self, name: str, seconds: float) -> None:
        """Start an operator and let its time pass."""
        self.time += LAUNCH
        self.events.append(Event(name, self.time, seconds, "main"))
        self.time += seconds
        self.worked += LAUNCH + seconds

    def pause(self, seconds: float) -> None:
        """Let time pass without work."""
        self.time += seconds

    def now(self) -> float:
        return self.time

    def used(self) -> float:
        return self.worked

    def idle(self) -> float:
        return 2 * self.time - self.worked  # of two processors


MACHINE = Machine()
"""The machine of all models, reset by each test."""


class Plain(NumPyLoop):
    """A model with two products and some small operators a timestep."""

    strategy = "modelled"
    products: ClassVar[int] = 1
    copied: ClassVar[int] = 0
    paused: ClassVar[float] = 0.0

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        return ModelledModel(self, spec, device, batch_major, weights)


class Sleeps(Plain):
    """A model that sleeps between timesteps, ten times as long as it computes."""

    strategy = "sleeps"
    paused = 0.1


class Twice(Plain):
    """A model that makes each product twice."""

    strategy = "twice"
    products = 2


class Copies(Plain):
    """A model that copies a hundred megabytes at each timestep."""

    strategy = "copies"
    copied = 10**8


class ModelledModel(NumPyModel):
    """The model of each backend."""

    backend: Plain

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._known: dict[tuple[int, ...], tuple[Call, Outputs]] = {}

    def _infer(self, call: Call) -> Outputs:
        # Computed once for the same arrays: the time is simulated.
        same = tuple(map(id, call))
        if same not in self._known:
            self._known[same] = call, super()._infer(call)
        outputs = self._known[same][1]
        timesteps, batch, _ = call.x.shape
        spec = self.spec
        columns = 4 * spec.hidden_size
        for _ in range(timesteps):
            for _ in range(self.backend.products):
                for rows, rate in ((spec.input_size, PEAK), (spec.hidden_size, RATE)):
                    MACHINE.run("matmul", 2.0 * batch * rows * columns / rate)
            for _ in range(OPERATORS):
                MACHINE.run("tanh", 0.0)
            if self.backend.copied:
                MACHINE.run("copy", 2 * self.backend.copied / BANDWIDTH)
            MACHINE.pause(self.backend.paused)
        return outputs

    def evidence(self, workload: Workload) -> Evidence:
        spec, each = self.spec, self.backend.products
        multiplied = 8.0 * spec.hidden_size * (spec.input_size + spec.hidden_size)
        started = OPERATORS + 2 * each + bool(self.backend.copied)
        return Evidence(
            "the test",
            launches=workload.timesteps * started,
            launched_by="python",
            operations=each * workload.batch * workload.timesteps * multiplied,
        )

    def _profiled(self, workload: Workload) -> Profile:
        step = self.prepare(workload)
        MACHINE.events.clear()
        step.run()
        return Profile("the test's profiler", tuple(MACHINE.events))


class Speeds(Library):
    """A library that computes as fast as the machine."""

    name = "a library"
    version = "1"
    frameworks = ("numpy",)

    def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
        rate = PEAK if len(set(sizes)) == 1 else RATE
        return (self._work(2.0 * sizes[0] * sizes[1] * sizes[2] / rate, 1),)

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        return (self._work(2 * size / BANDWIDTH, 2 * size),)

    def operators(self, by: str) -> Sequence[RoofWork]:
        return (replace(self._work(LAUNCH, 1), by=f"operators of {by} called from Python"),)

    def _work(self, seconds: float, amount: float) -> RoofWork:
        def run(count: int) -> None:
            MACHINE.time += count * seconds

        return RoofWork(run, amount, self.name)


BACKENDS: dict[str, Any] = {each.strategy: each for each in (Plain, Sleeps, Twice, Copies)}

SMALL = LSTMSpec(4, 4), Workload(2, 6)
"""Products of a quarter of a microsecond, where starting one takes ten."""

LARGE = LSTMSpec(4, 64), Workload(32, 6)
"""Products of a millisecond, most of them of the state, which wait for one another."""

WIDE = LSTMSpec(1024, 64), Workload(32, 6)
"""The input's products take four times as long as the state's."""


def register(patch: pytest.MonkeyPatch) -> None:
    """Register the backends and reset the machine."""
    MACHINE.time = MACHINE.worked = 0.0
    MACHINE.events.clear()
    for name, kind in BACKENDS.items():
        place = f"{kind.__module__}:{kind.__name__}"
        known = names.Strategy(kind.framework, place, kind.flags, kind.takes_number)
        patch.setitem(names.BUILT_IN, name, known)


def bench() -> Bench:
    """Return a bench for that machine."""
    roofs = Roofs(
        lambda device, frameworks, threads: [Speeds(device)], MACHINE.now, lambda device: 2**20
    )
    return Bench(
        Clock(MACHINE.now, 1e-9),
        activity=lambda: QUIET,
        too_many_threads=tuple,
        roofs=roofs,
        processors=Processors(MACHINE.used, MACHINE.idle),
    )
