"""What the machine is, what state it is in, and what disturbed it while something was measured.

``read`` never raises: a machine may lack any of what is looked for, and what could not be read is
None with its reason under ``unread``. No framework is imported; one that the process has imported
is asked. The machine's files are looked for under a root and its driver, process table and modules
are handed in, so that every machine can be played in a test.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

import psutil

from bench import devices
from bench.devices import Nvml

_T = TypeVar("_T")
Psutil: TypeAlias = Any
"""The module ``psutil``, or what a test puts in its place."""

LIBRARIES = (
    "lstm-benchmark-suite",
    *("tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "tf-keras"),
    *("torch", "triton", "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax"),
    *("onnx", "onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "flashrnn"),
    *("numpy", "scipy", "psutil", "nvidia-ml-py", "pytest", "pytest-benchmark"),
    *(
        f"nvidia-{part}-{cuda}"
        for part in ("cudnn", "cublas", "cuda-runtime")
        for cuda in ("cu12", "cu13")
    ),
    *("nvidia-cublas", "nvidia-cuda-runtime"),
)
"""Distributions whose versions can change a time."""

_VARIABLES = re.compile(
    r"(TF|TF2|XLA|JAX|TORCH|TORCHINDUCTOR|PYTORCH|ORT|OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|ONEDNN|DNNL"
    r"|CUDA|CUDNN|CUBLAS|NCCL|KERAS|MALLOC|LSTM|NPY|ATEN)_\w+"
    r"|CUDA\w*|NPROC|LD_PRELOAD|NVIDIA_TF32_OVERRIDE|NVIDIA_VISIBLE_DEVICES|PYTHONMALLOC"
)
# Where files lie changes no time, and often holds a user's name.
_PLACES = re.compile(r"\w+_CACHE_DIR|LSTM_(LOCK|ROOFS)")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)

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
class Memory:
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
    it is not imported. threads: what was asked for and what the frameworks report.
    variables: environment variables that can change a time. unread: name → why it is None.
    """

    time: str
    host: str
    system: str | None
    kernel: str | None
    container: str | None
    python: str
    cpu: Cpu
    load: tuple[float, float, float] | None
    memory: Memory
    gpus: tuple[Gpu, ...]
    libraries: Mapping[str, str]
    tensorflow: Mapping[str, object] | None
    threads: Mapping[str, int | None]
    variables: Mapping[str, str]
    unread: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        """Plain data, as it stands in a result file."""
        return asdict(self)

    @property
    def machine_id(self) -> str:
        """A short hash that is the same as long as host, CPU and GPUs are."""
        parts = [self.host, self.cpu.name or "", *(gpu.name or "" for gpu in self.gpus)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Machine:
    """Where a machine is read from; by default, this one."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    load_nvml: Callable[[], Nvml] = devices.import_nvml
    psutil: Psutil = psutil
    modules: Mapping[str, ModuleType] = field(default_factory=lambda: sys.modules)
    version: Callable[[str], str] = metadata.version

    def text(self, place: str) -> str:
        """The content of a file, stripped."""
        return (self.root / place).read_text(errors="replace").strip()


def read(machine: Machine | None = None, threads: int | None = None) -> Environment:
    """The machine now. ``threads``: how many were asked for, if any were."""
    machine = machine or Machine()
    unread: dict[str, str] = {}
    ask = _Asker(unread)
    return Environment(
        time=datetime.now(UTC).isoformat(),
        host=ask("host", socket.gethostname) or "",
        system=ask("system", lambda: _os_release(machine)),
        kernel=ask("kernel", platform.platform),
        container=ask("container", lambda: devices.container(machine.root, machine.environ)),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cpu=_cpu(machine, ask),
        load=ask("load", lambda: _load(machine)),
        memory=_memory(machine, ask),
        gpus=_gpus(machine, ask),
        libraries=ask("libraries", lambda: _libraries(machine)) or {},
        tensorflow=ask("tensorflow", lambda: _tensorflow(machine, ask)),
        threads=_threads(machine, ask, threads),
        variables=ask("variables", lambda: variables(machine.environ)) or {},
        unread=unread,
    )


class _Asker:
    """Asks one question; if it cannot be answered, the answer is None and the reason is kept."""

    def __init__(self, unread: dict[str, str], prefix: str = "") -> None:
        self._unread = unread
        self._prefix = prefix

    def __call__(self, name: str, question: Callable[[], _T]) -> _T | None:
        try:
            return question()
        except Exception as error:
            # A record of the machine must not end a measurement, whatever a driver does.
            self._unread[self._prefix + name] = _why(error)
            return None

    def within(self, name: str) -> _Asker:
        """For questions whose names begin with ``name.``."""
        return _Asker(self._unread, f"{self._prefix}{name}.")


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


# -- the parts


def _os_release(machine: Machine) -> str:
    for place in ("etc/os-release", "usr/lib/os-release"):
        if (machine.root / place).exists():
            match = re.search(r'^PRETTY_NAME="?([^"\n]*)', machine.text(place), re.MULTILINE)
            if match:
                return match[1]
    return platform.system()


def _cpu(machine: Machine, ask: _Asker) -> Cpu:
    ask = ask.within("cpu")
    return Cpu(
        name=ask("name", lambda: _cpu_name(machine)),
        architecture=platform.machine(),
        cores=ask("cores", lambda: machine.psutil.cpu_count(logical=False)),
        logical=ask("logical", lambda: machine.psutil.cpu_count(logical=True)),
        usable=ask("usable", lambda: len(machine.psutil.Process().cpu_affinity())),
        quota=ask("quota", lambda: _quota(machine)),
        virtual=ask("virtual", lambda: _flag(machine, "hypervisor")),
        governor=ask("governor", lambda: _governor(machine)),
        turbo=ask("turbo", lambda: _turbo(machine)),
        clock_hz=ask("clock_hz", lambda: _cpu_clock(machine)),
        clock_max_hz=ask("clock_max_hz", lambda: _cpu_clock_max(machine)),
        temperature_c=ask("temperature_c", lambda: _cpu_temperature(machine)),
    )


def _cpu_name(machine: Machine) -> str:
    match = re.search(
        r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", machine.text("proc/cpuinfo"), re.MULTILINE
    )
    # Where the kernel names no model (ARM), the architecture is better than nothing.
    return " ".join(match[1].split()) if match else platform.processor() or platform.machine()


def device_name(device: str, machine: Machine | None = None) -> str:
    """What a device is: a GPU's name, or a CPU's and how many processors may be used of it."""
    machine = machine or Machine()
    if device != "cpu":
        gpus, index = _gpus(machine, _Asker({})), devices.gpu_index(device)
        return (gpus[index].name if index < len(gpus) else None) or device
    cpu = _cpu(machine, _Asker({}))
    shared = "" if cpu.quota is None else f", the time of {cpu.quota:g}"
    return f"{cpu.name or socket.gethostname()}, {cpu.usable or '?'} processors{shared}"


def _flag(machine: Machine, name: str) -> bool:
    match = re.search(r"^flags\s*:(.*)$", machine.text("proc/cpuinfo"), re.MULTILINE)
    if match is None:
        raise LookupError("proc/cpuinfo lists no flags")
    return name in match[1].split()


def _quota(machine: Machine) -> float | None:
    """Of control groups, version 2 and then 1; None where there is no limit."""
    if (machine.root / "sys/fs/cgroup/cpu.max").exists():
        limit, period = machine.text("sys/fs/cgroup/cpu.max").split()
        return None if limit == "max" else int(limit) / int(period)
    folder = "sys/fs/cgroup/cpu"
    if (machine.root / folder / "cpu.cfs_quota_us").exists():
        limit = machine.text(f"{folder}/cpu.cfs_quota_us")
        return (
            None
            if int(limit) < 0
            else int(limit) / int(machine.text(f"{folder}/cpu.cfs_period_us"))
        )
    return None


def _per_cpu(machine: Machine, place: str) -> list[str]:
    """What a file says of each processor."""
    folder = machine.root / "sys/devices/system/cpu"
    files = sorted(folder.glob(f"cpu[0-9]*/{place}"))
    if not files:
        raise LookupError(f"there is no {folder}/cpu*/{place}")
    return [path.read_text().strip() for path in files]


def _governor(machine: Machine) -> str:
    return " and ".join(sorted(set(_per_cpu(machine, "cpufreq/scaling_governor"))))


def _turbo(machine: Machine) -> bool:
    if (machine.root / "sys/devices/system/cpu/intel_pstate/no_turbo").exists():
        return machine.text("sys/devices/system/cpu/intel_pstate/no_turbo") == "0"
    return machine.text("sys/devices/system/cpu/cpufreq/boost") == "1"


def _cpu_clock(machine: Machine) -> float:
    try:
        khz = [float(text) for text in _per_cpu(machine, "cpufreq/scaling_cur_freq")]
        return 1e3 * sum(khz) / len(khz)
    except (LookupError, OSError, ValueError):
        found = re.findall(r"^cpu MHz\s*:\s*([0-9.]+)", machine.text("proc/cpuinfo"), re.MULTILINE)
        if not found:
            raise LookupError("neither cpufreq nor proc/cpuinfo tells it") from None
        return 1e6 * sum(map(float, found)) / len(found)


def _cpu_clock_max(machine: Machine) -> float:
    return 1e3 * max(map(float, _per_cpu(machine, "cpufreq/cpuinfo_max_freq")))


def _cpu_temperature(machine: Machine) -> float:
    sensors = machine.psutil.sensors_temperatures()
    for name in ("coretemp", "k10temp", "zenpower", "cpu_thermal"):
        if sensors.get(name):
            return float(max(sensor.current for sensor in sensors[name]))
    raise LookupError("no sensor of the CPU is shown")


def _load(machine: Machine) -> tuple[float, float, float]:
    one, five, fifteen = machine.psutil.getloadavg()
    return float(one), float(five), float(fifteen)


def _memory(machine: Machine, ask: _Asker) -> Memory:
    ask = ask.within("memory")
    memory = ask("total_bytes", lambda: machine.psutil.virtual_memory())
    swap = ask("swap_total_bytes", lambda: machine.psutil.swap_memory())
    return Memory(
        total_bytes=None if memory is None else memory.total,
        available_bytes=None if memory is None else memory.available,
        swap_total_bytes=None if swap is None else swap.total,
        swap_used_bytes=None if swap is None else swap.used,
    )


def _libraries(machine: Machine) -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = machine.version(name)
        except metadata.PackageNotFoundError:
            continue  # not installed: its absence from the list says so
    return found


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that can change a time; what may be a secret is not shown."""
    return {
        name: "(hidden)" if _SECRET.search(name) else value
        for name, value in sorted(environ.items())
        if _VARIABLES.fullmatch(name) and not _PLACES.fullmatch(name)
    }


def _tensorflow(machine: Machine, ask: _Asker) -> dict[str, object] | None:
    tf = machine.modules.get("tensorflow")
    if tf is None:
        return None
    ask = ask.within("tensorflow")
    build = ask("build", lambda: tf.sysconfig.get_build_info())
    return {
        "version": ask("version", lambda: str(tf.__version__)),
        "build": None if build is None else {str(key): _plain(build[key]) for key in build},
        "tf32": ask(
            "tf32", lambda: bool(tf.config.experimental.tensor_float_32_execution_enabled())
        ),
    }


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | None) else str(value)


def _threads(machine: Machine, ask: _Asker, requested: int | None) -> dict[str, int | None]:
    ask = ask.within("threads")
    found: dict[str, int | None] = {"requested": requested}
    if tf := machine.modules.get("tensorflow"):
        # TensorFlow says 0 where it chooses for itself.
        found["tensorflow_intra"] = ask(
            "tensorflow_intra", lambda: int(tf.config.threading.get_intra_op_parallelism_threads())
        )
        found["tensorflow_inter"] = ask(
            "tensorflow_inter", lambda: int(tf.config.threading.get_inter_op_parallelism_threads())
        )
    if torch := machine.modules.get("torch"):
        found["torch"] = ask("torch", lambda: int(torch.get_num_threads()))
    return found


def _gpus(machine: Machine, ask: _Asker) -> tuple[Gpu, ...]:
    def all_of_them() -> tuple[Gpu, ...]:
        with devices.opened_nvml(machine.load_nvml) as nvml:
            return tuple(
                _gpu(nvml, number, ask.within(f"gpus[{index}]"))
                for index, number in enumerate(_visible(machine, nvml))
            )

    return ask("gpus", all_of_them) or ()


def _visible(machine: Machine, nvml: Nvml) -> list[int | None]:
    """The driver's number of each GPU, in CUDA's order."""
    count = int(nvml.nvmlDeviceGetCount())
    uuids = [devices.gpu_uuid(nvml, index) for index in range(count)]
    return devices.visible_gpus(machine.environ.get("CUDA_VISIBLE_DEVICES"), count, uuids)


def _gpu(nvml: Nvml, number: int | None, ask: _Asker) -> Gpu:
    handle = (
        None if number is None else ask("handle", lambda: nvml.nvmlDeviceGetHandleByIndex(number))
    )

    def of(name: str, question: Callable[[Any], _T]) -> _T | None:
        def ask_it() -> _T:
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


# -- what disturbed a measurement


@dataclass(frozen=True)
class Activity:
    """Counters that only grow, at one time; the difference of two says what went on between.

    time: monotonic seconds. busy: processor seconds that the whole machine worked, those that a
    hypervisor took away included. own: those of this process and its finished children.
    others: the same of each other process, by pid, with its name. swapped: bytes moved from and to
    swap. cpu_throttled: how often a core was too hot. gpu_throttled: seconds that each GPU was
    slowed down by heat. clock_hz: of the CPU, at this time.
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
    """What went on beside a measurement; None where it could not be told.

    others: processors that others kept busy, on average. culprits: the busiest processes, in words.
    clock_change: the CPU's clock at the end over that at the start.
    """

    seconds: float
    processors: int
    others: float | None
    culprits: tuple[str, ...]
    swapped: int | None
    cpu_throttled: int | None
    gpu_throttled: Mapping[int, float]
    clock_change: float | None


def activity(machine: Machine | None = None) -> Activity:
    """The counters now. Never raises."""
    machine = machine or Machine()
    ask = _Asker({})
    return Activity(
        time=time.monotonic(),
        processors=ask("processors", lambda: machine.psutil.cpu_count(logical=True)) or 1,
        busy=ask("busy", lambda: _busy_seconds(machine)),
        own=ask("own", lambda: sum(machine.psutil.Process().cpu_times()[:4])),
        others=ask("others", lambda: _others(machine)) or {},
        swapped=ask("swapped", lambda: sum(machine.psutil.swap_memory()[4:6])),
        cpu_throttled=ask("cpu_throttled", lambda: _cpu_throttled(machine)),
        gpu_throttled=ask("gpu_throttled", lambda: _gpu_throttled(machine)) or {},
        clock_hz=ask("clock_hz", lambda: _cpu_clock(machine)),
    )


def between(before: Activity, after: Activity) -> Disturbance:
    """What went on from one time to the other."""
    seconds = after.time - before.time
    busy, own = _growth(before.busy, after.busy), _growth(before.own, after.own)
    others = None
    # The kernel counts processor time in hundredths of a second: over less than half a second the
    # count is noise.
    if busy is not None and own is not None and seconds >= 0.5:
        others = max(0.0, busy - own) / seconds
    used = {
        f"{name} (pid {pid})": (spent - before.others.get(pid, ("", 0.0))[1]) / max(seconds, 1e-9)
        for pid, (name, spent) in after.others.items()
    }
    busiest = sorted(used, key=used.__getitem__, reverse=True)[:3]
    clock_change = None
    if before.clock_hz and after.clock_hz:
        clock_change = after.clock_hz / before.clock_hz
    return Disturbance(
        seconds=seconds,
        processors=after.processors,
        others=others,
        # A twentieth of a processor is what a desktop's clock and mail take at rest.
        culprits=tuple(f"{who} {100 * used[who]:.0f}%" for who in busiest if used[who] >= 0.05),
        swapped=_growth(before.swapped, after.swapped),
        cpu_throttled=_growth(before.cpu_throttled, after.cpu_throttled),
        gpu_throttled={
            index: spent - before.gpu_throttled[index]
            for index, spent in after.gpu_throttled.items()
            if index in before.gpu_throttled
        },
        clock_change=clock_change,
    )


_Number = TypeVar("_Number", int, float)


def _growth(before: _Number | None, after: _Number | None) -> _Number | None:
    return None if before is None or after is None else after - before


def _busy_seconds(machine: Machine) -> float:
    times = machine.psutil.cpu_times()
    # Not all systems have all of them. Guests' time is part of the user's.
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


def _cpu_throttled(machine: Machine) -> int:
    return sum(map(int, _per_cpu(machine, "thermal_throttle/core_throttle_count")))


def _gpu_throttled(machine: Machine) -> dict[int, float]:
    found = {}
    with devices.opened_nvml(machine.load_nvml) as nvml:
        for index, number in enumerate(_visible(machine, nvml)):
            if number is not None:
                handle = nvml.nvmlDeviceGetHandleByIndex(number)
                status = nvml.nvmlDeviceGetViolationStatus(handle, nvml.NVML_PERF_POLICY_THERMAL)
                found[index] = status.violationTime / 1e9
    return found


def thread_counts(environment: Environment) -> dict[str, int]:
    """How many threads each pool was told to use, by the name of the setting; 0 is left out."""
    counts = {name: count for name, count in environment.threads.items() if count}
    for name, value in environment.variables.items():
        if name.endswith("_NUM_THREADS") or name in (
            "TF_NUM_INTRAOP_THREADS",
            "TF_NUM_INTEROP_THREADS",
        ):
            first = value.split(",")[0].strip()
            if first.isdigit() and int(first):
                counts[name] = int(first)
    return counts


def too_many_threads(environment: Environment) -> Sequence[str]:
    """Thread settings over the processors that this process may use, as ``name=count``."""
    usable = environment.cpu.usable or environment.cpu.logical
    if usable is None:
        return ()
    # Inter-op threads wait for one another most of the time; more of them than cores do no harm.
    return tuple(
        f"{name}={count}"
        for name, count in thread_counts(environment).items()
        if count > usable and "inter" not in name.lower()
    )
