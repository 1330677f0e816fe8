"""``python -m bench.learning``: options, files, interruption, going on, what is shown."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import learning
from bench.disk.writing import LineFile
from bench.results import maps
from bench.results.maps import LearningMap
from bench.telling import drawing
from tests.places import ROOT

SMALL = (
    *("--tasks", "echo", "--distances", "1", "--windows", "3,6", "--seeds", "2"),
    *("--timesteps", "60", "--batch", "4", "--jobs", "1"),
)
CELLS = 8  # two windows, two states, two seeds


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTM_RESULTS", raising=False)


def run(*options: str) -> int:
    try:
        return learning.main(options)
    except SystemExit as ended:
        return int(ended.code or 0)


def the_map() -> LearningMap:
    (path,) = Path("results").glob("learning-*.json")
    return maps.read(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the map of a whole run; nobody changes anything there."""
    folder = tmp_path_factory.mktemp("trained") / "results"
    assert run(*SMALL, "--results", str(folder)) == 0
    return folder


@pytest.fixture
def here(trained: Path, in_a_folder_of_its_own: None) -> None:
    """The same, in this folder."""
    shutil.copytree(trained, "results")


def interrupted(cells: int) -> Path:
    """What there would be after Ctrl-C: of the whole run that is here its journal, cut."""
    (whole,) = Path("results").glob("learning-*.json")
    whole.unlink()
    (journal,) = Path("results").glob("learning-*.journal.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: 1 + cells]) + lines[1 + cells][:50])
    return journal


# -- what it does


def test_it_trains_writes_a_map_and_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL) == 0
    out = capsys.readouterr().out
    assert "[1/8] echo d=1 k=3 carried seed 0: loss 0." in out
    assert "[8/8] echo d=1 k=6 reset seed 1: loss 0." in out
    assert "Echo, state carried" in out
    assert "Echo, state reset at each window" in out
    found = the_map()
    assert f"map: {found.path}" in out
    assert found.run.complete
    assert found.run.finished is not None
    assert len(found.cells) == CELLS
    assert found.run.settings["windows"] == [3, 6]
    assert found.run.libraries["numpy"]


@pytest.mark.parametrize(
    ("option", "states"), [("--carried", {True}), ("--reset", {False}), ("--both", {True, False})]
)
def test_the_state_is_carried_reset_or_both(option: str, states: set[bool]) -> None:
    assert run(*SMALL, option) == 0
    assert {cell.carried for cell in the_map().cells} == states


def test_windows_overlap_where_the_stride_is_shorter() -> None:
    assert run(*SMALL, "--stride", "2", "--carried") == 0
    assert {(cell.window, cell.stride, cell.updates) for cell in the_map().cells} == {
        (3, 2, 29),
        (6, 2, 28),
    }


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


def test_a_picture_is_drawn_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    if not drawing.available():
        pytest.skip("matplotlib is not installed")
    assert run(*SMALL, "--picture", "map.svg") == 0
    assert "picture: map.svg" in capsys.readouterr().out
    assert Path("map.svg").read_bytes().startswith(b"<?xml")


# -- interrupted, and gone on with


@pytest.mark.usefixtures("here")
def test_gone_on_with_it_gives_the_map_of_an_uninterrupted_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = the_map()
    interrupted(3)
    assert run("--resume", "--jobs", "1") == 0
    out = capsys.readouterr().out
    assert "[4/8]" in out
    assert "[3/8]" not in out
    assert the_map().cells == whole.cells
    assert the_map().run.complete
    # Nothing is unfinished any more.
    assert run("--resume") == 2
    assert "holds no unfinished map" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_another_setting_is_not_gone_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    journal = interrupted(2)
    assert run("--resume", "--seeds", "3") == 2
    assert f"--seeds differs from that of {journal}" in capsys.readouterr().err
    assert run("--resume", "--seeds", "2", "--jobs", "1") == 0


def test_out_of_its_budget_it_keeps_what_is_done_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(float(second) for second in range(1000))
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: next(clock))
        assert run(*SMALL, "--budget", "4s") == 0
    out = capsys.readouterr().out
    assert "the budget is spent; go on with: python -m bench.learning --resume" in out
    found = maps.read(next(Path.cwd().glob("results/learning-*.json")))
    assert not found.run.complete
    assert 0 < len(found.cells) < CELLS


def test_with_no_time_at_all_there_is_an_empty_map_and_no_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*SMALL, "--budget", "0.000001s", "--format", "markdown") == 0
    assert "no cell is trained yet" in capsys.readouterr().out
    assert the_map().cells == ()
    assert run("--resume", "--jobs", "1") == 0
    assert len(the_map().cells) == CELLS


@pytest.mark.parametrize(
    ("jobs", "number"),
    [
        ("1", signal.SIGTERM),
        ("2", signal.SIGINT),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (("1", signal.SIGINT), ("2", signal.SIGTERM))
        ),
    ],
)
def test_a_signal_to_the_group_ends_it_within_a_moment_and_keeps_the_finished_cells(
    jobs: str, number: int
) -> None:
    """As Ctrl-C in a terminal, or timeout, send it: to the command and to its workers."""
    command = [sys.executable, "-m", "bench.learning", "--jobs", jobs, "--distances", "1"]
    child = subprocess.Popen(
        [*command, "--windows", "30,3", "--carried", "--timesteps", "3000", "--seeds", "500"],
        cwd=ROOT,
        env={**os.environ, "LSTM_RESULTS": str(Path.cwd() / "results")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("[1/2000]")
    os.killpg(child.pid, number)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 130, err
    assert err == ""
    assert "go on with: python -m bench.learning --resume" in out
    (found,) = maps.collect(["results"]).maps
    assert not found.run.complete
    assert len(found.cells) >= 1
    assert f"stopped after {len(found.cells)} of 2000 cells" in out


# -- errors


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--distances", "one"], "--distances: 'one'; expected integers"),
        (["--distances", "0"], "--distances hold 0; expected positive integers"),
        (["--windows", "31"], "--timesteps is 60; expected at least 62"),
        (["--windows", "3,3"], "--windows are to be at least one, each once"),
        (["--tasks", "adding"], "--tasks hold 'adding'; expected echo or copy"),
        (["--seeds", "0"], "--seeds is 0; expected a positive integer"),
        (["--hidden", "-1"], "--hidden is -1"),
        (["--learning-rate", "nan"], "--learning-rate is nan; expected a positive number"),
        (["--stride", "0"], "--stride is 0"),
        (["--jobs", "0"], "--jobs is 0; expected a positive integer"),
        (["--budget", "soon"], "is no time; write 90s, 10m or 1h30m"),
        (["--backend", "nosuch"], "nosuch"),
        (["--backend", "cudnn"], "--backend cudnn on cpu: "),
        (["--device", "gpu:9", "--backend", "numpy"], "--backend numpy on gpu:9: "),
        (["--backends", "numpy"], "--backends goes with --agree"),
        (["--resume"], "holds no unfinished map; start one without --resume"),
        (["--show", "--resume"], "--show and --resume: expected one of them"),
        (["--show", "none.json"], "none.json does not exist"),
        (["--show"], "results holds no map; python -m bench.learning makes one"),
        (["--picture", "map.gif"], "expected a name that ends in .png, .svg, .pdf"),
        (["--carried", "--reset"], "not allowed with"),
        (["--nosuch"], "unrecognized arguments: --nosuch"),
        (["--results", "/dev/null/maps"], "/dev/null/maps"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = "--show" in arguments
    assert run(*([] if shown else SMALL), *arguments) == 2
    out = capsys.readouterr()
    assert told in out.err
    assert len(out.err.splitlines()) == 1
    assert out.err.startswith("error: ")
    assert not list(Path.cwd().glob("results/*"))


def test_a_picture_without_matplotlib_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawing, "available", lambda: False)
    assert run(*SMALL, "--picture", "map.svg") == 2
    assert "lstm-benchmark-suite[plots]" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_file_that_cannot_be_read_is_told_and_the_newest_other_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("results/learning-bad.json").write_text("{")
    assert run("--show") == 2
    out = capsys.readouterr()
    assert "learning-bad.json" in out.err
    assert "Echo, state carried" in out.out


@pytest.mark.usefixtures("here")
def test_a_journal_that_is_still_written_is_not_gone_on_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = interrupted(1)
    with LineFile(journal, again=True):
        before = journal.read_bytes()
        assert run("--resume") == 2
    error = capsys.readouterr().err
    assert f"--resume: process {os.getpid()} on " in error
    assert f"still writes {journal}: wait until it has ended, or end it" in error
    assert journal.read_bytes() == before
    assert run("--resume") == 0


@pytest.mark.usefixtures("here")
def test_a_journal_of_another_version_is_not_gone_on_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = interrupted(1)
    head, *cells = journal.read_text().splitlines()
    line = json.loads(head)
    del line["learning"]["run"]["settings"]["by_task"]
    journal.write_text("\n".join([json.dumps(line), *cells]))
    assert run("--resume") == 2
    error = capsys.readouterr().err
    assert "by_task is not what this version gives each task; start anew" in error


def test_a_training_that_diverges_is_exit_code_1_and_stands_in_the_map(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*SMALL, "--learning-rate", "1e300", "--carried") == 1
    out = capsys.readouterr().out
    assert "diverged" in out
    assert all("diverged" in cell.problem for cell in the_map().cells)
