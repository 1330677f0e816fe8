"""What several files of this room's tests look at."""

import pytest

from bench.measuring import preparing
from bench.measuring.roof_work import LIMITING
from tests.bench.measuring.told_backends import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Backends that do as they are told, found by their names."""
    world = World()
    monkeypatch.setattr(preparing, "get_backend", world.backends.__getitem__)
    return world


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library is told to leave instructions unused, whatever this machine's user has set."""
    for name in LIMITING:
        monkeypatch.delenv(name, raising=False)
