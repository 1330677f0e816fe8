"""How a session is shown while it goes on."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bench.session import progress as live_module
from bench.session.manager import SessionProgress
from bench.session.schedule import Leader

LEADER = Leader("b1-t2/float32/inference/cpu", "[bold]numpy", 0.0012, 3, True)


def progress(**changes: Any) -> SessionProgress:
    state: dict[str, Any] = {
        "number": 3,
        "busy": ("numpy/b1-t2/float32/inference/cpu",),
        "timing": True,
        "done": 1,
        "of": 4,
        "settled": 2,
        "cases": 5,
        "spent": 65.0,
        "budget": 600.0,
        "processes": None,
        "leaders": (LEADER,),
    }
    return SessionProgress(**state | changes)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_picture_says_what_runs_what_is_done_the_time_left_and_who_leads() -> None:
    console = terminal()
    console.print(live_module.picture(progress()))
    text = shown(console)
    for words in (
        "process 3: 1 of 4 cases in it; 2 of 5 cases precise, 8 min 55 s left",
        "timing numpy/b1-t2/float32/inference/cpu",
        "1.20 ms",
        "3 ✓",
        "[bold]numpy",  # a name, and no markup
    ):
        assert words in text


def test_the_picture_is_drawn_once_a_second_at_most() -> None:
    console, times = terminal(), iter([0.0, 0.0, 0.5, 1.0, 1.0])
    with live_module.LiveView(console, lambda: next(times)) as view:
        view.update(progress())
        before = shown(console)
        view.update(progress(number=4))
        assert shown(console) == before
        view.update(progress(number=5))
        assert "process 5" in shown(console)


def test_off_a_terminal_a_process_is_one_plain_line() -> None:
    console = Console(file=io.StringIO(), width=40)
    with live_module.view(console) as view:
        assert isinstance(view, live_module.PlainView)
        for _ in range(3):
            view.update(progress(budget=None, processes=4))
        view.message("numpy\x1b[2J failed: [red]so")
    assert shown(console).splitlines() == [
        "process 3 (every case is measured in 4): 4 cases in it; 2 of 5 cases finished, "
        "1 min 05 s so far",
        "numpy?[2J failed: [red]so",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (3725, "1 h 02 min"),
    ],
)
def test_lengths_of_time_are_in_words(seconds: float, words: str) -> None:
    assert live_module.duration(seconds) == words


def test_the_table_has_a_row_for_each_leader_up_to_what_a_terminal_is_high() -> None:
    def rows(number: int) -> list[str]:
        console = terminal()
        leaders = tuple(replace(LEADER, group=f"group {n}") for n in range(number))
        console.print(live_module.picture(progress(leaders=leaders)))
        return shown(console).splitlines()[2:]

    heading, row = rows(1)
    assert heading.split("  ")[0] == "shortest median so far"
    assert heading.split()[-3:] == ["backend", "time", "processes"]
    assert row.split() == ["group", "0", "[bold]numpy", "1.20", "ms", "3", "✓"]
    # Numbers stand under the ends of their headings.
    for word, cell in (("time", "1.20 ms"), ("processes", "3 ✓")):
        assert heading.index(word) + len(word) == row.index(cell) + len(cell)
    assert len(rows(live_module.MOST_LEADERS)) == 1 + live_module.MOST_LEADERS
    assert rows(live_module.MOST_LEADERS + 2)[-1].strip() == "and 2 more"


def test_between_two_cases_nothing_is_said_to_be_timed() -> None:
    console = terminal()
    console.print(live_module.picture(progress(busy=(), leaders=(), place="node1")))
    assert [line.rstrip() for line in shown(console).splitlines()] == [
        "process 3 on node1: 1 of 4 cases in it; 2 of 5 cases precise, 8 min 55 s left",
        "between two cases",
    ]
