"""What several studies' tests need."""

from __future__ import annotations

import functools

import pytest

from research import rules


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an effect needs is drawn from few comparisons, and kept for nobody else."""
    monkeypatch.setattr(rules, "RIVAL_TRIALS", 5)
    monkeypatch.setattr(rules, "_findable", functools.cache(rules._findable.__wrapped__))
