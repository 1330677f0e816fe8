"""The documentation of the verdicts has the numbers that its command prints."""

from __future__ import annotations

import re

import pytest

from bench.judging import (
    change_study,
    study,
    study_bridges,
    study_nodes,
    study_percentiles,
    study_pictures,
)
from bench.judging.rules import RIVAL_TRIALS, TRIALS
from bench.verdict_study import CALL_SHARE
from tests.places import ROOT

DOCUMENT = ROOT / "docs" / "verdicts.md"


@pytest.mark.slow
def test_the_tables_in_the_documentation_are_those_that_the_study_prints() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    printed = study.tables(TRIALS, RIVAL_TRIALS)
    printed |= study_bridges.tables(TRIALS)
    printed |= study_percentiles.tables(TRIALS // CALL_SHARE)
    for title, text in printed.items():
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
    for title, text in change_study.tables(change_study.TRIALS).items():
        assert text in document, title


@pytest.mark.slow
def test_the_tables_of_nodes_are_those_that_the_study_prints() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    for title, text in study_nodes.tables(study_nodes.TRIALS, study_nodes.REPORTS).items():
        assert text in document, title


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def test_the_pictures_that_the_documentation_shows_are_those_that_the_study_draws() -> None:
    shown = set(re.findall(r"\(pictures/(verdicts-[\w-]+\.png)\)", DOCUMENT.read_text("utf-8")))
    assert shown == set(study_pictures.pictures(1, 1))
    for name in shown:
        assert (DOCUMENT.parent / "pictures" / name).is_file()
