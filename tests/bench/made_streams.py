"""Make results of streams from random latencies, kept as a process keeps them."""

import zlib
from datetime import UTC, datetime, timedelta

import numpy as np

from bench.case.cases import Case
from bench.records.schema import Measurement, Results, Run
from bench.worker.group import stream_calls
from bench.worker.timing import StreamConditions, StreamTimes
from lstm_impl import LSTMSpec, Workload
from tests.bench import made_results
from tests.bench.made_results import gather, measured

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


def a_run(number: int, session: str = "session") -> Run:
    return made_results.a_run(
        number,
        "machine",
        "streaming",
        id=f"{session}-{number}",
        session=session,
        seed=0,
        started=START + timedelta(minutes=number),
        finished=START + timedelta(minutes=number + 1),
        machine_id="machine",
        options={"session": session},
        environment={},
    )


def a_stream(backend: str, period: float | None = None, hidden: int = 128) -> Case:
    return Case(backend, LSTMSpec(64, hidden), Workload(1, 1, "streaming", period=period))


def streamed(
    case: Case,
    run: Run,
    median: float,
    tail: float,
    calls: int = 7000,
    conditions: StreamConditions | None = None,
) -> Measurement:
    """Return a stream in which one call in fifty takes ``tail`` times the median or more."""
    rng = np.random.default_rng(zlib.crc32(f"{run.id} {case.id}".encode()))
    latency = median * rng.lognormal(0, 0.05, calls)
    slow = rng.random(calls) < 0.02
    latency[slow] *= tail * rng.lognormal(0, 0.1, int(slow.sum()))
    found = stream_calls(
        StreamTimes(latency, latency), conditions or StreamConditions(), case.workload.period
    )
    return measured(case, median, run, streaming=found)


def streams(
    tails: dict[str, float],
    processes: int = 6,
    period: float | None = None,
    session: str = "session",
    calls: int = 7000,
) -> Results:
    """Return results of backends that differ only in their tails."""
    return gather(
        *(
            streamed(a_stream(backend, period), a_run(number, session), 1e-4, tail, calls)
            for number in range(processes)
            for backend, tail in tails.items()
        )
    )
