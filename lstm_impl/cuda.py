"""Explain why a GPU cannot be used, and what a user can do about it."""

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lstm_impl.availability import AVAILABLE, Availability
from lstm_impl.spec import Refusal

OWN_MASKS = "cuDNN draws its own dropout masks, which no other backend can be given"


@dataclass(frozen=True)
class CudaFacts:
    """Whether this machine has a GPU, and the CUDA version that its driver supports."""

    hardware: bool
    driver_version: tuple[int, int] | None


def machine_facts(root: Path = Path("/")) -> CudaFacts:
    """Look for a GPU and its driver; ``root`` is where ``dev`` and ``proc`` are."""
    hardware = any(
        (root / place).exists()
        for place in ("dev/nvidia0", "dev/nvidiactl", "proc/driver/nvidia/version", "dev/dxg")
    )
    return CudaFacts(hardware, _driver_cuda_version() if hardware else None)


def _driver_cuda_version() -> tuple[int, int] | None:
    try:
        library = ctypes.CDLL("libcuda.so.1")
        version = ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 1000, version.value % 1000 // 10


@dataclass(frozen=True)
class FrameworkBuild:
    """What a framework says of itself, once imported.

    visible: how many GPUs it sees. built_with: the CUDA version it was built for, None without.
    """

    version: str
    visible: int
    built_with: tuple[int, int] | None


@dataclass(frozen=True)
class GpuCheck:
    """How to find out whether a framework can use a GPU.

    title: the framework's name in sentences. install: the command that brings a build with the
    CUDA libraries. look: imports the framework and describes its build.
    """

    title: str
    install: str
    look: Callable[[], FrameworkBuild]


def explain(facts: CudaFacts, framework: GpuCheck, index: int) -> Availability:
    """Return whether a framework can use ``gpu:<index>``, or why not."""
    if not facts.hardware:  # no need to spend seconds on importing a framework to say this
        return Availability(
            False,
            "no NVIDIA GPU is seen on this machine (no /dev/nvidia0 and no NVIDIA driver); "
            "run where there is one, in a container with --gpus all",
            refusal=Refusal.NO_GPU,
        )
    build = framework.look()
    title, visible = f"{framework.title} {build.version}", build.visible
    built_with = build.built_with
    if visible > index:
        return AVAILABLE
    fix = ""
    if visible:
        gpus = f"{visible} GPU{'s' if visible > 1 else ''}, gpu:0 to gpu:{visible - 1}"
        reason = f"gpu:{index} does not exist: {title} sees {gpus}"
    elif built_with is None:
        reason, fix = f"a GPU is here, but {title} is built without CUDA", framework.install
    elif facts.driver_version is None:
        reason = (
            "a GPU is here, but the driver's libcuda.so.1 cannot be loaded; install the NVIDIA "
            "driver, or start the container with --gpus all"
        )
    # CUDA promises that a driver serves every toolkit of its own major version.
    elif facts.driver_version[0] < built_with[0]:
        has, needs = (".".join(map(str, version)) for version in (facts.driver_version, built_with))
        reason = (
            f"the NVIDIA driver is too old: it supports CUDA {has} and {title} needs "
            f"CUDA {needs}; update the driver"
        )
    else:
        libraries = "its CUDA libraries (cuDNN, cuBLAS, ...) are not found"
        reason, fix = f"{title} does not see the GPU: {libraries}", framework.install
    return Availability(False, reason, fix, Refusal.NO_GPU)


def available_to(framework: GpuCheck | None, device: str) -> Availability:
    """Return whether an installed framework can use ``device``, or why not."""
    if device == "cpu":
        return AVAILABLE
    try:
        index = gpu_index(device)
    except ValueError as error:
        return Availability(False, str(error))
    return AVAILABLE if framework is None else explain(machine_facts(), framework, index)


def parse_version(text: str) -> tuple[int, int] | None:
    """Return ``(12, 5)`` for ``"12.5.1"``; None for what is no version."""
    match = re.match(r"([0-9]+)(?:\.([0-9]+))?(?![0-9_])", text)
    return None if match is None else (int(match[1]), int(match[2] or 0))


def gpu_index(device: str) -> int:
    """Return N of ``gpu:N`` (``gpu`` is ``gpu:0``). Raises ValueError for anything else."""
    match = re.fullmatch(r"gpu(?::([0-9]+))?", device)
    if match is None:
        raise ValueError(f"device is {device!r}; expected cpu, gpu or gpu:N")
    return int(match[1] or 0)
