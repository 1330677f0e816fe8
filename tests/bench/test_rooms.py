"""The rooms of ``bench``: imports go one way, and who opens the folder sees the system."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter

import pytest

from bench.rooms import BENCH, COMMANDS, FLOORS, LIBRARY, imported, modules, room
from tests.lengths import long_functions

FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
MODULES = modules()
LONGEST = 400
"""Lines of a module. What is longer has more than one subject, or says in its docstring why not."""


def floor(name: str) -> int:
    return {LIBRARY: -1, COMMANDS: len(FLOORS)}.get(name, FLOOR.get(name, -1))


def test_the_rooms_are_those_that_are_named_here() -> None:
    folders = {path.parent.name for path in BENCH.glob("*/__init__.py")}
    assert folders == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_room_and_those_below(module: str) -> None:
    for other in imported(MODULES[module], MODULES):
        if room(other) != room(module):
            assert floor(room(other)) < floor(room(module)), f"{module} imports {other}"


def test_no_module_is_imported_in_a_circle() -> None:
    graph = {
        module: {other for other in imported(path, MODULES) if other in MODULES} - {module}
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()


def test_no_command_is_imported() -> None:
    commands = {module for module in MODULES if room(module) == COMMANDS} - {"bench"}
    for module, path in MODULES.items():
        assert not commands & set(imported(path, MODULES)), f"{module} imports a command"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for_and_is_not_long(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    told = ast.get_docstring(ast.parse(text)) or ""
    assert told, f"{module} has no docstring"
    assert text.count("\n") <= LONGEST or "in one piece" in told, f"{module} is long"
    assert not long_functions(text), f"{module} has long functions"
    assert not re.findall(r"object\.__setattr__\((?!self\b)", text)


@pytest.mark.parametrize("room_name", sorted(FLOOR))
def test_a_room_says_what_others_may_take_from_it(room_name: str) -> None:
    told = ast.get_docstring(ast.parse((BENCH / room_name / "__init__.py").read_text())) or ""
    assert "Others take" in told


def test_a_room_does_not_take_a_command_s_name() -> None:
    assert not set(FLOOR) & {path.stem for path in BENCH.glob("*.py")}
