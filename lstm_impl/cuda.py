"""Why a GPU cannot be used, in words a user can act on."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lstm_impl.availability import AVAILABLE, Availability

OWN_MASKS = "cuDNN draws its own dropout masks, which no other backend can be given"


@dataclass(frozen=True)
class CudaFacts:
    """What is known about the GPU of this machine."""

    hardware: bool
    driver_version: tuple[int, int] | None


def machine_facts(root: Path = Path("/")) -> CudaFacts:
    """The facts about this machine; ``root`` is where ``dev`` and ``proc`` are looked for."""
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


def explain(
    facts: CudaFacts,
    framework: str,
    visible: int,
    index: int,
    built_with: tuple[int, int] | None,
    install: str,
) -> Availability:
    """Whether ``gpu:<index>`` can be used by a framework, or why not.

    framework: its name and version, for the sentence; visible: how many GPUs it sees;
    built_with: the CUDA version it was built for, None if built without CUDA; install: the command
    that brings a build with the CUDA libraries.
    """
    if visible > index:
        return AVAILABLE
    fix = ""
    if visible:
        reason = (
            f"gpu:{index} does not exist: {framework} sees {visible} GPU"
            f"{'s' if visible > 1 else ''}, gpu:0 to gpu:{visible - 1}"
        )
    elif not facts.hardware:
        reason = (
            "no NVIDIA GPU is seen on this machine (no /dev/nvidia0 and no NVIDIA driver); "
            "run where there is one, in a container with --gpus all"
        )
    elif built_with is None:
        reason, fix = f"a GPU is here, but {framework} is built without CUDA", install
    elif facts.driver_version is None:
        reason = (
            "a GPU is here, but the driver's libcuda.so.1 cannot be loaded; install the NVIDIA "
            "driver, or start the container with --gpus all"
        )
    # CUDA promises that a driver serves every toolkit of its own major version.
    elif facts.driver_version[0] < built_with[0]:
        has, needs = (".".join(map(str, version)) for version in (facts.driver_version, built_with))
        reason = (
            f"the NVIDIA driver is too old: it supports CUDA {has} and {framework} needs "
            f"CUDA {needs}; update the driver"
        )
    else:
        libraries = "its CUDA libraries (cuDNN, cuBLAS, ...) are not found"
        reason, fix = f"{framework} does not see the GPU: {libraries}", install
    return Availability(False, reason, fix)


@dataclass(frozen=True)
class FrameworkBuild:
    """What a framework says of itself, once imported."""

    version: str
    visible: int
    built_with: tuple[int, int] | None


@dataclass(frozen=True)
class Framework:
    """How a framework that can use a GPU is requested it.

    title: its name for the sentence; install: the command that brings a build with the CUDA
    libraries; look: imports the framework and says what it sees.
    """

    title: str
    install: str
    look: Callable[[], FrameworkBuild]


def available_to(framework: Framework | None, device: str) -> Availability:
    """Whether an installed framework can use ``device``, or why not."""
    if device == "cpu":
        return AVAILABLE
    try:
        index = gpu_index(device)
    except ValueError as error:
        return Availability(False, str(error))
    if framework is None:
        return AVAILABLE
    facts = machine_facts()
    if not facts.hardware:  # no need to spend seconds on importing a framework to say this
        return explain(facts, framework.title, 0, index, None, framework.install)
    view = framework.look()
    title = f"{framework.title} {view.version}"
    return explain(facts, title, view.visible, index, view.built_with, framework.install)


def parse_version(text: str) -> tuple[int, int] | None:
    """``"12.5.1"`` as ``(12, 5)``; None for what is no version."""
    match = re.match(r"([0-9]+)(?:\.([0-9]+))?(?![0-9_])", text)
    return None if match is None else (int(match[1]), int(match[2] or 0))


def gpu_index(device: str) -> int:
    """The number N of ``gpu:N`` (``gpu`` is ``gpu:0``). Raises ValueError for anything else."""
    match = re.fullmatch(r"gpu(?::([0-9]+))?", device)
    if match is None:
        raise ValueError(f"device is {device!r}; expected cpu, gpu or gpu:N")
    return int(match[1] or 0)
