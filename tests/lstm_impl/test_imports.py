"""Test that the library does not import the suite, and that its example works."""

import ast
import doctest
from collections.abc import Iterator
from pathlib import Path

import lstm_impl

ROOT = Path(__file__).resolve().parents[2]
LIBRARY, TESTS = (
    [str(path.relative_to(ROOT)) for path in sorted((ROOT / folder).rglob("*.py"))]
    for folder in ("lstm_impl", "tests/lstm_impl")
)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield all modules, and modules with a name, that a program imports anywhere."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imported(node)


def test_library_and_its_tests_do_not_import_the_suite() -> None:
    trees = {file: ast.parse((ROOT / file).read_text("utf-8")) for file in (*LIBRARY, *TESTS)}
    found = {file: {name.partition(".")[0] for name in imported(trees[file])} for file in trees}
    assert [file for file, names in found.items() if "bench" in names] == []
    # The search would find an import of the suite.
    assert "lstm_impl" in found["lstm_impl/__init__.py"]
    assert set(imported(ast.parse("def f():\n    from bench import machine"))) == {"bench.machine"}


def test_example_of_the_package_works() -> None:
    failed, tried = doctest.testmod(lstm_impl)
    assert tried > 0
    assert failed == 0
