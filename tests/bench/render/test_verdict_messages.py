"""Test the sentences of verdicts, and what would decide an UNCLEAR one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pytest

from bench.machine.reasons import Reason
from bench.render.labels import compact_verdict, spread_text, versus
from bench.render.messages import heterogeneous, unclear
from bench.stats.comparison import (
    MOST_NEEDED,
    Comparison,
    Heterogeneity,
    Pairing,
    Verdict,
    processes_needed,
)
from bench.stats.intervals import Interval


def ratio(
    verdict: Verdict = Verdict.UNCLEAR,
    spread: float | None = None,
    *,
    mid: float = 1.0,
    by: float = 1.1,
    nodes: int = 0,
    processes: int = 6,
    between: float | None = None,
    heterogeneity: Heterogeneity | None = None,
) -> Comparison:
    return Comparison(
        Interval(mid / by, mid, mid * by, 0.995),
        *(verdict, processes, Pairing.ALTERNATING, None, Reason(""), math.log(mid), 0.01, 5.0),
        spread=spread,
        nodes=nodes,
        between=between,
        heterogeneity=heterogeneity,
    )


def bridge(mid: float = 0.88, new: str = "a", base: str = "b", by: float = 1.01) -> Heterogeneity:
    return Heterogeneity("third", new, base, 10, ratio(mid=mid, by=by))


@pytest.mark.parametrize(
    ("found", "compact"),
    [
        (ratio(Verdict.FASTER, 0.06), "FASTER"),
        (ratio(), "UNCLEAR"),
        (ratio(spread=0.06), "UNCLEAR, spread 6%"),
        (ratio(spread=0.06, between=0.03), "UNCLEAR, spread 6%, nodes 3%"),
        # More processes do not make a reference homogeneous, so the spread is not the reason.
        (ratio(spread=0.06, heterogeneity=bridge()), "UNCLEAR"),
        (ratio(spread=0.06, heterogeneity=bridge(1.0)), "UNCLEAR, spread 6%"),
    ],
)
def test_compact_verdict_unclear_has_its_spread(found: Comparison, compact: str) -> None:
    assert compact_verdict(found) == compact
    assert spread_text(found) == compact.partition("spread ")[2]


def test_versus_ratio_is_a_speed_over_the_other_backend() -> None:
    found = ratio(Verdict.FASTER, mid=1 / 1.6)
    assert versus(found, "keras", ", the next") == (
        "1.60× faster than keras, the next (99.5% CI 1.45–1.76)"
    )
    assert versus(found, "ke\x1bras").startswith("1.60× faster than ke?ras (")


def test_unclear_other_verdicts_give_no_line() -> None:
    assert unclear([None, ratio(Verdict.SAME, 0.06), ratio(Verdict.SLOWER)]) == []
    assert unclear([ratio(spread=0.06, heterogeneity=bridge())]) == []


@pytest.mark.parametrize(
    ("spreads", "text"),
    [
        ([0.06], "UNCLEAR: 1 ratio: processes spread by 6%, "),
        ([0.09, 0.03, 0.05], "UNCLEAR: 3 ratios: processes spread by 5% (median), "),
        ([0.5], "UNCLEAR: 1 ratio: processes spread by 50%, "),
    ],
)
def test_unclear_spread_of_processes_gives_how_many_would_decide(
    spreads: Sequence[float], text: str
) -> None:
    middle = statistics.median(spreads)
    small, large = (processes_needed(middle, e) or f"over {MOST_NEEDED}" for e in (0.05, 0.1))
    (found,) = unclear([ratio(spread=each) for each in spreads])
    assert found == (f"{text}so a difference of 5% needs {small} processes and one of 10% {large}")


ONE = "one process does not show how many are needed; measure in 6"


@pytest.mark.parametrize(
    ("between", "within", "message"),
    [
        (0.01, 0.03, "on a node processes spread by 3%, nodes beyond that by 1%; measure on more"),
        (None, None, ONE),
        (0.1, None, ONE),
        (None, 0.1, ONE),
    ],
)
def test_unclear_ratio_on_nodes_gives_both_spreads_where_known(
    between: float | None, within: float | None, message: str
) -> None:
    made = ratio(spread=within, nodes=3, processes=18, between=between)
    (found,) = unclear([made, ratio(Verdict.SAME)])
    assert found.startswith(f"UNCLEAR: 1 ratio of 2: {message}")


def test_heterogeneous_reference_in_both_directions_gives_one_line() -> None:
    there = bridge()
    even, other = bridge(1.0), bridge(0.7)
    ratios = [ratio(heterogeneity=each) for each in (there, there, there.inverse, even, other)]
    found = heterogeneous([None, ratio(), *ratios])
    assert len(found) == 2
    assert found[0].startswith(
        "Heterogeneous reference: third, over which a and b are compared, took"
    )
    assert "0.70 times as long" in found[1]
    (expected,) = heterogeneous([ratio(heterogeneity=bridge(new="\x1b[31m"))])
    assert expected.isprintable()
