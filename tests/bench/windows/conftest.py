"""The usual windows, read once for all tests of recommendations."""

from pathlib import Path

import pytest

from bench.windows.answer import Place
from tests.bench import made_windows as made


@pytest.fixture(scope="session")
def usual(usual_windows: Path) -> list[Place]:
    """What the usual windows can answer."""
    return made.read_places([usual_windows])
