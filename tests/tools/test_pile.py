"""Test the pile of result files with which commands are timed."""

from pathlib import Path

import pytest

from bench import records
from tools import pile


def test_pile_files_are_read_as_runs_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pile.main([str(tmp_path), "--files", "2"]) == 0
    found = records.collect([tmp_path])
    assert (found.errors, found.warnings) == ((), ())
    assert len({file.run.id for file in found.files}) == len(list(tmp_path.iterdir())) == 2
    number = len(found.measurements) + len(found.outcomes)
    assert capsys.readouterr().out == f"{number:,} records\n"
