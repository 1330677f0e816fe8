"""Test ``python -m bench.echo``: options, exit codes, output, picture and Ctrl-C."""

import argparse
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_impl
from bench.cli.command_line import UsageError
from bench.echo import __main__ as echo
from bench.echo import run as echo_run
from bench.echo.task import EchoSettings
from bench.echo.training import Training
from bench.render import plot

SMALL = ["--backend", "numpy", "--bits", "1500"]  # 20 windows an epoch


def run(*options: str) -> int:
    return echo.main([*SMALL, *options])


def parsed(*options: str) -> argparse.Namespace:
    return echo_run.parser().parse_args(options)


pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the picture, which takes longer than the training."""
    monkeypatch.setattr(plot, "is_available", lambda: False)


# -- options


def test_options_all_given_reach_the_settings() -> None:
    options = [
        "--bits", "3000", "--echo", "2", "--batch", "4", "--window", "10",
        "--units", "3", "--layers", "2", "--dropout", "0.25", "--learning-rate", "0.2",
        "--seed", "7", "--dtype", "float64", "--reset-state", "--epochs", "2",
        "--backend", "numpy", "--device", "cpu:0", "--output", "a/b.svg",
    ]  # fmt: skip
    found = parsed(*options)
    assert echo_run.parse_settings(found) == EchoSettings(
        bits=3000, echo=2, batch=4, window=10, units=3, layers=2, dropout=0.25,
        learning_rate=0.2, seed=7, dtype="float64", reset_state=True,
    )  # fmt: skip
    assert (found.epochs, found.backend, found.device) == (2, "numpy", "cpu:0")
    assert echo_run.picture_path(found.output) == Path("a/b.svg")


def test_options_none_given_are_the_tutorial() -> None:
    found = parsed()
    assert echo_run.parse_settings(found) == EchoSettings()
    assert found.epochs == 4
    assert echo_run.picture_path(found.output) == Path("results/echo.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bits", "many"], "--bits: 'many' is not a whole number of at least 1"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0"),
        (["--epochs", "0"], "--epochs: '0' is not a whole number of at least 1"),
        (["--wind", "3"], "unrecognized arguments: --wind"),
        (["--device", "tpu"], "--device 'tpu' is not a device"),
        (["--output", "echo.bmp"], "--output echo.bmp: expected a file name that ends in .png"),
        (["--output", "file/echo.png"], "--output file/echo.png: "),
        (["--output", "folder.png"], "--output folder.png is a folder"),
        (["--backend", "while_lop"], "there is no backend 'while_lop'; did you mean while_loop"),
        (["--device", "gpu:0"], "--backend numpy on gpu:0: NumPy computes on the CPU only"),
    ],
)
def test_echo_bad_option_prints_one_line_and_exits_2(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    Path("folder.png").mkdir()
    try:
        code: Any = run(*options)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


# -- the backend


class Unavailable(lstm_impl.Backend):
    strategy, framework, summary = "absent", "none", "for tests"

    def availability(self, device: str = "cpu") -> lstm_impl.Availability:
        return lstm_impl.Availability(False, "its framework is not installed", "pip install it")

    def _build(self, *args: Any) -> Any:
        raise AssertionError("built although not available")


def test_choose_backend_default_missing_falls_back_to_numpy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = lstm_impl.get_backend
    monkeypatch.setattr(
        lstm_impl, "get_backend", lambda name: Unavailable() if name == "while_loop" else real(name)
    )
    assert echo_run.choose_backend(None, "cpu", EchoSettings()).name == "numpy"
    out = capsys.readouterr().out
    assert "its framework is not installed" in out
    assert "training with numpy" in out
    for name, device in (("while_loop", "cpu"), (None, "gpu:0")):
        with pytest.raises(UsageError, match="its framework is not installed"):
            echo_run.choose_backend(name, device, EchoSettings())


# -- the training


def test_echo_three_epochs_reports_losses_and_saves_picture(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--epochs", "3") == 0
    out = capsys.readouterr().out
    assert re.search(r"epoch 1/3  window 20/20  loss 0\.\d{4}  correct +\d", out)
    assert re.search(r"mean loss of the last 50 windows: 0\.\d{5}  \(best possible: 0\.0\d+\)", out)
    # Three unknown timesteps of 15 in the first window of each epoch of 20.
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert f"(best possible: {3 / 15 * entropy / 20:.5f})" in out
    assert "60 windows in " in out
    assert "picture: results/echo.png" in out
    assert Path("results/echo.png").read_bytes().startswith(b"\x89PNG")


def test_echo_layers_dropout_and_reset_save_a_pdf() -> None:
    options = ["--layers", "3", "--dropout", "0.5", "--reset-state"]
    assert run(*options, "--epochs", "1", "--output", "echo.pdf") == 0
    assert Path("echo.pdf").read_bytes().startswith(b"%PDF")


def test_echo_without_matplotlib_trains_and_names_the_extra(
    no_picture: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--epochs", "1") == 0
    assert "No picture was drawn, because matplotlib is missing" in capsys.readouterr().out
    assert run("--output", "echo.png") == 2
    assert "pip install 'lstm-benchmark-suite[plots]'" in capsys.readouterr().err


@pytest.mark.usefixtures("no_picture")
def test_echo_diverging_training_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    with np.errstate(all="ignore"):
        assert run("--learning-rate", "1e308", "--dtype", "float64") == 1
    assert "Reduce the learning rate" in capsys.readouterr().err


# -- Ctrl-C


def interrupt(monkeypatch: pytest.MonkeyPatch, windows: int, times: int = 1) -> None:
    """Send ``times`` SIGINT after ``windows`` windows."""

    def show(training: Training, epochs: int) -> None:
        if training.windows_done == windows:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(echo_run, "show_progress", show)


def test_echo_ctrl_c_finishes_the_window_and_saves_picture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupt(monkeypatch, 33)
    assert run("--epochs", "3") == 130
    out = capsys.readouterr().out
    assert "33 windows in " in out
    assert "stopped after window 33 of 60" in out
    assert Path("results/echo.png").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_echo_second_ctrl_c_stops_immediately(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, 5, times=2)
    assert run() == 130
    assert capsys.readouterr().err == "stopped at once\n"
    assert not Path("results").exists()
