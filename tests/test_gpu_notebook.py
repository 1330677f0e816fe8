"""Test the notebook for a GPU: to its end with a made-up one, and without one."""

import contextlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests import quick_pytest
from tests.bench import fake_gpu
from tests.outside import outside
from tests.test_notebook import ROOT, Cell, code_cells, execute, printed

NOTEBOOK = ROOT / "docs/gpu.ipynb"

SHORT = {
    'PROOF = ["--seconds", "8m"]': f'PROOF = ["--backends", "{fake_gpu.NAME}", "--suite", "smoke"]',
    'EDGES = ["cudnn-edges", "--budget", "7m", "--processes", "2"]': "EDGES = ['smoke', "
    f"'--device', 'gpu:0', '--backends', '{fake_gpu.NAME}', '--processes', '1']",
}
"""The notebook's settings, and those of the tests."""


def executed(tmp_path: Path, *packages: Path) -> list[Cell]:
    book = json.loads(NOTEBOOK.read_text("utf-8"))
    for cell in book["cells"]:
        source = "".join(cell["source"])
        for theirs, ours in SHORT.items() if packages else ():
            assert theirs in source or "PROOF =" not in source
            source = source.replace(theirs, ours)
        cell["source"] = source
    path = tmp_path / "gpu.ipynb"
    path.write_text(json.dumps(book), "utf-8")
    own = {"LSTM_LOCK": str(tmp_path / "lock"), **quick_pytest.USED}
    execute(path, path, outside(*packages, **own))
    return code_cells(path)


def test_gpu_notebook_without_a_gpu_says_what_to_choose(tmp_path: Path) -> None:
    _, proof, *rest = executed(tmp_path)
    assert printed(proof).startswith("no gpu:0: ")
    assert "No backend can use a GPU here: choose one as above" in printed(proof)
    assert [cell["outputs"] for cell in rest] == [[], [], []]


@pytest.mark.slow
def test_gpu_notebook_with_a_gpu_ends_with_a_submission(tmp_path: Path) -> None:
    fake_gpu.install(tmp_path / "packages")
    _, proof, edges, report, sharing = executed(tmp_path, tmp_path / "packages")
    # In a clone it also runs the tests that need a real GPU.
    assert "13 cases right and measured, 0 FAILED" in printed(proof)
    assert "process 1 (every case is measured in 1): 4 cases in it" in printed(edges)
    (shown,) = (each["data"]["text/markdown"] for each in report["outputs"])
    assert fake_gpu.NAME in "".join(shown)
    with zipfile.ZipFile(tmp_path / "gpu-submission.zip") as zipped:
        names = zipped.namelist()
    assert [name for name in names if name.endswith(".tar.gz")]
    # On a busy machine a file may be refused, with the reason.
    shared = [name for name in names if name.startswith("results/community/imaginary-a")]
    assert bool(shared) != ("refused: " in printed(sharing))


def find_upload(*places: Path) -> Path:
    """Run the notebook's function."""
    (source,) = (
        "".join(cell["source"]) for cell in code_cells(NOTEBOOK) if "def find_upload" in str(cell)
    )
    definition = source[source.index("def find_upload") : source.index("if importlib.util")]
    names = {
        "Path": Path,
        "contextlib": contextlib,
        "shutil": shutil,
        "tempfile": tempfile,
    }
    exec(definition, names)
    found: Path = names["find_upload"](places)  # type: ignore[operator]
    return found


def make_project(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "lstm-benchmark-suite"\n')
    (folder / "bench.py").touch()
    return folder


def test_notebook_finds_an_uploaded_archive_folder_or_wheel(tmp_path: Path) -> None:
    project = make_project(tmp_path / "made" / "lstm-main")
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "broken.zip").write_text("not an archive")
    with pytest.raises(FileNotFoundError, match="upload an archive of it, or set PROJECT"):
        find_upload(uploads)
    shutil.make_archive(str(uploads / "project"), "zip", project.parent)
    from_archive = find_upload(uploads)
    assert (from_archive / "bench.py").exists()
    assert uploads not in from_archive.parents
    other = tmp_path / "other"
    make_project(other / "input" / "dataset")
    from_folder = find_upload(other)
    assert (from_folder / "bench.py").exists()
    assert other not in from_folder.parents
    wheel = tmp_path / "wheel" / "lstm_benchmark_suite-0.3.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    assert find_upload(wheel.parent) == wheel
