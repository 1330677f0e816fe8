"""What several files of this room's tests look at."""

import pytest

from bench.measuring import preparing
from tests.bench.measuring.told_backends import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Backends that do as they are told, found by their names."""
    world = World()
    monkeypatch.setattr(preparing, "get_backend", world.backends.__getitem__)
    return world
