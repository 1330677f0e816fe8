"""Which machines are of one kind: those whose times may stand beside one another as replicates.

Two nodes of a fleet that have the same processor, as many of it, the same accelerators, driver,
Python and libraries should give the same times; what they differ by then is the nodes' own. What is
a machine's own name or state (its host name, clocks seen, load, temperatures, free memory) is in no
kind, nor are settings (a governor, variables): they are what such a difference may come from. This
module knows the plain data that ``Environment.to_dict`` makes, and takes it from any file.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, fields

from bench.machine.fields import mapping

_MOST = 200
"""GPUs and libraries of a file beyond these are left out: no machine has as many."""


@dataclass(frozen=True, order=True)
class Kind:
    """What is equal on all machines of one kind.

    cpu: its model, or its architecture where it tells none. processors: how many of them a process
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

    def differences(self, other: Kind) -> tuple[str, ...]:
        """In what two kinds differ: names of fields, and of libraries one by one."""
        apart = [
            each.name
            for each in fields(self)
            if each.name != "libraries" and getattr(self, each.name) != getattr(other, each.name)
        ]
        here, there = dict(self.libraries), dict(other.libraries)
        names = sorted({*here, *there})
        return (*apart, *(name for name in names if here.get(name) != there.get(name)))


def kind_of(environment: object) -> Kind | None:
    """The kind of machine that an environment is of; None where it does not say.

    environment: what ``Environment.to_dict`` gave: of a result file, what ``run.environment`` has
    under ``before``. It may be any plain data; what is not as expected counts as not told.
    """
    known = mapping(environment)
    cpu = mapping(known.get("cpu"))
    name = _text(cpu.get("name")) or _text(cpu.get("architecture"))
    if not name:
        return None
    processors = next(
        (found for key in ("usable", "logical") if (found := _count(cpu.get(key)))), -1
    )
    libraries = sorted(
        (str(library), _text(version))
        for library, version in mapping(known.get("libraries")).items()
    )
    gpus = known.get("gpus")
    gpus = gpus if isinstance(gpus, list | tuple) else ()
    return Kind(
        cpu=name,
        processors=processors,
        quota=_quota(cpu.get("quota")),
        gpus=tuple(
            (_text(gpu.get("name")), _text(gpu.get("driver"))) for gpu in map(mapping, gpus[:_MOST])
        ),
        python=_text(known.get("python")),
        libraries=tuple(libraries[:_MOST]),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _quota(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0
    return max(0.0, float(value))
