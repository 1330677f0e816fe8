"""What several files of this room's tests look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.worker import group, resources
from bench.worker.disturbances import LIMITING
from bench.worker.resources import ProcessMemory
from tests.bench.worker import forked_backends, modelled_backends
from tests.bench.worker.told_backends import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Backends that do as they are told, found by their names."""
    world = World()
    monkeypatch.setattr(group, "get_backend", world.backends.__getitem__)
    return world


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library is told to leave instructions unused, whatever this machine's user has set."""
    for name in LIMITING:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modelled backends are found by their names."""
    modelled_backends.register(monkeypatch)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Backends of another package, found by entry points as any."""
    folder = tmp_path_factory.mktemp("told")
    forked_backends.install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


@pytest.fixture
def process_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessMemory]:
    """One without a server yet, which has none left when the test is over.

    A framework may take its time to be imported: how busy the machine is decides no test.
    """
    monkeypatch.setattr(resources, "START_LIMIT", 600.0)
    with ProcessMemory() as found:
        yield found
