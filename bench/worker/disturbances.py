"""Say what about a machine makes times unreliable, before and after measuring, and what to do.

These are pure functions of what ``machine`` read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bench.machine import devices, environment
from bench.machine.devices import GpuFacts
from bench.machine.disturbance import Disturbance
from bench.machine.environment import Environment, Gpu
from bench.records.schema import MORE_TIME, RecordedReason
from bench.stats import intervals
from bench.stats.trust import WIDE
from bench.worker.timing import StepSeries, Stopped

CLOCK_CHANGE = 0.2
"""Largest change of a CPU's clock from start to end; single readings scatter by some per cent."""

HOT_SHARE = 0.01
"""Largest part of the time for which heat may slow a GPU down."""

LITTLE_MEMORY = 2 * 2**30
"""Bytes: TensorFlow alone takes half a GiB, the reference of a large case up to two."""

GPU_BUSY = 5.0
"""Percent: an idle GPU shows 0, a desktop drawn by it 1 or 2."""

# Harmless reasons for a lower clock: nothing runs, or it was set on purpose.
_HARMLESS = {"gpu_idle", "applications_clocks_setting", "display_clock_setting", "sync_boost"}

_TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tf-nightly")

LIMITING = (
    *("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"),
)
"""Environment variables that keep libraries from using instructions of the CPU; set for an older
CPU, OpenBLAS computes at half its rate."""

_QUIET = "close other programs, or measure on an idle machine"


# -- after measuring


def validity(
    series: StepSeries,
    disturbance: Disturbance,
    threads: Sequence[str],
    device: str,
    period: float | None = None,
) -> Iterator[RecordedReason]:
    """Yield each reason why a measurement is not valid. period: of a stream's calls."""
    count = len(series.blocks)
    width = intervals.relative_half_width(series.samples)
    if count < intervals.FEWEST_SAMPLES:
        yield RecordedReason(
            "few_samples",
            f"{count} sample{'s' if count > 1 else ''}: "
            f"a median has no 95% interval under {intervals.FEWEST_SAMPLES}",
            MORE_TIME,
        )
    elif width > WIDE:
        yield RecordedReason(
            "wide_interval",
            f"the median's interval is ±{width:.1%}, over ±{WIDE:.0%}",
            MORE_TIME if series.stopped is Stopped.TIME else _QUIET,
        )
    if series.steady is False:
        yield RecordedReason(
            "not_steady",
            "the earlier and the later half of the samples differ: no steady state",
            f"{MORE_TIME}; if it stays, {_QUIET}",
        )
    # A stream whose calls take longer than its period.
    service = 0.0 if series.streamed is None else float(np.median(series.streamed.service))
    if period is not None and service > period:
        yield RecordedReason(
            "behind",
            f"a call takes {1000 * service:.3g} ms and one is due every {1000 * period:g} ms: "
            "latency grows as long as it is measured",
            "a longer period (--period), shorter chunks, or a faster backend",
        )
    if busy := disturbance.kept_busy():
        yield RecordedReason("busy", f"others kept {busy}", _QUIET)
    if disturbance.swapped:
        yield RecordedReason(
            "swap",
            f"the machine swapped {disturbance.swapped / 1e6:.1f} MB meanwhile",
            "free some memory, or choose a smaller case",
        )
    if device == "cpu":
        yield from _of_cpu(disturbance, threads)
        return
    hot = disturbance.gpu_throttled.get(devices.gpu_index(device), 0.0)
    if hot > HOT_SHARE * disturbance.seconds:
        yield RecordedReason(
            "throttled",
            f"the GPU was slowed down by heat for {hot:.1f} of {disturbance.seconds:.1f} s",
            "cool it, or lower its clock: nvidia-smi -lgc",
        )


def _of_cpu(disturbance: Disturbance, threads: Sequence[str]) -> Iterator[RecordedReason]:
    if disturbance.cpu_throttled:
        yield RecordedReason(
            "throttled",
            f"the CPU slowed itself down {disturbance.cpu_throttled} times because of heat",
            "cool it, or use fewer threads: --lstm-threads N",
        )
    change = disturbance.clock_change
    if change is not None and abs(change - 1) > CLOCK_CHANGE:
        yield RecordedReason(
            "clock",
            f"the CPU's clock at the end was {change:.2f} times that at the start",
            "fix the clock: cpupower frequency-set -g performance, and switch turbo off",
        )
    if threads:
        yield RecordedReason(
            "threads",
            f"more threads than usable processors: {', '.join(threads)}",
            "set --lstm-threads to the number of processors, or fewer",
        )


# -- before measuring


def findings(here: Environment, disturbance: Disturbance, facts: GpuFacts) -> list[RecordedReason]:
    """Return everything worth changing before a measurement, the most harmful first.

    disturbance: during a second in which this process did nothing.
    """
    found = [*_cpu(here), *_gpus(here, facts), *_software(here)]
    left = here.memory.available_bytes
    if left is not None and left < LITTLE_MEMORY:
        text = f"only {left / 2**30:.1f} GiB of memory is free"
        found.insert(0, RecordedReason("memory", text, "end what takes it, or omit large shapes"))
    if disturbance.swapped:
        text = f"the machine swaps ({disturbance.swapped / 1e6:.1f} MB in a second)"
        found.insert(0, RecordedReason("swap", text, "end what takes the memory"))
    if busy := disturbance.kept_busy():
        text = f"other processes keep {busy}"
        advice = "end them, or wait until they are done"
        found.insert(0, RecordedReason("busy", text, advice))
    return found


def _cpu(here: Environment) -> Iterator[RecordedReason]:
    cpu = here.cpu
    if cpu.quota is not None and cpu.usable is not None and cpu.quota < cpu.usable:
        threads = max(1, math.floor(cpu.quota))
        yield RecordedReason(
            "quota",
            f"a control group allows the time of {cpu.quota:g} processors, and {cpu.usable} are "
            "shown: frameworks start too many threads and are stopped again and again",
            f"measure with --lstm-threads {threads}, or lift the limit",
        )
    if too_many := environment.too_many_threads(here):
        yield RecordedReason(
            "threads",
            f"more threads than the {cpu.usable} usable processors: {', '.join(too_many)}",
            "unset these variables, or set them to the number of processors or fewer",
        )
    names = [name for name in here.variables if name in LIMITING]
    if limits := [f"{name}={here.variables[name]}" for name in names]:
        yield RecordedReason(
            "instructions",
            f"{', '.join(limits)}: a library may not use all instructions of this CPU, and "
            "compute at half its rate",
            "unset these variables unless they are set on purpose",
        )
    if cpu.governor not in (None, "performance"):
        yield RecordedReason(
            "governor",
            f"the CPU's governor is {cpu.governor}: its clock follows the load",
            "cpupower frequency-set -g performance (as root)",
        )
    if cpu.turbo:
        yield RecordedReason(
            "turbo",
            "the CPU's turbo is on: its clock depends on how warm it is",
            "for the steadiest times switch it off: echo 0 > "
            "/sys/devices/system/cpu/cpufreq/boost, or echo 1 > .../intel_pstate/no_turbo",
        )
    if cpu.virtual:
        yield RecordedReason(
            "virtual",
            "this is a virtual machine: others on its host may slow it down unseen",
            "measure again at another time, and compare: python -m bench.compare runs",
        )


def _gpus(here: Environment, facts: GpuFacts) -> Iterator[RecordedReason]:
    if not facts.visible and (facts.hardware or facts.hidden_by is not None):
        yield RecordedReason(
            "gpu", "CUDA does not see this machine's GPU", devices.explain_missing("gpu:0", facts)
        )
    if facts.visible and not here.gpus:
        why = here.unread.get("gpus", "its management library does not answer")
        install = "" if "not installed" in why else "; see what nvidia-smi says"
        yield RecordedReason(
            "nvml",
            "the GPU's clocks, heat and other processes cannot be read, nor recorded",
            why + install,
        )
    for index, gpu in enumerate(here.gpus):
        for reason in _gpu(gpu):
            yield RecordedReason(reason.code, f"gpu:{index}: {reason.text}", reason.advice)


def _gpu(gpu: Gpu) -> Iterator[RecordedReason]:
    if gpu.processes:
        who = ", ".join(
            f"{each.name or 'a process'} (pid {each.pid}"
            + (f", {each.memory_bytes / 2**30:.1f} GiB)" if each.memory_bytes else ")")
            for each in gpu.processes
        )
        yield RecordedReason(
            "gpu_shared",
            f"other processes use it: {who}",
            "end them, or choose another GPU with CUDA_VISIBLE_DEVICES",
        )
    elif gpu.utilization_percent is not None and gpu.utilization_percent > GPU_BUSY:
        yield RecordedReason(
            "gpu_busy",
            f"it is {gpu.utilization_percent:.0f}% busy with what does not show here",
            "another container or a screen uses it: see nvidia-smi, or choose another GPU",
        )
    slowed = [reason for reason in gpu.throttle_reasons or () if reason not in _HARMLESS]
    if slowed:
        yield RecordedReason(
            "gpu_slowed",
            f"its clock is limited: {', '.join(slowed).replace('_', ' ')}",
            "let it cool, or look at its power limit: nvidia-smi -q -d PERFORMANCE,POWER",
        )
    if gpu.mig:
        yield RecordedReason(
            "mig",
            "it is cut into slices (MIG): times are those of a slice",
            "compare them with slices of the same size only",
        )
    if gpu.persistence is False:
        yield RecordedReason(
            "persistence",
            "its driver is unloaded when idle: the next first call takes seconds",
            "nvidia-smi -pm 1 (as root)",
        )


def _software(here: Environment) -> Iterator[RecordedReason]:
    both = [name for name in _TENSORFLOWS if name in here.libraries]
    if len(both) > 1:
        yield RecordedReason(
            "tensorflows",
            f"{' and '.join(both)} are installed over one another in one folder: which of them "
            "runs, and whether it knows the GPU, depends on which came last",
            f"pip uninstall {' '.join(both)}, then install the one you want",
        )
    if here.variables.get("CUDA_LAUNCH_BLOCKING") not in (None, "0"):
        yield RecordedReason(
            "launch_blocking",
            "CUDA_LAUNCH_BLOCKING is set: every kernel is waited for, and small ones look slow",
            "unset it",
        )
