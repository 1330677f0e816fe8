"""Test that CSV, JSON and Parquet hold the same rows, and the SQL queries in the documents."""

import csv
import io
import json
import math
import re
import shutil
from pathlib import Path

import duckdb
import pytest
from hypothesis import example, given, settings
from pyarrow import parquet

from bench import report
from bench.machine import fields
from bench.records.files import collect
from bench.render import data
from bench.render.data import COLUMNS, records
from bench.stats.rows import Report, build
from tests.bench.made_reports import HOSTILE, hostile_report, sentences
from tests.bench.made_results import make_store
from tests.places import GOLDEN, ROOT


def test_as_csv_report_has_one_line_per_case_in_seconds(few: Report) -> None:
    rows = list(csv.DictReader(io.StringIO("".join(data.as_csv(few)))))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == 9
    keras = rows[0]
    assert keras["case_id"] == "keras/b2-t10-i3-h4/float32/inference/cpu"
    assert float(keras["time_s"]) == pytest.approx(0.01111)
    assert (keras["valid"], keras["rank"], keras["ahead"]) == ("true", "1", "FASTER")
    assert (keras["ratio"], keras["verdict"], keras["window"]) == ("", "", "")
    failed = next(row for row in rows if row["outcome"] == "failed")
    assert failed["reason"] == "y differs from the reference by 0.3; the bound is 1e-05"
    assert failed["time_s"] == failed["valid"] == ""


def test_as_json_report_has_same_rows_with_units(few: Report) -> None:
    document = json.loads(
        data.as_json(few), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert document["cases"] == records(few)
    assert document["columns"]["time_s"]["unit"] == "s"
    assert document["sections"][0]["findings"] == sentences(few)


@settings(max_examples=15, deadline=None)
@given(HOSTILE)
@example("=HYPERLINK(1)")
@example("＝1+1")
@example("  ＋1")
@example("\u3000＠SUM(1)")
@example("\t=1")
def test_data_hostile_text_is_escaped_in_csv_and_complete_in_json(text: str) -> None:
    found = hostile_report(text)
    rows = list(csv.reader(io.StringIO("".join(data.as_csv(found)), newline="")))
    assert {len(row) for row in rows} == {len(COLUMNS)}
    for row in rows[1:]:
        assert not any(re.match(r"\s*[-=+@＝＋－＠]", cell) for cell in row)
    document = json.loads(data.as_json(found))
    assert text in {each["backend"] for each in document["cases"]}
    assert data.as_json(found).isascii()


DOCS = (ROOT / "docs/sql.md").read_text()
SQL = re.findall(r"^```sql\n(.*?)^```", DOCS, re.M | re.S)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with results and cases.parquet, as in the documents."""
    make_store(tmp_path / "results", files=7, cases=20)
    shutil.copy(GOLDEN / "replicate-1.json", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r"^python -m bench\.report (.*)$", DOCS, re.M):
        assert report.main(command.split()) == 0
    return tmp_path


def test_parquet_report_has_same_rows_as_other_formats(place: Path) -> None:
    assert parquet.read_table("cases.parquet").to_pylist() == records(build(collect(["results"])))


def test_parquet_columns_have_type_unit_and_meaning(place: Path) -> None:
    schema = parquet.read_schema("cases.parquet")
    assert schema.names == list(COLUMNS)
    for field, (name, column) in zip(schema, COLUMNS.items(), strict=True):
        message = {key.decode(): value.decode() for key, value in field.metadata.items()}
        assert message["unit"] == column.unit, name
        assert message["meaning"] == column.meaning, name
        if column.unit in ("s", "1/s", "B", "J"):
            assert str(field.type) == "double", name
    kinds = [str(schema.field(name).type) for name in ("backend", "batch", "valid", "ratio")]
    assert kinds == ["string", "int64", "bool", "double"]


def test_parquet_invalid_utf8_and_batches_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads((GOLDEN / "replicate-1.json").read_text())
    document["lstm"]["run"]["host"] = "half \ud800"
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    out = tmp_path / "out" / "x.parquet"
    assert report.main([str(path), "--format", "parquet", "--output", str(out)]) == 0
    assert set(parquet.read_table(out)["host"].to_pylist()) == {"half ?"}
    monkeypatch.setattr(data, "_BATCH", 1)
    whole = build(collect([path]))
    assert parquet.read_table(out).num_rows == len(records(whole)) > 1
    out.write_bytes(data.as_parquet(COLUMNS, data.cells(whole)))
    assert parquet.read_table(out).num_rows == len(records(whole))


def test_parquet_without_pyarrow_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fields, "find_spec", lambda name: None)
    # The error comes before anything is read.
    arguments = ["not-there.json", "--format", "parquet", "--output", "x.parquet"]
    assert report.main(arguments) == 2
    message = capsys.readouterr().err
    assert "pip install 'lstm-benchmark-suite[parquet]'" in message
    assert len(message.splitlines()) == 1
    assert not Path("x.parquet").exists()


# -- SQL


@pytest.mark.parametrize("query", SQL, ids=range(len(SQL)))
def test_sql_documented_query_has_rows(query: str, place: Path) -> None:
    assert duckdb.sql(query).fetchall()


def test_sql_answers_equal_the_report(place: Path) -> None:
    rows = [row for row in records(build(collect(["results"]))) if row["valid"]]
    first = duckdb.sql(SQL[0]).fetchall()
    assert {row[3] for row in first} == {row["backend"] for row in rows if row["rank"] == 1}
    assert len(first) == sum(row["rank"] == 1 for row in rows)
    logs: dict[tuple[object, ...], list[float]] = {}
    for row in rows:
        if isinstance(row["speedup"], float):
            key = (row["device"], row["mode"], row["backend"])
            logs.setdefault(key, []).append(math.log(row["speedup"]))
    found = {tuple(row[:3]): row[3] for row in duckdb.sql(SQL[1]).fetchall()}
    assert found == {
        key: pytest.approx(math.exp(sum(each) / len(each))) for key, each in logs.items()
    }


def test_sql_samples_are_complete(place: Path) -> None:
    (query,) = [query for query in SQL if "samples.parquet" in query]
    found = duckdb.sql(query).fetchall()
    assert len(found) == 20
    assert {(row[1], row[2]) for row in found} == {(7, 77)}
