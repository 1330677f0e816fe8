"""One line while something takes long, on a terminal only, and nothing of it in the end."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from bench.cli.command_line import UsageError
from bench.cli.progress import Progress, asked_for
from tests.places import GOLDEN

PATIENCE = 60.0  # seconds for a thread that waits for a processor


class Terminal(io.StringIO):
    """Of a person; ``told`` is set when what is waited for was written."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted, self.told = wanted, threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.wanted in text:
            self.told.set()
        return written


def line(terminal: Terminal) -> str:
    """What stands on the screen's line in the end."""
    return terminal.getvalue().rpartition("\x1b[2K")[2]


@pytest.fixture(autouse=True)
def _a_terminal_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_the_line_says_what_is_done_and_is_gone_in_the_end() -> None:
    terminal = Terminal("reading results: 2 of 3")
    with Progress("reading results", terminal, after=0, every=0.001) as progress:
        for path in progress.over([Path("a"), Path("b"), Path("c")]):
            if path == Path("b"):
                assert terminal.told.wait(PATIENCE)
                assert line(terminal).startswith("reading results: ")
    assert line(terminal) == ""
    assert "\n" not in terminal.getvalue()


def test_what_has_no_parts_is_shown_and_a_long_line_stays_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    terminal = Terminal("training with ")
    with Progress(f"training with \x1b[2Ja{'b' * 100}", terminal, after=0):
        assert terminal.told.wait(PATIENCE)
        assert len(line(terminal)) == 29
        assert "\x1b[2J" not in terminal.getvalue()
    assert line(terminal) == ""


def test_a_pipe_and_a_terminal_without_a_cursor_get_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = io.StringIO()
    threads = threading.active_count()
    with Progress("reading results", pipe, after=0, every=0):
        assert threading.active_count() == threads
    dumb = Terminal("")
    monkeypatch.setenv("TERM", "dumb")
    with Progress("reading results", dumb, after=0, every=0):
        pass
    assert (pipe.getvalue(), dumb.getvalue()) == ("", "")


def test_an_error_takes_the_line_away_and_a_lost_terminal_is_none() -> None:
    terminal = Terminal("reading")

    def fail() -> None:
        with Progress("reading results", terminal, after=0):
            assert terminal.told.wait(PATIENCE)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert line(terminal) == ""

    class Gone(Terminal):
        def write(self, text: str) -> int:
            super().write(text)
            raise OSError("input/output error")

    gone = Gone("reading")
    with Progress("reading results", gone, after=0):
        assert gone.told.wait(PATIENCE)


def test_what_is_named_is_read_and_else_the_newest_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    with pytest.raises(UsageError, match=r"there are no results in .*; make some with `this`, or"):
        asked_for([], "this")
    assert asked_for(["there"]) == ["there"]
    place = tmp_path / "a.json"
    place.write_bytes((GOLDEN / "replicate-1.json").read_bytes())
    assert asked_for([]) == [place]
