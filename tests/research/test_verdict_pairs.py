"""The command that tells how far the ratios of real pairs spread."""

from __future__ import annotations

from pathlib import Path

import pytest

from research import pairs, verdict_pairs
from tests.bench.made_results import gather, save
from tests.research.test_pairs import measurements


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path, gather(*(each for both in measurements() for each in both)))


def test_pairs_are_told_with_what_the_promises_cover(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "RIVAL_TRIALS", 20)
    assert verdict_pairs.main([str(folder)]) == 0
    line, spreads, covered = capsys.readouterr().out.split("\n\n")
    assert line.startswith("1 pairs of 6 processes or more.")
    assert "| all " in spreads
    assert "| 5% with 20 processes, in 90% |" in covered


def test_results_without_a_pair_are_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert verdict_pairs.main([str(tmp_path / "empty")]) == 2
    assert "error: no" in capsys.readouterr().err


def test_where_a_file_cannot_be_read_nothing_is_said_of_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.json").write_text("{")
    assert verdict_pairs.main([str(folder)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "broken.json" in err
