"""What several files of tests need, most of it made once for all of them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import made_windows


@pytest.fixture(scope="session")
def usual_windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the usual windows."""
    path = tmp_path_factory.mktemp("windows")
    made_windows.write_windows(path)
    return path


@pytest.fixture(scope="session")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual windows of one process."""
    path = tmp_path_factory.mktemp("one")
    made_windows.write_windows(path, processes=1)
    return path


@pytest.fixture
def signals() -> Iterator[None]:
    """The command takes over signals, which this process wants back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
