"""Test the commands that install an extra of what the user has installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_impl.distribution import COMPLETE, SMALL, compose_install, find_distribution


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    find_distribution.cache_clear()
    yield
    find_distribution.cache_clear()


@pytest.mark.parametrize(
    ("installed", "expected"),
    [([SMALL], SMALL), ([COMPLETE], COMPLETE), ([COMPLETE, SMALL], SMALL), ([], SMALL)],
)
def test_install_command_names_the_distribution_that_is_installed(
    installed: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in installed:
        info = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert compose_install("cpu") == f"pip install '{expected}[cpu]'"
