"""Energy of a step on a GPU, from the counter that NVIDIA's driver keeps (NVML).

The counter is the whole board's, in millijoules since the driver was loaded, on Volta and later; it
moves in ticks of 20 to 100 ms. The blocks that are timed are shorter and take turns with those of
other cases, so that a difference over one of them is mostly somebody else's. Each case therefore
runs once more by itself, after the timing, from one tick to a later one: then all of the energy
between is that of the steps between, and nothing is asked of the driver inside a timed block.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.machine import devices
from bench.machine.devices import Nvml
from bench.machine.raised import one_line
from bench.records.schema import Figures
from lstm_impl import Step

SHORTEST = 0.5
"""Seconds between the two ticks at least: 5 ticks or more of the slowest counter."""

TICK = 0.1
"""Seconds from one tick of the slowest counter to the next."""

LONGEST = 5.0
"""Seconds in which two such ticks must have come."""

CHUNK = 0.01
"""Seconds of steps, at least one, between two looks at the counter."""

CHUNKS = 20
"""From one tick to the other at least. A tick is noticed at the end of the chunk, or of the tick,
that it falls into, whichever is shorter: at either end up to one of 20 is wrongly counted."""

IDLE = 1.5
"""Seconds that the GPU is left alone before its power at rest is read: the driver's reading is an
average over up to a second."""

HOW = "NVML total energy counter"


class NoEnergyError(RuntimeError):
    """The energy cannot be told; one line that says why."""


def unknown(reason: str) -> Figures:
    """The figures of a case whose energy is not known."""
    return {"joules": None, "idle_watts": None, "how": f"not known: {reason}"}


@dataclass
class EnergyMeter:
    """Measures one case after the other on the GPUs of this machine.

    now, sleep: seconds. load: gives NVML. environ: which GPUs CUDA shows.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    load: Callable[[], Nvml] = devices.import_nvml
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _idle: dict[str, float | None] = field(default_factory=dict)

    def measure(self, step: Step, device: str, seconds: float) -> Figures | None:
        """Joules of one step, and the watts that the GPU takes while it waits; None on a CPU.

        step: has been called before. seconds: what it takes. Never raises for what goes wrong: the
        figures then say what.
        """
        if devices.kind(device) == "cpu":
            return None
        try:
            with devices.opened_nvml(self.load) as nvml:
                gpu = devices.gpu_handle(nvml, self.environ, device)
                if gpu is None:
                    told = "it is a part of a GPU, and the counter is the whole GPU's"
                    raise NoEnergyError(told)
                if device not in self._idle:
                    self._idle[device] = self._idle_watts(nvml, gpu)
                joules = self._joules(step, seconds, lambda: _millijoules(nvml, gpu))
        except Exception as error:
            # The driver may fail in ways of its own, and so may the step: the case has its time.
            return unknown(one_line(error))
        return {"joules": joules, "idle_watts": self._idle[device], "how": HOW}

    def _idle_watts(self, nvml: Nvml, gpu: object) -> float | None:
        self.sleep(IDLE)
        try:
            return int(nvml.nvmlDeviceGetPowerUsage(gpu)) / 1e3
        except nvml.NVMLError:  # a board without the sensor may have the counter all the same
            return None

    def _joules(self, step: Step, seconds: float, millijoules: Callable[[], int]) -> float:
        calls = max(1, math.ceil(CHUNK / seconds))

        def tick(after: float, until: float) -> tuple[int, int]:
            """Run steps until the counter moves, later than ``after``: where to, and how many."""
            count, last = 0, millijoules()
            while self.now() < until:
                for _ in range(calls):
                    step.run()
                step.synchronize()
                count += calls
                value = millijoules()
                if value != last and self.now() >= after:
                    return value, count
                last = value
            raise NoEnergyError(f"the GPU's energy counter did not move in {LONGEST:g} s")

        start = self.now()
        longest = LONGEST + 3 * seconds  # a step may be longer than all of that
        first, _ = tick(start, start + longest)
        middle = self.now()
        span = max(SHORTEST, CHUNKS * min(TICK, seconds))
        second, count = tick(middle + span, middle + longest)
        if second <= first:
            raise NoEnergyError("the GPU's energy counter went back")
        return (second - first) / 1e3 / count


def _millijoules(nvml: Nvml, gpu: object) -> int:
    try:
        return int(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu))
    except nvml.NVMLError as error:
        raise NoEnergyError(f"the GPU has no energy counter: {error}") from None
