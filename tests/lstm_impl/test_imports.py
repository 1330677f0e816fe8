"""Test that the library does not import the suite, and that its functions are short."""

import ast
import doctest
from collections.abc import Iterator
from pathlib import Path

import pytest

import lstm_impl
from tests.lengths import LONGEST_FUNCTION, long_functions

ROOT = Path(__file__).resolve().parents[2]
LIBRARY, TESTS = (
    [str(path.relative_to(ROOT)) for path in sorted((ROOT / folder).rglob("*.py"))]
    for folder in ("lstm_impl", "tests/lstm_impl")
)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield all that a program imports, anywhere: modules, or modules and a name."""
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


def test_functions_have_at_most_the_longest_length() -> None:
    texts = {file: (ROOT / file).read_text("utf-8") for file in LIBRARY}
    assert {file: found for file, text in texts.items() if (found := long_functions(text))} == {}


@pytest.mark.parametrize("word", ["def", "async def"])
def test_long_functions_finds_one_line_too_many(word: str) -> None:
    for lines, found in ((LONGEST_FUNCTION, []), (LONGEST_FUNCTION + 1, ["f"])):
        body = "\n".join(["        pass"] * (lines - 1))
        assert long_functions(f"class A:\n    {word} f(self):\n{body}\n") == found


def test_example_of_the_package_works() -> None:
    failed, tried = doctest.testmod(lstm_impl)
    assert tried > 0
    assert failed == 0
