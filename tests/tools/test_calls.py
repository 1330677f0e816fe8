"""Test the tables of calls on the reference results."""

import pytest

import bench
from bench.render.quantities import seconds
from tests.places import ROOT
from tools.calls import main

RESULTS = sorted(map(str, (ROOT / "results" / "reference").glob("call-paths-*.json")))


@pytest.mark.parametrize(
    ("table", "name", "column"),
    [("defaults", "lstm_impl_model+train_on_batch", 4), ("inference", "keras_model+onnx", 8)],
)
def test_table_of_calls_has_the_times_of_the_results(
    table: str, name: str, column: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([table, *RESULTS]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:9]]
    assert [row[0].removeprefix("| ") for row in rows[:3]] == ["5×15×1→4", "1×1×256", "1×150×256"]
    frame = bench.load_frame(RESULTS, baseline=f"keras_model+{name.partition('+')[2]}")
    ours = frame[(frame.backend == name) & (frame.dtype == "float32")]
    for row, (_, wanted) in zip(rows, ours.iterrows(), strict=True):
        assert seconds(wanted.time_s) in row[column]
        assert table == "inference" or f"{wanted.speedup:.2f}× (" in row[column]
        assert sum(each.startswith("**") for each in row) == (table == "inference")


def test_table_of_precisions_leaves_out_what_was_not_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = map(str, (ROOT / "results" / "reference").glob("cpu-frameworks-*.json"))
    assert main(["precisions", *paths]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:9]]
    for row in rows:
        assert [bool(cell.strip()) for cell in row] == [True] * 4 + [False] * 6
        assert sum("**" in cell for cell in row) == 1
