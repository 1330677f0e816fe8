"""Two environments that were never measured in turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from bench.machine.packages import LabelledPython, Python
from bench.records.schema import Results, Run
from tests.bench.made_nodes import a_case
from tests.bench.made_results import a_run, gather, measured


def environment(label: str, **packages: str) -> LabelledPython:
    known = {"pytest": "9.0", "zzz": "1", **packages}
    return LabelledPython(label, Python(f"/{label}/bin/python", "3.11.7", known, "/bench"))


OLD, NEW = environment("release", tensorflow="2.20.0"), environment("nightly", tensorflow="2.21.0")


def run(side: str, turn: int) -> Run:
    """Both sides of a turn within minutes of each other, on a machine that becomes slower."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=turn, minutes=side == "new")
    return a_run(turn, id=f"{side}{turn}", session=side, started=moment, finished=moment)


def side(name: str, factor: float, turns: int = 10, seed: int = 0) -> Results:
    """Whose times grow by half from first to last, and have a little luck of their own."""
    luck = np.random.default_rng([seed, len(name)]).normal(0, 0.01, turns)
    return gather(
        *(
            measured(case, factor * (1 + 0.05 * turn) * float(np.exp(luck[turn])), run(name, turn))
            for turn in (range(turns) if name == "new" else reversed(range(turns)))
            for case in (a_case("keras"), a_case("while_loop"))
        )
    )
