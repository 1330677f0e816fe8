"""What several files of these tests look at."""

import pytest

from tests.bench.worker import modelled_backends


@pytest.fixture
def modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modelled backends are found by their names."""
    modelled_backends.register(monkeypatch)
