"""Sessions of one machine that were never measured."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from bench.case.cases import Case
from bench.cli.output import plain_text
from bench.records.schema import Measurement, Outcome, Results, Run
from bench.render import history as history_words
from bench.stats.history import History, build
from tests.bench.made_nodes import a_case
from tests.bench.made_results import a_run, gather, measured


def run(session: int, process: int = 0, *, host: str = "laptop", tensorflow: str = "2.20.0") -> Run:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=session)
    before = {
        "python": "CPython 3.11.7",
        "libraries": {"tensorflow": tensorflow},
        "memory": {"swap_total_bytes": 0 if tensorflow == "2.20.0" else 2**30},
        "load": [float(session)],
    }
    return a_run(
        0,
        host,
        "quick",
        id=f"r{host}{session}-{process}",
        session=f"s{host}{session}",
        started=moment,
        finished=moment,
        machine_id=f"id-of-{host}",
        environment={"before": before, "after": {}},
    )


def session(
    number: int, times: Mapping[Case, float], *, processes: int = 6, tensorflow: str = "2.20.0"
) -> list[Measurement | Outcome]:
    factors = np.exp(0.004 * np.linspace(-1, 1, processes))
    return [
        measured(of, seconds * factor, run(number, process, tensorflow=tensorflow))
        for process, factor in enumerate(factors)
        for of, seconds in times.items()
    ]


def upgrade() -> Results:
    """Three sessions, the files in another order; the second with another TensorFlow."""
    return gather(
        *session(3, {a_case(): 1.3}, tensorflow="2.21.0"),
        *session(1, {a_case(): 1.0}),
        *session(2, {a_case(): 1.3}, tensorflow="2.21.0"),
    )


def nights(
    count: int = 30,
    slower: Mapping[Case, float] | None = None,
    since: int = 18,
    until: int = 10**6,
    cases: Sequence[Case] = (),
) -> Results:
    """A session a night; from one on ``slower`` cases take so many times as long."""
    rng = np.random.default_rng(1)
    every = cases or [
        a_case(name, batch) for name in ("keras", "scan", "torch") for batch in (8, 16)
    ]
    items: list[Measurement | Outcome] = []
    for night in range(1, count + 1):
        luck = rng.normal(0, 0.02)
        times = {
            of: math.exp(luck + rng.normal(0, 0.01))
            * ((slower or {}).get(of, 1.0) if since <= night < until else 1.0)
            for of in every
        }
        version = "2.21.0" if night >= since else "2.20.0"
        items += session(night, times, processes=2, tensorflow=version)
    return gather(*items)


SLOW_SCAN = {a_case("scan"): 1.2, a_case("scan", 16): 1.2}


@functools.cache
def slow_scan() -> History:
    """Thirty nights, of which from the eighteenth on one backend was slower."""
    return build(nights(slower=SLOW_SCAN))


def shown(found: History, *, sessions: bool) -> str:
    return plain_text(history_words.document(found, sessions).terminal)
