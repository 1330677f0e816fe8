"""Makes ``pytest --benchmark-only`` measure and the options of the suite known in a bare clone."""

from pathlib import Path

import pytest

import bench

pytest_plugins = ["bench.plugin"]


def pytest_configure() -> None:
    """Refuse to mix this clone with a copy of the suite that is installed elsewhere."""
    used, here = Path(bench.__file__).resolve().parent, Path(__file__).resolve().parent / "bench"
    if used != here:
        raise pytest.UsageError(
            f"pytest has loaded the suite that is installed in {used}, not this clone; "
            "run it as python -m pytest, or install the clone: pip install -e ."
        )
