"""Read what the machine is and what state it is in.

``read`` never raises an error: what could not be read is None. It imports no framework, but reads
one that the process has imported. The machine's files are searched for under a root, and its
driver, process table and modules are parameters. Tests can therefore make up any machine.
"""

import contextlib
import functools
import hashlib
import os
import platform
import re
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any, TypeVar

import psutil

from bench.machine import devices
from bench.machine.devices import Nvml
from bench.machine.fields import is_number, mapping, without_secrets
from lstm_impl.frameworks import built_in_frameworks, list_frameworks
from lstm_impl.tuning.machine import read_cpu_name

_MOST = 200
"""The largest number of GPUs and libraries of a file that are read. No machine has more."""


@dataclass(frozen=True, order=True)
class MachineKind:
    """The properties that all machines of one kind share.

    cpu: the model of the CPU, or its architecture if the model is unknown. processors: how many
    processors a process may use, -1 if unknown. quota: the time that a process may use, in
    processors, 0 without a limit. gpus: the name and driver of each GPU, in CUDA's order.
    libraries: names and versions, by name.
    """

    cpu: str
    processors: int
    quota: float
    gpus: tuple[tuple[str, str], ...]
    python: str
    libraries: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """Return eight hexadecimal digits that are the same in every process."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        """Describe the processors and GPUs in a few words."""
        shared = f", the time of {self.quota:g}" if self.quota else ""
        count = "processors not counted" if self.processors < 0 else f"{self.processors} processors"
        gpus = [
            f"{number} × {name}" if number > 1 else name
            for name, number in Counter(name for name, _ in self.gpus).items()
        ]
        return ", ".join([f"{self.cpu}, {count}{shared}", *gpus])


def machine_kind(environment: object) -> MachineKind | None:
    """Return the kind of machine that an environment describes, or None for an unknown processor.

    environment: ``run.environment["before"]`` of a result file, which may be any plain data.
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


_VARIABLES = (
    r"(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|ONEDNN|DNNL|CUDA|CUDNN|CUBLAS|NCCL|MALLOC|LSTM)_\w+"
    r"|CUDA\w*|LD_PRELOAD|NVIDIA_TF32_OVERRIDE|NVIDIA_VISIBLE_DEVICES|PYTHONMALLOC"
)
"""The pattern of recorded environment variables, apart from those of frameworks."""


@functools.cache
def _recorded_variables() -> re.Pattern[str]:
    """Return the pattern of the names of environment variables that can change a time."""
    patterns = [_VARIABLES]
    for framework in list_frameworks():
        patterns += [framework.variables, *map(re.escape, framework.thread_variables)]
    return re.compile("|".join(f"(?:{each})" for each in patterns if each))


# Paths and log levels change no time, and paths often contain the name of a user.
_PLACES = re.compile(
    r"\w+_CACHE_DIR|LSTM_(LOCK|ROOFS|NATIVE_CACHE|NATIVE_PREBUILT|DECISIONS|RESULTS)|TF_CPP_MIN_LOG_LEVEL"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


@dataclass(frozen=True)
class Cpu:
    """A processor.

    cores: the number of physical cores. logical: the number of processors that the system has.
    usable: the number that this process may use. quota: the time that a control group allows, in
    processors; None without a limit. virtual: whether a hypervisor runs it. clock_hz: the current
    clock in Hz, as the mean over processors.
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
    """The memory of a machine, in bytes."""

    total_bytes: int | None
    available_bytes: int | None
    swap_total_bytes: int | None
    swap_used_bytes: int | None


@dataclass(frozen=True)
class GpuProcess:
    """Another process with memory on a GPU. In a container, its number is that of the host."""

    pid: int
    name: str | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU. GPUs are in CUDA's order, which is the order of the N in ``gpu:N``."""

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

    load: the average number of processes that were ready to run, over 1, 5 and 15 minutes.
    libraries: the installed versions by distribution name. tensorflow: its build and settings, None
    if it is not imported. threads: the requested number, and those that the frameworks report.
    variables: the environment variables that can change a time. unread: why there are no ``gpus``.
    boot: identifies the start of the kernel; all containers on this kernel share it.
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
        """Return plain data, as in a result file."""
        return asdict(self)

    @property
    def machine_id(self) -> str:
        """Return a short hash of host, CPU and GPUs."""
        parts = [self.host, self.cpu.name or "", *(gpu.name or "" for gpu in self.gpus)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that can change a time, without possible secrets."""
    return {
        name: "(hidden)" if _SECRET.search(name) else without_secrets(value)
        for name, value in sorted(environ.items())
        if _recorded_variables().fullmatch(name) and not _PLACES.fullmatch(name)
    }


Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Machine:
    """The sources from which a machine is read.

    By default, these are the sources of this machine.
    """

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    load_nvml: Callable[[], Nvml] = devices.import_nvml
    psutil: Any = psutil
    modules: Mapping[str, ModuleType] = field(default_factory=lambda: sys.modules)
    version: Callable[[str], str] = metadata.version

    def text(self, place: str) -> str:
        """Return the content of a file without white space at its ends."""
        return (self.root / place).read_text(errors="replace").strip()


def attempt(read: Callable[[], Answer]) -> Answer | None:
    """Return what ``read`` returns, or None if it raises: no driver may end a measurement."""
    try:
        return read()
    except Exception:
        return None


def per_cpu(machine: Machine, place: str) -> list[str]:
    """Return the content of a file of each processor."""
    folder = machine.root / "sys/devices/system/cpu"
    files = sorted(folder.glob(f"cpu[0-9]*/{place}"))
    if not files:
        raise LookupError(f"there is no {folder}/cpu*/{place}")
    return [path.read_text().strip() for path in files]


@functools.cache
def libraries(public: bool = False) -> tuple[str, ...]:
    """Return the distributions whose versions can change a time, those of frameworks first.

    public: leave out distributions of frameworks that other packages describe, whose names may be
    private.
    """
    found = ["lstm-benchmark-suite"]
    for framework in built_in_frameworks() if public else list_frameworks():
        found += framework.distributions
    found += ["scipy", "psutil", "nvidia-ml-py", "pytest", "pytest-benchmark"]
    for part in ("cudnn", "cublas", "cuda-runtime"):
        found += [f"nvidia-{part}-{cuda}" for cuda in ("cu12", "cu13")]
    return (*found, "nvidia-cublas", "nvidia-cuda-runtime")


def read(machine: Machine | None = None, threads: int | None = None) -> Environment:
    """Read the machine now.

    threads: the requested number of threads, if any.
    """
    machine = machine or Machine()
    unread: dict[str, str] = {}
    gpus: tuple[Gpu, ...] = ()
    try:
        gpus = read_gpus(machine)
    except Exception as error:
        unread["gpus"] = str(error) or type(error).__name__
    return Environment(
        time=datetime.now(UTC).isoformat(),
        host=attempt(socket.gethostname) or "",
        system=attempt(lambda: _os_release(machine)),
        kernel=attempt(platform.platform),
        container=attempt(lambda: devices.container(machine.root, machine.environ)),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cpu=_cpu(machine),
        load=attempt(lambda: machine.psutil.getloadavg()),
        memory=_memory(machine),
        gpus=gpus,
        libraries=attempt(lambda: _libraries(machine)) or {},
        tensorflow=attempt(lambda: _tensorflow(machine)),
        threads=_threads(machine, threads),
        variables=attempt(lambda: variables(machine.environ)) or {},
        unread=unread,
        boot=attempt(lambda: _boot(machine)),
    )


def _os_release(machine: Machine) -> str:
    for place in ("etc/os-release", "usr/lib/os-release"):
        if (machine.root / place).exists():
            match = re.search(r'^PRETTY_NAME="?([^"\n]*)', machine.text(place), re.MULTILINE)
            if match:
                return match[1]
    return platform.system()


def _boot(machine: Machine) -> str:
    """Return a hash of the number that a kernel draws when it starts."""
    drawn = machine.text("proc/sys/kernel/random/boot_id")
    return hashlib.sha256(f"lstm benchmark {drawn}".encode()).hexdigest()[:12]


def _cpu(machine: Machine) -> Cpu:
    return Cpu(
        name=attempt(lambda: read_cpu_name(machine.text("proc/cpuinfo"))),
        architecture=platform.machine(),
        cores=attempt(lambda: machine.psutil.cpu_count(logical=False)),
        logical=attempt(lambda: machine.psutil.cpu_count(logical=True)),
        usable=attempt(lambda: len(machine.psutil.Process().cpu_affinity())),
        quota=attempt(lambda: _quota(machine)),
        virtual=attempt(lambda: _virtual(machine)),
        governor=attempt(
            lambda: " and ".join(sorted({*per_cpu(machine, "cpufreq/scaling_governor")}))
        ),
        turbo=attempt(lambda: _turbo(machine)),
        clock_hz=attempt(lambda: cpu_clock(machine)),
        clock_max_hz=attempt(
            lambda: 1e3 * max(map(float, per_cpu(machine, "cpufreq/cpuinfo_max_freq"))),
        ),
        temperature_c=attempt(lambda: _cpu_temperature(machine)),
    )


def device_name(device: str, machine: Machine | None = None) -> str:
    """Return the name of a GPU, or the name of a CPU and how many of its processors may be used."""
    machine = machine or Machine()
    if device != "cpu":
        index = devices.gpu_index(device)
        gpus = attempt(lambda: read_gpus(machine)) or ()
        return (gpus[index].name if index < len(gpus) else None) or device
    cpu = _cpu(machine)
    shared = "" if cpu.quota is None else f", the time of {cpu.quota:g}"
    return f"{cpu.name or socket.gethostname()}, {cpu.usable or '?'} processors{shared}"


def _virtual(machine: Machine) -> bool:
    flags = re.findall(r"^flags\s*:(.*)$", machine.text("proc/cpuinfo"), re.MULTILINE)
    return "hypervisor" in flags[0].split()


def _quota(machine: Machine) -> float | None:
    """Return the limit of control groups, version 2 or else 1, or None without a limit."""
    if (machine.root / "sys/fs/cgroup/cpu.max").exists():
        limit, period = machine.text("sys/fs/cgroup/cpu.max").split()
        return None if limit == "max" else int(limit) / int(period)
    folder = "sys/fs/cgroup/cpu"
    if not (machine.root / folder / "cpu.cfs_quota_us").exists():
        return None
    microseconds = int(machine.text(f"{folder}/cpu.cfs_quota_us"))
    period = machine.text(f"{folder}/cpu.cfs_period_us") if microseconds >= 0 else ""
    return microseconds / int(period) if period else None


def _turbo(machine: Machine) -> bool:
    if (machine.root / "sys/devices/system/cpu/intel_pstate/no_turbo").exists():
        return machine.text("sys/devices/system/cpu/intel_pstate/no_turbo") == "0"
    return machine.text("sys/devices/system/cpu/cpufreq/boost") == "1"


def cpu_clock(machine: Machine) -> float:
    """Return the mean clock of the processors now, in Hz."""
    try:
        return 1e3 * fmean(map(float, per_cpu(machine, "cpufreq/scaling_cur_freq")))
    except (LookupError, OSError, ValueError):
        found = re.findall(r"^cpu MHz\s*:\s*([0-9.]+)", machine.text("proc/cpuinfo"), re.MULTILINE)
        return 1e6 * fmean(map(float, found))


def _cpu_temperature(machine: Machine) -> float:
    sensors = machine.psutil.sensors_temperatures()
    names = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
    return float(max(each.current for each in next(filter(None, map(sensors.get, names)))))


def _memory(machine: Machine) -> MemorySize:
    return MemorySize(
        total_bytes=attempt(lambda: machine.psutil.virtual_memory().total),
        available_bytes=attempt(lambda: machine.psutil.virtual_memory().available),
        swap_total_bytes=attempt(lambda: machine.psutil.swap_memory().total),
        swap_used_bytes=attempt(lambda: machine.psutil.swap_memory().used),
    )


def _libraries(machine: Machine) -> dict[str, str]:
    found = {}
    for name in libraries():
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = machine.version(name)
    return found


def list_installed() -> dict[str, str]:
    """Return the versions of all distributions of this Python, by their names in lower case."""
    # Importing Ray adds a place inside its package that contains copies of some distributions.
    places = [
        place
        for place in sys.path
        if not {parent.name for parent in Path(place).parents} & {"site-packages", "dist-packages"}
    ]
    found: dict[str, str] = {}
    for each in metadata.distributions(path=places):
        if name := each.metadata["Name"]:  # A broken distribution has no name.
            # If there are two, an import finds the first.
            found.setdefault(name.lower().replace("_", "-"), each.version)
    return dict(sorted(found.items()))


def make_record(environment: Environment) -> dict[str, object]:
    """Return what a result file records of an environment: its data, and everything installed."""
    everything = attempt(list_installed) or {}
    digest = hashlib.sha256(repr(everything).encode()).hexdigest()[:12]
    return {**environment.to_dict(), "installed": everything, "installed_hash": digest}


def _tensorflow(machine: Machine) -> dict[str, object] | None:
    tf = machine.modules.get("tensorflow")
    if tf is None:
        return None
    build = attempt(lambda: tf.sysconfig.get_build_info())
    return {
        "version": attempt(lambda: str(tf.__version__)),
        "build": None if build is None else {str(key): _plain(build[key]) for key in build},
        "tf32": attempt(lambda: bool(tf.config.experimental.tensor_float_32_execution_enabled())),
    }


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | None) else str(value)


def _threads(machine: Machine, requested: int | None) -> dict[str, int | None]:
    found: dict[str, int | None] = {"requested": requested}
    if tf := machine.modules.get("tensorflow"):
        for kind in ("intra", "inter"):  # The number is 0 if TensorFlow chooses for itself.
            ask = f"get_{kind}_op_parallelism_threads"
            count = partial(lambda ask: int(getattr(tf.config.threading, ask)()), ask)
            found[f"tensorflow_{kind}"] = attempt(count)
    if torch := machine.modules.get("torch"):
        found["torch"] = attempt(lambda: int(torch.get_num_threads()))
    return found


def too_many_threads(environment: Environment) -> Sequence[str]:
    """Return the thread settings above the number of usable processors, as ``name=count``."""
    usable = environment.cpu.usable or environment.cpu.logical
    if usable is None:
        return ()
    counts = {name: count for name, count in environment.threads.items() if count}
    for name, value in environment.variables.items():
        if re.fullmatch(r".*_NUM_THREADS|TF_NUM_INT(RA|ER)OP_THREADS", name):
            first = value.split(",")[0].strip()
            if first.isdigit() and int(first):
                counts[name] = int(first)
    # Inter-op threads mostly wait for one another, so more of them than cores do no harm.
    return tuple(
        f"{name}={count}"
        for name, count in counts.items()
        if count > usable and "inter" not in name.lower()
    )


# The bits of NVML's reasons for a low clock (nvml.h, nvmlClocksEventReason*).
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


def read_gpus(machine: Machine) -> tuple[Gpu, ...]:
    """Return all visible GPUs."""
    with devices.open_nvml(machine.load_nvml) as nvml:
        numbers = devices.visible_here(nvml, machine.environ)
        return tuple(_gpu(nvml, number) for number in numbers)


def _gpu(nvml: Nvml, number: int | None) -> Gpu:
    def answer(question: Callable[[Any], Any]) -> Any:
        if number is None:
            raise LookupError("CUDA_VISIBLE_DEVICES names a part of a GPU")
        return question(nvml.nvmlDeviceGetHandleByIndex(number))

    questions: dict[str, Callable[[Any], Any]] = {
        "memory_total_bytes": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
        "memory_used_bytes": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
        "name": lambda gpu: devices.decode_text(nvml.nvmlDeviceGetName(gpu)),
        "compute_capability": lambda gpu: "{}.{}".format(
            *nvml.nvmlDeviceGetCudaComputeCapability(gpu)
        ),
        "clock_sm_hz": lambda gpu: 1e6 * nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
        "clock_sm_max_hz": lambda gpu: (
            1e6 * nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM)
        ),
        "clock_memory_hz": lambda gpu: 1e6 * nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
        "temperature_c": lambda gpu: float(
            nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
        ),
        "throttle_reasons": lambda gpu: _throttle_reasons(nvml, gpu),
        "power_w": lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
        "power_limit_w": lambda gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3,
        "utilization_percent": lambda gpu: float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
        "persistence": lambda gpu: bool(nvml.nvmlDeviceGetPersistenceMode(gpu)),
        "mig": lambda gpu: bool(nvml.nvmlDeviceGetMigMode(gpu)[0]),
        "processes": lambda gpu: _gpu_processes(nvml, gpu),
    }
    return Gpu(
        driver=attempt(lambda: devices.decode_text(nvml.nvmlSystemGetDriverVersion())),
        cuda_version=attempt(lambda: _cuda_version(nvml)),
        **{name: attempt(partial(answer, question)) for name, question in questions.items()},
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
            name: str | None = devices.decode_text(nvml.nvmlSystemGetProcessName(process.pid))
        except Exception:
            name = None  # The process has ended in the meantime, or is outside this container.
        found.append(GpuProcess(process.pid, name, process.usedGpuMemory))
    return tuple(found)
