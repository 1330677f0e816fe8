"""Test pandas frames of a report and its samples."""

import csv
import io
import math
from pathlib import Path

import pytest

import bench
from bench import report
from bench.machine.fields import ResultError
from bench.records.files import collect
from bench.render.data import COLUMNS, SAMPLE_COLUMNS, cells, load_frame, records
from tests.bench.made_reports import REPLICATES, endless
from tests.places import GOLDEN


def test_load_frame_files_gives_row_per_case_with_units() -> None:
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


def test_load_frame_missing_values_are_null() -> None:
    frame = load_frame(REPLICATES)
    assert {str(frame[name].dtype) for name in ("backend", "reason")} == {"string"}
    assert (str(frame["rank"].dtype), str(frame["valid"].dtype)) == ("Int64", "boolean")
    assert str(frame["time_s"].dtype) == "float64"
    assert frame["rank"].isna().sum() == 3
    assert len(frame[frame.valid]) == 5
    assert frame.attrs["meanings"]["rank"] == COLUMNS["rank"].meaning


def test_records_empty_values_are_none() -> None:
    rows = records(endless())
    assert [row["time_high_s"] is None for row in rows].count(True) == 4
    for row in rows:
        for value in row.values():
            assert value != ""
            assert not isinstance(value, float) or math.isfinite(value)
    assert [list(row.values()) for row in rows] == list(cells(endless()))


def test_load_samples_files_gives_row_per_sample() -> None:
    frame = bench.load_samples(REPLICATES)
    measured = collect(REPLICATES).measurements
    assert len(frame) == sum(each.samples.size for each in measured)
    first = frame[(frame.run == measured[0].run.id) & (frame.case_id == measured[0].case.id)]
    assert first.time_s.tolist() == measured[0].samples.tolist()
    assert first["round"].tolist() == measured[0].rounds.tolist()
    assert frame.attrs["units"]["time_s"] == "s"
    assert frame.columns.tolist() == list(SAMPLE_COLUMNS)
    row = load_frame(REPLICATES).dropna(subset=["time_s"]).iloc[0]
    medians = frame[frame.case_id == row.case_id].groupby("run").time_s.median()
    assert medians.median() == pytest.approx(row.time_s, rel=0.01)
    with pytest.raises(ResultError):
        bench.load_samples([GOLDEN / "foreign-pytest-benchmark.json"])


def test_report_samples_csv_and_parquet_agree_and_are_filtered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    paths = [*map(str, REPLICATES), "--backend", "keras"]
    assert report.main(["--format", "samples.csv", *paths]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["backend"] for row in rows} == {"keras"}
    file = tmp_path / "s.parquet"
    assert report.main(["--format", "samples.parquet", "--output", str(file), *paths]) == 0
    table = pq.read_table(file).to_pylist()
    assert [float(row["time_s"]) for row in rows] == [row["time_s"] for row in table]
    assert pq.read_schema(file).field("time_s").metadata[b"unit"] == b"s"
