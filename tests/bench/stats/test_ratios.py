"""How sure a ratio is, of one case and over several, whichever way its sides were measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.render.messages import basis_text
from bench.stats import ratios
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.ratios import RunSamples, compare, geometric_mean
from tests.bench.stats.made_processes import (
    BASE,
    BRIDGE,
    LUCK,
    paired,
    runs,
    samples,
    scales,
    times,
    unpaired,
)


@given(
    st.lists(st.tuples(samples, samples), min_size=1, max_size=8),
    st.sampled_from(["alternating", "sequential", "unpaired"]),
)
def test_swapping_the_sides_inverts_the_ratio_and_the_verdict(
    pairs: list[tuple[list[float], list[float]]], how: str
) -> None:
    def side(index: int) -> list[RunSamples]:
        prefix = "same" if how != "unpaired" else str(index)
        return [
            RunSamples(
                f"{prefix}-{run}",
                np.array(pair[index]),
                np.arange(len(pair[index])) if how == "alternating" else None,
            )
            for run, pair in enumerate(pairs)
        ]

    there, back = ratios.compare(side(0), side(1)), ratios.compare(side(1), side(0))
    assert there.pairing.value == how
    assert back.log_ratio == pytest.approx(-there.log_ratio, abs=1e-12)
    assert there.ratio.low <= there.ratio.mid <= there.ratio.high
    assert math.log(back.ratio.mid) == pytest.approx(-math.log(there.ratio.mid), abs=1e-9)
    swapped = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
    assert back.verdict is swapped.get(there.verdict, there.verdict)


@given(st.lists(st.tuples(samples, samples), min_size=1, max_size=7), scales)
def test_a_ratio_does_not_depend_on_the_unit_of_time(
    pairs: list[tuple[list[float], list[float]]], scale: float
) -> None:
    def side(index: int, factor: float) -> list[RunSamples]:
        return [
            RunSamples(str(run), factor * np.array(pair[index]), np.arange(len(pair[index])))
            for run, pair in enumerate(pairs)
        ]

    seconds = ratios.compare(side(0, 1), side(1, 1))
    others = ratios.compare(side(0, scale), side(1, scale))
    assert others.log_ratio == pytest.approx(seconds.log_ratio, abs=1e-9)
    assert others.standard_error == pytest.approx(seconds.standard_error, rel=1e-6, abs=1e-9)


@given(
    st.lists(st.tuples(times, times, times), min_size=2, max_size=9),
    st.randoms(use_true_random=False),
)
def test_neither_the_order_of_samples_nor_of_runs_matters(
    rows: list[tuple[float, float, float]], random: object
) -> None:
    def sides(order: list[int]) -> Comparison:
        new, base = [], []
        for index in order:
            values = np.array(rows[index])
            turn = np.array(order[:3] if len(order) >= 3 else [0, 1]).argsort()[: values.size]
            turn = turn if turn.size == values.size else np.arange(values.size)
            new.append(RunSamples(str(index), values[turn], np.arange(values.size)[turn]))
            base.append(RunSamples(str(index), values[::-1][turn], np.arange(values.size)[turn]))
        return ratios.compare(new, base)

    order = list(range(len(rows)))
    shuffled = list(order)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = sides(order), sides(shuffled)
    assert other.log_ratio == pytest.approx(one.log_ratio, abs=1e-9)
    assert other.standard_error == pytest.approx(one.standard_error, rel=1e-9, abs=1e-12)


# The geometric mean over cases


def test_the_geometric_mean_of_one_case_is_that_case() -> None:
    for one in (paired([0.1, 0.2, 0.3, 0.1, 0.2, 0.3]), paired([0.1]), unpaired([0.1], [0.0])):
        found = ratios.geometric_mean([one])
        assert found.log_ratio == pytest.approx(one.log_ratio)
        assert found.standard_error == pytest.approx(one.standard_error)
        assert found.verdict is one.verdict


def test_the_geometric_mean_is_the_mean_of_the_logs() -> None:
    found = ratios.geometric_mean([paired([math.log(2)]), paired([math.log(8)])])
    assert found.ratio.mid == pytest.approx(4)


def test_cases_that_err_together_are_no_surer_than_one() -> None:
    luck = [0.02, -0.03, 0.01, 0.03, -0.02, 0.0]
    one = paired(luck)
    assert ratios.geometric_mean([one] * 5).standard_error == pytest.approx(one.standard_error)


def test_luck_that_cancels_between_cases_makes_their_mean_surer() -> None:
    luck = np.array([0.02, -0.03, 0.01, 0.03, -0.02, 0.0])
    found = ratios.geometric_mean([paired(luck.tolist()), paired((-luck).tolist())])
    assert found.spread == pytest.approx(0, abs=1e-9)
    assert found.standard_error < 1e-6
    sides = [unpaired((s * luck).tolist(), (-s * luck[::-1]).tolist()) for s in (1.0, -1.0)]
    mean = ratios.geometric_mean(sides)
    assert mean.spread == pytest.approx(0, abs=1e-9)
    assert mean.standard_error < 1e-6


def test_a_bad_process_is_left_out_of_the_mean_over_cases() -> None:
    luck = [0.10, 0.12, 0.11, 0.09, 0.10, 0.08, 1.4]
    found = ratios.geometric_mean([paired(luck), paired(luck)])
    assert found.aside == pytest.approx(1, abs=0.05)
    assert found.log_ratio == pytest.approx(0.10, abs=0.01)
    assert basis_text(found.basis) == (
        "2 cases: t-interval on the geometric means of 7 processes, outlying processes left out"
    )


def test_cases_of_different_processes_are_taken_to_err_together() -> None:
    six, seven = paired([0.01, -0.01] * 3), paired([0.02, -0.02] * 3 + [0.0])
    found = ratios.geometric_mean([six, seven])
    assert found.standard_error == pytest.approx((six.standard_error + seven.standard_error) / 2)
    assert found.degrees == min(six.degrees, seven.degrees)
    assert found.spread is None


def test_a_geometric_mean_with_a_single_process_case_says_that_the_allowance_is_in() -> None:
    found = ratios.geometric_mean([paired([0.0] * 6), paired([0.0])])
    assert found.allowance == pytest.approx(0.07)
    assert "allowance of 7%" in basis_text(found.basis)
    assert found.processes == 1


def test_a_geometric_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no ratios"):
        ratios.geometric_mean([])


def test_the_geometric_mean_over_cases_is_of_each_processs_own_mean() -> None:
    wobble = (0.05, -0.05, 0.02, 0.0, -0.04, 0.02)
    up = compare(runs("east", np.add(LUCK, wobble).tolist()), BASE, BRIDGE)
    down = compare(runs("east", np.subtract(LUCK, wobble).tolist()), BASE, BRIDGE)
    found = geometric_mean([up, down])
    assert found.pairing is Pairing.BRIDGED
    assert found.ratio.mid == pytest.approx(1.0)
    # What the cases of a process have in opposite directions cancels in its mean.
    assert found.standard_error < up.standard_error


def test_one_case_says_its_own_ratio_and_several_their_mean() -> None:
    one, other = paired([0.1] * 6), paired([0.3] * 6)
    assert ratios.together([one]) is one
    assert ratios.together([one, other]).log_ratio == pytest.approx(0.2)


def test_of_nothing_that_was_compared_nobody_is_the_fastest() -> None:
    assert ratios.all_slower([]) == []
    assert ratios.all_slower([[], []]) == [False, False]
