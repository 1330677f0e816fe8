"""What bench.learning is asked: which states are trained, and how a map is shown."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.bench.trained_maps import CELLS, SMALL, run, the_map

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


@pytest.mark.parametrize(
    ("option", "states"), [("--carried", {True}), ("--reset", {False}), ("--both", {True, False})]
)
def test_the_state_is_carried_reset_or_both(option: str, states: set[bool]) -> None:
    assert run(*SMALL, option) == 0
    assert {cell.carried for cell in the_map().cells} == states


@pytest.mark.usefixtures("here")
def test_the_newest_map_is_shown_in_either_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--show") == 0
    assert "Echo, state carried\n" in capsys.readouterr().out
    assert run("--show", "results", "--format", "markdown", "--values", "loss") == 0
    out = capsys.readouterr().out
    assert "**Echo, state carried**" in out
    assert "final loss in nats a timestep" in out
    # What was trained is not touched by showing it.
    assert len(list(Path("results").iterdir())) == 2


@pytest.mark.usefixtures("here")
def test_the_map_is_shown_as_data_and_goes_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--show", "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert len(rows) == CELLS
    cells = {cell.key: cell for cell in the_map().cells}
    for row in rows:
        carried = row["carried"] == "true"
        place = row["task"], int(row["distance"]), int(row["window"]), carried, int(row["seed"])
        assert float(row["loss"]) == cells[place].loss
    # The form is what the file's name says.
    for name, begins in (("map.json", "{"), ("map.md", "backend "), ("map.csv", "run,")):
        assert run("--show", "--output", name) == 0
        out = capsys.readouterr()
        assert (out.out, out.err) == ("", f"written: {name}\n")
        assert Path(name).read_text().startswith(begins)
    assert len(json.loads(Path("map.json").read_text())["cells"]) == CELLS
    assert run("--show", "--format", "png") == 2
    assert capsys.readouterr().err == "error: --format png needs --output FILE.png\n"


@pytest.mark.usefixtures("here")
def test_only_what_is_named_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--show", "--carried", "--windows", "6", "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert {(row["carried"], row["window"]) for row in rows} == {("true", "6")}
    assert len(rows) < CELLS
    assert run("--show", "--windows", "99") == 2
    assert capsys.readouterr().err == "error: the map has no cell of window 99\n"


def test_with_no_time_at_all_there_is_an_empty_map_and_no_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*SMALL, "--budget", "0.000001s", "--format", "markdown") == 0
    assert "no cell is trained yet" in capsys.readouterr().out
    assert the_map().cells == ()
    assert run("--resume", "--jobs", "1") == 0
    assert len(the_map().cells) == CELLS


def test_a_training_that_diverges_is_exit_code_1_and_stands_in_the_map(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*SMALL, "--learning-rate", "1e300", "--carried") == 1
    out = capsys.readouterr().out
    assert "diverged" in out
    assert all("diverged" in cell.problem for cell in the_map().cells)
