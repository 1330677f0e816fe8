"""One training of the echo task as a person runs it: its plan, its backend, and what it leaves."""

from __future__ import annotations

import re
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_impl
from bench.cli.command_line import INTERRUPTED, UsageError, typed
from bench.echo import __main__ as echo
from bench.echo import echo_animation, echo_picture, echo_run
from bench.echo.settings import EchoSettings
from bench.echo.task import best_possible_loss
from bench.echo.training import Checkpoint, CheckpointError, Training
from bench.render import drawing

SMALL = ("--backend", "numpy", "--bits", "1500")  # 20 windows an epoch


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test is of something else: drawing one takes longer than training for it."""
    monkeypatch.setattr(drawing, "available", lambda: False)


def planned(*options: str) -> echo_run.Plan:
    return echo_run.plan(echo._parser().parse_args(options))


def run(*options: str) -> int:
    return echo_run.train(echo._parser().parse_args([*SMALL, *options]))


def losses(path: str) -> list[float]:
    found: list[float] = Checkpoint.read(Path(path)).losses.tolist()
    return found


# -- the plan


def test_each_option_reaches_the_training() -> None:
    options = [
        "--bits", "3000", "--echo", "2", "--batch", "4", "--window", "10", "--stride", "5",
        "--units", "3", "--layers", "2", "--dropout", "0.25", "--learning-rate", "0.2",
        "--seed", "7", "--dtype", "float64", "--reset-state", "--epochs", "2",
        "--backend", "numpy", "--device", "cpu:0", "--output", "a/b.svg",
    ]  # fmt: skip
    plan = planned(*options)
    assert plan.settings == EchoSettings(
        bits=3000, echo=2, batch=4, window=10, stride=5, units=3, layers=2, dropout=0.25,
        learning_rate=0.2, seed=7, dtype="float64", reset_state=True,
    )  # fmt: skip
    assert (plan.epochs, plan.backend, plan.device) == (2, "numpy", "cpu")
    assert (plan.picture, plan.checkpoint) == (Path("a/b.svg"), Path("a/b.npz"))


def test_without_options_it_is_the_tutorial() -> None:
    plan = planned()
    assert plan.settings == EchoSettings()
    assert (plan.epochs, plan.windows) == (4, 4 * 666)
    assert plan.picture == Path("results/echo.png")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--echo", "50000"], "--echo is 50000; expected less than the 50000 bits"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--device", "tpu"], "--device 'tpu' is no device"),
        (["--output", "echo.bmp"], "--output echo.bmp: expected a name that ends in .png"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_options_name(options: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        planned(*options)


@pytest.mark.parametrize(
    ("option", "place"),
    [("--output", "file/echo.png"), ("--output", "folder.png"), ("--checkpoint", "file/a/e.npz")],
)
def test_places_that_cannot_be_written_are_refused(option: str, place: str) -> None:
    Path("file").write_text("")
    Path("folder.png").mkdir()
    with pytest.raises(UsageError, match=f"^{option} {place}: "):
        planned(option, place)
    assert planned(option, "new/deep/echo.png").epochs == 4


def test_without_matplotlib_a_picture_that_is_asked_for_is_refused(no_picture: None) -> None:
    assert planned().picture is None
    for options in (["--output", "echo.png"], ["--live"]):
        with pytest.raises(UsageError, match=r"pip install 'lstm-benchmark-suite\[plots\]'"):
            planned(*options)


def test_what_was_trained_decides_what_is_gone_on_with(no_picture: None) -> None:
    assert run("--epochs", "1", "--checkpoint", "echo.npz", "--seed", "5") == 0
    again = ("--resume", "--checkpoint", "echo.npz")
    with pytest.raises(UsageError, match=r"--window is 5, but echo\.npz was trained with 15"):
        planned(*again, "--window", "5", "--epochs", "2")
    with pytest.raises(UsageError, match=r"has all of its 1 epochs behind it; .* raise --epochs"):
        planned(*again)
    plan = planned(*again, "--epochs", "2", "--seed", "5")
    assert (plan.settings, plan.backend) == (EchoSettings(bits=1500, seed=5), "numpy")
    assert planned(*again, "--epochs", "2", "--backend", "while_loop").backend == "while_loop"


def test_a_checkpoint_that_is_none_is_not_gone_on_with() -> None:
    with pytest.raises(CheckpointError, match=r"results/echo\.npz: there is no such checkpoint"):
        planned("--resume")
    Path("echo.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(CheckpointError, match=r"^echo\.npz: "):
        planned("--resume", "--checkpoint", "echo.npz")


def test_the_command_that_goes_on_asks_for_what_was_asked_for_beside_the_training() -> None:
    asked = ["--output", "a.png", "--device", "gpu:1", "--logdir", "my logs", "--live"]
    plan = planned(*asked, "--check-curve", "--layers", "2")
    start = ["echo", "--resume", "--checkpoint"]
    assert echo_run._going_on(plan) == typed(*start, "a.npz", *asked, "--check-curve")
    assert echo_run._going_on(planned()) == typed(*start, "results/echo.npz")


# -- the backend


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
def test_a_backend_that_cannot_train_is_refused_with_the_reason() -> None:
    for name, device, says in (
        ("absent", "cpu", "its framework is not installed: pip install it"),
        ("refusing", "cpu", "cannot train this: it can only infer"),
        ("while_lop", "cpu", "there is no backend 'while_lop'; did you mean while_loop"),
        ("numpy", "gpu:0", "--backend numpy on gpu:0: NumPy computes on the CPU only"),
        # The usual one of another device is not another's.
        (None, "gpu:0", "its framework is not installed: pip install it"),
    ):
        with pytest.raises(UsageError, match=re.escape(says)):
            echo_run.choose_backend(name, device, EchoSettings())


@pytest.mark.usefixtures("odd_backends")
def test_without_the_usual_backend_numpy_trains_and_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert echo_run.choose_backend(None, "cpu", EchoSettings()).name == "numpy"
    out = capsys.readouterr().out
    assert "its framework is not installed" in out
    assert "training with numpy" in out


# -- the run


@pytest.mark.usefixtures("no_picture")
def test_a_training_in_two_parts_has_the_curve_of_one_in_one_part() -> None:
    assert run("--epochs", "4", "--checkpoint", "whole.npz") == 0
    assert run("--epochs", "2", "--checkpoint", "parts.npz") == 0
    assert len(losses("parts.npz")) == 40
    assert run("--epochs", "4", "--checkpoint", "parts.npz", "--resume") == 0
    assert losses("parts.npz") == losses("whole.npz")


def test_it_says_what_was_reached_beside_the_best_possible(
    no_picture: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--epochs", "3") == 0
    out = capsys.readouterr().out
    assert re.search(r"mean loss of the last 50 windows: 0\.\d{5}  \(best possible: 0\.0\d+\)", out)
    # Three unknown steps of 15 in the one first window of each epoch of 20.
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert "last 20 windows: 0.6" in out
    assert f"(best possible: {3 / 15 * entropy / 20:.5f})" in out
    assert "60 windows in " in out


class InterruptedAt:
    """A progress line at which the user presses Ctrl-C."""

    def __init__(self, windows: int, times: int = 1) -> None:
        self.windows, self.times = windows, times

    def __call__(self, training: Training) -> None:
        if training.windows_done == self.windows:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def interrupted(monkeypatch: pytest.MonkeyPatch, windows: int, times: int = 1) -> None:
    monkeypatch.setattr(
        echo_run, "progress_of", lambda *_: nullcontext(InterruptedAt(windows, times))
    )


def test_ctrl_c_saves_checkpoint_and_picture_and_resume_goes_on_bit_for_bit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupted(patch, 33)
        assert run("--epochs", "3", "--output", "my echo.png") == INTERRUPTED
    out = capsys.readouterr().out
    assert "stopped after window 33 of 60" in out
    assert "--resume --checkpoint 'my echo.npz' --output 'my echo.png'" in out
    assert Path("my echo.png").exists()
    assert len(losses("my echo.npz")) == 33
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(drawing, "available", lambda: False)
    assert run("--epochs", "3", "--checkpoint", "whole.npz") == 0
    assert run("--resume", "--checkpoint", "my echo.npz") == 0
    assert "going on from my echo.npz, after window 33" in capsys.readouterr().out
    assert losses("my echo.npz") == losses("whole.npz")


def test_a_second_ctrl_c_stops_at_once_and_saves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 5, times=2)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not Path("results").exists()


def test_a_named_checkpoint_is_kept_after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, 25, times=2)  # nothing is saved at that moment
    with pytest.raises(KeyboardInterrupt):
        run("--checkpoint", "echo.npz")
    assert len(losses("echo.npz")) == 20


def test_before_the_first_window_there_is_nothing_to_save(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(echo_run, "interruption", lambda: nullcontext(lambda: True))
    assert run("--checkpoint", "echo.npz") == INTERRUPTED
    assert capsys.readouterr().err == "stopped before the first window; nothing to save\n"
    assert not list(Path.cwd().iterdir())


# -- what is shown


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
    assert of_loss == list(zip(losses("echo.npz"), range(1, 21), strict=True))
    of_best = [value for name, value, _ in points if name == "best possible loss"]
    assert of_best == best_possible_loss(EchoSettings(bits=1500)).tolist()
    assert {name for name, _, _ in points} == {"loss", "accuracy", "best possible loss"}


def test_logs_are_closed_where_a_training_diverges(
    no_picture: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed: list[bool] = []

    class Logs:
        def add_scalar(self, tag: str, data: float, step: int) -> None:
            pass

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(echo_run, "open_logs", lambda folder: Logs())
    with np.errstate(all="ignore"):
        assert run("--learning-rate", "1e308", "--dtype", "float64", "--logdir", "logs") == 1
    assert closed == [True]
    assert "lower the learning rate" in capsys.readouterr().err


# -- the curve


@pytest.mark.usefixtures("no_picture")
def test_check_curve_says_how_far_from_float64_the_curve_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--epochs", "1", "--check-curve") == 0
    assert re.search(
        r"off the float64 curve by at most \S+e-\d+ .*: within", capsys.readouterr().out
    )


@pytest.mark.usefixtures("no_picture")
def test_check_curve_says_where_chaos_begins(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dtype", "bfloat16", "--learning-rate", "3", "--epochs", "3"]
    assert run(*options, "--check-curve") == 0
    assert re.search(r"from window \d+ on, chaos", capsys.readouterr().out)
