"""A site of three machines, made once for all tests that look at it and change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.sharing import site
from tests.bench.made_store import three_machines


@dataclass(frozen=True)
class Standing:
    """The results, and the site that was made of them."""

    folder: Path
    place: Path
    made: site.Made


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    pytest.importorskip("pyarrow")
    folder = three_machines(tmp_path_factory.mktemp("standing") / "community")
    place = folder.parent / "site"
    return Standing(folder, place, site.make(folder, place))
