"""``bench.call_paths``: its answer in each form, and what it says where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.call_paths import main
from bench.case.cases import Case
from bench.cli import filters
from lstm_impl import LSTMSpec, Workload
from tests.bench.harmless import assert_markdown, assert_plain, assert_sheet
from tests.bench.made_results import a_run, gather, measured, save
from tests.bench.made_texts import PAYLOADS, write_store

FORMS = {"terminal": assert_plain, "markdown": assert_markdown, "csv": assert_sheet}


def test_the_answer_has_the_session_the_work_and_a_line_a_backend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [
        measured(Case(name, LSTMSpec(4, 8), Workload(2, t)), (fixed + t * 1e-5) * (1 + n / 99), run)
        for n in range(6)
        for run in [a_run(n, suite="call-paths")]
        for name, fixed in (("keras_model", 1e-3), ("keras_model+predict", 3e-2))
        for t in (5, 50, 150)
    ]
    folder = str(save(tmp_path / "results", gather(*items)))
    title = "cpu, inference: batch 2, 4 in, 8 hidden, 5, 50, 150 steps"
    assert main([folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["call-paths on laptop · 2025-01-01 00:00 UTC · 6 processes", title]
    assert sum("model(x)" in line for line in lines) == 1
    assert sum("SLOWER" in line for line in lines) == 1
    assert main([folder, "--format", "markdown"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert blocks[0] == f"{title}:"
    assert blocks[1].count("| `keras_model") == 2
    assert blocks[2] == "call-paths on laptop · 2025-01-01 00:00 UTC · 6 processes."


@pytest.mark.parametrize("form", FORMS)
def test_names_from_files_are_text_in_every_form(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for payload in PAYLOADS:
        name = f"{payload}x"
        items = [
            measured(Case(name, LSTMSpec(4, 8), Workload(2, t), name), 1e-3 * t, a_run(0, name))
            for t in (5, 50, 150)
        ]
        found = gather(*items)
        monkeypatch.setattr(filters, "read_results", lambda paths, found=found: found)
        assert main(["somewhere", "--format", form]) == 0
        FORMS[form](capsys.readouterr().out)


def test_results_without_lengths_are_told_with_the_command_that_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path, lambda document: document)
    assert main([str(store.old)]) == 2
    assert "python -m bench.run call-paths" in capsys.readouterr().err
