"""Find what makes times on a machine unreliable, before and after measuring.

These functions are pure: they depend only on what ``machine`` has read.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bench.machine import devices, environment
from bench.machine.devices import GpuFacts
from bench.machine.disturbance import Disturbance
from bench.machine.environment import Environment, Gpu
from bench.machine.reasons import Reason
from bench.stats import intervals
from bench.stats.trust import FEW_SAMPLES, NOT_STEADY, WIDE, WIDE_INTERVAL
from bench.worker.timing import StepSeries, Stopped

CLOCK_CHANGE = 0.2
"""The largest acceptable change of a CPU's clock between start and end. Single readings scatter by
a few per cent.
"""

HOT_SHARE = 0.01
"""The largest acceptable part of the time for which heat slows a GPU down."""

LITTLE_MEMORY = 2 * 2**30
"""Less free memory than this, in bytes, is a problem. TensorFlow alone takes half a GiB, and the
reference of a large case up to two.
"""

GPU_BUSY = 5.0
"""An idle GPU shows a utilization of 0%, and a GPU that draws a desktop 1% or 2%. More than this
many per cent means that it is busy.
"""

# These reasons for a lower clock are harmless: nothing runs, or someone set it on purpose.
_HARMLESS = {"gpu_idle", "applications_clocks_setting", "display_clock_setting", "sync_boost"}

_TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tf-nightly")

LIMITING = (
    *("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"),
)
"""Environment variables that keep libraries from using instructions of the CPU. Set for an older
CPU, OpenBLAS computes at half its rate.
"""


# -- after measuring


def validity(
    series: StepSeries,
    disturbance: Disturbance,
    threads: Sequence[str],
    device: str,
    period: float | None = None,
) -> Iterator[Reason]:
    """Yield each reason why a measurement is not valid.

    period: the seconds between two calls of a stream.
    """
    count = len(series.blocks)
    width = intervals.relative_half_width(series.samples)
    if count < intervals.FEWEST_SAMPLES:
        yield Reason(FEW_SAMPLES, {"samples": count})
    elif width > WIDE:
        short = series.stopped is Stopped.TIME
        yield Reason(WIDE_INTERVAL, {"width": width, "short_of_time": short})
    if series.steady is False:
        yield Reason(NOT_STEADY)
    # The calls of such a stream take longer than its period.
    service = 0.0 if series.streamed is None else float(np.median(series.streamed.service))
    if period is not None and service > period:
        yield Reason("behind", {"call_ms": 1000 * service, "period_ms": 1000 * period})
    if busy := disturbance.kept_busy():
        yield Reason("busy", busy)
    if disturbance.swapped:
        yield Reason("swap", {"megabytes": disturbance.swapped / 1e6})
    if device == "cpu":
        if disturbance.cpu_throttled:
            yield _make_throttled("CPU", disturbance.cpu_throttled)
        change = disturbance.clock_change
        if change is not None and abs(change - 1) > CLOCK_CHANGE:
            yield Reason("clock", {"times": change})
        if threads:
            yield Reason("threads", {"variables": ", ".join(threads)})
        return
    hot = disturbance.gpu_throttled.get(devices.gpu_index(device), 0.0)
    if hot > HOT_SHARE * disturbance.seconds:
        yield _make_throttled("GPU", 0, hot, disturbance.seconds)


def _make_throttled(processor: str, times: int, hot: float = 0.0, seconds: float = 0.0) -> Reason:
    values = {"processor": processor, "times": times, "hot": hot, "seconds": seconds}
    return Reason("throttled", values)


# -- before measuring


def findings(here: Environment, disturbance: Disturbance, facts: GpuFacts) -> list[Reason]:
    """Return what to change before measuring, the most important first.

    disturbance: what happened in a second in which this process was idle.
    """
    found = []
    if busy := disturbance.kept_busy():
        found.append(Reason("busy", busy))
    if disturbance.swapped:
        found.append(Reason("swap", {"megabytes": disturbance.swapped / 1e6}))
    left = here.memory.available_bytes
    if left is not None and left < LITTLE_MEMORY:
        found.append(Reason("memory", {"free": left}))
    return [*found, *_cpu(here), *_gpus(here, facts), *_software(here)]


def _cpu(here: Environment) -> Iterator[Reason]:
    cpu = here.cpu
    if cpu.quota is not None and cpu.usable is not None and cpu.quota < cpu.usable:
        threads = max(1, math.floor(cpu.quota))
        yield Reason("quota", {"quota": cpu.quota, "usable": cpu.usable, "threads": threads})
    if too_many := environment.too_many_threads(here):
        yield Reason("threads", {"variables": ", ".join(too_many)})
    names = [name for name in here.variables if name in LIMITING]
    if limits := [f"{name}={here.variables[name]}" for name in names]:
        yield Reason("instructions", {"variables": ", ".join(limits)})
    if cpu.governor not in (None, "performance"):
        yield Reason("governor", {"governor": cpu.governor})
    if cpu.turbo:
        yield Reason("turbo")
    if cpu.virtual:
        yield Reason("virtual")


def _gpus(here: Environment, facts: GpuFacts) -> Iterator[Reason]:
    if not facts.visible and (facts.hardware or facts.hidden_by is not None):
        yield Reason("gpu", {"why": devices.explain_missing("gpu:0", facts)})
    if facts.visible and not here.gpus:
        why, installed = here.unread.get("gpus", ""), "nvidia-ml-py" in here.libraries
        yield Reason("nvml", {"why": why, "silent": not why, "installed": installed})
    for index, gpu in enumerate(here.gpus):
        for reason in _gpu(gpu):
            yield Reason(reason.code, {"gpu": f"gpu:{index}", **reason.values})


def _gpu(gpu: Gpu) -> Iterator[Reason]:
    if gpu.processes:
        who = ", ".join(
            f"{each.name or 'a process'} (pid {each.pid}"
            + (f", {each.memory_bytes / 2**30:.1f} GiB)" if each.memory_bytes else ")")
            for each in gpu.processes
        )
        yield Reason("gpu_shared", {"processes": who})
    elif gpu.utilization_percent is not None and gpu.utilization_percent > GPU_BUSY:
        yield Reason("gpu_busy", {"percent": gpu.utilization_percent})
    slowed = [reason for reason in gpu.throttle_reasons or () if reason not in _HARMLESS]
    if slowed:
        yield Reason("gpu_slowed", {"reasons": ", ".join(slowed).replace("_", " ")})
    if gpu.mig:
        yield Reason("mig")
    if gpu.persistence is False:
        yield Reason("persistence")


def _software(here: Environment) -> Iterator[Reason]:
    both = [name for name in _TENSORFLOWS if name in here.libraries]
    if len(both) > 1:
        yield Reason("tensorflows", {"both": " and ".join(both), "packages": " ".join(both)})
    if here.variables.get("CUDA_LAUNCH_BLOCKING") not in (None, "0"):
        yield Reason("launch_blocking")
