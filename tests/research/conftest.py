"""Fixtures of the tests of studies."""

import functools

import pytest

from research import rules


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate the processes for an effect with few comparisons, and keep none of them."""
    monkeypatch.setattr(rules, "RIVAL_TRIALS", 5)
    monkeypatch.setattr(rules, "_findable", functools.cache(rules._findable.__wrapped__))
