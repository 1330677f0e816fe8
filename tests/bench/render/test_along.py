"""``bench.report --along``: fixed cost and slope over windows, timesteps and batches."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import report
from bench.case.cases import Case
from bench.cli.command_line import BAD_INPUT
from bench.cli.output import render_text
from bench.render import along
from bench.verdicts.along import AxisSeries, series
from bench.verdicts.sections import build
from tests.bench import made_windows as made
from tests.bench.made_results import a_run, gather, measured

COST = made.Cost(1e-3, 1e-4)
COSTS = {"while_loop": COST}


def replaced(case: Case, axis: str, length: int) -> Case:
    work = case.workload
    where = {"batch": work.batch, "timesteps": work.timesteps, axis: length}
    return replace(case, workload=replace(work, **where))  # type: ignore[arg-type]


def rows(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[dict[str, str]]:
    """Return what the command writes as CSV."""
    assert report.main(["--along", "window", *map(str, words), "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def cells(found: AxisSeries, backend: str) -> dict[str, tuple[str, str]]:
    """Return a line of the table, by heading."""
    table = along.table(found)
    line = next(line for line in table.lines if line[0].text == backend)
    return {
        column.heading: (cell.text, cell.bounds)
        for column, cell in zip(table.columns, line, strict=True)
    }


def test_along_table_windows_has_fixed_cost_slope_and_memory(tmp_path: Path) -> None:
    costs = {"while_loop": made.Cost(2.1e-4, 1.1e-4)}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, noise=0.0, processes=1))
    line = cells(found, "while_loop")
    assert line["fixed per step"] == ("210 µs", "−60.4 to 480")
    assert line["per timestep"] == ("110 µs", "47.5–173")
    assert line["within 5% from"] == ("60", "5–≥ 960")
    assert line["memory per timestep"] == ("195 KiB", "195–195")
    assert line["line misses by"][1].startswith("at ")
    (row, *_) = along.records([found])
    assert (row["fit_processes"], row["fit_allowance"]) == (1, 0.29)
    assert row["fit_fixed_s"] == pytest.approx(2.1e-4)
    assert row["fit_per_timestep_s"] == pytest.approx(1.1e-4)


@pytest.mark.parametrize(("axis", "unit"), [("timesteps", "timestep"), ("batch", "sequence")])
def test_along_complete_sequences_have_a_line_on_each_axis(axis: str, unit: str) -> None:
    items = [
        measured(
            replaced(made.streamed(backend, None, mode="inference", optimizer=None), axis, length),
            fixed + 1e-4 * length,
            run,
        )
        for run in map(a_run, range(6))
        for backend, fixed in (("keras", 3e-3), ("while_loop", 1e-3))
        for length in (8, 32, 128)
    ]
    (found,) = series(build(gather(*items)).sections, axis)
    assert found.values == (8, 32, 128)
    line = cells(found, "while_loop")
    assert line["fixed per step"][0] == "1.00 ms"
    assert line[f"per {unit}"][0] == "100 µs"
    assert line["vs keras at 8"][0] == "2.11×"
    assert line["verdict"][0] == "FASTER"
    data = along.records([found])
    assert data[0][f"fit_per_{unit}_s"] == pytest.approx(1e-4)
    assert {row["window"] for row in data} == {None}
    assert along.method([found])[0].startswith(f"time = fixed + slope · {axis}: ")


def test_along_notes_value_without_time_gives_reason(stream: AxisSeries) -> None:
    message = " ".join(along.notes(stream))
    assert "static_unroll+xla: window 120, 240, 480 and 960: timed out: its time limit" in message
    assert "give it longer with --case-limit" in message
    assert cells(stream, "static_unroll+xla")["backend"][1] == "up to 60"
    last = [row for row in along.records([stream]) if row["outcome"] == "timed_out"]
    assert {row["time_per_step_s"] for row in last} == {None}
    assert last[0]["fit_fixed_s"] == pytest.approx(4e-4, rel=0.05)


def test_along_backends_without_times_share_one_reason(tmp_path: Path) -> None:
    costs = {**COSTS, **made.refused("cudnn", "torch")}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs))
    message = "20 cases refused by the backend: it runs on GPUs only."
    for text in (
        render_text(along.document([found]).terminal),
        along.document([found]).markdown(),
        along.as_json([found]),
    ):
        assert message in " ".join(text.split())
    assert len([row for row in along.records([found]) if row["backend"] == "cudnn"]) == 10


def test_along_notes_times_off_the_line_says_so(tmp_path: Path) -> None:
    bent = {"while_loop": made.Cost(1e-3, 1e-4, slower={480: 1.3, 960: 1.3})}
    (found,) = made.read_streams(made.write_windows(tmp_path, bent, noise=1e-3))
    message = " ".join(along.notes(found))
    assert "the times do not follow one line" in message
    assert "window 480 it costs 27% (2" in message


def test_along_notes_learning_map_gives_distance_by_window(
    learning: Callable[..., AxisSeries],
) -> None:
    message = "\n".join(along.notes(learning((15, 8), (30, 20), (60, 8))))
    assert "Longest distance learned in the echo task, by window: " in message
    assert "15: 8, 30: 20, 60: 8" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "html"], "python -m bench.plot --along window"),
        (["--brief"], "--along --brief needs --format markdown"),
        (["--why"], "--why cannot be combined with --along"),
        (["--backend", "nothing"], "--backend nothing: no case matches"),
    ],
)
def test_report_along_wrong_options_give_one_line(
    words: list[str], message: str, one_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(one_process), "--along", "window", *words]) == BAD_INPUT
    out = capsys.readouterr()
    assert out.out == ""
    assert message in out.err
    assert len(out.err.splitlines()) == 1


def test_report_along_without_series_says_how_to_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, COSTS, (None,), processes=1)
    assert report.main([str(tmp_path), "--along", "window"]) == BAD_INPUT
    assert "`python -m bench.run truncation` measures some" in capsys.readouterr().err
    made.write_windows(tmp_path / "b", made.refused("keras"), processes=1)
    assert report.main([str(tmp_path / "b"), "--along", "window"]) == BAD_INPUT
    assert "10 cases refused by the backend: it runs on GPUs only." in capsys.readouterr().err


def test_report_along_window_reads_learning_map_in_same_folder(
    one_process: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made.write_learning(tmp_path / "maps", {10: 8, 30: 20})
    assert {row["learnable_distance"] for row in rows(capsys, one_process)} == {""}
    found = {row["window"]: row["learnable_distance"] for row in rows(capsys, one_process, path)}
    assert (found["10"], found["30"]) == ("8", "20")
    path.write_text("{")
    assert report.main([str(one_process), str(path), "--along", "window"]) == BAD_INPUT
    assert capsys.readouterr().err.count("learning-made-up.json") == 1
