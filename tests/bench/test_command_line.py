from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path

import pytest

from bench import command_line


def test_a_letter_that_the_terminal_has_not_becomes_a_question_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="ascii"))
    command_line.write_any_letter()
    print("Zürich ★", flush=True)
    assert kept.getvalue() == b"Z?rich ?\n"


def test_a_reader_that_has_left_is_no_error_at_the_end() -> None:
    program = (
        "from bench import command_line\n"
        "try:\n"
        "    for _ in range(100_000): print('a line')\n"
        "except BrokenPipeError:\n"
        "    command_line.reader_left()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_width_is_known_where_the_user_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    assert not command_line.width_is_known()
    monkeypatch.setenv("COLUMNS", "60")
    assert command_line.width_is_known()


def test_the_argument_for_results_says_what_is_read_without_one() -> None:
    parser = argparse.ArgumentParser()
    command_line.add_result_paths(parser, "all")
    assert parser.parse_args([]).paths == []
    assert parser.parse_args(["a.json", "b"]).paths == ["a.json", "b"]
    told = " ".join(parser.format_help().split())
    assert "result files or folders (default: all in $LSTM_RESULTS or results/)" in told


def test_python_is_called_as_the_user_can_call_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    binary = tmp_path / "an env" / "bin"
    binary.mkdir(parents=True)
    (binary / "python").touch(0o755)
    monkeypatch.setattr(sys, "executable", str(binary / "python"))
    monkeypatch.delenv("TOX_ENV_DIR", raising=False)
    monkeypatch.setenv("PATH", str(binary))
    assert command_line.python() == "python"
    monkeypatch.setenv("TOX_ENV_DIR", "x")  # tox set that PATH, and the user has it not
    assert command_line.python() == f"'{binary}/python'"
    monkeypatch.chdir(tmp_path)
    assert command_line.python() == "'an env/bin/python'"
    monkeypatch.delenv("TOX_ENV_DIR")
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_line.python() == "'an env/bin/python'"
