"""What is known of a machine, as plain values, and where each is None if it cannot be read."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import psutil

from bench.machine import devices
from bench.machine.devices import Nvml
from bench.machine.fields import is_number, mapping, without_secrets

_MOST = 200
"""GPUs and libraries of a file that are looked at: no machine has as many."""


@dataclass(frozen=True, order=True)
class MachineKind:
    """What is equal on all machines of one kind.

    cpu: its model, or its architecture if that is unknown. processors: how many of them a process
    may use, -1 if that is not known. quota: processors' worth of time allowed, 0 without a limit.
    gpus: name and driver of each, in CUDA's order. libraries: name and version, by name.
    """

    cpu: str
    processors: int
    quota: float
    gpus: tuple[tuple[str, str], ...]
    python: str
    libraries: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that name it, the same in every process."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        """The machine in a few words: processors and accelerators, no libraries."""
        shared = f", the time of {self.quota:g}" if self.quota else ""
        count = (
            f"{self.processors} processors" if self.processors >= 0 else "processors not counted"
        )
        gpus = [
            f"{number} × {name}" if number > 1 else name
            for name, number in Counter(name for name, _ in self.gpus).items()
        ]
        return ", ".join([f"{self.cpu}, {count}{shared}", *gpus])


def kind_of(environment: object) -> MachineKind | None:
    """Return the kind of machine of an environment; None where its processor is unknown.

    environment: of a result file, what ``run.environment`` has under ``before``. It may be any
    plain data.
    """
    known = mapping(environment)
    cpu = mapping(known.get("cpu"))
    name = _text(cpu.get("name")) or _text(cpu.get("architecture"))
    if not name:
        return None
    counts = (cpu.get("usable"), cpu.get("logical"))
    quota = cpu.get("quota")
    libraries = mapping(known.get("libraries"))
    gpus = known.get("gpus")
    gpus = gpus if isinstance(gpus, list | tuple) else ()
    return MachineKind(
        cpu=name,
        processors=next((each for each in counts if type(each) is int and each > 0), -1),
        quota=max(0.0, float(quota)) if is_number(quota) else 0.0,
        gpus=tuple(
            (_text(gpu.get("name")), _text(gpu.get("driver"))) for gpu in map(mapping, gpus[:_MOST])
        ),
        python=_text(known.get("python")),
        libraries=tuple(sorted((str(each), _text(libraries[each])) for each in libraries)[:_MOST]),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


_VARIABLES = re.compile(
    r"(TF|TF2|XLA|JAX|TORCH|TORCHINDUCTOR|PYTORCH|ORT|OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|ONEDNN|DNNL"
    r"|CUDA|CUDNN|CUBLAS|NCCL|KERAS|MALLOC|LSTM|NPY|ATEN)_\w+"
    r"|CUDA\w*|NPROC|LD_PRELOAD|NVIDIA_TF32_OVERRIDE|NVIDIA_VISIBLE_DEVICES|PYTHONMALLOC"
)

# Where files lie changes no time, and often holds a user's name; nor does how much is reported.
_PLACES = re.compile(
    r"\w+_CACHE_DIR|LSTM_(LOCK|ROOFS|NATIVE_CACHE|NATIVE_PREBUILT|DECISIONS|RESULTS)|TF_CPP_MIN_LOG_LEVEL"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


@dataclass(frozen=True)
class Cpu:
    """cores are physical, logical what the system schedules on, usable what this process may use.

    quota: processors' worth of time that a control group allows; None without a limit.
    virtual: a hypervisor runs below. Clocks in Hz, ``clock_hz`` the mean over processors now.
    """

    name: str | None
    architecture: str
    cores: int | None
    logical: int | None
    usable: int | None
    quota: float | None
    virtual: bool | None
    governor: str | None
    turbo: bool | None
    clock_hz: float | None
    clock_max_hz: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class MemorySize:
    """Bytes."""

    total_bytes: int | None
    available_bytes: int | None
    swap_total_bytes: int | None
    swap_used_bytes: int | None


@dataclass(frozen=True)
class GpuProcess:
    """Another process that holds memory on a GPU (in a container its number is the host's)."""

    pid: int
    name: str | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """One GPU, in the order in which CUDA shows them: the N of ``gpu:N``."""

    name: str | None
    driver: str | None
    cuda_version: str | None
    compute_capability: str | None
    clock_sm_hz: float | None
    clock_sm_max_hz: float | None
    clock_memory_hz: float | None
    temperature_c: float | None
    throttle_reasons: tuple[str, ...] | None
    power_w: float | None
    power_limit_w: float | None
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    utilization_percent: float | None
    persistence: bool | None
    mig: bool | None
    processes: tuple[GpuProcess, ...] | None


@dataclass(frozen=True)
class Environment:
    """The machine at one time.

    load: the average number of processes that wanted to run, over 1, 5 and 15 minutes.
    libraries: installed versions by distribution name. tensorflow: its build and settings, None if
    it is not imported. threads: what was requested and what the frameworks report.
    variables: environment variables that can change a time. unread: why there are no ``gpus``.
    boot: names the start of the kernel, the same in all containers on it, and nothing else.
    """

    time: str
    host: str
    system: str | None
    kernel: str | None
    container: str | None
    python: str
    cpu: Cpu
    load: tuple[float, float, float] | None
    memory: MemorySize
    gpus: tuple[Gpu, ...]
    libraries: Mapping[str, str]
    tensorflow: Mapping[str, object] | None
    threads: Mapping[str, int | None]
    variables: Mapping[str, str]
    unread: Mapping[str, str]
    boot: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain data, as it stands in a result file."""
        return asdict(self)

    @property
    def machine_id(self) -> str:
        """A short hash that is the same as long as host, CPU and GPUs are."""
        parts = [self.host, self.cpu.name or "", *(gpu.name or "" for gpu in self.gpus)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that can change a time, without what may be a secret."""
    return {
        name: "(hidden)" if _SECRET.search(name) else without_secrets(value)
        for name, value in sorted(environ.items())
        if _VARIABLES.fullmatch(name) and not _PLACES.fullmatch(name)
    }


Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Machine:
    """Where a machine is read from; by default, this one."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    load_nvml: Callable[[], Nvml] = devices.import_nvml
    psutil: Any = psutil  # or what a test puts in its place
    modules: Mapping[str, ModuleType] = field(default_factory=lambda: sys.modules)
    version: Callable[[str], str] = metadata.version

    def text(self, place: str) -> str:
        """The content of a file, stripped."""
        return (self.root / place).read_text(errors="replace").strip()


def attempt(question: Callable[[], Answer]) -> Answer | None:
    """Return what ``question`` returns, or None if it raises.

    A record of the machine must not end a measurement, whatever a driver does.
    """
    try:
        return question()
    except Exception:
        return None


def per_cpu(machine: Machine, place: str) -> list[str]:
    """Return the content of a file of each processor."""
    folder = machine.root / "sys/devices/system/cpu"
    files = sorted(folder.glob(f"cpu[0-9]*/{place}"))
    if not files:
        raise LookupError(f"there is no {folder}/cpu*/{place}")
    return [path.read_text().strip() for path in files]
