"""Provide fixtures for the tests of the studies."""

import functools

import pytest

from research import rules


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate the processes for an effect with few comparisons, and keep none of them."""
    monkeypatch.setattr(rules, "RIVAL_TRIALS", 5)
    monkeypatch.setattr(rules, "_least_effect", functools.cache(rules._least_effect.__wrapped__))
