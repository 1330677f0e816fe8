"""Test the code that checks a node's copy of the suite."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from bench.case.loading import SuiteChoice
from bench.session import stub
from bench.session.cluster import NodeRequest
from bench.session.stub import Stub, fingerprint

REQUEST = pickle.dumps(NodeRequest("smoke", None, SuiteChoice()))


def test_fingerprint_changes_with_file_names_and_contents_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "PACKAGES", ("made_up_package",))
    monkeypatch.syspath_prepend(tmp_path)
    assert fingerprint() == {"made_up_package": ""}
    folder = tmp_path / "made_up_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("x = 1\n")
    (folder / "suite.toml").write_text("a")
    first = fingerprint()
    assert len(first["made_up_package"]) == 12
    (folder / "notes.txt").write_text("of no account")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert fingerprint() == first
    (folder / "suite.toml").write_text("b")
    second = fingerprint()
    assert second != first
    (folder / "suite.toml").rename(folder / "other.toml")
    assert fingerprint() not in (first, second)


def test_stub_with_another_copy_answers_before_any_import() -> None:
    problem, facts = Stub().ready({"bench": "x", "lstm_impl": "y"}, b"no pickle of any kind")
    assert problem.startswith("another version of the suite is installed there (bench ")
    assert facts is None


def test_stub_runs_with_the_standard_library_alone() -> None:
    source = Path(stub.__file__).read_text()
    code = f"exec({source!r})\nprint(Stub().ready({{'bench': 'x', 'lstm_impl': 'y'}}, b'')[0])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "the suite is not installed there: no package bench\n"
