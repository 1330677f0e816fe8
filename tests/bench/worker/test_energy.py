"""Energy, with a simulated GPU whose counter moves in ticks."""

from dataclasses import dataclass
from typing import Any

import pytest

from bench.records.schema import Figures
from bench.render.messages import no_figure
from bench.worker import resources
from lstm_impl import Step


class FakeError(Exception):
    """What NVML raises."""


@dataclass
class Gpu:
    """A GPU whose counter moves in ticks; steps move the clock."""

    watts: float = 250.0
    tick: float = 0.1
    time: float = 100.0
    used: float = 7e6  # millijoules
    opened: int = 0
    NVMLError = FakeError

    def step(self, seconds: float) -> Step:
        def run() -> None:
            self.time += seconds
            self.used += self.watts * seconds * 1e3

        return Step(run, lambda: None, lambda: None)

    def energy(self, step: Step, seconds: float, environ: dict[str, str] | None = None) -> Figures:
        now = (lambda: self.time, lambda: self)
        return resources.energy(step, "gpu:0", seconds, *now, environ or {})

    def nvmlInit(self) -> None:  # noqa: N802
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        """Return the counter at the last tick."""
        assert handle == 0
        since = self.time % self.tick
        return int(self.used - self.watts * since * 1e3)


def reason(figures: Figures) -> str:
    assert figures["joules"] is None
    return no_figure(figures)


@pytest.mark.parametrize("seconds", [1e-4, 0.02, 0.35, 5.0])
@pytest.mark.parametrize("tick", [0.02, 0.1])
def test_energy_steady_power_is_power_times_time(seconds: float, tick: float) -> None:
    gpu = Gpu(tick=tick)
    figures = gpu.energy(gpu.step(seconds), seconds)
    assert figures["joules"] == pytest.approx(250.0 * seconds, rel=tick / resources.SPAN)
    assert figures["how"] == "nvml_energy_counter"
    assert gpu.opened == 0


def test_energy_without_a_counter_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu()

    def refuse(handle: int) -> Any:
        raise FakeError("Not Supported")

    monkeypatch.setattr(gpu, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    assert reason(gpu.energy(gpu.step(0.1), 0.1)) == "not known: Not Supported"
    assert gpu.opened == 0


def test_energy_counter_that_does_not_move_gives_the_reason() -> None:
    gpu = Gpu(tick=1e9)
    gpu.used = gpu.watts * gpu.time * 1e3
    found = gpu.energy(gpu.step(0.01), 0.01)
    assert reason(found) == "not known: the GPU's energy counter did not advance"


def test_energy_failing_step_gives_the_reason() -> None:
    def run() -> None:
        raise RuntimeError("out of memory\nand a page more")

    found = Gpu().energy(Step(run, lambda: None, lambda: None), 0.1)
    assert reason(found) == "not known: out of memory"


def test_energy_part_of_a_gpu_gives_the_reason() -> None:
    gpu = Gpu()
    found = gpu.energy(gpu.step(0.1), 0.1, {"CUDA_VISIBLE_DEVICES": "MIG-1234"})
    assert "part of a GPU" in str(reason(found))
