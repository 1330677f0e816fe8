"""Test the tables of calls on the reference results."""

import pytest

import bench
from bench.render.quantities import ratio, seconds
from tests.places import ROOT
from tools.calls import SPEEDUPS, TIMES, main

REFERENCE = ROOT / "results" / "reference"


def results(name: str) -> list[str]:
    return sorted(map(str, REFERENCE.glob(f"{name}-*.json")))


RESULTS = results("call-paths")


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


def printed(capsys: pytest.CaptureFixture[str], table: str, paths: list[str]) -> list[str]:
    """Return the lines of a table and the line below it."""
    assert main([table, *paths]) == 0
    return capsys.readouterr().out.splitlines()


def test_table_of_precisions_leaves_out_what_was_not_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys, "precisions", results("cpu-frameworks"))
    rows = [line.split("|")[1:-1] for line in lines[2:9]]
    for row in rows:
        assert [bool(cell.strip()) for cell in row] == [True] * 4 + [False] * 8
        # numpy_fused, which has no column there, is the fastest at each shape.
        assert sum("**" in cell for cell in row) == 0
    assert "Not shown: " in lines[-1]
    assert "`numpy_fused`" in lines[-1]


FILES = {"frameworks": "cpu-frameworks", "precisions": "precision-cpu"}


@pytest.mark.parametrize("table", TIMES)
def test_bold_cell_is_the_shortest_time_of_the_results(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "training" if table.endswith("training") else "inference"
    paths = results(FILES.get(table.removesuffix("-training"), "call-paths"))
    frame = bench.load_frame(paths)
    frame = frame[(frame["mode"] == kind) & (frame.outcome == "measured")]
    lines = printed(capsys, table, paths)
    rows = {line.split(" | ")[0].removeprefix("| "): line.split("|")[2:-1] for line in lines[2:9]}
    for (batch, steps, hidden), there in frame.groupby(["batch", "timesteps", "hidden_size"]):
        (cells,) = (
            cells
            for shape, cells in rows.items()
            if shape.startswith(f"{batch}×{steps}×") and shape.endswith(f"{hidden}")
        )
        (bold,) = (cell for cell in cells if "**" in cell)
        assert seconds(there[there.error.isna()].time_s.min()) in bold


@pytest.mark.parametrize("table", TIMES)
def test_each_measured_backend_is_shown_or_named_as_left_out(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, other = "inference", "training"
    if table.endswith("training"):
        kind, other = other, kind
    paths = results(FILES.get(table.removesuffix("-training"), "call-paths"))
    frame = bench.load_frame(paths)
    frame = frame[(frame["mode"] == kind) & (frame.outcome == "measured")]
    shown = {
        name
        for names in TIMES[table].values()
        for name in ([names] if isinstance(names, str) else names)
    }
    line = printed(capsys, table, paths)[-1]
    left_out = line.partition("Not shown: ")[2].partition(", and the intervals")[0].split(", ")
    assert left_out[-1] == other
    types = frame.dtype.map(lambda dtype: "" if dtype == "float32" else f" {dtype}")
    measured = {f"`{name}`" for name in frame.backend + types if name not in shown}
    assert set(left_out[:-1]) == measured


def test_column_of_jax_shows_its_faster_scan_with_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = results("cpu-frameworks")
    lines = printed(capsys, "frameworks", paths)
    (column,) = (at for at, name in enumerate(lines[0].split("|")) if name.strip() == "JAX")
    frame = bench.load_frame(paths)
    frame = frame[(frame["mode"] == "inference") & frame.backend.str.startswith("jax_scan")]
    found = [line.split("|")[column] for line in lines[2:9]]
    for _, both in frame.groupby(["batch", "timesteps", "hidden_size"]):
        fastest = both.sort_values("time_s").iloc[0]
        (cell,) = (each for each in found if seconds(fastest.time_s) in each)
        assert cell.strip().endswith(f"`{fastest.backend}`")


def test_table_of_steps_has_the_speedups_over_keras(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "keras", results("fused"))
    assert "keras" in SPEEDUPS
    frame = bench.load_frame(results("fused"), baseline="keras").query("backend == 'fused_cpu'")
    assert len(frame) == 10
    for _, row in frame.iterrows():
        shown = f"{seconds(row.time_s)}, {ratio(row.speedup)}× ("
        assert sum(shown in line for line in lines[2:7]) == 1
