"""What the formats of a report show in their tests."""

from __future__ import annotations

import pytest

from bench.judging.ranking import build
from bench.judging.rows import Report
from bench.results.files import collect
from tests.bench.made_reports import REPLICATES


@pytest.fixture(scope="session")
def few() -> Report:
    """Two processes of few backends, of all kinds: wrong, refused, INVALID, in windows."""
    return build(collect(REPLICATES))
