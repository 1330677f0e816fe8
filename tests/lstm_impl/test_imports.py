"""The library stands by itself: neither it nor its tests know the suite that measures it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    str(path.relative_to(ROOT))
    for folder in ("lstm_impl", "tests/lstm_impl")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def imported(source: str) -> Iterator[str]:
    """The modules that a program imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("file", FILES)
def test_no_file_of_the_library_or_its_tests_imports_the_suite(file: str) -> None:
    rooms = {name.partition(".")[0] for name in imported((ROOT / file).read_text("utf-8"))}
    assert "bench" not in rooms
