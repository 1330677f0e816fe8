"""The command that times a step on denormal numbers: what it is asked, and what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.machine import fresh
from bench.studies.denormals import DENORMAL, ORDINARY, main
from tests.bench.made_besides import record


def test_what_processes_answer_is_written_and_can_be_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of = {"backend": "torch", "denormal": 1.0, "did": "kept"}
    answer: list[Any] = [record(1e-3, numbers=each, **of) for each in (ORDINARY, DENORMAL)]
    monkeypatch.setattr(fresh, "ask", lambda *_, **__: answer)
    measured = ["--backend", "torch", "--processes", "1", "--folder", str(tmp_path)]
    assert main(measured) == 0
    out = capsys.readouterr().out
    assert "torch" in out
    (path,) = map(str, tmp_path.iterdir())
    assert report.main([path]) == 0
    assert capsys.readouterr().out == out
    answer[1]["failed"] = "it broke"
    assert main(measured) == 2
    assert "nothing was measured: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shape", "64x25"], "no shape"),
        (["--backend", "while_lop"], "did you mean while_loop"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
