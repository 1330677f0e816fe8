"""Tests mirror the code: who changes a module opens one file and finds all that it is held to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

SIDES = {ROOT / "bench": ROOT / "tests" / "bench", ROOT / "lstm_impl": ROOT / "tests" / "lstm_impl"}

ACROSS = {
    "tests/bench/test_every_command.py": "texts, figures and terminals of all commands",
    "tests/bench/test_starting.py": "what all commands load, and what they say of it",
    "tests/lstm_impl/backends/test_all_peers.py": "what all peers compute",
    "tests/lstm_impl/backends/test_all_tensorflow_backends.py": "what TensorFlow's ways compute",
    "tests/lstm_impl/test_imports.py": "which module imports which",
}
"""Test files of no one module, and what they hold."""


def modules(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.py") if path.name != "__init__.py")


def untested(code: Path, tests: Path) -> set[str]:
    """The modules that have no test file of their name in their place."""
    return {
        str(path.relative_to(code.parent))
        for path in modules(code)
        if not (tests / path.relative_to(code))
        .with_name(f"test_{path.stem.strip('_')}.py")
        .exists()
    }


def across(code: Path, tests: Path) -> set[str]:
    """The test files whose name begins with that of no module in their place."""
    found = set()
    for path in tests.rglob("test_*.py"):
        place = code / path.relative_to(tests).parent
        names = [each.stem.strip("_") for each in place.glob("*.py")]
        aspect = path.stem.removeprefix("test_") + "_"
        if not any(name and aspect.startswith(f"{name}_") for name in names):
            found.add(str(path.relative_to(tests.parent.parent)))
    return found


@pytest.mark.parametrize(("code", "tests"), SIDES.items(), ids=[path.name for path in SIDES])
def test_a_module_is_held_by_the_file_of_its_name(code: Path, tests: Path) -> None:
    assert untested(code, tests) == set()


@pytest.mark.parametrize(("code", "tests"), SIDES.items(), ids=[path.name for path in SIDES])
def test_a_test_file_is_called_after_a_module(code: Path, tests: Path) -> None:
    told = {path for path in ACROSS if path.startswith(f"tests/{code.name}/")}
    assert across(code, tests) == told


def test_what_has_no_counterpart_is_seen(tmp_path: Path) -> None:
    made = ("code/a.py", "code/b/c.py", "code/b/__init__.py", "tests/code/test_a_more.py")
    for name in (*made, "tests/code/test_b.py", "tests/code/b/test_c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    code, tests = tmp_path / "code", tmp_path / "tests" / "code"
    assert untested(code, tests) == {"code/a.py"}
    assert across(code, tests) == {"tests/code/test_b.py"}
