"""The marks beside a time: which row has one, and what is told of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.render.labels import DOUBTFUL_TIME, FASTEST, MARKS, SHORTEST, bounds_of_time, mark, notes
from bench.stats.intervals import Interval
from tests.bench.made_reports import DOUBT, measured, replicated, report_of, the_row


def test_the_fastest_of_a_group_has_a_star_that_is_full_if_it_is_surely_so() -> None:
    sure = report_of(*replicated(6, ("keras", 0.020), ("torch", 0.010)))
    assert (mark(the_row(sure, "torch")), mark(the_row(sure, "keras"))) == (FASTEST, "")
    near = report_of(*replicated(6, ("keras", 0.0101), ("torch", 0.0100)))
    assert (mark(the_row(near, "torch")), mark(the_row(near, "keras"))) == (SHORTEST, "")
    alone = report_of(measured("keras", 0.01))
    assert mark(the_row(alone, "keras")) == ""


def test_only_marks_that_are_there_are_explained() -> None:
    (section,) = report_of(*replicated(6, ("keras", 0.020), ("torch", 0.010))).sections
    assert notes(section.rows) == [MARKS]
    assert notes(section.rows[1:]) == []
    first = section.rows[0]
    doubt = replace(first.validity, of_time=(DOUBT,))
    doubtful = replace(first, validity=doubt)
    assert notes([doubtful]) == [MARKS, DOUBTFUL_TIME]


@pytest.mark.parametrize(
    ("confidence", "told"),
    [(0.95, "0.900–1.20"), (0.95 - 1e-12, "0.900–1.20"), (0.75, "0.900–1.20 (75%)"), (0.0, "")],
)
def test_bounds_have_their_level_where_few_samples_cannot_give_the_heading_s(
    confidence: float, told: str
) -> None:
    assert bounds_of_time(Interval(0.9, 1.0, 1.2, confidence), 1.0) == told


def test_the_bounds_of_a_part_are_in_its_own_unit() -> None:
    assert bounds_of_time(Interval(0.9, 1.0, 1.2, 0.95), 0.1, steps=10) == "90.0–120"
