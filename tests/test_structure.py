"""Test the structure of the code: imports have one direction, packages are small, no cycles."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tools.packages import (
    BENCH,
    COMMANDS,
    FLOORS,
    LIBRARY,
    find_arrows,
    find_package,
    list_imports,
    list_modules,
    main,
)

LAYER = {name: number for number, names in enumerate(FLOORS) for name in names}
MODULES = list_modules()

MOST_MODULES = 15
"""Of a package; 20 next to the packages of ``bench``, where each command has a file."""


def layer(name: str) -> int:
    return {LIBRARY: -1, COMMANDS: len(FLOORS)}.get(name, LAYER.get(name, -1))


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Return the modules that each module imports, including imports in functions."""
    return {module: set(list_imports(path, MODULES)) for module, path in MODULES.items()}


def test_packages_of_bench_are_those_with_a_layer() -> None:
    assert {path.parent.name for path in BENCH.glob("*/__init__.py")} == set(LAYER)


def test_module_imports_only_its_own_package_and_lower_layers(imports: dict[str, set[str]]) -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if find_package(other) != find_package(module)
        and layer(find_package(other)) >= layer(find_package(module))
    ]
    assert wrong == []


def test_imports_have_no_cycle() -> None:
    """Imports for types only, and those of the library, are included."""
    every = {**MODULES, **list_modules(BENCH.parent / LIBRARY)}
    graph = {
        module: (set(list_imports(path, every, packages=True)) & set(every)) - {module}
        for module, path in every.items()
    }
    TopologicalSorter(graph).prepare()


def test_commands_are_imported_by_no_module(imports: dict[str, set[str]]) -> None:
    commands = {module for module in MODULES if find_package(module) == COMMANDS} - {"bench"}
    wrong = {module: sorted(others & commands) for module, others in imports.items()}
    assert {module: others for module, others in wrong.items() if others} == {}


def reached(start: str, imports: dict[str, set[str]], end: str) -> set[str]:
    """Return the modules that a module imports, directly or through others, but not through end."""
    found: set[str] = set()
    left = [start]
    while left:
        name = left.pop()
        new = set() if name == end else imports.get(name, set()) - found
        found |= new
        left += new
    return found


MEASURING = "bench.worker.recorder"
"""What measures cases and records them, in every process that does."""

WORDS_ERRORS = "bench.cli.command_line"
"""Imports the sentences only when a command ends with an error, to print it."""


def test_process_that_measures_imports_nothing_that_composes_sentences(
    imports: dict[str, set[str]],
) -> None:
    found = reached(MEASURING, imports, WORDS_ERRORS)
    assert "bench.worker.group" in found
    assert {module for module in found if find_package(module) == "render"} == set()


def test_package_has_at_most_fifteen_modules() -> None:
    counts = Counter(
        ".".join(path.relative_to(BENCH.parent).parent.parts)
        for path in BENCH.rglob("*.py")
        if path.name != "__init__.py"
    )
    over = {name: n for name, n in counts.items() if n > (20 if name == "bench" else MOST_MODULES)}
    assert over == {}


def undocumented() -> Iterator[str]:
    for name, path in MODULES.items():
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            yield name


def test_module_has_a_docstring() -> None:
    assert list(undocumented()) == []


def test_diagram_has_each_dependency_and_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("```mermaid\nflowchart TD\n    ")
    assert out.count(" --> ") == len(find_arrows())


MOST_WORDS = 3
"""In a string below ``render``: sentences are written by ``render.messages``, from codes."""

RECORDING = (
    *("machine/devices", "machine/disturbance", "machine/reasons", "records/schema"),
    *(f"worker/{name}" for name in ("disturbances", "estimate", "group", "memory_server")),
    *("worker/resources", "worker/roofs", "worker/timing", "session/manager"),
)
"""Modules that record reasons."""

NO_REASONS = (
    "give it more time: ",  # of older files and of messages
    *("__init__", "reason for being unavailable"),  # of errors
    *("; TensorFlow's GPU", "\n... ", "the backend printed"),  # of a backend's output
    *("was stopped ", "postponed, ", "process ", "^(?:ERROR"),  # events, printed at once
)
"""The beginnings of sentences in them that are no reasons."""


def strings(tree: ast.Module) -> Iterator[str]:
    """Yield the strings of a module except docstrings; an f-string is one."""
    skipped = {
        id(each)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr | ast.JoinedStr)
        for each in ast.walk(node)
        if isinstance(node, ast.JoinedStr) or isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            values = (each for each in node.values if isinstance(each, ast.Constant))
            yield " ".join(str(each.value) for each in values)
        elif isinstance(node, ast.Constant) and id(node) not in skipped:
            yield str(node.value) if isinstance(node.value, str) else ""


class WithoutErrors(ast.NodeTransformer):
    """Remove statements that raise."""

    def visit_Raise(self, node: ast.Raise) -> ast.Pass:
        return ast.Pass()


def sentences(path: Path) -> set[str]:
    tree = WithoutErrors().visit(ast.parse(path.read_text(encoding="utf-8")))
    return {
        f"{path.name}: {text}"
        for text in strings(tree)
        if sum(any(map(str.isalpha, word)) for word in text.split()) > MOST_WORDS
        and not text.startswith(NO_REASONS)
    }


def test_stats_and_what_records_reasons_hold_no_sentences() -> None:
    recording = [BENCH / f"{name}.py" for name in RECORDING]
    assert set().union(*map(sentences, [*(BENCH / "stats").glob("*.py"), *recording])) == set()
    assert sentences(BENCH / "render" / "messages.py")


def sources() -> Iterator[Path]:
    """Yield the files of ``bench`` and ``lstm_impl``."""
    for package in (BENCH, BENCH.parent / LIBRARY):
        yield from sorted(package.rglob("*.py"))


SHARED_CLASS_NAMES = {"LSTM", "GRU"}
"""A cell and the layers of each framework that compute it have one name."""


def test_public_classes_have_names_of_their_own() -> None:
    counts = Counter(
        node.name
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in counts.items() if count > 1} == SHARED_CLASS_NAMES


def test_test_names_begin_with_their_subject() -> None:
    wrong = [
        f"{path.name}: {name}"
        for path in (BENCH.parent / "tests").rglob("*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if re.match(r"test_(an?|the|what|whatever|it|no|every|where)_", name)
    ]
    assert wrong == []
