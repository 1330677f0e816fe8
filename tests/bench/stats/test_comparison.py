"""What may be said of a ratio: turned around, against a threshold, and of a bridge in a line."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.render.messages import uneven_note
from bench.stats import ratios
from bench.stats.comparison import GATE_LEVEL, Heterogeneity, Pairing, Verdict, basis_of
from bench.stats.intervals import Estimates, Interval
from bench.stats.ratios import judged
from tests.bench.stats.made_processes import paired, runs_of


def test_the_p_value_reaches_the_gate_s_level_where_the_interval_reaches_the_threshold() -> None:
    found = paired([0.01, 0.05, 0.03, 0.02, 0.06, 0.04])
    edge = found.ratio.low - 1
    assert found.p_slower(edge) == pytest.approx(GATE_LEVEL, rel=1e-6)
    few = paired([0.3, 0.3])
    assert few.p_slower(few.ratio.low - 1) == pytest.approx(GATE_LEVEL, rel=1e-6)


def test_the_inverse_is_what_the_exchanged_sides_give() -> None:
    wiggle = 0.01 * np.array([-1.0, 0.6, 0.2, -0.4, 1.0, -0.4])
    new, base = runs_of(wiggle), runs_of(wiggle[::-1] + 0.2)
    one, other = ratios.compare(new, base).inverse, ratios.compare(base, new)
    assert one.verdict is other.verdict is Verdict.SLOWER
    assert one.ratio.low == pytest.approx(other.ratio.low)
    assert one.ratio.high == pytest.approx(other.ratio.high)
    assert one.log_ratio == pytest.approx(other.log_ratio)
    assert one.new_logs == other.new_logs


@given(
    st.floats(-700, 700), st.floats(1e-6, 1e3), st.floats(1, 1e6) | st.just(math.inf), st.booleans()
)
def test_what_is_turned_around_twice_is_as_it_was(
    log: float, error: float, degrees: float, with_bridge: bool
) -> None:
    estimate = Estimates(*(np.array([number]) for number in (log, error, degrees)))
    (found,) = judged(estimate, [basis_of(Pairing.BRIDGED, 6, 6)])
    if with_bridge:
        found = replace(found, heterogeneity=Heterogeneity("bridge", "a", "b", 3, found))
    there, back = found.inverse, found.inverse.inverse
    assert (there.heterogeneity and there.heterogeneity.new) == ("b" if with_bridge else None)
    assert there.log_ratio == -log
    assert there.ratio.low <= there.ratio.mid <= there.ratio.high
    assert (back.log_ratio, back.verdict, back.degrees) == (log, found.verdict, found.degrees)
    if found.ratio.low > 0 and math.isfinite(found.ratio.high):
        assert back.ratio.low == pytest.approx(found.ratio.low)
        assert back.ratio.high == pytest.approx(found.ratio.high)


def test_sides_of_the_same_processes_are_paired_however_they_were_measured() -> None:
    assert {each for each in Pairing if replace(paired([0.0]), pairing=each).paired} == {
        Pairing.ALTERNATING,
        Pairing.SEQUENTIAL,
        Pairing.ADJACENT,
    }


# A bridge


def a_bridge(
    low: float, mid: float, high: float, cases: int = 10, name: str = "keras"
) -> Heterogeneity:
    found = replace(
        paired([math.log(mid)] * 6), log_ratio=math.log(mid), ratio=Interval(low, mid, high, 0.995)
    )
    return Heterogeneity(name, "torch", "onnx", cases, found)


@pytest.mark.parametrize(
    ("low", "high", "uneven"),
    [
        (1.011, 1.2, True),
        (1.009, 1.2, False),
        (0.8, 0.989, True),
        (0.8, 0.991, False),
        (0.9, 1.1, False),
    ],
)
def test_a_bridge_is_uneven_where_all_of_its_interval_is_beyond_what_is_allowed_for(
    low: float, high: float, uneven: bool
) -> None:
    apart = a_bridge(low, math.sqrt(low * high), high)
    assert apart.uneven is uneven
    assert a_bridge(1 / high, math.sqrt(1 / low / high), 1 / low).uneven is uneven
    assert replace(paired([0.0]), heterogeneity=apart).uneven is uneven
    assert not paired([0.0]).uneven


def test_a_note_says_who_by_how_much_and_what_to_do_in_a_line_whatever_the_name() -> None:
    note = uneven_note(a_bridge(1.1, 1.25, 1.4, name="\x1b[31m" + "k" * 1000))
    assert note.isprintable()
    assert len(note) < 600
    assert "over which torch and onnx are compared, took itself 1.25 times as long in the " in note
    assert "in the processes of torch as in those of onnx (1.10–1.40, over 10 cases)" in note
    assert "1% is allowed for: the interval is wider by 25% each way" in note
    assert "--processes" in note
    assert "--backends" in note
