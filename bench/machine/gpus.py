"""What NVML says of the GPUs of a machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bench.machine import devices
from bench.machine.asking import Answer, Asker, Machine
from bench.machine.devices import Nvml
from bench.machine.facts import Gpu, GpuProcess

# Bits of NVML's reasons why a clock is below its highest (nvml.h, nvmlClocksEventReason*).
_THROTTLE_REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}


def read_gpus(machine: Machine, ask: Asker) -> tuple[Gpu, ...]:
    """All GPUs that are visible here."""

    def all_of_them() -> tuple[Gpu, ...]:
        with devices.opened_nvml(machine.load_nvml) as nvml:
            return tuple(
                _gpu(nvml, number, ask.within(f"gpus[{index}]"))
                for index, number in enumerate(visible(machine, nvml))
            )

    return ask("gpus", all_of_them) or ()


def visible(machine: Machine, nvml: Nvml) -> list[int | None]:
    """The driver's number of each GPU, in CUDA's order."""
    count = int(nvml.nvmlDeviceGetCount())
    uuids = [devices.gpu_uuid(nvml, index) for index in range(count)]
    return devices.visible_gpus(machine.environ.get("CUDA_VISIBLE_DEVICES"), count, uuids)


def _gpu(nvml: Nvml, number: int | None, ask: Asker) -> Gpu:
    handle = (
        None if number is None else ask("handle", lambda: nvml.nvmlDeviceGetHandleByIndex(number))
    )

    def of(name: str, question: Callable[[Any], Answer]) -> Answer | None:
        def ask_it() -> Answer:
            if handle is None:
                raise LookupError("CUDA_VISIBLE_DEVICES names a part of a GPU")
            return question(handle)

        return ask(name, ask_it)

    memory = of("memory_total_bytes", nvml.nvmlDeviceGetMemoryInfo)
    return Gpu(
        name=of("name", lambda gpu: devices.decoded(nvml.nvmlDeviceGetName(gpu))),
        driver=ask("driver", lambda: devices.decoded(nvml.nvmlSystemGetDriverVersion())),
        cuda_version=ask("cuda_version", lambda: _cuda_version(nvml)),
        compute_capability=of(
            "compute_capability",
            lambda gpu: "{}.{}".format(*nvml.nvmlDeviceGetCudaComputeCapability(gpu)),
        ),
        clock_sm_hz=of(
            "clock_sm_hz", lambda gpu: 1e6 * nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)
        ),
        clock_sm_max_hz=of(
            "clock_sm_max_hz",
            lambda gpu: 1e6 * nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM),
        ),
        clock_memory_hz=of(
            "clock_memory_hz",
            lambda gpu: 1e6 * nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
        ),
        temperature_c=of(
            "temperature_c",
            lambda gpu: float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
        ),
        throttle_reasons=of("throttle_reasons", lambda gpu: _throttle_reasons(nvml, gpu)),
        power_w=of("power_w", lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3),
        power_limit_w=of(
            "power_limit_w", lambda gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3
        ),
        memory_total_bytes=None if memory is None else memory.total,
        memory_used_bytes=None if memory is None else memory.used,
        utilization_percent=of(
            "utilization_percent", lambda gpu: float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
        ),
        persistence=of("persistence", lambda gpu: bool(nvml.nvmlDeviceGetPersistenceMode(gpu))),
        mig=of("mig", lambda gpu: bool(nvml.nvmlDeviceGetMigMode(gpu)[0])),
        processes=of("processes", lambda gpu: _gpu_processes(nvml, gpu)),
    )


def _cuda_version(nvml: Nvml) -> str:
    number = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    return f"{number // 1000}.{number % 1000 // 10}"


def _throttle_reasons(nvml: Nvml, gpu: object) -> tuple[str, ...]:
    bits = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
    named = tuple(name for bit, name in _THROTTLE_REASONS.items() if bits & bit)
    rest = bits & ~sum(_THROTTLE_REASONS)
    return (*named, f"{rest:#x}") if rest else named


def _gpu_processes(nvml: Nvml, gpu: object) -> tuple[GpuProcess, ...]:
    found = []
    for process in nvml.nvmlDeviceGetComputeRunningProcesses(gpu):
        if process.pid == os.getpid():
            continue
        try:
            name: str | None = devices.decoded(nvml.nvmlSystemGetProcessName(process.pid))
        except Exception:
            # It ended in between, or is outside this container: the number alone must do.
            name = None
        found.append(GpuProcess(process.pid, name, process.usedGpuMemory))
    return tuple(found)
