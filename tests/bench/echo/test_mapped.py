"""A map that is begun, stopped and gone on with: what is kept, and what is not taken for it."""

import json
import os
import time
from pathlib import Path

import pytest

from bench.cli.command_line import typed
from bench.machine.writing import LineFile
from bench.records import maps
from tests.bench.trained_maps import CELLS, SMALL, interrupted, run

pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


@pytest.mark.usefixtures("here")
def test_another_setting_is_not_gone_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    journal = interrupted(2)
    assert run("--resume", "--seeds", "3") == 2
    assert f"--seeds differs from that of {journal}" in capsys.readouterr().err
    assert run("--resume", "--seeds", "2", "--jobs", "1") == 0


def test_out_of_its_budget_it_keeps_what_is_done_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(float(second) for second in range(1000))
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: next(clock))
        assert run(*SMALL, "--budget", "4s") == 0
    out = capsys.readouterr().out
    assert f"the budget is spent; go on with: {typed('learning', '--resume')}" in out
    found = maps.read(next(Path.cwd().glob("results/learning-*.json")))
    assert not found.run.complete
    assert 0 < len(found.cells) < CELLS


@pytest.mark.usefixtures("here")
def test_a_journal_that_is_still_written_is_not_gone_on_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = interrupted(1)
    with LineFile(journal, again=True):
        before = journal.read_bytes()
        assert run("--resume") == 2
    error = capsys.readouterr().err
    assert f"--resume: process {os.getpid()} on " in error
    assert f"still writes {journal}: wait until it has ended, or end it" in error
    assert journal.read_bytes() == before
    assert run("--resume") == 0


@pytest.mark.usefixtures("here")
def test_a_journal_of_another_version_is_not_gone_on_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = interrupted(1)
    head, *cells = journal.read_text().splitlines()
    line = json.loads(head)
    del line["learning"]["run"]["settings"]["by_task"]
    journal.write_text("\n".join([json.dumps(line), *cells]))
    assert run("--resume") == 2
    error = capsys.readouterr().err
    assert "by_task is not what this version gives each task; start anew" in error
