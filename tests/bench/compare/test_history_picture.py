"""A history as a picture: where versions changed, and what is shaded."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bench.render import history as history_picture
from bench.render import plot
from bench.render.plot import Axes
from bench.render.quantities import times_as_fast
from bench.stats.history import History, build
from tests.bench.made_history import SLOW_SCAN, nights, run, session, slow_scan, upgrade, watched
from tests.bench.made_nodes import a_case
from tests.bench.made_results import BUSY, gather, measured


def texts(history: History) -> list[str]:
    drawn = ET.fromstring(history_picture.picture(history, "svg"))
    marked = drawn.iter("{http://www.w3.org/2000/svg}text")
    return ["".join(each.itertext()).strip() for each in marked]


def test_the_picture_marks_the_sessions_whose_versions_changed() -> None:
    words = texts(build(upgrade()))
    assert "#2  tensorflow 2.20.0 → 2.21.0" in words
    assert "Time of a step on laptop · 2026-01-02 to 2026-01-04 · 3 sessions" in words
    # On the axis each has its number; where a dashed line stands, there is another.
    assert [words.count(f"#{number}") for number in (1, 2, 3)] == [1, 2, 1]


def test_the_picture_shades_what_changed_for_longer_than_a_session() -> None:
    found = slow_scan()
    (moved,) = found.machines[0].moved or ()
    words = texts(found)
    speed = times_as_fast(moved.movement.ratio.mid, 3)
    (note,) = {each for each in words if each.startswith("shaded since")}
    assert note == f"shaded since #18: scan (2 cases), {speed} times as fast, SLOWER"
    # In the panels of the two cases that moved, of six.
    assert len(found.machines[0].lines) == 6
    assert words.count(f"{speed}×") == 2


def drawn(history: History) -> Axes:
    """The first panel."""
    with plot.style():
        return history_picture._draw(history).axes[0]


def test_over_a_session_without_a_time_there_is_no_line() -> None:
    other = session(2, {a_case("scan"): 1.0})
    items = [*session(1, {a_case(): 1.0}), *other, *session(3, {a_case(): 1.2})]
    axes = drawn(build(gather(*items)))
    (along,) = (each for each in axes.get_lines() if each.get_linewidth() == 1.2)
    assert np.isnan(along.get_ydata()).tolist() == [False, True, False]
    assert axes.get_ylim()[0] == 0


def test_bounds_reach_from_the_lowest_to_the_highest() -> None:
    items = [measured(a_case(), each, run(1, n)) for n, each in enumerate((1.0, 1.1, 1.2, 1.9))]
    ((low, high),) = (
        each.get_segments()[0][:, 1] for each in drawn(build(gather(*items))).collections
    )
    time = build(gather(*items)).machines[0].lines[0].points[0].time
    assert time is not None
    assert (low, high) == pytest.approx((time.low, time.high))


def test_what_was_taken_back_is_shaded_until_then_in_the_colour_of_its_verdict() -> None:
    from matplotlib.colors import to_hex

    back = watched(nights(slower=SLOW_SCAN, since=10, until=20, cases=[*SLOW_SCAN, a_case()]))
    slower, faster = (
        (each.get_x(), each.get_x() + each.get_width(), to_hex(each.get_facecolor()).upper())
        for each in drawn(back).patches
    )
    assert slower == (9.5, 19.5, "#D55E00")
    assert faster == (19.5, 30.5, "#0072B2")


def test_of_many_cases_and_machines_some_are_drawn_and_the_title_says_so() -> None:
    cases = [a_case(batch=n) for n in range(1, history_picture.MOST_CASES + 3)]
    here = [measured(each, 1.0, run(1), [BUSY]) for each in cases]
    words = texts(build(gather(*here, measured(a_case(), 1.0, run(0, host="server")))))
    (title,) = (each for each in words if each.startswith("Time of a step"))
    assert title.endswith("12 of 14 cases (--case chooses) · 1 more machine not shown")
    assert words.count("× INVALID") == history_picture.MOST_CASES


def test_of_many_sessions_with_changes_the_first_are_named_and_how_many_more_there_are() -> None:
    nights = range(history_picture._MOST_NOTES + 2)
    items = [measured(a_case(), 1.0, run(n, tensorflow=f"2.{n}.0")) for n in nights]
    words = texts(build(gather(*items)))
    assert sum("→" in each for each in words) == history_picture._MOST_NOTES
    assert "and changes at 1 more session (--format csv)" in words
