"""What several files of tests look at and none changes, made once for all of them."""

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
