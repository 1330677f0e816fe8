"""Rows of a report in which a batch takes a line over its timesteps, that were never measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.case.cases import Case
from bench.stats.batching import Advice, BatchingQuery, advise
from bench.stats.intervals import case_interval
from bench.stats.ratios import RunSamples
from bench.stats.rows import MEASURED, Row, Section
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import a_run

LENGTHS = np.array([5, 9, 12, 30, 33, 40, 80, 95, 100] * 20)


def row(
    backend: str,
    timesteps: int,
    seconds: float,
    once: float = 0.0,
    batch: int = 8,
    hidden: int = 64,
    **more: Any,
) -> Row:
    case = Case(backend, LSTMSpec(16, hidden), Workload(batch, timesteps, "training", **more))
    samples = [seconds * (1 + 0.01 * k) * np.linspace(0.999, 1.001, 9) for k in range(6)]
    return Row(
        case,
        MEASURED,
        runs=tuple(RunSamples(f"r{k}", each) for k, each in enumerate(samples)),
        interval=case_interval(samples),
        setup={"trace_s": once / 2, "compile_s": once / 2},
    )


def section(costs: Mapping[str, Callable[[int], float]], once: float = 0.0, **more: Any) -> Section:
    rows = [
        row(backend, timesteps, cost(timesteps), once, **more)
        for backend, cost in costs.items()
        for timesteps in (10, 50, 100)
    ]
    return Section(tuple(a_run(k) for k in range(6)), tuple(rows), "")


def line(fixed: float, per_timestep: float) -> Callable[[int], float]:
    return lambda timesteps: fixed + per_timestep * timesteps


def a_question(**more: Any) -> BatchingQuery:
    return BatchingQuery(LENGTHS, 8, 64, **more)


def found(question: BatchingQuery, *sections: Section) -> Advice:
    answer = advise(question, sections)
    assert isinstance(answer, Advice), answer
    return answer
