"""Run tests of Keras's other backends in their own processes: Keras has one backend a process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_impl import get_backend


def run_peers(name: str, selected: str) -> tuple[int, str]:
    """Run a backend's tests in its environment; return how many passed, and the output."""
    backend = get_backend(name)
    for package in backend.packages:
        if not (installed := package.availability("cpu")):
            pytest.skip(f"{name}: {installed}")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(str(Path(__file__).with_name("test_contract.py")), "-k", selected),
        ],
        env={**os.environ, **backend.environment},
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert " skipped" not in said, said
    found = re.search(r"(\d+) passed", said)
    return int(found[1]) if found else 0, said
