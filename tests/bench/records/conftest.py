"""Fixtures that several test files share."""

import json
from typing import Any

import pytest

from tests.places import GOLDEN

Json = dict[str, Any]


@pytest.fixture
def golden() -> Json:
    document: Json = json.loads((GOLDEN / "replicate-1.json").read_text())
    return document


@pytest.fixture
def entry(golden: Json) -> Json:
    found: Json = golden["benchmarks"][0]
    return found


@pytest.fixture
def run(golden: Json) -> Json:
    found: Json = golden["lstm"]["run"]
    return found
