"""Explain why a framework cannot use a GPU, and what a user can do about it."""

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lstm_impl.availability import AVAILABLE, Availability
from lstm_impl.spec import Refusal

OWN_MASKS = "cuDNN draws its own dropout masks, which no other backend can be given"
"""The reason why a backend of cuDNN refuses dropout."""


@dataclass(frozen=True)
class CudaFacts:
    """Hold whether this machine has a GPU, and the CUDA version that its driver supports."""

    hardware: bool
    driver_version: tuple[int, int] | None


def machine_facts(root: Path = Path("/")) -> CudaFacts:
    """Look for a GPU and its driver. ``root`` is the folder that holds ``dev`` and ``proc``."""
    hardware = any(
        (root / place).exists()
        for place in ("dev/nvidia0", "dev/nvidiactl", "proc/driver/nvidia/version", "dev/dxg")
    )
    return CudaFacts(hardware, _driver_cuda_version() if hardware else None)


def _driver_cuda_version() -> tuple[int, int] | None:
    """Return the CUDA version that the driver supports, or None if the driver cannot be loaded."""
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
    """Hold what a framework says of itself once it is imported.

    Attributes
    ----------
    version
        The version of the framework.
    visible
        The number of GPUs that it sees.
    built_with
        The CUDA version that it was built with, or None if it was built without CUDA.
    """

    version: str
    visible: int
    built_with: tuple[int, int] | None


@dataclass(frozen=True)
class GpuCheck:
    """Describe how to find out whether a framework can use a GPU.

    Attributes
    ----------
    title
        The framework's name in sentences.
    install
        The command that installs a build with the CUDA libraries.
    look
        A function that imports the framework and describes its build.
    """

    title: str
    install: str
    look: Callable[[], FrameworkBuild]


def explain(facts: CudaFacts, framework: GpuCheck, index: int) -> Availability:
    """Return whether a framework can use GPU number ``index``, or why it cannot."""
    # Without a GPU, importing the framework would take seconds and change nothing.
    if not facts.hardware:
        return Availability(
            False,
            "no NVIDIA GPU is visible on this machine (no /dev/nvidia0 and no NVIDIA driver). "
            "Use a machine with one; in a container, start it with --gpus all",
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
    # CUDA guarantees that a driver supports every toolkit of its own major version.
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
    """Return whether an installed framework can use a device, or why it cannot."""
    if device == "cpu":
        return AVAILABLE
    try:
        index = gpu_index(device)
    except ValueError as error:
        return Availability(False, str(error))
    return AVAILABLE if framework is None else explain(machine_facts(), framework, index)


def parse_version(text: str) -> tuple[int, int] | None:
    """Return ``(12, 5)`` for ``"12.5.1"``, or None if the text is no version."""
    match = re.match(r"([0-9]+)(?:\.([0-9]+))?(?![0-9_])", text)
    return None if match is None else (int(match[1]), int(match[2] or 0))


def gpu_index(device: str) -> int:
    """Return N of ``gpu:N``; ``gpu`` means ``gpu:0``. Raise ValueError for anything else."""
    match = re.fullmatch(r"gpu(?::([0-9]+))?", device)
    if match is None:
        raise ValueError(f"device is {device!r}; expected cpu, gpu or gpu:N")
    return int(match[1] or 0)
