"""What goes on beside a training: how far it is, its logs, and Ctrl-C."""

from __future__ import annotations

import importlib.util
import io
import signal
import threading
from pathlib import Path

import pytest
from rich.console import Console

from bench.cli.command_line import UsageError
from bench.echo.progress import TensorFlowLogs, interruption, open_logs, progress_of
from bench.echo.settings import EchoSettings
from bench.echo.training import Training, model_of

# -- how far it is


def shown(settings: EchoSettings, epochs: int, terminal: bool) -> str:
    """What the console shows of a training."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system=None)
    training = Training(settings, model_of(settings))
    windows = epochs * settings.windows_per_epoch
    with progress_of(console, windows, 0) as show:
        for _ in range(windows):
            training.step()
            show(training)
    return file.getvalue()


def test_on_a_terminal_the_line_moves() -> None:
    text = shown(EchoSettings(bits=150), 2, terminal=True)
    assert "epoch 2/2  window 2/2" in text
    assert "loss 0.7" in text


def test_elsewhere_a_line_comes_each_hundred_windows_and_at_an_epochs_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shown(EchoSettings(bits=2025, batch=5, window=3), 2, terminal=False) == ""
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  loss 0.")[0] for line in lines] == [
        f"epoch {epoch}/2  window {window}/135" for epoch in (1, 2) for window in (100, 135)
    ]
    assert all(line.endswith("%") for line in lines)


# -- Ctrl-C


def test_the_first_signal_is_heard_and_the_second_stops_at_once() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt), interruption() as interrupted:  # noqa: PT012
            assert not interrupted()
            signal.raise_signal(number)
            assert interrupted()
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the second signal did not stop it")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_a_thread_signals_are_left_as_they_are() -> None:
    before = signal.getsignal(signal.SIGINT)
    heard: list[object] = []

    def work() -> None:
        with interruption() as interrupted:
            heard.extend((interrupted(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False, before]


# -- logs


def test_logs_without_a_writer_are_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    with pytest.raises(UsageError, match=r"--logdir needs .* pip install tensorboard"):
        open_logs(tmp_path / "logs")


def test_logs_where_no_folder_can_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--logdir .*/file/logs: Not a directory"):
        open_logs(tmp_path / "file/logs")


def test_logs_can_be_read_back(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="reads TensorFlow's event files")
    logs = TensorFlowLogs(tmp_path)
    for step in (1, 2):
        logs.add_scalar("loss", 0.5 / step, step)
    logs.close()
    (file,) = tmp_path.iterdir()
    found = [
        (
            event.step,
            value.tag,
            value.metadata.plugin_data.plugin_name,
            tf.make_ndarray(value.tensor),
        )
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert [(step, tag, plugin) for step, tag, plugin, _ in found] == [
        (1, "loss", "scalars"),
        (2, "loss", "scalars"),
    ]
    assert [float(value) for *_, value in found] == [0.5, 0.25]
