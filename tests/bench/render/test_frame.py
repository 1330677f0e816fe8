"""The report as one flat table: what says nothing is None, and a frame has its types."""

from __future__ import annotations

import math

import pytest

import bench
from bench.machine.fields import ResultError
from bench.render.data import COLUMNS, cells, framed, load_frame, records
from tests.bench.made_reports import REPLICATES, endless
from tests.places import GOLDEN


def test_a_frame_is_one_call_away() -> None:
    frame = load_frame(REPLICATES)
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 9
    assert frame.attrs["units"]["time_s"] == "s"
    first = frame.set_index("case_id").loc["while_loop/b2-t10-i3-h4/float32/inference/cpu"]
    assert first["time_s"] == pytest.approx(0.02121)
    assert first["ratio"] == pytest.approx(0.021 / 0.011)
    assert bench.load_frame is load_frame
    with pytest.raises(ResultError, match="foreign-pytest-benchmark"):
        load_frame([*REPLICATES, GOLDEN / "foreign-pytest-benchmark.json"])


def test_a_frame_knows_what_is_not_there() -> None:
    frame = load_frame(REPLICATES)
    assert {str(frame[name].dtype) for name in ("backend", "reason")} == {"string"}
    assert (str(frame["rank"].dtype), str(frame["valid"].dtype)) == ("Int64", "boolean")
    assert str(frame["time_s"].dtype) == "float64"
    assert frame["rank"].isna().sum() == 3
    assert len(frame[frame.valid]) == 5
    assert frame.attrs["meanings"]["rank"] == COLUMNS["rank"].meaning


def test_no_rows_are_a_frame_of_the_same_columns() -> None:
    frame = framed(COLUMNS, [])
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 0


def test_what_says_nothing_is_none() -> None:
    rows = records(endless())
    assert [row["time_high_s"] is None for row in rows].count(True) == 4
    for row in rows:
        for value in row.values():
            assert value != ""
            assert not isinstance(value, float) or math.isfinite(value)
    assert [list(row.values()) for row in rows] == list(cells(endless()))
