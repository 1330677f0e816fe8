"""A history as a picture: where versions changed, and what is shaded."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from bench.comparing import history_picture
from bench.comparing.history import History, build
from bench.suites.cases import Case
from bench.telling.quantities import times_as_fast
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_history import run, session, slow_scan, upgrade
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


def test_a_hostile_name_is_text() -> None:
    name = "[red]x[/] $\\frac{$ <b>|`a`\x1b[31m"
    hostile = Case(name, LSTMSpec(4, 8), Workload(8, 10), "cpu:\x1b]52;\x07\ud800")
    items = [*session(1, {hostile: 1.0}), *session(2, {hostile: 1.0}, tensorflow="<i>|$x$")]
    words = texts(build(gather(*items)))
    assert any("$\\frac{$ <b>" in each for each in words)
    assert any("tensorflow 2.20.0 → <i>|$x$" in each for each in words)
