"""The rooms of ``bench``: imports go one way, and who opens the folder sees the system."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from bench.rooms import BENCH, COMMANDS, FLOORS, LIBRARY, arrows, imported, main, modules, room
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


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports."""
    return {module: set(imported(path, MODULES)) for module, path in MODULES.items()}


def test_a_module_imports_from_its_own_room_and_those_below(imports: dict[str, set[str]]) -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if room(other) != room(module) and floor(room(other)) >= floor(room(module))
    ]
    assert wrong == []


def test_no_module_is_imported_in_a_circle(imports: dict[str, set[str]]) -> None:
    graph = {module: (others & set(MODULES)) - {module} for module, others in imports.items()}
    TopologicalSorter(graph).prepare()


def test_no_command_is_imported(imports: dict[str, set[str]]) -> None:
    commands = {module for module in MODULES if room(module) == COMMANDS} - {"bench"}
    wrong = {module: sorted(others & commands) for module, others in imports.items()}
    assert {module: others for module, others in wrong.items() if others} == {}


def test_every_import_of_a_file_is_seen_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import os, bench.rooms\n"
        "from bench.telling import inert, no_module\n"
        "def f():\n    from bench.disk.fields import printable\n"
        "    import lstm_impl.spec as s\n    from . import y\n"
    )
    assert list(imported(path, MODULES)) == [
        *("bench.rooms", "bench.telling.inert", "bench.telling", "bench.disk.fields"),
        "lstm_impl.spec",
    ]


def test_arrows_are_the_fewest_that_lead_to_all_that_a_room_imports(
    imports: dict[str, set[str]],
) -> None:
    drawn = arrows()

    def reached(start: str, among: set[tuple[str, str]]) -> set[str]:
        below = {lower for upper, lower in among if upper == start}
        return below.union(*(reached(each, among) for each in below))

    for module, others in imports.items():
        rooms = {room(other) for other in others} - {room(module), COMMANDS}
        assert rooms <= reached(room(module), drawn)
    for arrow in drawn:
        assert arrow[1] not in reached(arrow[0], drawn - {arrow})


def test_the_command_prints_the_arrows_and_a_line_a_room(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("```mermaid\nflowchart TD\n    ")
    assert out.count(" --> ") == len(arrows())
    rooms = re.findall(r"^\| `(\w+)` \| \w", out, re.M)
    assert rooms == [name for names in reversed(FLOORS) for name in names]


def faults_of(text: str) -> list[str]:
    """What is wrong with a module's text as such."""
    told = ast.get_docstring(ast.parse(text)) or ""
    found = {
        "has no docstring": not told,
        "is long": text.count("\n") > LONGEST and "in one piece" not in told,
        "has long functions": bool(long_functions(text)),
        "sets a field of another": bool(re.search(r"object\.__setattr__\((?!self\b)", text)),
    }
    return [fault for fault, is_so in found.items() if is_so]


def test_a_module_says_what_it_is_for_and_is_not_long() -> None:
    wrong = {name: faults_of(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    assert {name: faults for name, faults in wrong.items() if faults} == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1\n", "has no docstring"),
        ('"""A module."""\n' + "\n" * LONGEST, "is long"),
        ('"""A module."""\ndef f():\n' + "    x = 1\n" * 99, "has long functions"),
        ('"""A module."""\nobject.__setattr__(other, "x", 1)\n', "sets a field of another"),
    ],
)
def test_what_is_wrong_with_a_module_is_named(text: str, fault: str) -> None:
    assert faults_of(text) == [fault]


@pytest.mark.parametrize("room_name", sorted(FLOOR))
def test_a_room_says_what_others_may_take_from_it(room_name: str) -> None:
    told = ast.get_docstring(ast.parse((BENCH / room_name / "__init__.py").read_text())) or ""
    assert "Others take" in told


def test_a_room_does_not_take_a_command_s_name() -> None:
    assert not set(FLOOR) & {path.stem for path in BENCH.glob("*.py")}
