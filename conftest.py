"""Let ``pytest --benchmark-only`` measure, and make the suite's options known in a bare clone."""

from pathlib import Path

import pytest

import bench

pytest_plugins = ["bench.plugin"]


def pytest_configure() -> None:
    """Refuse to mix this clone with a copy of the suite that is installed elsewhere."""
    used, here = Path(bench.__file__).resolve().parent, Path(__file__).resolve().parent / "bench"
    if used != here:
        raise pytest.UsageError(
            f"pytest has loaded the suite that is installed in {used} instead of this clone. "
            "Run python -m pytest, or install the clone with pip install -e ."
        )
