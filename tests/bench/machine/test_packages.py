"""Test the list of what is installed in a Python, and paths that are none."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from bench.machine import processes
from bench.machine.packages import NoPythonError, ask, describe_python
from tests.places import ROOT


def test_ask_this_python_equals_here() -> None:
    found = ask(Path(sys.executable))
    assert found.packages == describe_python().packages
    assert found.packages["numpy"] == metadata.version("numpy")
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.bench == str(ROOT / "bench")
    assert found.executable == sys.executable  # a virtual environment's link is not followed


def test_here_vendored_packages_are_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = describe_python().packages
    carried = tmp_path / "site-packages" / "ray" / "thirdparty_files"
    neighbour = tmp_path / "site-packages"
    for place, name, version in (
        (carried, "colour", "1"),
        (carried, "numpy", "0.1"),
        (neighbour, "numpy", "0.2"),
        (neighbour, "Other_Name", "3"),
    ):
        (place / f"{name}-{version}.dist-info").mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (place / f"{name}-{version}.dist-info" / "METADATA").write_text(text)
    monkeypatch.setattr(sys, "path", [str(carried), *sys.path, str(neighbour)])
    # Not the second numpy either: an import finds the first.
    assert describe_python().packages == {**before, "other-name": "3"}


def test_executable_no_python_raises(tmp_path: Path) -> None:
    with pytest.raises(NoPythonError, match=r"is neither a Python nor a virtual environment"):
        ask(tmp_path)


def test_ask_without_suite_raises_with_install_command(tmp_path: Path) -> None:
    """A program in place of a Python without the suite."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"No module named 'bench'\" >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(NoPythonError) as caught:
        ask(python)
    assert "ended with exit code 1 (No module named 'bench')" in str(caught.value)
    assert f"{python} -m pip install lstm-benchmark-suite" in str(caught.value)


def test_ask_without_pytest_raises_with_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {"version": "3.11.7", "packages": {"pytest": "9.0"}, "bench": "/bench"}
    monkeypatch.setattr(processes, "ask", lambda *words, **more: without)
    with pytest.raises(NoPythonError, match="has no pytest-benchmark"):
        ask(Path(sys.executable))
