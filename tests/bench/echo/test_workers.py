"""Trainings side by side: the same cells, whoever trains them, and none once they are unwanted."""

import os
import resource
from dataclasses import replace

import psutil
import pytest

from bench.echo import workers
from bench.echo.plan import Plan
from bench.machine.crew import CrewError
from bench.records.maps import Cell

SMALL = Plan(tasks=("echo",), distances=(1,), windows=(3, 6), seeds=1, timesteps=60, batch=4)


def trained(jobs: int) -> list[Cell]:
    cells: list[Cell] = []
    items = list(SMALL.items())
    assert workers.train_all(SMALL, items, jobs, cells.append, lambda: True)
    return sorted(cells, key=lambda each: each.key)


def test_cells_are_the_same_trained_side_by_side() -> None:
    before = {name: os.environ.get(name) for name in workers.THREADS}
    one = trained(1)
    assert [each.key for each in one] == sorted(item.key for item in SMALL.items())
    assert trained(2) == one
    assert {name: os.environ.get(name) for name in workers.THREADS} == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_out_of_time_no_cell_is_begun(jobs: int) -> None:
    cells: list[Cell] = []
    items = list(SMALL.items())
    done = workers.train_all(SMALL, items, jobs, cells.append, lambda: True, lambda: not cells)
    assert not done
    # What is in flight when the time is over is finished.
    assert 1 <= len(cells) <= jobs + 1


def children_used() -> float:
    """Seconds of processor time of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_worker_that_is_killed_is_an_error_that_says_so() -> None:
    long = replace(SMALL, timesteps=2_000_000, windows=(3,))

    def wanted() -> bool:
        for each in psutil.Process().children():
            each.kill()
        return True

    with pytest.raises(CrewError, match=r"^trainer \d was ended by SIGKILL"):
        workers.train_all(long, list(long.items()), 2, lambda cell: None, wanted)


def test_once_unwanted_what_is_in_flight_is_dropped() -> None:
    long = replace(SMALL, timesteps=2_000_000, windows=(3,))
    before = children_used()
    cells: list[Cell] = []

    def training() -> bool:
        """Not yet for as long as starting and importing takes."""
        running = [each.cpu_times() for each in psutil.Process().children()]
        return max((times.user + times.system for times in running), default=0.0) > 1.5

    done = workers.train_all(long, list(long.items()), 2, cells.append, lambda: not training())
    assert not done
    assert cells == []
    # Of processor time, which does not grow with load; minutes, had it been trained to its end.
    assert children_used() - before < 30
