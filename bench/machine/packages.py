"""What is installed in a Python, perhaps another than this: asked in a process of its own.

``python -m bench.machine.packages FOLDER`` is what that process runs, so that the answer is what a
worker of that Python would find.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from bench.machine import fresh

NEEDED = ("pytest", "pytest-benchmark")
"""Distributions without which a worker cannot measure; the rest it imports before it answers."""

_LIMIT = 60.0
"""Seconds that it may take. A second is usual; a cold network drive takes longer."""


@dataclass(frozen=True)
class Python:
    """executable: as it was asked for; a virtual environment's is a link that none must follow.

    version: ``3.11.7``. packages: versions by the names of distributions, in lower case. bench: the
    folder of this suite there.
    """

    executable: str
    version: str
    packages: Mapping[str, str]
    bench: str


class NoPythonError(RuntimeError):
    """An environment cannot be measured in; one line that says why and what to do."""


def executable(environment: Path) -> Path:
    """The Python of a virtual environment, or the file itself where one is named.

    Raises NoPythonError.
    """
    if environment.is_file():
        return environment.absolute()
    for place in ("bin/python", "Scripts/python.exe"):
        if (found := environment / place).is_file():
            return found.absolute()
    raise NoPythonError(
        f"{environment} is no Python and no virtual environment: it has no bin/python"
    )


def ask(environment: Path) -> Python:
    """What is installed in an environment. Raises NoPythonError."""
    python = executable(environment)
    install = f"install this suite there: {python} -m pip install lstm-benchmark-suite"
    found = fresh.ask(
        ["-m", "bench.machine.packages"], None, _LIMIT, quiet=True, python=str(python)
    )
    if isinstance(found, fresh.Died):
        ended = "did not answer" if found.code is None else fresh.ending(found.code)
        raise NoPythonError(f"{python} {ended} ({found.said}); {install}")
    for name in NEEDED:
        if name not in found["packages"]:
            raise NoPythonError(f"{python} has no {name}; {install}")
    return Python(str(python), found["version"], found["packages"], found["bench"])


def here() -> Python:
    """What is installed in this Python, whatever it has imported by now."""
    packages: dict[str, str] = {}
    for each in metadata.distributions(path=[place for place in sys.path if not _inside(place)]):
        if name := each.metadata["Name"]:  # a broken one has none
            # Of two the first is what an import finds.
            packages.setdefault(name.lower().replace("_", "-"), each.version)
    version = ".".join(map(str, sys.version_info[:3]))
    return Python(sys.executable, version, packages, str(Path(__file__).resolve().parents[1]))


def _inside(place: str) -> bool:
    """Whether a place to import from belongs to one package: Ray adds one with copies of its own
    once it is imported."""
    return any(parent.name in ("site-packages", "dist-packages") for parent in Path(place).parents)


if __name__ == "__main__":
    fresh.answer(sys.argv[1], lambda _: asdict(here()))
