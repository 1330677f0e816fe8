"""List what is installed in a Python, which may be another one, by a process of that Python."""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.machine import processes
from bench.machine.environment import libraries, list_installed
from bench.machine.fields import Field
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import write
from lstm_impl.frameworks import get_framework

_LIMIT = 60.0
"""The time limit in seconds. It usually takes one second, on a cold network drive more."""


@dataclass(frozen=True)
class Python:
    """A Python interpreter.

    executable: its path; in a virtual environment this is a link, which is not followed. version:
    such as ``3.11.7``. packages: the versions by names of distributions, in lower case. bench: the
    folder of this suite.
    """

    executable: str
    version: str
    packages: Mapping[str, str]
    bench: str


class NoPythonError(RuntimeError):
    """A Python cannot measure. The message says in one line why, and what to do."""


def executable(environment: Path) -> Path:
    """Return the Python of a virtual environment, or the file itself. Raise NoPythonError."""
    if environment.is_file():
        return environment.absolute()
    for place in ("bin/python", "Scripts/python.exe"):
        if (found := environment / place).is_file():
            return found.absolute()
    raise NoPythonError(
        f"{environment} is neither a Python nor a virtual environment: it has no bin/python"
    )


def ask(environment: Path) -> Python:
    """Return the Python of an environment. Raise NoPythonError."""
    python = executable(environment)
    install = f"install this suite there: {python} -m pip install lstm-benchmark-suite"
    found = processes.ask(["-m", "bench.machine.packages"], None, _LIMIT, python=str(python))
    if isinstance(found, processes.Died):
        ended = "did not answer" if found.code is None else processes.describe_ending(found.code)
        raise NoPythonError(f"{python} {ended} ({found.last_line}); {install}")
    # The process has already imported the other packages.
    for name in ("pytest", "pytest-benchmark"):
        if name not in found["packages"]:
            raise NoPythonError(f"{python} has no {name}; {install}")
    if not (Path(found["bench"]) / "worker" / "__main__.py").is_file():
        raise NoPythonError(
            f"{python} has an older version of this suite, whose workers take no work order; "
            f"{install}"
        )
    return Python(str(python), found["version"], found["packages"], found["bench"])


def describe_python() -> Python:
    """Return this Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Python(
        sys.executable, version, list_installed(), str(Path(__file__).resolve().parents[1])
    )


if __name__ == "__main__":
    processes.answer(lambda _: asdict(describe_python()))


SCHEMA = 1
FILE = "environments.json"
"""The file that names two environments. It is next to the folders of their results."""

SIDES = ("base", "new")
"""The folders of the results."""

PROCESSES = 10
"""The number of processes of each environment.

With six, a gate fails more often than it claims (docs/verdicts.md).
"""

_LARGEST_FILE = 10_000_000
"""The most bytes of a list of packages. A thousand packages take 30 kB."""


@dataclass(frozen=True)
class LabelledPython:
    """One side of a comparison: its name and its Python."""

    label: str
    python: Python


def labels(paths: Sequence[Path]) -> list[str]:
    """Name the environments at these paths by their folders, or else by the paths."""
    roots = [
        path.parent.parent if path.parent.name in ("bin", "Scripts") else path for path in paths
    ]
    for names in ([root.name for root in roots], list(map(str, paths))):
        if len(set(names)) == len(names):
            return names
    return [f"{root.name} ({letter})" for root, letter in zip(roots, "AB", strict=True)]


def save(folder: Path, sides: Sequence[LabelledPython]) -> None:
    """Write the file of the two sides. Raise ResultWriteError."""
    write(folder / FILE, {"schema": SCHEMA, "sides": [asdict(side) for side in sides]})


def load(folder: Path) -> tuple[LabelledPython, LabelledPython]:
    """Read the file of the two sides. Raise ResultError."""
    path = folder / FILE
    data = Field(path, "", parse_json(path, regular_bytes(path, _LARGEST_FILE)))
    if data["schema"].integer(1) > SCHEMA:
        raise data["schema"].error(f"at most {SCHEMA}, the schema that this version reads")
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
    """Return the name, the base version and the new version of each package that differs.

    Packages that can change a time come first.
    """
    old, now = ({"python": side.version, **side.packages} for side in (base, new))
    first = {name: number for number, name in enumerate(("python", *libraries()))}
    names = sorted(old | now, key=lambda name: (first.get(name, len(first)), name))
    pairs = [(n, old.get(n, "not installed"), now.get(n, "not installed")) for n in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def has_framework(framework: str) -> bool:
    """Return whether the module of a framework exists, without importing it."""
    try:
        return importlib.util.find_spec(get_framework(framework).module) is not None
    except (ImportError, ValueError):
        return False
