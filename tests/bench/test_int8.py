"""The command that holds int8 against float32: whom it asks, and what it tells of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from bench import int8
from bench.machine import fresh
from tests.bench.made_besides import of_precisions


def test_the_command_asks_fresh_processes_and_tells_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def ask(words: Any, question: Any, *, quiet: bool) -> Any:
        asked.append(question)
        return of_precisions(len(asked))

    monkeypatch.setattr(fresh, "ask", ask)
    assert int8.main(["b1-t1-i1-h1", "--processes", "6", "--runtime", "torch"]) == 0
    assert len({each["seed"] for each in asked}) == 6
    out = capsys.readouterr().out
    assert "FASTER" in out
    assert "1.6%" in out
    monkeypatch.setattr(
        fresh, "ask", lambda *_, **__: of_precisions(0, failed="it is not installed")
    )
    assert int8.main(["b1-t1-i1-h1", "--processes", "1"]) == 1
    assert "not measured: torch int8, b1-t1-i1-h1: it is not installed" in capsys.readouterr().err
    monkeypatch.setattr(fresh, "ask", lambda *_, **__: fresh.Died(-9, "no memory"))
    assert int8.main(["b1-t1-i1-h1", "--processes", "1"]) == 1
    assert "was ended by SIGKILL (as a rule: no memory was left): no memory" in (
        capsys.readouterr().err
    )
    assert int8.main(["b1"]) == 2
    assert "'b1' is no shape" in capsys.readouterr().err
