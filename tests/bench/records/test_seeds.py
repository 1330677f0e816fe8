"""Test the list of published seeds, and that runs use the newest of them."""

from pathlib import Path

import pytest

from bench.machine.fields import InputError
from bench.records.seeds import PUBLISHED, newest_seed, read_seeds
from tests.places import ROOT

LIST = (
    "published,seed\n2026-11-29T12:00:00Z,7\n2026-12-29T12:00:00+01:00,9\n2026-10-01T00:00:00Z,8\n"
)


def test_newest_seed_is_the_one_published_last(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text(LIST)
    assert newest_seed(path) == 9


@pytest.mark.parametrize(
    "text", [None, "published,seed\n", "published,seed\nyesterday,7\n", "\xff"]
)
def test_newest_seed_without_a_usable_list_is_zero(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    assert newest_seed(path) == 0


def test_invalid_list_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("published,seed\nyesterday,7\n")
    with pytest.raises(InputError, match=r"seeds\.csv needs a time and a seed in each line"):
        read_seeds(path)


def test_list_of_the_project_is_the_one_that_runs_use() -> None:
    assert PUBLISHED == ROOT / "results" / "seeds.csv"
    assert newest_seed() in read_seeds(PUBLISHED)
