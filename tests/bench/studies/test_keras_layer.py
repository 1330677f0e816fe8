"""The command that times the layer against Keras's: what it is asked, and its words."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from bench.studies.keras_layer import BASELINE, _show, main
from tests.bench.made_besides import of_layers


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["64x25x512"], "'64x25x512' is no shape"),
        (["b0-t1-i1-h1"], "'b0-t1-i1-h1' is no shape"),
        (["--backend", "while_lop"], "did you mean while_loop"),
        (["--processes", "0"], "'0' is not a whole number of at least 1"),
        (["--seconds", "nan"], "'nan' is not a time"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_the_answer_is_a_table_in_a_terminal_in_markdown_and_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [of_layers(1.0 + 1e-3 * k, BASELINE) for k in range(6)]
    assert _show(answers, Namespace(format="terminal", output=None)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["shape", "mode", "backend", "computed", "by"]
    assert lines[2].split()[:4] == ["b1-t1-i1-h1", "training", "auto", "scan"]
    assert lines[2].split()[-1] == "FASTER"
    assert "ours as Keras's, above 1 is faster" in " ".join(lines[3:])
    assert _show(answers, Namespace(format="markdown", output=tmp_path / "a.md")) == 0
    assert capsys.readouterr().out == ""
    assert "| `b1-t1-i1-h1` | training | auto | scan |" in (tmp_path / "a.md").read_text()


def test_where_keras_runs_elsewhere_only_calls_by_batch_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.studies.keras_layer.keras_backend", lambda: "torch")
    assert main(["--through", "fit"]) == 2
    assert "Keras runs on torch here, and --through fit" in capsys.readouterr().err
