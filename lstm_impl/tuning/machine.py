"""Describe the machine on which a race runs, as decisions record it."""

import functools
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lstm_impl.distribution import COMPLETE, SMALL
from lstm_impl.frameworks import list_frameworks
from lstm_impl.processors import count_usable_cpus

DECISIVE = (COMPLETE, "tensorflow", "tensorflow-cpu", "keras")
"""Distributions whose versions decide. A decision holds only for the versions with which it was
made. The library's own version counts, even if another distribution has it."""


@dataclass(frozen=True)
class TunedMachine:
    """Describe the machine on which a decision holds.

    Attributes
    ----------
    device
        The processor and the number of CPUs that may be used, or the GPU.
    versions
        The installed versions by distribution. A decision is no longer used after the version of
        one of ``DECISIVE`` changes.
    """

    device: str
    versions: Mapping[str, str]

    @property
    def shared_properties(self) -> tuple[object, ...]:
        """What two machines must share to use each other's decisions: device and versions."""
        versions = {COMPLETE: self.versions.get(SMALL), **self.versions}
        return self.device, tuple(versions.get(name) for name in DECISIVE)


def describe_machine(device: str, gpu: str = "") -> TunedMachine:
    """Describe this machine.

    Parameters
    ----------
    device
        ``cpu``, or a GPU such as ``gpu:0``.
    gpu
        The name of the GPU, such as ``NVIDIA H100``. If it is empty, ``device`` is used instead.

    Returns
    -------
    TunedMachine
        The name of the processor with the number of its usable CPUs, or the name of the GPU, and
        the versions of the installed frameworks.
    """
    if device == "cpu":
        return TunedMachine(
            describe_cpu(read_cpu_name(_read_cpuinfo()), count_usable_cpus()), list_versions()
        )
    return TunedMachine(gpu or device, list_versions())


def describe_cpu(name: str, cpus: int) -> str:
    """Describe a processor by its name and the number of its CPUs that may be used."""
    return f"{name}, {cpus} usable"


@functools.cache
def list_distributions() -> tuple[str, ...]:
    """Return the distributions of this library and of the frameworks that compute."""
    computing = [name for each in list_frameworks() for name in each.distributions]
    return tuple(dict.fromkeys((SMALL, *DECISIVE, *computing)))


@functools.cache
def list_versions() -> dict[str, str]:
    """Return the versions of the distributions in ``list_distributions`` that are installed."""
    found = {}
    for name in list_distributions():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def read_cpu_name(cpuinfo: str) -> str:
    """Return the name of the processor from the text of ``/proc/cpuinfo``.

    If the text has no name, Python's ``platform`` module gives one.
    """
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return " ".join(match[1].split()) if match else platform.processor() or platform.machine()


def _read_cpuinfo() -> str:
    """Return the text of Linux's ``/proc/cpuinfo``, or an empty text on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
