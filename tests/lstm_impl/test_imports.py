"""Test that the library does not import the suite, and that its example works."""

import ast
import doctest
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import lstm_impl
from tests.outside import outside

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


PROGRAM = """
import lstm_impl, lstm_impl.proof
spec, workload = lstm_impl.LSTMSpec(2, 3), lstm_impl.Workload(2, 5, "training")
model = lstm_impl.get_backend("numpy").build(spec, lstm_impl.LSTMWeights.random(spec))
print(lstm_impl.proof.gate(model, workload).passed, lstm_impl.check.__name__)
print(lstm_impl.tune(spec, workload, candidates=["numpy"], seconds=0.1, print_fn=None).backend)
"""


def test_library_needs_only_numpy(tmp_path: Path) -> None:
    """Run it with the standard library and NumPy, and nothing else."""
    packages = Path(np.__file__).parent.parent
    for place in packages.glob("numpy*"):
        (tmp_path / place.name).symlink_to(place)
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM],
        cwd=tmp_path,
        env=outside(tmp_path, CXX="none", LSTM_DECISIONS=str(tmp_path / "decisions")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True check\nnumpy\n"


def test_example_of_the_package_works() -> None:
    failed, tried = doctest.testmod(lstm_impl)
    assert tried > 0
    assert failed == 0
