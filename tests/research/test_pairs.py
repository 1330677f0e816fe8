"""How far real pairs spread: which pairs there are, what is told of them, and what that covers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from bench.case.cases import Case
from bench.records.schema import Measurement
from bench.stats.comparison import Verdict
from lstm_impl import LSTMSpec, Workload
from research import pairs, rules
from research.pairs import KINDS, Pair
from research.rules import rate
from tests.bench.made_results import a_run, gather, measured

KERAS, TORCH = (Case(each, LSTMSpec(3, 4), Workload(2, 10)) for each in ("keras", "torch"))
LUCK = (0.0, 0.3, -0.2, 0.1, 0.2, -0.1)


def measurements(
    processes: int = 6, slower: float = math.log(2), **run: str
) -> list[tuple[Measurement, Measurement]]:
    """Of each process keras, and torch, which takes twice as long and a little more each time."""
    return [
        (
            measured(KERAS, math.exp(LUCK[number]), during := a_run(number, **run)),
            measured(TORCH, math.exp(LUCK[number] + slower + 0.01 * number), during),
        )
        for number in range(processes)
    ]


def found(items: Sequence[tuple[Measurement, Measurement]]) -> list[Pair]:
    return pairs.pairs_of(gather(*(each for both in items for each in both)))


def test_a_pair_is_two_backends_of_one_work_in_the_same_six_processes() -> None:
    (pair,) = found(measurements())
    assert pair.case == KERAS
    assert -pair.logs == pytest.approx(math.log(2) + 0.01 * np.arange(6))
    assert pair.seconds == pytest.approx(math.exp(np.mean(LUCK)))
    assert pair.spread == pytest.approx(np.std(0.01 * np.arange(6), ddof=1))
    (turned,) = found(measurements(slower=-math.log(2)))
    assert turned.seconds == pytest.approx(math.exp(np.mean(LUCK) - math.log(2) + 0.025))


def test_fewer_processes_other_sessions_or_blocks_not_in_turn_make_none() -> None:
    assert found(measurements(5)) == []
    keras, torch = (list(each) for each in zip(*measurements(), strict=True))
    for elsewhere in ({"session": "another"}, {"machine_id": "another"}):
        moved = [replace(item, run=replace(item.run, **elsewhere)) for item in torch]
        assert found(list(zip(keras, moved, strict=True))) == []
    after = [replace(item, rounds=item.rounds + 100) for item in torch]
    assert found(list(zip(keras, after, strict=True))) == []


def a_pair(logs: npt.ArrayLike, seconds: float = 0.01, work: Workload = KERAS.workload) -> Pair:
    return Pair(replace(KERAS, workload=work), np.array(logs), seconds)


@pytest.mark.parametrize(
    ("work", "seconds", "kinds"),
    [
        (Workload(1, 10), 0.001, {"inference, batch 1", "the shorter step under 3 ms"}),
        (Workload(2, 10), 0.003, {"inference, larger batches", "the shorter step 3 to 30 ms"}),
        (Workload(1, 10, "training"), 0.03, {"training, batch 1", "the shorter step over 30 ms"}),
        (
            Workload(2, 10, "training"),
            0.029,
            {"training, larger batches", "the shorter step 3 to 30 ms"},
        ),
        (
            Workload(1, 10, "training", window=5),
            1.0,
            {"truncated training", "the shorter step over 30 ms"},
        ),
        (
            Workload(1, 1, "streaming", period=0.01),
            0.001,
            {"streams", "the shorter step under 3 ms"},
        ),
    ],
)
def test_each_pair_is_of_its_kind_of_case_and_of_its_length(
    work: Workload, seconds: float, kinds: set[str]
) -> None:
    pair = a_pair([0.0] * 6, seconds, work)
    assert {name for name, belongs in KINDS.items() if belongs(pair)} == {"all", *kinds}


def test_the_spreads_of_each_kind_are_told_by_their_quarters() -> None:
    some = [a_pair(spread * np.array([-1, 1] * 3)) for spread in (0.1, 0.2, 0.3, 0.4, 0.5)]
    lines = {line[0].text: [cell.text for cell in line[1:]] for line in pairs.spreads(some).lines}
    assert set(lines) == {"all", "inference, larger batches", "the shorter step 3 to 30 ms"}
    unit = math.sqrt(6 / 5)
    expected = [f"{100 * each * unit:.1f}%" for each in (0.2, 0.3, 0.4, 0.46, 0.5)]
    assert lines["all"][:6] == ["5", *expected]


def test_one_process_is_falsely_sure_where_it_alone_is_far_from_the_others() -> None:
    # Measured in turn it takes 1.68 times as long; the others are 2/5 below their mean with it.
    assert pairs._falsely_alone([a_pair([1, 1, 1, 1, 1, 3.0])]) == pytest.approx(1 / 6)
    assert pairs._falsely_alone([a_pair([1, 1, 1, 1, 1, 1.4])]) == 0


def test_neighbours_and_the_furthest_ratio_are_told_in_a_line() -> None:
    line = pairs.shape([a_pair([0.6, 0.4] * 3)])
    # -5/6 among one another, and 1/6 that their common mean takes off.
    assert "1 pairs of 6 processes or more" in line
    assert "before: -0.67 in the mean" in line
    assert "mean: 10.5%." in line


def test_the_pairs_within_what_is_found_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "RIVAL_TRIALS", 100)
    quiet, loud = (spread * np.array([-1, 1] * 3) for spread in (1e-4, 0.4))
    sheet = pairs.coverage([a_pair(quiet), a_pair(quiet), a_pair(quiet), a_pair(loud)])
    reach = [float(line[1].text.rstrip("%")) for line in sheet.lines]
    assert {line[2].text for line in sheet.lines} == {"75%"}
    # The less surely an effect need be found, the further processes may spread.
    assert reach[:3] == sorted(reach[:3])
    assert reach[3:] == sorted(reach[3:])


def test_the_largest_spread_is_where_the_power_is_what_was_asked() -> None:
    most = pairs.largest_spread(0.05, 20, 0.8)
    (found,) = rules.paired_verdicts([0.05], most, 20, seed=9)
    assert rate(found, Verdict.SLOWER) == pytest.approx(0.8, abs=0.025)
