"""What all tests of the Keras layers need."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where decisions are kept: none is there when a test begins."""
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    return tmp_path / "decisions"
