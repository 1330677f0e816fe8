"""Where a race runs, in the words that decisions are kept under."""

from __future__ import annotations

import functools
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DECISIVE = ("lstm-benchmark-suite", "tensorflow", "tensorflow-cpu", "keras")
"""Distributions a new version of which makes a decision void."""

DISTRIBUTIONS = (*DECISIVE, *("torch", "jax", "jaxlib", "flax", "onnxruntime", "ai-edge-litert"))
"""What computes."""


@dataclass(frozen=True)
class TunedMachine:
    """Where a decision holds.

    device: the processor and how many of them may be used, or the GPU. versions: of what computes,
    by distribution; a new one of ``DECISIVE`` makes a decision void.
    """

    device: str
    versions: Mapping[str, str]

    @property
    def alike(self) -> tuple[object, ...]:
        """What two machines must have in common to share a decision."""
        return self.device, tuple(self.versions.get(name) for name in DECISIVE)


def this(device: str, gpu: str = "") -> TunedMachine:
    """This machine. gpu: the name of the GPU, where ``device`` is one."""
    if device == "cpu":
        return TunedMachine(cpu_words(model_name(_cpuinfo()), usable()), versions())
    return TunedMachine(gpu or device, versions())


def cpu_words(name: str, usable: int) -> str:
    """A processor and how many of them may be used."""
    return f"{name}, {usable} usable"


@functools.cache
def versions() -> dict[str, str]:
    """Of what is installed of ``DISTRIBUTIONS``."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def model_name(cpuinfo: str) -> str:
    """What Linux's ``/proc/cpuinfo`` calls the processor, or else what Python does."""
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return " ".join(match[1].split()) if match else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def usable() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
