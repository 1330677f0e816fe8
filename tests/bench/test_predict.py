"""``python -m bench.predict``: what is said of a shape that nobody measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import predict
from bench.cli import filters
from bench.cli.command_line import BAD_INPUT
from bench.machine.fields import ResultError
from bench.records.schema import Results
from tests.bench.made_modelled import grid, results

ASKED = ["--batch", "8", "--steps", "50", "--hidden", "128"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def ask(there: Results, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(filters, "read_results", lambda paths: there)
        code = predict.main([*ASKED, *words, "somewhere"])
        return (code, *capsys.readouterr())

    return ask


def test_a_prediction_is_written_in_the_form_that_is_asked_for(asked: Any) -> None:
    there = results(grid("a"))
    code, out, _ = asked(there)
    assert code == predict.PREDICTED
    assert out.startswith("Predicted, not measured: b8-t50-i128-h128, inference, float32, cpu\n")
    for form, begin in (("markdown", "**Predicted"), ("csv", "backend,"), ("json", "{")):
        code, out, _ = asked(there, "--format", form)
        assert code == predict.PREDICTED
        assert out.startswith(begin)
    _, out, _ = asked(there, "--input", "7", "--format", "json")
    assert json.loads(out)["question"]["inputs"] == 7


def test_where_nothing_is_predicted_the_exit_code_says_so(asked: Any) -> None:
    code, out, _ = asked(results(grid("few")[:3]))
    assert code == predict.NOTHING_PREDICTED
    assert "few: 3 shapes are measured of it" in out


def test_a_bad_file_beside_good_ones_is_an_exit_code_of_its_own(asked: Any) -> None:
    there = replace(results(grid("a")), errors=(ResultError("a.json: is empty"),))
    code, out, _ = asked(there)
    assert code == BAD_INPUT
    assert out.startswith("Predicted, not measured: ")


def test_where_nothing_is_alike_it_is_said(asked: Any) -> None:
    code, _, errors = asked(results(grid("a")), "--dtype", "float64")
    assert code == BAD_INPUT
    assert "nothing that is to be trusted was measured that differs in its sizes alone" in errors


def test_the_latest_results_are_read_where_none_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTM_RESULTS", raising=False)
    assert predict.main(ASKED) == BAD_INPUT
    assert "there are no results in" in capsys.readouterr().err
