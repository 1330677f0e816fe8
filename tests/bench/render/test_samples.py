"""Every sample as a row, and the frames that results are given as."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

import bench
from bench import report
from bench.machine.fields import ResultError
from bench.records.files import collect
from bench.render.data import SAMPLE_COLUMNS
from tests.places import GOLDEN

FILES = [GOLDEN / "replicate-1.json", GOLDEN / "replicate-2.json"]


def test_each_sample_of_each_process_is_a_row_with_its_time_and_round() -> None:
    frame = bench.load_samples(FILES)
    measured = collect(FILES).measurements
    assert len(frame) == sum(each.samples.size for each in measured)
    first = frame[(frame.run == measured[0].run.id) & (frame.case_id == measured[0].case.id)]
    assert first.time_s.tolist() == measured[0].samples.tolist()
    assert first["round"].tolist() == measured[0].rounds.tolist()
    assert frame.attrs["units"]["time_s"] == "s"
    assert frame.columns.tolist() == list(SAMPLE_COLUMNS)


def test_the_medians_of_the_samples_are_the_report_s() -> None:
    samples, cases = bench.load_samples(FILES), bench.load_frame(FILES)
    row = cases[cases.time_s.notna()].iloc[0]
    mine = samples[samples.case_id == row.case_id].groupby("run").time_s.median()
    assert mine.median() == pytest.approx(row.time_s, rel=0.01)


def test_what_is_not_there_is_missing_and_filters_work() -> None:
    frame = bench.load_frame(FILES)
    assert frame.valid.dtype == "boolean"
    assert frame.valid.isna().any()
    valid = frame[frame.valid]
    assert 0 < len(valid) < len(frame)
    assert str(frame.window.dtype) == "Int64"
    assert frame[frame.outcome != "measured"].time_s.isna().all()


def test_csv_and_parquet_hold_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    paths = [str(path) for path in FILES]
    assert report.main(["--format", "samples.csv", *paths]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    whole = tmp_path / "s.parquet"
    assert report.main(["--format", "samples.parquet", "--output", str(whole), *paths]) == 0
    table = pq.read_table(whole).to_pylist()
    assert [float(row["time_s"]) for row in rows] == [row["time_s"] for row in table]
    assert pq.read_schema(whole).field("time_s").metadata[b"unit"] == b"s"


def test_a_filter_takes_only_its_samples(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in FILES]
    assert report.main(["--format", "samples.csv", "--backend", "keras", *paths]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows
    assert {row["backend"] for row in rows} == {"keras"}


def test_a_file_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ResultError):
        bench.load_samples([GOLDEN / "foreign-pytest-benchmark.json"])
