"""What all tests of suites are told of the machine."""

import pytest

from bench.machine import devices


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no GPU its cases are listed all the same."""
    monkeypatch.setattr(devices, "available", lambda: ["cpu"])
