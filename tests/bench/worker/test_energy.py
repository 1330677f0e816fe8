"""Energy, with a simulated GPU whose counter moves in ticks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.records.schema import Figures
from bench.worker import resources
from bench.worker.resources import EnergyMeter
from lstm_impl import Step


class FakeError(Exception):
    """What NVML raises."""


@dataclass
class Gpu:
    """A GPU whose counter moves in ticks; steps and sleeping move the clock."""

    watts: float = 250.0
    idle: float = 40.0
    tick: float = 0.1
    time: float = 100.0
    used: float = 7e6  # millijoules
    steps: int = 0
    slept: float = 0.0
    shown: list[str] = field(default_factory=list)
    opened: int = 0
    NVMLError = FakeError

    def step(self, seconds: float) -> Step:
        def run() -> None:
            self.steps += 1
            self.time += seconds
            self.used += self.watts * seconds * 1e3

        return Step(run, lambda: None, lambda: None)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.time += seconds
        self.used += self.idle * seconds * 1e3

    def meter(self, **changes: Any) -> EnergyMeter:
        standing: dict[str, Any] = {
            "now": lambda: self.time,
            "sleep": self.sleep,
            "load": lambda: self,
            "environ": {},
        }
        return EnergyMeter(**(standing | changes))

    def nvmlInit(self) -> None:  # noqa: N802
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self.shown.append(f"handle {index}")
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return int(1e3 * self.idle)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        """Return the counter at the last tick."""
        since = self.time % self.tick
        return int(self.used - self.watts * since * 1e3)


def known(figures: Figures | None) -> Figures:
    assert figures is not None
    assert figures["joules"] is not None, figures["how"]
    return figures


def reason(figures: Figures | None) -> str:
    assert figures is not None
    assert figures["joules"] is None
    assert figures["idle_watts"] is None
    how = figures["how"]
    assert isinstance(how, str)
    return how


@pytest.mark.parametrize("seconds", [1e-4, 0.02, 0.35])
@pytest.mark.parametrize("tick", [0.02, 0.1])
def test_joules_steady_power_is_power_times_time(seconds: float, tick: float) -> None:
    gpu = Gpu(tick=tick)
    figures = known(gpu.meter().measure(gpu.step(seconds), "gpu:0", seconds))
    assert figures["joules"] == pytest.approx(250.0 * seconds, rel=tick / resources.SPAN)
    assert figures["how"] == "NVML total energy counter"
    assert gpu.opened == 0


def test_idle_watts_two_cases_is_read_once_for_each_gpu() -> None:
    gpu = Gpu()
    meter = gpu.meter()
    for _ in range(2):
        assert known(meter.measure(gpu.step(0.01), "gpu:0", 0.01))["idle_watts"] == 40.0
    assert gpu.slept == resources.IDLE
    known(meter.measure(gpu.step(0.01), "gpu:1", 0.01))
    assert gpu.slept == 2 * resources.IDLE


def test_energy_on_a_cpu_is_none_without_nvml() -> None:
    def load() -> Any:
        raise AssertionError

    assert EnergyMeter(load=load).measure(Gpu().step(0.1), "cpu", 0.1) is None


def test_energy_without_a_counter_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu()

    def refuse(handle: int) -> int:
        raise FakeError("Not Supported")

    monkeypatch.setattr(gpu, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    found = gpu.meter().measure(gpu.step(0.1), "gpu:0", 0.1)
    assert reason(found) == "not known: the GPU has no energy counter: Not Supported"
    assert gpu.opened == 0


def test_energy_counter_that_does_not_move_gives_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu()
    monkeypatch.setattr(gpu, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: 5)
    found = gpu.meter().measure(gpu.step(0.01), "gpu:0", 0.01)
    assert "did not move" in reason(found)


def test_energy_failing_step_gives_the_reason() -> None:
    def run() -> None:
        raise RuntimeError("out of memory\nand a page more")

    found = Gpu().meter().measure(Step(run, lambda: None, lambda: None), "gpu:0", 0.1)
    assert reason(found) == "not known: out of memory"


def test_energy_part_of_a_gpu_gives_the_reason() -> None:
    gpu = Gpu()
    meter = gpu.meter(environ={"CUDA_VISIBLE_DEVICES": "MIG-1234"})
    assert "part of a GPU" in reason(meter.measure(gpu.step(0.1), "gpu:0", 0.1))
