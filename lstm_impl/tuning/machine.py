"""Describe the machine on which a race runs, as decisions record it."""

import functools
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lstm_impl.frameworks import list_frameworks

DECISIVE = ("lstm-benchmark-suite", "tensorflow", "tensorflow-cpu", "keras")
"""Distributions of which a new version makes a decision void."""


@dataclass(frozen=True)
class TunedMachine:
    """Describe the machine on which a decision holds.

    device: the processor and how many of its CPUs may be used, or the GPU. versions: by
    distribution; a new version of one of ``DECISIVE`` makes a decision void.
    """

    device: str
    versions: Mapping[str, str]

    @property
    def alike(self) -> tuple[object, ...]:
        """What two machines must share to use each other's decisions: device and versions."""
        return self.device, tuple(self.versions.get(name) for name in DECISIVE)


def this_machine(device: str, gpu: str = "") -> TunedMachine:
    """Return what decisions of this machine are stored under.

    Parameters
    ----------
    device
        ``cpu``, or a GPU such as ``gpu:0``.
    gpu
        The name of the GPU, such as ``NVIDIA H100``. If it is empty, ``device`` is used instead.

    Returns
    -------
    TunedMachine
        The name of the processor with its usable CPUs, or of the GPU, and the versions of the
        installed frameworks.
    """
    if device == "cpu":
        return TunedMachine(describe_cpu(model_name(_cpuinfo()), usable_cpus()), versions())
    return TunedMachine(gpu or device, versions())


def describe_cpu(name: str, cpus: int) -> str:
    """Return a processor and how many of its CPUs may be used, as text."""
    return f"{name}, {cpus} usable"


@functools.cache
def distributions() -> tuple[str, ...]:
    """Return the names of this library's distribution and of those that compute."""
    computing = [name for each in list_frameworks() for name in each.distributions]
    return tuple(dict.fromkeys((*DECISIVE, *computing)))


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of those of ``distributions`` that are installed."""
    found = {}
    for name in distributions():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def model_name(cpuinfo: str) -> str:
    """Return the processor's name by Linux's ``/proc/cpuinfo``, or else by Python."""
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return " ".join(match[1].split()) if match else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
