"""Test the study of recorded pairs: its pairs, its tables and its exit codes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.case.cases import Case
from bench.records.schema import Measurement
from lstm_impl import LSTMSpec, Workload
from research import verdict_pairs
from research.verdict_pairs import Pair
from tests.bench.made_results import a_run, gather, measured, save

KERAS, TORCH = (Case(each, LSTMSpec(3, 4), Workload(2, 10)) for each in ("keras", "torch"))
EFFECTS = (0.0, 0.3, -0.2, 0.1, 0.2, -0.1)


def measurements(
    processes: int = 6, slower: float = math.log(2), **run: str
) -> list[tuple[Measurement, Measurement]]:
    """Make keras and torch in each process; torch takes a little more than twice as long."""
    return [
        (
            measured(KERAS, math.exp(EFFECTS[number]), during := a_run(number, **run)),
            measured(TORCH, math.exp(EFFECTS[number] + slower + 0.01 * number), during),
        )
        for number in range(processes)
    ]


def found(items: Sequence[tuple[Measurement, Measurement]]) -> list[Pair]:
    return verdict_pairs.find_pairs(gather(*(each for both in items for each in both)))


def test_pairs_are_two_backends_in_the_same_six_processes() -> None:
    (pair,) = found(measurements())
    assert pair.case == KERAS
    assert -pair.logs == pytest.approx(math.log(2) + 0.01 * np.arange(6))
    assert pair.seconds == pytest.approx(math.exp(np.mean(EFFECTS)))
    assert pair.spread == pytest.approx(np.std(0.01 * np.arange(6), ddof=1))
    (turned,) = found(measurements(slower=-math.log(2)))
    assert turned.seconds == pytest.approx(math.exp(np.mean(EFFECTS) - math.log(2) + 0.025))


def test_pairs_need_six_processes_of_interleaved_blocks() -> None:
    assert found(measurements(5)) == []
    keras, torch = (list(each) for each in zip(*measurements(), strict=True))
    for elsewhere in ({"session": "another"}, {"machine_id": "another"}):
        moved = [replace(item, run=replace(item.run, **elsewhere)) for item in torch]
        assert found(list(zip(keras, moved, strict=True))) == []
    after = [replace(item, rounds=item.rounds + 100) for item in torch]
    assert found(list(zip(keras, after, strict=True))) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path, gather(*(each for both in measurements() for each in both)))


def test_pairs_are_reported_with_the_promised_coverage(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict_pairs, "RIVAL_TRIALS", 20)
    assert verdict_pairs.main([str(folder)]) == 0
    line, spreads, coverage = capsys.readouterr().out.split("\n\n")
    assert line.startswith("1 pairs of 6 processes or more.")
    assert "| all " in spreads
    assert "| 5% with 20 processes, in 90% |" in coverage


def test_pairs_none_found_prints_one_line_and_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert verdict_pairs.main([str(tmp_path / "empty")]) == 2
    assert "error: there is no pair to compare" in capsys.readouterr().err
