"""How a machine is asked: where its answers come from, and that no answer is one too."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import psutil

from bench.machine import devices
from bench.machine.devices import Nvml
from bench.machine.facts import Psutil

Answer = TypeVar("Answer")


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


class Asker:
    """Asks one question; if it cannot be answered, the answer is None and the reason is kept."""

    def __init__(self, unread: dict[str, str], prefix: str = "") -> None:
        self._unread = unread
        self._prefix = prefix

    def __call__(self, name: str, question: Callable[[], Answer]) -> Answer | None:
        """The answer, or None with the reason noted under this name."""
        try:
            return question()
        except Exception as error:
            # A record of the machine must not end a measurement, whatever a driver does.
            self._unread[self._prefix + name] = why(error)
            return None

    def within(self, name: str) -> Asker:
        """For questions whose names begin with ``name.``."""
        return Asker(self._unread, f"{self._prefix}{name}.")


def why(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def per_cpu(machine: Machine, place: str) -> list[str]:
    """What a file says of each processor."""
    folder = machine.root / "sys/devices/system/cpu"
    files = sorted(folder.glob(f"cpu[0-9]*/{place}"))
    if not files:
        raise LookupError(f"there is no {folder}/cpu*/{place}")
    return [path.read_text().strip() for path in files]
