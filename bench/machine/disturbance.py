"""Record what else a machine does during a measurement."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.machine import devices
from bench.machine.environment import Machine, attempt, cpu_clock, per_cpu

BUSY = 0.1
"""The share of the machine's processors that others may keep busy.

An idle desktop takes a tenth. More activity takes away caches and, in bursts, processors.
"""


@dataclass(frozen=True)
class Activity:
    """Counters at one time.

    time: monotonic seconds. busy: the processor seconds of the machine, including those that a
    hypervisor took. own: those of this process and its finished children. others: the name and
    seconds of each other process, by pid. swapped: the bytes moved from and to swap. cpu_throttled:
    how often a core was too hot. gpu_throttled: the seconds of thermal throttling of each GPU.
    clock_hz: the clock of the CPU.
    """

    time: float
    processors: int
    busy: float | None
    own: float | None
    others: Mapping[int, tuple[str, float]]
    swapped: int | None
    cpu_throttled: int | None
    gpu_throttled: Mapping[int, float]
    clock_hz: float | None


@dataclass(frozen=True)
class Disturbance:
    """The changes of the counters during a measurement. None means unknown.

    others: how many processors others kept busy, on average. busiest: the busiest processes, as
    text. clock_change: the CPU's clock at the end divided by that at the start.
    """

    seconds: float
    processors: int
    others: float | None
    busiest: tuple[str, ...]
    swapped: int | None
    cpu_throttled: int | None
    gpu_throttled: Mapping[int, float]
    clock_change: float | None

    def kept_busy(self) -> dict[str, object]:
        """Return how many processors others kept busy, and which processes.

        Empty if it was little.
        """
        if self.others is None or self.others <= BUSY * self.processors:
            return {}
        busiest = ", ".join(self.busiest)
        return {"others": self.others, "processors": self.processors, "busiest": busiest}


def activity(machine: Machine | None = None) -> Activity:
    """Read the counters now. Never raise an error."""
    machine = machine or Machine()
    return Activity(
        time=time.monotonic(),
        processors=attempt(lambda: machine.psutil.cpu_count(logical=True)) or 1,
        busy=attempt(lambda: _busy_seconds(machine.psutil.cpu_times())),
        own=attempt(lambda: sum(machine.psutil.Process().cpu_times()[:4])),
        others=attempt(lambda: _others(machine)) or {},
        swapped=attempt(lambda: sum(machine.psutil.swap_memory()[4:6])),
        cpu_throttled=attempt(lambda: sum(map(int, per_cpu(machine, _THROTTLED)))),
        gpu_throttled=attempt(lambda: _gpu_throttled(machine)) or {},
        clock_hz=attempt(lambda: cpu_clock(machine)),
    )


def between(before: Activity, after: Activity) -> Disturbance:
    """Return the changes from one time to another."""
    seconds = after.time - before.time
    foreign = _growth(_growth(before.own, after.own), _growth(before.busy, after.busy))
    used = {
        f"{name} (pid {pid})": (spent - before.others.get(pid, ("", 0.0))[1]) / max(seconds, 1e-9)
        for pid, (name, spent) in after.others.items()
    }
    most = sorted(used, key=used.__getitem__, reverse=True)[:3]
    clocks = (before.clock_hz, after.clock_hz)
    return Disturbance(
        seconds=seconds,
        processors=after.processors,
        # The kernel counts hundredths of a second, so below half a second the count is noise.
        others=None if foreign is None or seconds < 0.5 else max(0.0, foreign) / seconds,
        # The programs of an idle desktop take a twentieth of a processor.
        busiest=tuple(f"{name} {100 * used[name]:.0f}%" for name in most if used[name] >= 0.05),
        swapped=_growth(before.swapped, after.swapped),
        cpu_throttled=_growth(before.cpu_throttled, after.cpu_throttled),
        gpu_throttled={
            index: spent - before.gpu_throttled[index]
            for index, spent in after.gpu_throttled.items()
            if index in before.gpu_throttled
        },
        clock_change=clocks[1] / clocks[0] if clocks[0] and clocks[1] else None,
    )


_Number = TypeVar("_Number", int, float)


def _growth(before: _Number | None, after: _Number | None) -> _Number | None:
    return None if before is None or after is None else after - before


_THROTTLED = "thermal_throttle/core_throttle_count"


def _busy_seconds(times: object) -> float:
    # Some systems lack some of these. The time of guests is part of "user".
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return math.fsum(getattr(times, name, 0.0) for name in names)


def _others(machine: Machine) -> dict[int, tuple[str, float]]:
    own = os.getpid()
    found = {}
    for process in machine.psutil.process_iter(["pid", "name", "cpu_times"]):
        info: Mapping[str, Any] = process.info
        if info["pid"] != own and info["cpu_times"] is not None:
            found[int(info["pid"])] = (str(info["name"]), float(sum(info["cpu_times"][:2])))
    return found


def _gpu_throttled(machine: Machine) -> dict[int, float]:
    found = {}
    with devices.open_nvml(machine.load_nvml) as nvml:
        for index, number in enumerate(devices.visible_here(nvml, machine.environ)):
            if number is not None:
                handle = nvml.nvmlDeviceGetHandleByIndex(number)
                status = nvml.nvmlDeviceGetViolationStatus(handle, nvml.NVML_PERF_POLICY_THERMAL)
                found[index] = status.violationTime / 1e9
    return found
