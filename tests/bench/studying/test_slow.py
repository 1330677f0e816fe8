"""The documentation of the verdicts has the numbers that its command prints."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from bench.studying import bridges, changes, nodes, percentiles, pictures, verdicts
from bench.studying.rules import TRIALS
from bench.telling.sheet import Sheet
from tests.places import ROOT

DOCUMENT = ROOT / "docs" / "verdicts.md"


def _printed(tables: dict[str, Sheet]) -> Iterator[tuple[str, str]]:
    return ((title, sheet.markdown(aligned=True)) for title, sheet in tables.items())


@pytest.mark.slow
def test_the_tables_in_the_documentation_are_those_that_the_study_prints() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    made = verdicts.tables(TRIALS) | bridges.tables(TRIALS) | percentiles.tables(TRIALS)
    for title, text in _printed(made):
        heading = text.splitlines()[0]
        assert heading in document, f"the table {title!r} is not in {DOCUMENT.name}"
        start = document.index(text.splitlines()[0])
        shown = document[start:].split("\n\n", 1)[0]
        # Another version of SciPy may turn a comparison at the edge: a few in twenty thousand.
        assert _numbers(shown) == pytest.approx(_numbers(text), abs=0.15), title
        assert re.sub(r"[\d.]+", "", shown) == re.sub(r"[\d.]+", "", text), title


@pytest.mark.slow
def test_the_tables_of_changes_are_those_that_the_study_prints() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    for title, text in _printed(changes.tables(changes.TRIALS)):
        assert text in document, title


@pytest.mark.slow
def test_the_tables_of_nodes_are_those_that_the_study_prints() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    for title, text in _printed(nodes.tables(nodes.TRIALS)):
        assert text in document, title


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def test_the_pictures_that_the_documentation_shows_are_those_that_the_study_draws() -> None:
    shown = set(re.findall(r"\(pictures/(verdicts-[\w-]+\.png)\)", DOCUMENT.read_text("utf-8")))
    assert shown == set(pictures.pictures(1))
    for name in shown:
        assert (DOCUMENT.parent / "pictures" / name).is_file()
