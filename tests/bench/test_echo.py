"""``python -m bench.echo``: options, exit codes, what is printed and written, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.echo import __main__ as echo
from bench.echo import echo_run
from bench.echo.task import Window
from bench.echo.training import Checkpoint, Training
from bench.render import drawing
from tests.places import ROOT

SMALL = ["--backend", "numpy", "--bits", "1500"]  # 20 windows an epoch


def run(*options: str) -> int:
    return echo.main([*SMALL, *options])


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_trains_says_what_was_reached_and_draws(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--epochs", "3") == 0
    out = capsys.readouterr().out
    assert re.search(r"epoch 1/3  window 20/20  loss 0\.\d{4}  right +\d", out)
    assert re.search(r"epoch 3/3  window 20/20", out)
    assert re.search(r"mean loss of the last 50 windows: 0\.\d{5}  \(best possible: 0\.0\d+\)", out)
    assert "picture: results/echo.png" in out
    assert Path("results/echo.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in Path("results").iterdir()] == ["echo.png"]


def test_options_of_the_series_work_together() -> None:
    options = ["--layers", "3", "--dropout", "0.5", "--stride", "5", "--reset-state"]
    assert run(*options, "--epochs", "1", "--output", "echo.pdf") == 0
    assert Path("echo.pdf").read_bytes().startswith(b"%PDF")


def test_without_matplotlib_it_trains_and_says_how_to_get_a_picture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "available", lambda: False)
    assert run("--epochs", "1") == 0
    assert "no picture: it needs matplotlib" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--echo", "1500"], "--echo is 1500; expected less than the 1500 bits"),
        (["--window", "301"], "--window is 301; expected at most 300"),
        (["--bits", "many"], "--bits: invalid int value: 'many'"),
        (["--dropout", "0.5"], "--dropout acts between layers"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0"),
        (["--dtype", "float8"], "--dtype is 'float8'"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--wind", "3"], "unrecognized arguments: --wind"),
        (["--device", "tpu"], "--device 'tpu' is no device"),
        (["--output", "echo.bmp"], "--output echo.bmp: expected a name that ends in .png"),
        (["--output", "file/echo.png"], "--output file/echo.png: "),
        (["--checkpoint", "file/deep/echo.npz"], "--checkpoint file/deep/echo.npz: "),
        (["--logdir", "file/logs"], "--logdir file/logs: Not a directory"),
        (["--resume"], "results/echo.npz: there is no such checkpoint"),
        (["--backend", "while_lop"], "there is no backend 'while_lop'; did you mean while_loop"),
        (["--device", "gpu:0"], "--backend numpy on gpu:0: NumPy computes on the CPU only"),
    ],
)
def test_a_bad_option_gives_one_clear_line_and_code_2(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    try:
        code: Any = run(*options)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err
    assert captured.out == ""


def test_a_training_that_diverges_ends_with_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with np.errstate(all="ignore"):
        assert run("--learning-rate", "1e308", "--dtype", "float64") == 1
    assert "lower the learning rate" in capsys.readouterr().err


def test_a_curve_outside_its_bound_ends_with_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "available", lambda: False)

    class Off(Training):
        def step(self) -> Window:
            window = super().step()
            self.losses[-1] += 1e-3
            return window

    monkeypatch.setattr(echo_run, "Training", Off)
    assert run("--epochs", "1", "--check-curve") == 1
    assert "OUTSIDE the bound" in capsys.readouterr().out


def test_what_stops_it_at_once_is_code_130_and_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Training) -> Window:
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "step", stopped)
    assert run() == 130
    assert "nothing more was saved" in capsys.readouterr().err


def test_a_signal_from_outside_ends_a_real_process_with_a_checkpoint(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.echo", "--backend", "numpy", "--epochs", "1000"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stuck = threading.Timer(120, process.kill)
    stuck.start()
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it trains
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    finally:
        stuck.cancel()
    assert process.returncode == 130, err
    assert "checkpoint: results/echo.npz" in out
    assert err == ""
    assert len(Checkpoint.read(tmp_path / "results/echo.npz").losses) >= 100
