"""Test the tables of calls on the reference results, of other shapes than the suite has now."""

from __future__ import annotations

import pytest

import bench
from bench.render.quantities import seconds
from tests.places import ROOT
from tools.calls import main

RESULTS = sorted(map(str, (ROOT / "results" / "reference").glob("call-paths-*.json")))
SHAPES = ["8×5×64", "8×30×64", "8×100×64"]


@pytest.mark.parametrize("table", ["defaults", "inference", "training"])
def test_table_of_calls_has_the_times_of_the_results(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([table, *RESULTS]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [row[0].removeprefix("| ") for row in rows] == SHAPES
    mode = "inference" if table == "inference" else "training"
    name = "keras_model+onnx" if table == "inference" else "lstm_impl_model+train_on_batch"
    frame = bench.load_frame(RESULTS, baseline=f"keras_model+{name.partition('+')[2]}")
    frame = frame.query(f"backend == '{name}' and mode == '{mode}'").sort_values("timesteps")
    column = {"defaults": 4, "inference": 8, "training": 2}[table]
    for row, (_, wanted) in zip(rows, frame.iterrows(), strict=True):
        cell = row[column].removesuffix(" |")
        assert seconds(wanted.time_s) in cell
        if table == "defaults":
            assert f"{wanted.speedup:.2f}× (" in cell
        else:
            assert sum(each.startswith("**") for each in row) == 1
