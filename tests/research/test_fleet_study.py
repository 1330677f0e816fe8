"""The command that plays fleets."""

from __future__ import annotations

import pytest

from research import fleet_study


def test_the_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet_study.main(["--machines", "10"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("10 machines of 4 kinds; on each kind 1 group of 5 backends")
    assert "| all of these |" in out
