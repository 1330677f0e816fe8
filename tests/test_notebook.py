"""Test that the notebook runs in a fresh kernel and shows its own output."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs/results.ipynb"

Cell = dict[str, Any]


def execute(source: Path, output: Path, environ: dict[str, str]) -> None:
    """Execute a notebook in its own folder, by a kernel of this Python."""
    code = (
        "import nbclient, nbformat, sys; source, output, folder = sys.argv[1:];"
        "book = nbformat.read(source, as_version=4);"
        "client = nbclient.NotebookClient(book, timeout=300, kernel_name='python3',"
        " resources={'metadata': {'path': folder}});"
        "nbformat.write(client.execute(), output)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(output), str(source.parent)],
        # The clone's code, not an installed one, and no settings of the user.
        env=environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    """Return the code cells after their execution."""
    output = tmp_path_factory.mktemp("notebook") / "executed.ipynb"
    execute(NOTEBOOK, output, os.environ | {"PYTHONPATH": str(ROOT)})
    return code_cells(output)


def code_cells(path: Path) -> list[Cell]:
    book = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def printed(cell: Cell) -> str:
    """Return what a cell prints."""
    return "".join(
        "".join(each["text"]) for each in cell["outputs"] if each["output_type"] == "stream"
    )


def test_notebook_runs_without_errors_or_warnings(cells: list[Cell]) -> None:
    for cell in cells:
        kinds = {(each["output_type"], each.get("name")) for each in cell["outputs"]}
        assert kinds <= {("stream", "stdout"), ("display_data", None)}, cell["source"]


def test_notebook_tables_equal_their_output(cells: list[Cell]) -> None:
    stored = [printed(cell) for cell in code_cells(NOTEBOOK)]
    assert stored == [printed(cell) for cell in cells], (
        "make them again: jupyter execute --inplace docs/results.ipynb"
    )
    assert sum(bool(text) for text in stored) >= 4


def test_notebook_has_its_pictures(cells: list[Cell]) -> None:
    for found in (cells, code_cells(NOTEBOOK)):
        pictures = [each for cell in found for each in cell["outputs"] if "data" in each]
        assert len([each for each in pictures if "image/png" in each["data"]]) == 2


def test_notebook_names_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "/home/" not in text
    assert str(ROOT) not in text
