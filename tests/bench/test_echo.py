"""``python -m bench.echo``: options, progress, files, interruption, going on, its checks."""

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
from rich.console import Console

import lstm_impl
from bench import echo
from bench.telling import drawing
from bench.windows.learning import echo_animation, echo_picture, echo_run
from bench.windows.learning.settings import EchoSettings
from bench.windows.learning.task import Window, best_possible_loss
from bench.windows.learning.training import Checkpoint, Training
from tests.places import ROOT

SMALL = ["--backend", "numpy", "--bits", "1500"]  # 20 windows an epoch


def run(*options: str) -> int:
    return echo.main([*SMALL, *options])


def losses(path: Path) -> list[float]:
    found: list[float] = Checkpoint.read(path).losses.tolist()
    return found


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test is of something else: drawing one takes longer than training for it."""
    monkeypatch.setattr(drawing, "available", lambda: False)


# -- what it does


def test_it_trains_shows_the_loss_beside_the_best_possible_and_draws(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--epochs", "3") == 0
    out = capsys.readouterr().out
    assert re.search(r"epoch 1/3  window 20/20  loss 0\.\d{4}  right +\d", out)
    assert re.search(r"epoch 3/3  window 20/20", out)
    assert re.search(r"mean loss of the last 50 windows: 0\.\d{5}  \(best possible: 0\.0\d+\)", out)
    # Three unknown steps of 15 in the one first window of each epoch of 20.
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert "last 20 windows: 0.6" in out
    assert f"(best possible: {3 / 15 * entropy / 20:.5f})" in out
    assert "picture: results/echo.png" in out
    assert Path("results/echo.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in Path("results").iterdir()] == ["echo.png"]


def test_each_option_reaches_the_training() -> None:
    options = [
        "--bits", "3000", "--echo", "2", "--batch", "4", "--window", "10", "--stride", "5",
        "--units", "3", "--layers", "2", "--dropout", "0.25", "--learning-rate", "0.2",
        "--seed", "7", "--dtype", "float64", "--reset-state", "--epochs", "2",
        "--backend", "numpy", "--device", "cpu:0", "--output", "a/b.svg",
    ]  # fmt: skip
    plan = echo_run.plan(echo._parser().parse_args(options))
    assert plan.settings == EchoSettings(
        bits=3000, echo=2, batch=4, window=10, stride=5, units=3, layers=2, dropout=0.25,
        learning_rate=0.2, seed=7, dtype="float64", reset_state=True,
    )  # fmt: skip
    assert (plan.epochs, plan.backend, plan.device) == (2, "numpy", "cpu")
    assert (plan.picture, plan.checkpoint) == (Path("a/b.svg"), Path("a/b.npz"))


def test_without_options_it_is_the_tutorial() -> None:
    plan = echo_run.plan(echo._parser().parse_args([]))
    assert plan.settings == EchoSettings()
    assert plan.epochs == 4
    assert plan.picture == Path("results/echo.png")


def test_options_of_the_series_work_together(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--layers", "3", "--dropout", "0.5", "--stride", "5", "--reset-state"]
    assert run(*options, "--epochs", "1", "--output", "echo.pdf") == 0
    assert Path("echo.pdf").read_bytes().startswith(b"%PDF")


# -- what it refuses


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
        (["--resume"], "results/echo.npz: there is no such checkpoint"),
        (["--backend", "while_lop"], "there is no backend 'while_lop'; did you mean while_loop"),
        (["--device", "gpu:0"], "--backend numpy on gpu:0: NumPy computes on the CPU only"),
    ],
)
def test_a_bad_option_gives_one_clear_line_and_code_2(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_places_that_cannot_be_written_are_refused_before_the_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").write_text("")
    Path("folder.png").mkdir()
    for options in (
        ["--output", "file/echo.png"],
        ["--output", "folder.png"],
        ["--checkpoint", "file/deep/echo.npz"],
        ["--logdir", "file/logs"],
    ):
        assert run(*options) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"error: {options[0]} ")
        assert "epoch 1" not in captured.out


class Unavailable(lstm_impl.Backend):
    strategy, framework, summary = "absent", "none", "for tests"

    def availability(self, device: str = "cpu") -> lstm_impl.Availability:
        return lstm_impl.Availability(False, "its framework is not installed", "pip install it")

    def _build(self, *args: Any) -> Any:
        raise AssertionError("built although not available")


class Refusing(lstm_impl.Backend):
    strategy, framework, summary = "refusing", "none", "for tests"

    def availability(self, device: str = "cpu") -> lstm_impl.Availability:
        return lstm_impl.Availability(True)

    def refusal(self, spec: lstm_impl.LSTMSpec, workload: lstm_impl.Workload | None = None) -> str:
        training = workload is not None and workload.training
        return "it can only infer" if training else ""

    def _build(self, *args: Any) -> Any:
        raise AssertionError("built although refused")


@pytest.fixture
def odd_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    real = lstm_impl.get_backend
    odd = {"absent": Unavailable, "while_loop": Unavailable, "refusing": Refusing}
    monkeypatch.setattr(
        lstm_impl, "get_backend", lambda name: odd[name]() if name in odd else real(name)
    )


@pytest.mark.usefixtures("odd_backends")
def test_an_unavailable_backend_says_why_and_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--backend", "absent") == 2
    assert "its framework is not installed: pip install it" in capsys.readouterr().err


@pytest.mark.usefixtures("odd_backends")
def test_a_backend_that_cannot_train_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--backend", "refusing") == 2
    assert "cannot train this: it can only infer" in capsys.readouterr().err


@pytest.mark.usefixtures("odd_backends")
def test_without_the_usual_backend_numpy_trains_and_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert echo.main(["--bits", "1500", "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "its framework is not installed" in out
    assert "training with numpy" in out


def test_without_matplotlib_it_trains_and_says_how_to_get_a_picture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "available", lambda: False)
    assert run("--epochs", "1") == 0
    assert "no picture: it needs matplotlib" in capsys.readouterr().out
    for options in (["--output", "echo.png"], ["--live"]):
        assert run(*options) == 2
        assert "pip install 'lstm-benchmark-suite[plots]'" in capsys.readouterr().err


def test_a_training_that_diverges_ends_with_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with np.errstate(all="ignore"):
        assert run("--learning-rate", "1e308", "--dtype", "float64") == 1
    assert "lower the learning rate" in capsys.readouterr().err


# -- checkpoints


@pytest.mark.usefixtures("no_picture")
def test_a_training_in_two_parts_has_the_curve_of_one_in_one_part() -> None:
    assert run("--epochs", "4", "--checkpoint", "whole.npz") == 0
    assert run("--epochs", "2", "--checkpoint", "parts.npz") == 0
    assert len(losses(Path("parts.npz"))) == 40
    assert echo.main(["--epochs", "4", "--checkpoint", "parts.npz", "--resume"]) == 0
    assert losses(Path("parts.npz")) == losses(Path("whole.npz"))


class InterruptedAt:
    """A progress line at which the user presses Ctrl-C."""

    def __init__(self, windows: int, times: int = 1) -> None:
        self.windows, self.times = windows, times

    def __call__(self, training: Training) -> None:
        if training.windows_done == self.windows:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def interrupted(monkeypatch: pytest.MonkeyPatch, windows: int, times: int = 1) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr(
        echo_run, "progress_of", lambda *_: nullcontext(InterruptedAt(windows, times))
    )


def test_ctrl_c_saves_checkpoint_and_picture_and_resume_goes_on_bit_for_bit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupted(patch, 33)
        assert run("--epochs", "3", "--output", "my echo.png") == 130
    out = capsys.readouterr().out
    assert "stopped after window 33 of 60" in out
    assert "--resume --checkpoint 'my echo.npz' --output 'my echo.png'" in out
    assert Path("my echo.png").exists()
    assert len(losses(Path("my echo.npz"))) == 33
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(drawing, "available", lambda: False)
    assert run("--epochs", "3", "--checkpoint", "whole.npz") == 0
    assert echo.main(["--resume", "--checkpoint", "my echo.npz"]) == 0
    assert "going on from my echo.npz, after window 33" in capsys.readouterr().out
    assert losses(Path("my echo.npz")) == losses(Path("whole.npz"))


def test_the_command_that_goes_on_asks_for_what_was_asked_for_beside_the_training() -> None:
    asked = ["--output", "a.png", "--device", "gpu:1", "--logdir", "my logs", "--live"]
    planned = echo_run.plan(echo._parser().parse_args([*asked, "--check-curve", "--layers", "2"]))
    start = ["python", "-m", "bench.echo", "--resume", "--checkpoint", "a.npz"]
    assert echo_run._going_on(planned) == [*start, *asked, "--check-curve"]
    usual = echo_run.plan(echo._parser().parse_args([]))
    assert echo_run._going_on(usual) == [*start[:-1], "results/echo.npz"]


def test_a_second_ctrl_c_stops_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, 5, times=2)
    assert run() == 130
    assert "nothing more was saved" in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_named_checkpoint_is_kept_after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 25, times=2)  # nothing is saved at that moment
    assert run("--checkpoint", "echo.npz") == 130
    assert len(losses(Path("echo.npz"))) == 20


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
    assert len(losses(tmp_path / "results/echo.npz")) >= 100


@pytest.mark.usefixtures("no_picture")
def test_resume_refuses_options_that_would_change_the_curve(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--epochs", "1", "--checkpoint", "echo.npz") == 0
    assert run("--resume", "--checkpoint", "echo.npz", "--window", "5", "--epochs", "2") == 2
    assert "--window is 5, but echo.npz was trained with 15" in capsys.readouterr().err
    assert run("--resume", "--checkpoint", "echo.npz") == 2
    assert "raise --epochs" in capsys.readouterr().err
    assert run("--resume", "--checkpoint", "echo.npz", "--epochs", "2", "--seed", "0") == 0


def test_a_damaged_checkpoint_gives_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("echo.npz").write_bytes(b"PK\x03\x04 not really")
    assert run("--resume", "--checkpoint", "echo.npz") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: echo.npz: ")
    assert captured.err.count("\n") == 1


# -- what is shown


@pytest.mark.usefixtures("no_picture")
def test_on_a_terminal_the_line_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(echo_run, "text_console", lambda: console)
    assert run("--epochs", "1") == 0
    assert "epoch 1/1  window 20/20" in shown.getvalue()
    assert "loss 0.6" in shown.getvalue()


def test_live_without_a_display_writes_an_animation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo_animation, "has_display", lambda: False)
    assert run("--bits", "150", "--epochs", "1", "--live", "--output", "echo.png") == 0
    assert "moving picture: echo.gif" in capsys.readouterr().out
    assert Path("echo.gif").read_bytes().startswith(b"GIF89a")


def test_live_with_a_display_draws_while_training_and_waits_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes: list[int] = []

    class Screen:
        def wants(self) -> bool:
            return True

        def show(self, scene: echo_picture.Scene) -> None:
            scenes.append(len(scene.losses))

        def wait(self) -> None:
            scenes.append(-1)
            raise KeyboardInterrupt  # a user who closes it so loses nothing

    monkeypatch.setattr(echo_animation, "has_display", lambda: True)
    monkeypatch.setattr(echo_animation, "Screen", Screen)
    assert run("--epochs", "1", "--live") == 0
    assert scenes == [*range(1, 21), 20, -1]
    assert not Path("results/echo.gif").exists()


def test_logdir_without_a_writer_is_refused_with_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    monkeypatch.setattr(drawing, "available", lambda: True)
    assert run("--logdir", "logs") == 2
    assert "pip install tensorboard" in capsys.readouterr().err


@pytest.mark.usefixtures("no_picture")
def test_logs_hold_a_point_for_each_window(monkeypatch: pytest.MonkeyPatch) -> None:
    points: list[tuple[str, float, int]] = []

    class Logs:
        closed = False

        def add_scalar(self, tag: str, data: float, step: int) -> None:
            points.append((tag, data, step))

        def close(self) -> None:
            self.closed = True

    logs = Logs()
    monkeypatch.setattr(echo_run, "open_logs", lambda folder: logs)
    assert run("--epochs", "1", "--logdir", "logs", "--checkpoint", "echo.npz") == 0
    assert logs.closed
    of_loss = [(value, step) for name, value, step in points if name == "loss"]
    assert of_loss == list(zip(losses(Path("echo.npz")), range(1, 21), strict=True))
    of_best = [value for name, value, _ in points if name == "best possible loss"]
    assert of_best == best_possible_loss(EchoSettings(bits=1500)).tolist()
    assert {name for name, _, _ in points} == {"loss", "accuracy", "best possible loss"}


@pytest.mark.usefixtures("no_picture")
def test_check_curve_says_how_far_from_float64_the_curve_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--epochs", "1", "--check-curve") == 0
    assert re.search(
        r"off the float64 curve by at most \S+e-\d+ .*: within", capsys.readouterr().out
    )


@pytest.mark.usefixtures("no_picture")
def test_check_curve_fails_on_a_wrong_curve_with_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(Training):
        def step(self) -> Window:
            window = super().step()
            self.losses[-1] += 1e-3
            return window

    monkeypatch.setattr(echo_run, "Training", Off)
    assert run("--epochs", "1", "--check-curve") == 1
    assert "OUTSIDE the bound" in capsys.readouterr().out


@pytest.mark.usefixtures("no_picture")
def test_check_curve_says_where_chaos_begins(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dtype", "bfloat16", "--learning-rate", "3", "--epochs", "3"]
    assert run(*options, "--check-curve") == 0
    assert re.search(r"from window \d+ on, chaos", capsys.readouterr().out)
