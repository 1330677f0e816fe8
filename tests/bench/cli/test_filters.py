"""Results as a command asks for them: read, what is bad told, and of them what is chosen."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench.cli import filters
from bench.cli.command_line import ReportedError
from bench.records.only import NothingThereError
from tests.places import GOLDEN

GOOD = GOLDEN / "replicate-1.json"


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    filters.add(parser)
    return parser.parse_args(words)


def test_where_a_place_has_no_good_file_all_that_is_bad_is_told_and_nothing_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old.json", "new.json"):
        (tmp_path / name).write_text("{")
    with pytest.raises(ReportedError):
        filters.read(asked(), [tmp_path / "old.json"], [GOOD], [tmp_path / "new.json"])
    told = capsys.readouterr().err
    assert "old.json" in told
    assert "new.json" in told


def test_of_each_place_is_taken_what_the_options_ask_for() -> None:
    (whole,) = filters.read(asked(), [GOOD])
    backend = whole.measurements[0].case.backend
    options = asked("--backend", backend)
    for found in filters.read(options, [GOOD], [GOOD]):
        assert {item.case.backend for item in found.measurements} == {backend}
    with pytest.raises(NothingThereError):
        filters.read(asked("--backend", "nobody"), [GOOD])
    (found,) = filters.read(asked("--backend", "nobody"), [GOOD], names=())
    assert len(found.measurements) == len(whole.measurements)
