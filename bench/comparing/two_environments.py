"""Two Python environments, measured in turn on one machine: what differs, and what it costs.

Their results lie in one folder, a folder a side, beside a file that says what each side was. This
room reads and writes that file and compares the sides; ``session.interleaved`` measures them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.comparing.comparison import Report
from bench.comparing.runs import compare_runs
from bench.machine.environment import LIBRARIES
from bench.machine.fields import Field
from bench.machine.packages import Python
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import write
from bench.records.schema import Results
from bench.render.escape import clean

SCHEMA = 1
FILE = "environments.json"
SIDES = ("base", "new")
"""Folders of the results, beside the file."""

PROCESSES = 10
"""In each environment. A gate looks further into the tails than a verdict does: with six it fails
more often than it says (docs/verdicts.md)."""

_MOST = 12
_LARGEST = 10_000_000  # bytes; a thousand packages take 30 kB


@dataclass(frozen=True)
class Environment:
    """One side: what it is called, and what is installed there."""

    label: str
    python: Python


def labels(paths: Sequence[Path]) -> list[str]:
    """What the environments at these paths are called: their folders, or all of the path."""
    roots = [
        path.parent.parent if path.parent.name in ("bin", "Scripts") else path for path in paths
    ]
    if len({root.name for root in roots}) == len(roots):
        return [root.name for root in roots]
    if len({str(path) for path in paths}) == len(paths):
        return [str(path) for path in paths]
    return [f"{root.name} ({letter})" for root, letter in zip(roots, "AB", strict=True)]


def save(folder: Path, sides: Sequence[Environment]) -> None:
    """Write down what the two sides are. Raises ResultWriteError."""
    write(folder / FILE, {"schema": SCHEMA, "sides": [asdict(side) for side in sides]})


def load(folder: Path) -> tuple[Environment, Environment]:
    """What the two sides were. Raises ResultError."""
    path = folder / FILE
    data = Field(path, "", parse_json(path, regular_bytes(path, _LARGEST)))
    if data["schema"].integer(1) > SCHEMA:
        raise data["schema"].error(f"at most {SCHEMA}: this version knows no later one")
    sides = data["sides"].items()
    if len(sides) != 2:
        raise data["sides"].error("two environments", f"are {len(sides)}")
    base, new = map(_environment, sides)
    return base, new


def _environment(side: Field) -> Environment:
    python = side["python"]
    packages = python["packages"]
    versions = {name: packages[name].text() for name in packages.mapping()}
    found = Python(
        python["executable"].text(), python["version"].text(), versions, python["bench"].text()
    )
    return Environment(side["label"].label(), found)


def differences(base: Python, new: Python) -> list[tuple[str, str, str]]:
    """What differs: name, there, here; what can change a time first."""
    there, here = ({"python": side.version, **side.packages} for side in (base, new))
    first = {name: number for number, name in enumerate(("python", *LIBRARIES))}
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    names.sort(key=lambda name: (first.get(name, len(first)), name))
    none = "not installed"
    return [(name, there.get(name, none), here.get(name, none)) for name in names]


def differences_line(base: Environment, new: Environment) -> str:
    """The same in a sentence; names and versions may come from anywhere."""
    sides = f"from {clean(base.label, 60)} to {clean(new.label, 60)}"
    found = differences(base.python, new.python)
    if not found:
        return f"No package differs {sides}: what differs in time is chance, or the machine's."
    told = [
        f"{clean(name, 60)} {clean(there, 60)} → {clean(here, 60)}" for name, there, here in found
    ]
    more = [f"{len(told) - _MOST} more"] if len(told) > _MOST else []
    return f"What differs {sides}: {'; '.join([*told[:_MOST], *more])}."


def compare_environments(
    base: Results, new: Results, sides: tuple[Environment, Environment]
) -> Report:
    """Each case in the new environment against the same case in the base, paired by turns."""
    names = sides[0].label, sides[1].label
    report = compare_runs(base, new, names, adjacent=True)
    return replace(
        report,
        title=f"{names[1]} against {names[0]}, measured in turn",
        opening=(differences_line(*sides),),
    )
