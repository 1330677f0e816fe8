"""Test the lists of packages and data files that a wheel is built from."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.places import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]
PATTERNS: dict[str, list[str]] = SETUPTOOLS["package-data"]

MADE = "native/prebuilt/"
"""The folder of built libraries, which the repository does not hold."""


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git repository, whose files the test compares")
    return [Path(line) for line in listed.stdout.decode().splitlines()]


def test_wheel_packages_are_the_library_and_the_suite() -> None:
    setuptools = pytest.importorskip("setuptools")
    found = setuptools.find_packages(str(ROOT), include=SETUPTOOLS["packages"]["find"]["include"])
    assert {name.partition(".")[0] for name in found} == {"bench", "lstm_impl"}
    folders = {path.parent for path in tracked() if path.name == "__init__.py"}
    assert {Path(*name.split(".")) for name in found} == {
        each for each in folders if each.parts[0] in ("bench", "lstm_impl")
    }


def test_wheel_has_each_data_file_of_a_package() -> None:
    there = [path for path in tracked() if (ROOT / path).exists() and path.parts[0] in PATTERNS]
    data = {path for path in there if path.suffix != ".py"}
    covered: set[Path] = set()
    for package, patterns in PATTERNS.items():
        for pattern in patterns:
            found = {path for path in data if path.match(f"{package}/{pattern}")}
            assert found or pattern.startswith(MADE), f"{package}: nothing is {pattern}"
            covered |= found
    assert data == covered
