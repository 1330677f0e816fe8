"""Made-up machines: their files, their table of processes, their driver."""

import os
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.machine.devices import Nvml, NvmlError
from bench.machine.environment import Machine

CPUINFO = """\
processor\t: 0
model name\t: Imaginary  CPU 9000
cpu MHz\t\t: 3000.000
flags\t\t: fpu sse2 hypervisor avx2

processor\t: 1
model name\t: Imaginary  CPU 9000
cpu MHz\t\t: 2000.000
flags\t\t: fpu sse2 hypervisor avx2
"""

Swap = namedtuple("Swap", "total used free percent sin sout")
CpuTimes = namedtuple("CpuTimes", "user nice system idle iowait irq softirq steal guest guest_nice")

OwnTimes = namedtuple("OwnTimes", "user system children_user children_system iowait")


def fake_psutil(**changes: object) -> SimpleNamespace:
    own = SimpleNamespace(
        cpu_affinity=lambda: [0], cpu_times=lambda: OwnTimes(3.0, 1.0, 0.5, 0.5, 9)
    )
    standing: dict[str, Any] = {
        "cpu_count": lambda logical: 2 if logical else 1,
        "Process": lambda: own,
        "getloadavg": lambda: (0.5, 0.25, 0.125),
        "virtual_memory": lambda: SimpleNamespace(total=8_000, available=5_000),
        "swap_memory": lambda: Swap(1_000, 100, 900, 10.0, 4096, 8192),
        "sensors_temperatures": lambda: {
            "coretemp": [SimpleNamespace(current=51.0), SimpleNamespace(current=54.5)]
        },
        "cpu_times": lambda: CpuTimes(10, 1, 2, 1000, 7, 0.25, 0.25, 0.5, 5, 0),
        "process_iter": lambda names: iter(()),
    }
    return SimpleNamespace(**(standing | changes))


def no_nvml() -> Nvml:
    raise NvmlError("nvidia-ml-py is not installed; pip install nvidia-ml-py")


def no_version(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def machine(root: Path, **changes: Any) -> Machine:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(CPUINFO)
    plain = Machine(root, {}, no_nvml, fake_psutil(), {}, no_version)
    return replace(plain, **changes)


def write(root: Path, place: str, text: str) -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text + "\n")


class FakeNvml(SimpleNamespace):
    """A driver with two different GPUs."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU, NVML_PERF_POLICY_THERMAL = 1, 2, 0, 1
    names = ("Imaginary A", "Imaginary B")
    throttled = 0
    shut = False

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlShutdown(self) -> None:  # noqa: N802
        self.shut = True

    def __getattr__(self, name: str) -> Callable[..., object]:
        answers: dict[str, Callable[..., object]] = {
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetUUID": lambda gpu: f"GPU-{gpu}",
            "nvmlDeviceGetName": lambda gpu: self.names[gpu].encode(),
            "nvmlSystemGetDriverVersion": lambda: "999.1",
            "nvmlSystemGetCudaDriverVersion_v2": lambda: 12040,
            "nvmlDeviceGetCudaComputeCapability": lambda gpu: (9, 0),
            "nvmlDeviceGetClockInfo": lambda gpu, clock: {1: 1200, 2: 2600}[clock],
            "nvmlDeviceGetMaxClockInfo": lambda gpu, clock: 1980,
            "nvmlDeviceGetTemperature": lambda gpu, sensor: 41,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: 0x4 | 0x40 | 0x1000,
            "nvmlDeviceGetPowerUsage": lambda gpu: 70_500,
            "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: 700_000,
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=80_000, used=500),
            "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu=12),
            "nvmlDeviceGetPersistenceMode": lambda gpu: 1,
            "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [
                SimpleNamespace(pid=os.getpid(), usedGpuMemory=1),
                SimpleNamespace(pid=77, usedGpuMemory=300),
            ],
            "nvmlSystemGetProcessName": lambda pid: b"/usr/bin/trainer",
            "nvmlDeviceGetViolationStatus": lambda gpu, policy: SimpleNamespace(
                violationTime=self.throttled
            ),
        }
        if name not in answers:
            return self._unsupported
        return answers[name]

    def _unsupported(self, *args: object) -> object:
        raise RuntimeError("Not Supported")
