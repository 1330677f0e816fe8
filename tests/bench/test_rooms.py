"""The rooms of ``bench``: imports go one way, and who opens the folder sees the system."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.places import ROOT

FLOORS = (
    # From the ground up. Rooms on one floor do not import each other.
    ("disk",),
    ("machine",),
    ("suites",),
    ("results",),
    ("judging",),
    ("telling",),
    ("measuring", "windows", "comparing"),
    ("reporting",),
    ("running",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
COMMANDS = len(FLOORS)
LONGEST = 450
"""Lines of a module. What is longer has more than one subject, or says in its docstring why not."""

BENCH = ROOT / "bench"
MODULES = sorted(BENCH.rglob("*.py"))


def name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name(path) for path in MODULES}


def imported(path: Path) -> Iterator[str]:
    """The modules of ``bench`` that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in NAMES)
        elif isinstance(node, ast.ImportFrom) and node.module in NAMES:
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                yield whole if whole in NAMES else node.module


def room(module: str) -> str:
    """The room of a module; empty for a command and what else lies beside the rooms."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (BENCH / parts[1]).is_dir() else ""


def floor(module: str) -> int:
    return FLOOR[room(module)] if room(module) else COMMANDS


def test_the_rooms_are_those_that_are_named_here() -> None:
    folders = {path.parent.name for path in BENCH.glob("*/__init__.py")}
    assert folders == set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_imports_from_its_own_room_and_those_below(path: Path) -> None:
    module = name(path)
    for other in imported(path):
        if room(other) != room(module) or not room(module):
            assert other == "bench" or floor(other) < floor(module), f"{module} imports {other}"


def test_no_module_is_imported_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        module = name(path)
        # A package imports what it offers; to import from inside it is not to import the package.
        graph[module] = {other for other in imported(path) if other != module}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_it_is_for_and_is_not_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    told = ast.get_docstring(ast.parse(text)) or ""
    assert told, f"{name(path)} has no docstring"
    assert text.count("\n") <= LONGEST or "in one piece" in told, f"{name(path)} is long"
    assert not re.findall(r"object\.__setattr__\((?!self\b)", text)


@pytest.mark.parametrize("room_name", sorted(FLOOR))
def test_a_room_says_what_others_may_take_from_it(room_name: str) -> None:
    told = ast.get_docstring(ast.parse((BENCH / room_name / "__init__.py").read_text())) or ""
    assert "Others take" in told


def test_a_room_does_not_take_a_command_s_name() -> None:
    assert not set(FLOOR) & {path.stem for path in BENCH.glob("*.py")}
