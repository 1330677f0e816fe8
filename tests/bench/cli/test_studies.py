"""Processes asked one after the other: what is told, and what becomes of one that dies."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from bench.cli.output import CommandOutput
from bench.machine import fresh
from bench.studies.processes import asked_in_turn, shown


def test_each_question_has_a_process_and_the_answers_their_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def ask(words: Any, question: Any, *, quiet: bool) -> Any:
        asked.append((words, question, quiet))
        return question * 2

    monkeypatch.setattr(fresh, "ask", ask)
    assert asked_in_turn("bench.x", [1, 2], quiet=True) == [2, 4]
    assert asked == [(["-m", "bench.x", "--answer"], number, True) for number in (1, 2)]
    assert capsys.readouterr().err == "process 1 of 2\nprocess 2 of 2\n"


@pytest.mark.parametrize(
    ("died", "told"),
    [
        (fresh.Died(1, "no such module"), "ended with exit code 1: no such module"),
        (fresh.Died(-11), "was ended by SIGSEGV: it said nothing"),
        (fresh.Died(None), "took too long: it said nothing"),
    ],
)
def test_after_one_that_died_no_more_are_asked(
    died: fresh.Died,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fresh, "ask", lambda *_, **__: died)
    assert asked_in_turn("bench.x", [1, 2]) is None
    assert capsys.readouterr().err == f"process 1 of 2\nerror: a measuring process {told}\n"


def test_what_is_not_in_a_study_stands_below_it_and_is_returned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = argparse.Namespace(format="markdown", output=None)
    assert shown((CommandOutput(("first",), (), ("last",)), ["keras: it\nbroke"]), options)
    assert capsys.readouterr().out == "first\n\nlast\n\nNot measured: keras: it?broke.\n"
