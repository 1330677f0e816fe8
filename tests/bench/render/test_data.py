"""Test the report as data: columns, CSV, JSON, frames, files of other tools, decisions."""

import csv
import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import example, given, settings
from pyarrow import parquet

import bench
from bench import report
from bench.cli import arguments
from bench.machine import fields
from bench.machine.fields import ResultError
from bench.records.files import collect
from bench.records.schema import Figures, Run
from bench.render import data
from bench.render.data import (
    COLUMNS,
    SAMPLE_COLUMNS,
    Value,
    cells,
    github_action,
    hyperfine,
    load_frame,
    records,
)
from bench.verdicts.sections import Report, Section, build
from lstm_impl.tuning import load
from tests.bench.made_nodes import WILD, a_case, fleet
from tests.bench.made_reports import (
    BUSY,
    HOSTILE,
    REPLICATES,
    TRAINING,
    a_run,
    endless,
    hostile_report,
    make_report,
    make_results,
    measured,
    replicated,
    sentences,
    without_time,
)
from tests.bench.made_results import make_store, save
from tests.bench.made_streams import streams
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


# Columns


def test_columns_documentation_has_every_unit_and_meaning() -> None:
    documented = re.findall(
        r"^\| `(\w+)` \| (.*) \| (.+) \|$", (ROOT / "docs" / "columns.md").read_text(), re.M
    )
    assert documented == [(name, each.unit, each.meaning) for name, each in COLUMNS.items()]


FLEET = fleet(WILD, {a_case(): 1.0, a_case("torch"): 2.0}, processes=2)


def of(backend: str, rows: list[dict[str, Value]]) -> dict[str, Value]:
    (found,) = [row for row in rows if row["backend"] == backend]
    return found


def test_records_every_value_has_its_columns_kind() -> None:
    tables = [
        make_report(
            *replicated(6, ("keras", 1.0), ("torch", 2.0)),
            without_time("cudnn", advice="look"),
            measured("keras", 1.0, work=replace(TRAINING, window=5), reasons=[BUSY]),
        ),
        build(streams({"keras": 4.0, "torch": 8.0}, calls=1000)),
        make_report(*FLEET),
    ]
    seen = set()
    for table in tables:
        for row in records(table):
            for name, value in row.items():
                if value is not None:
                    assert type(value) is COLUMNS[name].kind, name
                    seen.add(name)
    # The others are of roofs, memory, energy and reference backends.
    assert len(seen) >= 90


FIGURES: Figures = {"peak_bytes": 1e6, "of_matmul": 0.5, "of_bandwidth": 0.25, "operations": 9.0}


def test_records_figures_are_in_columns_of_their_names() -> None:
    (row,) = records(make_report(measured("keras", 1.0, memory=FIGURES, roofs=FIGURES)))
    assert row["peak_memory_bytes"] == 1e6
    assert (row["of_matmul_roof"], row["of_bandwidth_roof"]) == (0.5, 0.25)
    assert (row["operations"], row["of_chain_roof"]) == (9.0, None)
    assert (row["build_s"], row["trace_s"], row["first_call_s"]) == (0.5, 0.25, 1.0)
    assert row["first_result_s"] == 1.75


def machines(*runs: Run) -> set[Value]:
    items = [measured(name, 1.0, run) for run in runs for name in ("keras", "torch")]
    return {row["machine_id"] for row in records(make_report(*items))}


def test_machine_id_nodes_in_any_order_share_one() -> None:
    one, other = a_run(1, "session", "a"), a_run(2, "session", "b")
    third = a_run(3, "session", "c")
    assert machines(one) == {"id of a"}
    (both,) = machines(one, other)
    assert isinstance(both, str)
    assert re.fullmatch(r"nodes-[0-9a-f]{12}", both)
    assert machines(replace(other, started=one.started), one) == {both}
    assert machines(one, third) != {both}


def test_records_nodes_have_number_and_spread() -> None:
    rows = records(make_report(*FLEET))
    keras, torch = of("keras", rows), of("torch", rows)
    assert (keras["nodes"], keras["ratio_nodes"]) == (6, None)
    assert (torch["nodes"], torch["ratio_nodes"]) == (6, 6)
    assert keras["host"] == "a, b, c, d, e, f"
    assert keras["spread_between_nodes"] == pytest.approx(np.std([*WILD.values()], ddof=1), rel=0.1)
    assert torch["ratio_spread_between_nodes"] == pytest.approx(0, abs=0.01)
    alone = of("keras", records(make_report(*replicated(6, ("keras", 1.0)))))
    assert alone["nodes"] is alone["spread_between_nodes"] is None


def test_records_stream_has_percentiles_with_bounds_and_ratios() -> None:
    rows = records(build(streams({"keras": 4.0, "torch": 8.0})))
    keras, torch = of("keras", rows), of("torch", rows)
    for part in ("p50", "p90", "p99"):
        low, mid, high = (torch[f"latency_{part}{end}_s"] for end in ("_low", "", "_high"))
        assert isinstance(mid, float)
        assert low < mid < high  # type: ignore[operator]
        if part == "p50":  # its ratio is that of the times
            continue
        ratio = torch[f"latency_{part}_ratio"]
        assert ratio == pytest.approx(mid / keras[f"latency_{part}_s"], rel=0.05)  # type: ignore[operator]
        assert keras[f"latency_{part}_ratio"] is None
    assert torch["latency_p99_verdict"] == "SLOWER"
    assert torch["latency_p99_ratio"] == pytest.approx(2, rel=0.1)
    assert torch["calls"] == 6 * 7000
    assert torch["service_p50_s"] == pytest.approx(1e-4, rel=0.05)
    assert (torch["deadline_s"], torch["missed"], torch["load"]) == (None, None, 0)
    assert math.isfinite(float(torch["latency_most_s"] or math.nan))
    few = of("keras", records(build(streams({"keras": 4.0}, calls=5))))
    assert few["service_p50_s"] is few["latency_p50_s"] is few["latency_p50_low_s"] is None


# Frames


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


# Other tools


FOUND = make_results(
    measured("keras", 0.02, roofs={"processors_busy": 1.5}),
    measured("torch:int8", 0.01),
    without_time("cudnn", "refused"),
)


def test_hyperfine_cases_have_their_samples_and_what_differs() -> None:
    made = build(FOUND)
    (fast, keras) = sorted(json.loads(hyperfine(made))["results"], key=lambda r: r["mean"])
    row = next(each for each in made.sections[0].rows if each.case.id == keras["command"])
    assert keras["times"] == np.concatenate([run.samples for run in row.result.runs]).tolist()
    assert keras["median"] == pytest.approx(np.median(keras["times"]))
    assert keras["user"] == pytest.approx(1.5 * keras["mean"])
    assert len(keras["exit_codes"]) == len(keras["times"])
    assert fast["parameters"] == {"backend": "torch:int8"}
    # hyperfine itself has null for the deviation of one run only.
    assert None not in [each[key] for each in (fast, keras) for key in keras if key != "stddev"]


def test_github_action_entries_are_cases_of_the_newest_session() -> None:
    made = build(FOUND)
    entries = json.loads(github_action(made))
    times = {each["case_id"]: each["time_s"] for each in records(made) if each["time_s"]}
    assert {each["name"]: each["value"] for each in entries} == times
    for entry in entries:
        # The action's own pattern, in extractRangeInfo.ts; it takes the rest as one number.
        assert float(re.match(r"(?:\+-|±)\s*(\d.*)", entry["range"])[1]) >= 0  # type: ignore[index]
        assert set(entry) == {"name", "unit", "value", "range", "extra"}


def test_tensorboard_reads_a_run_per_backend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    words = [str(save(tmp_path / "results", FOUND)), "--format", "tensorboard"]
    assert report.main([*words]) == 2
    pytest.importorskip("tensorboard", reason="it reads the logs: pip install tensorboard")
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.util import tensor_util

    words += ["--output", str(folder)]
    assert report.main(words) == 0
    runs = EventMultiplexer().AddRunsFromDirectory(str(folder))
    runs.Reload()
    assert set(runs.Runs()) == {"keras", "torch_int8"}
    (tag,) = [each for each in runs.Runs()["keras"]["tensors"] if each.startswith("time_s/")]
    (event,) = runs.Tensors("keras", tag)
    assert tensor_util.make_ndarray(event.tensor_proto) == pytest.approx(0.02, rel=0.1)
    assert event.step == 0
    assert report.main(words) == 2  # a second one would be drawn over the first
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("", "terminal"),
        ("--output x.CSV", "csv"),
        ("--output x.md --format json", "json"),
        ("--output x", "terminal"),
        ("--output x.png", None),
        ("--output x.parquet", None),
    ],
)
def test_format_is_implied_by_the_name_or_refused(
    words: str, kind: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    made = arguments.make_parser("nothing", "Nothing.")
    arguments.add_output(made, ("terminal", "markdown", "csv", "json"))
    if kind is None:
        with pytest.raises(SystemExit):
            made.parse_args(words.split())
        assert "add --format, one of terminal, markdown, csv, json" in capsys.readouterr().err
    else:
        assert made.parse_args(words.split()).format == kind


# Decisions


FUSED = sorted((ROOT / "results" / "reference").glob("fused-*.json"))


def taught(changed: Report | None = None) -> list[str]:
    return [each.backend for each in data.decisions(changed or build(collect(FUSED)))]


def add_runs(found: Report, **changed: object) -> Report:
    def run(each: Run) -> Run:
        return replace(each, **changed)  # type: ignore[arg-type]

    sections = [
        Section(tuple(map(run, each.runs)), each.rows, each.baseline) for each in found.sections
    ]
    return Report(tuple(sections), found.notes)


def test_decisions_of_a_session_have_one_per_shape() -> None:
    found = list(data.decisions(build(collect(FUSED))))
    processor = json.loads(FUSED[0].read_text())["machine_info"]["cpu"]["brand_raw"]
    assert len(found) == len({each.question.digest for each in found}) >= 8
    for each in found:
        assert each.question.machine.device == f"{processor}, 2 usable"
        assert each.question.machine.versions["tensorflow-cpu"]
        assert each.question.through == "model"
        ratios = [raced.ratio for raced in each.raced]
        assert 1.0 in ratios  # of the shortest median
        assert ratios == sorted(ratios)
        assert all(raced.low <= raced.ratio <= raced.high for raced in each.raced)
    training = [each for each in found if each.question.workload.training]
    assert {each.best(lambda name: name in ("keras", "fused_cpu")) for each in training} == {
        "fused_cpu"
    }


def test_decisions_undescribed_machine_or_threads_give_none() -> None:
    found = build(collect(FUSED))
    assert taught(found)
    changes: list[dict[str, object]] = [
        {"environment": {}},
        {"environment": {"before": {"cpu": {"name": 3, "usable": 2}}}},
        {"environment": {"before": []}},
        {"options": {"threads": 1}},
    ]
    for changed in changes:
        assert taught(add_runs(found, **changed)) == []


def test_report_teach_writes_where_auto_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    assert report.main(["--teach", *map(str, FUSED)]) == 0
    out = capsys.readouterr().out
    written = load()
    assert f"{len(written)} decisions for backend='auto' written to" in out
    assert report.main(["--teach", *map(str, FUSED)]) == 0
    assert load() == written


def test_report_teach_without_decision_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    alone = [str(path) for path in FUSED[:1]]
    assert report.main(["--teach", "--backend", "keras", *alone]) == 2
    assert "nothing to teach" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "file" / "decisions"))
    assert report.main(["--teach", *map(str, FUSED)]) == 2
    assert "cannot be written" in capsys.readouterr().err
