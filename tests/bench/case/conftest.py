"""Fixtures of the tests of cases and suites."""

import pytest

from bench.machine import devices


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_devices", lambda: ["cpu"])
