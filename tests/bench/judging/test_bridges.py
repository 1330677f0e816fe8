"""Cases of processes that share nothing but a third case: a ratio of ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import special

from bench.judging.basis import Pairing
from bench.judging.process_means import BRIDGE_APART, VERDICT_CONFIDENCE
from bench.judging.ranking import build
from bench.judging.ratios import compare, geometric_mean
from bench.judging.rows import Row
from bench.judging.verdict import Verdict
from bench.judging.within import RunSamples
from bench.results.schema import Reason, Results, Run
from bench.studying import rules
from bench.studying.noises import NOISES
from bench.suites.cases import Case
from bench.telling.headings import over_bridges
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured

ROUNDS = 8


def runs(name: str, logs: Sequence[float], *, rounds: bool = True) -> list[RunSamples]:
    """One process for each log median, named after its environment and number."""
    numbers = np.arange(ROUNDS) if rounds else None
    return [
        RunSamples(f"{name}{number}", np.full(ROUNDS, math.exp(log)), numbers)
        for number, log in enumerate(logs)
    ]


LUCK = (0.0, 0.3, -0.2, 0.5, 0.1, -0.4)
OTHER_LUCK = (0.2, -0.3, 0.4, 0.0, -0.1, 0.3)


def shifted(logs: Sequence[float], by: float) -> list[float]:
    return [log + by for log in logs]


NEW = runs("east", shifted(LUCK, math.log(1.5)))
BASE = runs("west", OTHER_LUCK)
BRIDGE = runs("east", shifted(LUCK, 1.0)) + runs("west", shifted(OTHER_LUCK, 1.0))


def test_the_luck_of_processes_is_no_part_of_a_ratio_over_a_bridge() -> None:
    found = compare(NEW, BASE, BRIDGE)
    assert found.pairing is Pairing.BRIDGED
    assert not found.paired
    assert found.ratio.mid == pytest.approx(1.5)
    assert found.verdict is Verdict.SLOWER
    assert compare(NEW, BASE).pairing is Pairing.UNPAIRED
    assert compare(NEW, BASE).verdict is Verdict.UNCLEAR
    assert "each beside the same third case" in found.how
    assert found.inverse.ratio.mid == pytest.approx(1 / 1.5)


def test_what_the_bridge_itself_may_differ_is_left_in_doubt() -> None:
    found = compare(NEW, BASE, BRIDGE)
    # Processes that agree exactly have no doubt of their own.
    assert found.standard_error == pytest.approx(BRIDGE_APART, rel=1e-3)
    equal = compare(runs("east", LUCK), BASE, BRIDGE)
    assert equal.verdict is Verdict.UNCLEAR  # SAME within 2% is more than a bridge can carry
    width = math.log(equal.ratio.high) - math.log(equal.ratio.low)
    normal = special.ndtri((1 + VERDICT_CONFIDENCE) / 2)
    assert width > 2 * normal * BRIDGE_APART


def test_processes_that_the_bridge_does_not_share_do_not_count() -> None:
    stray = runs("far", [5.0])
    found = compare([*NEW, *stray], BASE, BRIDGE)
    assert found.processes == 6
    assert found.ratio.mid == pytest.approx(1.5)


def test_a_bridge_that_does_not_reach_both_sides_is_none() -> None:
    assert compare(NEW, BASE, BRIDGE[:6]).pairing is Pairing.UNPAIRED


def test_cases_that_share_processes_need_no_bridge() -> None:
    assert compare(NEW, runs("east", LUCK), BRIDGE).pairing is Pairing.ALTERNATING


def test_fewer_than_six_processes_on_a_side_bring_an_allowance() -> None:
    found = compare(NEW[:3], BASE, BRIDGE)
    assert found.processes == 3
    assert found.allowance == Pairing.BRIDGED.allowance
    assert found.standard_error > compare(NEW, BASE, BRIDGE).standard_error


def test_a_bridge_without_rounds_is_compared_by_medians() -> None:
    bridge = runs("east", shifted(LUCK, 1.0), rounds=False)
    bridge += runs("west", shifted(OTHER_LUCK, 1.0), rounds=False)
    assert compare(NEW, BASE, bridge).ratio.mid == pytest.approx(1.5)


def test_the_geometric_mean_over_cases_is_of_each_processs_own_mean() -> None:
    wobble = (0.05, -0.05, 0.02, 0.0, -0.04, 0.02)
    up = compare(runs("east", np.add(LUCK, wobble).tolist()), BASE, BRIDGE)
    down = compare(runs("east", np.subtract(LUCK, wobble).tolist()), BASE, BRIDGE)
    found = geometric_mean([up, down])
    assert found.pairing is Pairing.BRIDGED
    assert found.ratio.mid == pytest.approx(1.0)
    # What the cases of a process have in opposite directions cancels in its mean.
    assert found.standard_error < up.standard_error


@pytest.mark.parametrize("noise", NOISES)
def test_equals_over_a_bridge_are_called_different_in_about_one_percent(noise: str) -> None:
    draw = NOISES[noise]
    (found,) = rules.bridged_verdicts([0.0], (draw, draw), 6, trials=4000)
    # 4,000 trials of 1% have a standard error of 0.16%.
    assert rules.rate(found, Verdict.FASTER, Verdict.SLOWER) <= 0.0125


def test_the_study_says_what_the_comparison_says() -> None:
    rng = np.random.default_rng(7)
    said = []
    for _ in range(20):
        new, base = (rng.normal(0, 0.05, 6) for _ in range(2))
        bridged = runs("east", [0.0] * 6) + runs("west", [0.0] * 6)
        shift = [*(new + 0.15)]
        said.append(compare(runs("east", shift), runs("west", [*base]), bridged).verdict)
    (rate,) = rules.bridged_verdicts([math.expm1(0.15)], (0.05, 0.05), 6, trials=4000)
    expected = rules.rate(rate, Verdict.SLOWER)
    assert abs(np.mean([each is Verdict.SLOWER for each in said]) - expected) < 0.35


# -- in a report


def case(backend: str) -> Case:
    return Case(backend, LSTMSpec(1, 4), Workload(2, 5))


def run(name: str) -> Run:
    now = datetime.now(UTC)
    return Run(name, "session", "mine", 0, now, now, True, "host", "m", {}, {})


def results(doubted: str = "") -> Results:
    """Of three backends, one of which is in the processes of both others."""
    items = []
    for environment, own, luck in (("east", "a", LUCK), ("west", "b", OTHER_LUCK)):
        for number, log in enumerate(luck):
            of = run(f"{environment}{number}")
            slow = math.log(1.5) if own == "a" else 0.0
            why = [Reason("busy", "others kept processors busy", "")] if doubted == own else []
            one = measured(case(own), math.exp(log + slow), of, why)
            both = measured(case("bridge"), math.exp(log + 3.0), of)
            items += [one, both]
    return gather(*items)


def rows(*, doubted: str = "") -> dict[str, Row]:
    """What a report says of them."""
    (section,) = build(results(doubted), baseline="b").sections
    return {row.case.backend: row for row in section.rows}


def test_a_report_takes_the_row_that_is_in_both_rows_processes_for_a_bridge() -> None:
    found = rows()
    a = found["a"]
    assert a.to_baseline is not None
    assert a.to_baseline.pairing is Pairing.BRIDGED
    assert a.to_baseline.ratio.mid == pytest.approx(1.5)
    assert a.to_baseline.verdict is Verdict.SLOWER
    # A wide interval of a time is the machine's luck, which the bridge takes off.
    assert a.ratio_doubts == ()
    bridged = found["bridge"].to_baseline
    assert bridged is not None
    assert bridged.paired
    first = found["b"]
    assert first.rank == 1
    assert first.fastest


def test_a_report_says_whose_ratios_stand_on_which_third() -> None:
    (line,) = over_bridges(list(rows().values()))
    assert line.startswith(
        "Over bridge, which is in the processes of both sides: the ratios of a, measured in "
        "processes of another environment than the baseline; bridge itself took "
    )


def test_a_side_that_is_not_to_be_trusted_is_not_over_a_bridge_either() -> None:
    found = rows(doubted="a")
    assert "busy" in {doubt.code for doubt in found["a"].ratio_doubts}
