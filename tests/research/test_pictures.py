"""The pictures of the verdicts: what is drawn are rates, and what is promised lies below them."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench.render import plot
from bench.stats.comparison import Verdict
from bench.stats.intervals import count_words
from research import pictures
from research.pictures import COUNTS, PROMISES
from research.rules import RULES
from tests.places import ROOT
from tests.research.documented import text

Line = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

TRIALS = 300


@functools.cache
def panels(name: str, trials: int = TRIALS) -> list[Any]:
    if not plot.available():
        pytest.skip("there is no matplotlib")
    return list(pictures.pictures(trials)[name]().axes)


def lines(axis: Any) -> dict[str, Line]:
    """What is drawn in a panel, by its name."""
    return {
        line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in axis.get_lines()
    }


def test_the_pictures_that_the_documentation_shows_are_those_that_the_study_draws() -> None:
    shown = set(re.findall(r"\(../docs/pictures/(verdicts-[\w-]+\.png)\)", text()))
    assert shown == set(pictures.pictures(1))
    for name in shown:
        assert (ROOT / "docs" / "pictures" / name).is_file()


@pytest.mark.parametrize("panel", [0, 1])
def test_an_effect_is_found_more_often_the_larger_it_is_and_as_often_as_is_promised(
    panel: int,
) -> None:
    drawn = lines(panels("verdicts-power.png")[panel])
    for count in COUNTS:
        effects, rates = drawn[count_words(count)]
        assert (effects[0], effects[-1]) == (0, 15)
        assert np.all(np.diff(rates) >= 0)
        if count in PROMISES:
            (effect,), (promised,) = drawn[f"promised for {count}"]
            assert (effect, promised) == (
                100 * PROMISES[count][0],
                100 * PROMISES[count][1 + panel],
            )
            # 300 trials of 85% have a standard error of 2%.
            assert np.interp(effect, effects, rates) >= promised - 6
    assert drawn[count_words(50)][1][30] > drawn[count_words(3)][1][30]


def test_processes_that_spread_more_find_less_of_what_is_not_paired() -> None:
    drawn = [lines(axis)["6 processes a side"] for axis in panels("verdicts-power-unpaired.png")]
    for factors, rates in drawn:
        assert (factors[0], factors[-1]) == (1, pytest.approx(5))
        assert np.all(np.diff(rates) >= 0)
    # Next to equality all of them are false, and hardly any there are.
    quiet, restless, loud = (rates[factors > 1.05] for factors, rates in drawn)
    assert np.all(quiet >= restless)
    assert np.all(restless >= loud)


def test_a_larger_effect_needs_no_more_processes(soon: None) -> None:
    (axis,) = panels("verdicts-needed.png")
    drawn = lines(axis)
    assert [*drawn] == [
        *(f"paired, spread {spread}%" for spread in ("1.3", "2.5", "4.2", "6.0")),
        *(f"unpaired, spread {spread}%" for spread in (3, 10, 29)),
    ]
    styles = [line.get_linestyle() for line in axis.get_lines()]
    assert styles == ["-"] * 4 + ["--"] * 3
    for effects, counts in drawn.values():
        assert (effects[0], effects[-1]) == pytest.approx((2, 100))
        assert np.all(np.diff(counts[np.isfinite(counts)]) <= 0)
    assert axis.get_ylim()[1] == 2000


def test_every_comparison_has_one_of_the_four_verdicts() -> None:
    drawn_for = [axis.get_title() for axis in panels("verdicts-shares.png")]
    assert drawn_for == ["6 processes", "20 processes", "50 processes"]
    for axis in panels("verdicts-shares.png"):
        drawn = lines(axis)
        shares = {name: drawn[name][1] for name in map(str, Verdict)}
        assert sum(shares.values()) == pytest.approx(100)
        effects = drawn[str(Verdict.SAME)][0]
        assert shares[Verdict.SLOWER][effects < -2.1].max() == 0
        assert shares[Verdict.FASTER][effects > 2.1].max() == 0


def test_each_rule_has_a_line_and_ours_is_the_thickest() -> None:
    for axis in panels("verdicts-other-rules.png", 10):
        drawn = axis.get_lines()
        assert [line.get_label() for line in drawn] == list(RULES)
        widths = [line.get_linewidth() for line in drawn]
        assert widths.index(max(widths)) == list(RULES).index("this suite's verdict")
        for _, rates in lines(axis).values():
            assert 0 <= rates.min() <= rates.max() <= 100
