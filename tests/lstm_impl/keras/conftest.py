"""Provide fixtures for all tests of the Keras layers."""

import contextlib
from pathlib import Path

import pytest

import lstm_impl


@pytest.fixture(scope="session", autouse=True)
def _library() -> None:
    """Load the op of fused_cpu, so that ``auto`` need not compile it in the background."""
    with contextlib.suppress(lstm_impl.UnavailableError):
        lstm_impl.build()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder of decisions."""
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    return tmp_path / "decisions"
