"""What replicas gain, and where the rest goes, from made-up times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from bench.stats.comparison import Pairing, Verdict
from bench.studies.scaling_ratios import Scaled, Sides, SideTime, scaled

NAMES = {"team": "weak", "apart": "weak-apart", "alone": "one", "one": "one", "cores": "cores"}
BATCH = 8


def timed(batch: int, seconds: float, rng: np.random.Generator) -> SideTime:
    noise = rng.uniform(0.99, 1.01, 15)
    return SideTime(batch, tuple(seconds * noise), tuple(range(15)))


def made(
    team: float, apart: float, alone: float, cores: float, replicas: int = 2, sets: int = 6
) -> list[Sides]:
    rng = np.random.default_rng(0)
    whole = BATCH * replicas
    return [
        {
            "weak": timed(whole, team, rng),
            "weak-apart": timed(whole, apart, rng),
            "one": timed(BATCH, alone, rng),
            "cores": timed(whole, cores, rng),
        }
        for _ in range(sets)
    ]


def found(
    team: float = 1.0,
    apart: float = 1.0,
    alone: float = 1.0,
    cores: float = 1.0,
    replicas: int = 2,
    sets: int = 6,
    traces: Sequence[Sequence[float]] = (),
) -> Scaled:
    return scaled(replicas, made(team, apart, alone, cores, replicas, sets), NAMES, traces)


@pytest.mark.parametrize("replicas", [2, 3, 8])
def test_replicas_that_lose_nothing_have_an_efficiency_of_one(replicas: int) -> None:
    perfect = found(replicas=replicas)
    assert perfect.efficiency.mid == pytest.approx(1.0, rel=0.01)
    assert perfect.efficiency.low < 1.0 < perfect.efficiency.high
    assert perfect.gain.verdict is Verdict.FASTER
    assert 1 / perfect.gain.ratio.mid == pytest.approx(replicas, rel=0.01)


def test_more_replicas_may_be_slower_than_one() -> None:
    slow = found(team=3.0)
    assert slow.gain.verdict is Verdict.SLOWER
    assert slow.efficiency.mid == pytest.approx(1 / 3, rel=0.01)


def test_they_are_held_against_one_process_with_all_processors_and_the_same_batch() -> None:
    better = found(team=1.0, cores=1.5).cores
    assert better is not None
    assert better.ratio.mid == pytest.approx(1 / 1.5, rel=0.01)
    without = {key: each for key, each in NAMES.items() if key != "cores"}
    assert scaled(2, made(1.0, 1.0, 1.0, 1.0), without, ()).cores is None


def test_the_parts_are_what_was_put_in() -> None:
    parts = found(team=2.0, apart=1.5, alone=1.2).parts
    assert parts.compute.mid == pytest.approx(0.6, abs=0.01)
    assert parts.reduce.mid == pytest.approx(0.25, abs=0.01)
    assert parts.rest.mid == pytest.approx(0.15, abs=0.01)
    for part in (parts.compute, parts.reduce, parts.rest):
        assert part.low < part.mid < part.high


@given(*[some.floats(0.1, 10.0)] * 3)
def test_the_parts_make_up_the_step(team: float, apart: float, alone: float) -> None:
    parts = found(team, apart, alone).parts
    assert parts.compute.mid + parts.reduce.mid + parts.rest.mid == pytest.approx(1.0, abs=0.05)


def test_few_sets_are_given_the_spread_that_they_cannot_show() -> None:
    few, many = found(sets=2), found(sets=6)
    assert few.gain.pairing is Pairing.ADJACENT  # each side has processes of its own
    assert few.gain.allowance is not None
    assert many.gain.allowance is None
    assert few.efficiency.half_width > many.efficiency.half_width
    assert few.parts.reduce.high - few.parts.reduce.low > (
        many.parts.reduce.high - many.parts.reduce.low
    )


def test_a_profiler_that_sees_something_else_is_told() -> None:
    agree = found(team=2.0, apart=1.0, traces=[[0.4, 0.56]] * 6)
    assert agree.traced == pytest.approx(0.48)
    assert not agree.disagree
    assert found(team=2.0, apart=1.0, traces=[[0.1, 0.1]] * 6).disagree
    assert found(team=1.0, apart=1.0, traces=[[0.5, 0.5]] * 6).disagree
    assert found(team=2.0, apart=1.0).traced is None
    assert not found(team=2.0, apart=1.0).disagree
