"""Test that covering arrays have each allowed pair of values."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.pairs import Row, each_value, pairwise

AXES: dict[str, list[Any]] = {
    "a": [1, 2, 3],
    "b": ["x", "y", "z"],
    "c": [False, True],
    "d": [None, 0],
    "e": [0.0, 0.5],
}


def no_y_under_2(row: Row) -> bool:
    """Refuse pairs, as a backend refuses a type and dropout needs a second layer."""
    return not (row["a"] < 2 and row.get("b") == "y") and not (row.get("c") and row.get("e"))


@pytest.mark.parametrize("allowed", [lambda _: True, no_y_under_2], ids=["all", "some"])
def test_pairwise_rows_cover_each_allowed_pair(allowed: Callable[[Row], bool]) -> None:
    rows = pairwise(AXES, allowed)
    assert rows
    assert all(allowed(row) for row in rows)
    may_be = [
        row
        for values in itertools.product(*AXES.values())
        if allowed(row := dict(zip(AXES, values, strict=True)))
    ]
    for one, other in itertools.combinations(AXES, 2):
        wanted = {(row[one], row[other]) for row in may_be}
        assert {(row[one], row[other]) for row in rows} == wanted, (one, other)
    assert len(rows) < len(may_be) / 3


@pytest.mark.parametrize("allowed", [lambda _: True, no_y_under_2], ids=["all", "some"])
def test_each_value_rows_cover_each_allowed_value(allowed: Callable[[Row], bool]) -> None:
    table, rows = pairwise(AXES, allowed), each_value(AXES, allowed)
    for axis in AXES:
        assert {row[axis] for row in rows} == {row[axis] for row in table}
    assert [row for row in table if row in rows] == rows
    assert len(rows) < len(table) / 2


def test_each_value_skips_a_value_that_no_row_may_have() -> None:
    rows = each_value({"a": [1, 2], "b": ["x", "y"]}, lambda row: row.get("b") != "y")
    assert rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
