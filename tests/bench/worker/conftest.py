"""Fixtures of the tests of the worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.worker import group, resources
from bench.worker.disturbances import LIMITING
from bench.worker.resources import ProcessMemory
from tests.bench.worker import forked_backends, modelled_backends
from tests.bench.worker.scripted_backends import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Make the scripted backends known by their names."""
    world = World()
    monkeypatch.setattr(group, "get_backend", world.backends.__getitem__)
    return world


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove variables that keep libraries from using instructions."""
    for name in LIMITING:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the modelled backends known by their names."""
    modelled_backends.register(monkeypatch)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install backends of another package."""
    folder = tmp_path_factory.mktemp("scripted")
    forked_backends.install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


@pytest.fixture
def process_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessMemory]:
    """Return one without servers, and end its servers after the test, on a busy machine too."""
    monkeypatch.setattr(resources, "START_LIMIT", 600.0)
    with ProcessMemory() as found:
        yield found
