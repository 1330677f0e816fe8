"""Results that a time model fits: a fixed time and one of each timestep, on top of the roofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bench.case.cases import Case, Shape
from bench.records.schema import Measurement, Results, Run
from bench.stats.predicting import rest_of_timestep
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured

DAY = datetime(2025, 1, 31, tzinfo=UTC)


RUN = Run("1", "s", "grid", 1, DAY, DAY, True, "host", "id", {}, {})


def found(
    backend: str, shape: Shape, times: float = 1.0, roofs: bool = True, run: Run = RUN
) -> Measurement:
    work = Workload(shape.batch, shape.timesteps)
    chain = shape.timesteps * (1e-6 + 8e-11 * shape.batch * shape.hidden**2)
    rest = shape.timesteps * rest_of_timestep(shape, 1) / 1e11
    case = Case(backend, LSTMSpec(shape.inputs, shape.hidden), work)
    made = measured(case, times * (1e-4 + 2 * chain + 3 * rest), run)
    return replace(made, roofs={"chain_s": chain, "matmul_per_s": 1e11} if roofs else None)


def grid(backend: str, **rest: Any) -> list[Measurement]:
    return [
        found(backend, Shape(batch, timesteps, hidden, hidden), **rest)
        for batch in (1, 32)
        for timesteps in (20, 100)
        for hidden in (64, 256)
    ]


def results(*backends: Sequence[Measurement]) -> Results:
    return gather(*(each for backend in backends for each in backend))
