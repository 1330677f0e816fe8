"""``python -m bench.learning``: options, files, interruption, going on, what is shown."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.records import maps
from bench.render import drawing
from tests.bench.trained_maps import CELLS, SMALL, interrupted, run, the_map
from tests.places import ROOT

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


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


def test_windows_overlap_where_the_stride_is_shorter() -> None:
    assert run(*SMALL, "--stride", "2", "--carried") == 0
    assert {(cell.window, cell.stride, cell.updates) for cell in the_map().cells} == {
        (3, 2, 29),
        (6, 2, 28),
    }


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
    assert re.search("go on with: .* -m bench.learning --resume\n", out)
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
