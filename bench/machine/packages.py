"""What is installed in a Python, perhaps another than this, as a process of it finds it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from bench.machine import fresh
from bench.machine.environment import LIBRARIES
from bench.machine.fields import Field
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import write

_LIMIT = 60.0
"""Seconds that it may take. A second is usual; a cold network drive takes longer."""


@dataclass(frozen=True)
class Python:
    """executable: of a virtual environment a link, which must not be followed. version: ``3.11.7``.

    packages: versions by the names of distributions, in lower case. bench: this suite's folder.
    """

    executable: str
    version: str
    packages: Mapping[str, str]
    bench: str


class NoPythonError(RuntimeError):
    """A Python cannot measure; one line that says why and what to do."""


def executable(environment: Path) -> Path:
    """The Python of a virtual environment, or the file itself. Raises NoPythonError."""
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
    found = fresh.ask(["-m", "bench.machine.packages"], None, _LIMIT, python=str(python))
    if isinstance(found, fresh.Died):
        ended = "did not answer" if found.code is None else fresh.ending(found.code)
        raise NoPythonError(f"{python} {ended} ({found.said}); {install}")
    for name in ("pytest", "pytest-benchmark"):  # the rest is imported before it answers
        if name not in found["packages"]:
            raise NoPythonError(f"{python} has no {name}; {install}")
    return Python(str(python), found["version"], found["packages"], found["bench"])


def here() -> Python:
    """What is installed in this Python, whatever it has imported by now."""
    packages: dict[str, str] = {}
    # Ray adds a place with copies of its own, inside its package, once it is imported.
    places = [
        place
        for place in sys.path
        if not {parent.name for parent in Path(place).parents} & {"site-packages", "dist-packages"}
    ]
    for each in metadata.distributions(path=places):
        if name := each.metadata["Name"]:  # a broken one has none
            # Of two the first is what an import finds.
            packages.setdefault(name.lower().replace("_", "-"), each.version)
    version = ".".join(map(str, sys.version_info[:3]))
    return Python(sys.executable, version, packages, str(Path(__file__).resolve().parents[1]))


if __name__ == "__main__":
    fresh.answer(lambda _: asdict(here()))


# -- two environments, whose results lie in a folder each next to a file that names them

SCHEMA = 1
FILE = "environments.json"
SIDES = ("base", "new")
"""Folders of the results, next to the file."""

PROCESSES = 10
"""In each environment: with six a gate fails more often than it says (docs/verdicts.md)."""

_LARGEST_FILE = 10_000_000  # bytes; a thousand packages take 30 kB


@dataclass(frozen=True)
class LabelledPython:
    """One side: its name, and what is installed there."""

    label: str
    python: Python


def labels(paths: Sequence[Path]) -> list[str]:
    """Name the environments at these paths by their folders, or else by the whole paths."""
    roots = [
        path.parent.parent if path.parent.name in ("bin", "Scripts") else path for path in paths
    ]
    for names in ([root.name for root in roots], list(map(str, paths))):
        if len(set(names)) == len(names):
            return names
    return [f"{root.name} ({letter})" for root, letter in zip(roots, "AB", strict=True)]


def save(folder: Path, sides: Sequence[LabelledPython]) -> None:
    """Write down what the two sides are. Raises ResultWriteError."""
    write(folder / FILE, {"schema": SCHEMA, "sides": [asdict(side) for side in sides]})


def load(folder: Path) -> tuple[LabelledPython, LabelledPython]:
    """What the two sides were. Raises ResultError."""
    path = folder / FILE
    data = Field(path, "", parse_json(path, regular_bytes(path, _LARGEST_FILE)))
    if data["schema"].integer(1) > SCHEMA:
        raise data["schema"].error(f"at most {SCHEMA}: this version knows no later one")
    sides = data["sides"].items()
    if len(sides) != 2:
        raise data["sides"].error("two environments", f"are {len(sides)}")
    base, new = map(_environment, sides)
    return base, new


def _environment(side: Field) -> LabelledPython:
    python = side["python"]
    packages = python["packages"]
    versions = {name: packages[name].text() for name in packages.mapping()}
    found = Python(
        python["executable"].text(), python["version"].text(), versions, python["bench"].text()
    )
    return LabelledPython(side["label"].label(), found)


def differences(base: Python, new: Python) -> list[tuple[str, str, str]]:
    """What differs: name, base, new; what can change a time first."""
    there, here = ({"python": side.version, **side.packages} for side in (base, new))
    first = {name: number for number, name in enumerate(("python", *LIBRARIES))}
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    names.sort(key=lambda name: (first.get(name, len(first)), name))
    none = "not installed"
    return [(name, there.get(name, none), here.get(name, none)) for name in names]
