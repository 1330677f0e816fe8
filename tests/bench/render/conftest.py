"""Fixtures of the tests of reports."""

import pytest

from bench.records.files import collect
from bench.verdicts.sections import Report, build
from tests.bench.made_reports import REPLICATES


@pytest.fixture(scope="session")
def few() -> Report:
    """Return a report on two processes with failed, refused and INVALID cases, and windows."""
    return build(collect(REPLICATES))
