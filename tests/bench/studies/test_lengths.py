"""The command that times batches of many lengths: bad input, and processes that are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report
from bench.studies.lengths import main


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["uniform:9-1"], "the lower first"),
        (["--policies", "shortest"], "expected longest"),
        (["--ways", "torch/xla"], "torch is called by"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_fresh_processes_are_asked_and_their_answers_kept_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--batch", "2", "--hidden", "3", "--input", "2", "--batches", "2")
    few = ("--ways", "numpy/own", "--policies", "longest", "batch", "--processes", "1")
    options = ["uniform:2-5", *sizes, *few, "--seconds", "0.01", "--folder", str(tmp_path)]
    assert main(options) == 0
    out, told = capsys.readouterr()
    assert "numpy/own" in out
    assert "process 1 of 1" in told
    (path,) = tmp_path.iterdir()
    assert report.main([str(path)]) == 0
    assert capsys.readouterr().out == out
