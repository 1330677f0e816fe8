"""Run tests of Keras's other backends in their own processes: Keras has one backend a process."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lstm_impl import Package


def run_tests(
    packages: Sequence[Package], environment: Mapping[str, str], *arguments: str
) -> tuple[int, str]:
    """Run pytest with these variables, and return how many tests passed and the output.

    Skip if one of the packages is not installed.
    """
    for package in packages:
        if not (installed := package.availability("cpu")):
            pytest.skip(str(installed))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        env={**os.environ, **environment},
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    found = re.search(r"(\d+) passed", said)
    return int(found[1]) if found else 0, said


def named_threads() -> int:
    """Return the number of threads in liblstm's own pool."""
    names = (path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    return sum(name == "liblstm" for name in names)
