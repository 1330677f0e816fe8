"""Test the display of a session, and its summary."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.session.manager import SessionProgress
from bench.session.progress import Summary, View, duration
from bench.session.session import Goal
from tests.bench.made_results import measured
from tests.bench.session.made_sessions import A5, HOURS, World, make_run, session


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
    }
    return SessionProgress(**state | changes)


def test_view_on_a_terminal_draws_once_a_second_at_most() -> None:
    file, times = io.StringIO(), iter([0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 2.0])
    console = Console(file=file, force_terminal=True, width=100, color_system=None)
    with View(console, now=lambda: next(times)) as view:
        view.update(progress())
        before = file.getvalue()
        assert (
            "process 3: 1 of 4 cases in it; 2 of 5 cases precise, at most 8 min 55 s left" in before
        )
        assert "timing numpy/b1-t2/float32/inference/cpu" in before
        view.update(progress(number=4))
        assert file.getvalue() == before
        view.update(progress(number=5, busy=(), place="node1"))
        assert "process 5 on node1" in file.getvalue()
        assert "between two cases" in file.getvalue()


def test_view_off_a_terminal_prints_one_line_per_process() -> None:
    console = Console(file=io.StringIO(), width=40)
    with View(console) as view:
        for _ in range(3):
            view.update(progress(budget=None, processes=4))
        view.update(progress(number=4, planned=61.5))
        view.message("numpy\x1b[2J failed: [red]so")
        view.with_label("old").message("it goes on")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "process 3 (every case is measured in 4): 4 cases in it; 2 of 5 cases finished, "
        "1 min 05 s so far",
        "process 4: 4 cases in it; 2 of 5 cases precise, about 1 min 01 s left",
        "numpy?[2J failed: [red]so",
        "old: it goes on",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (3725, "1 h 02 min")],
)
def test_duration_of_seconds_is_written_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_planned_time_is_what_processes_so_far_took() -> None:
    world = World(seconds={A5.group: 20.0})
    world.manager(session(goal=Goal(processes=6), budget=600.0, case_limit=1000.0)).run()
    first = {each.number: each for each in reversed(world.shown)}
    assert first[1].planned is None
    for number in (4, 5, 6):
        left = world.time - first[number].spent
        assert first[number].planned == pytest.approx(left, rel=0.02)
    assert all(0 <= each.planned <= 600 - each.spent for each in world.shown if each.planned)


def test_summary_time_outside_blocks_is_the_rest_of_the_session() -> None:
    world = World()
    found = world.manager(session())
    found.run()
    item = replace(measured(A5, 0.1, make_run(1)), samples=np.full(11, 0.1), calls=4)
    (file, *_) = world.files
    summary = Summary(found, [replace(file, measurements=(item,))])
    assert summary.timed == pytest.approx(4.4)
    outside = summary.spent - 4.4
    words = f"of which {duration(outside)} ({outside / summary.spent:.0%}) outside measured blocks"
    assert words in "\n".join(summary.lines())


@pytest.mark.parametrize("processes", [2, 6])
def test_summary_counts_cases_with_too_few_processes(processes: int) -> None:
    world = World(seconds=dict.fromkeys(HOURS, 20.0), step=5.0)
    goal = Goal(processes=processes)
    found = world.manager(session(goal=goal, budget=400.0, case_limit=1000.0))
    found.run()
    summary = Summary(found, world.files)
    assert summary.unreached == 0
    few = "the budget was too short: 2 cases ran in fewer than the 6 requested processes"
    assert (few in summary.lines()) is (processes == 6)
