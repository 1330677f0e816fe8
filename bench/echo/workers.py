"""Trainings side by side, in processes of their own that end with the one that began them.

Nothing here is timed, so cells may train at the same time. This room knows plans and cells, and has
``machine.crew`` for the processes: each is ``python -m bench.echo.workers``. It writes
and prints nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from bench.echo.plan import Item, Plan, StoppedError, train
from bench.machine import crew
from bench.machine.crew import Crew, CrewError, Launch
from bench.records.maps import Cell

THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
"""Variables that keep a worker to one thread, unless the user said otherwise: the networks are too
small for two."""


def train_all(
    plan: Plan,
    items: Sequence[Item],
    jobs: int,
    done: Callable[[Cell], None],
    wanted: Callable[[], bool],
    in_time: Callable[[], bool] = lambda: True,
) -> bool:
    """Train cells, ``jobs`` side by side, and hand each to ``done``; whether all were.

    wanted: asked often; once it says no, what is in flight is dropped. in_time: asked before a cell
    is begun; once it says no, none is begun any more. Raises CrewError if a worker dies or fails.
    """
    if jobs == 1:
        for item in items:
            if not wanted() or not in_time():
                return False
            try:
                done(train(plan, item, lambda: not wanted()))
            except StoppedError:
                return False
        return True
    waiting = list(reversed(items))
    left = len(items)

    def order() -> dict[str, object] | None:
        if not waiting or not in_time():
            return None
        return {"plan": plan.to_dict(), "item": asdict(waiting.pop())}

    launch = Launch(("-m", __name__), {**dict.fromkeys(THREADS, "1"), **os.environ})
    with Crew({f"trainer {number}": launch for number in range(1, jobs + 1)}) as trainers:
        try:
            for answer in trainers.share(order, wanted, "in a training"):
                done(Cell(**{**answer, "curve": tuple(answer["curve"])}))
                left -= 1
        except CrewError:
            if wanted():
                raise  # else the signal that ends this process has ended the workers
    return not left


def _trained(order: dict[str, Any]) -> dict[str, object]:
    return train(Plan.from_dict(order["plan"]), Item(**order["item"])).to_dict()


if __name__ == "__main__":
    crew.serve(_trained)
