"""Results of a case, recorded and read back."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.machine.fields import Field
from bench.records.hdr import decode
from bench.records.schema import Figures, Measurement, parse_benchmark, parse_run
from bench.worker.group import Measured, stream_calls
from bench.worker.timing import StepSeries, Stopped, StreamConditions, StreamTimes
from lstm_impl import LSTMSpec, Workload
from lstm_impl.proof import GateResult

CASE = Case("a", LSTMSpec(1, 4), Workload(2, 6, "training"))
SERIES = StepSeries(
    2, (0.4, 0.2, 0.6), (0, 1, 3), (0.5, 0.25), Stopped.PRECISE, True, 1e-5, untimed=1.25
)
GATE = GateResult(True, "judge", {"y": 1e-7}, {"y": 1e-6})
HELD: Figures = {"peak_bytes": 300, "steady_bytes": 200, "how": "made up"}
USED: Figures = {"joules": 0.5, "how": "made up"}
ROOFS: Figures = {"of_matmul": 0.25, "matmul_by": "an abacus", "chain_s": None}
WHOLE = Measured(
    SERIES,
    {
        "build_s": 0.5,
        "trace_s": 0.25,
        "first_call_s": 3.1,
        "gate_s": 2.0,
        "evidence_s": 0.125,
        "timing_s": 9.0,
        "start_s": 7.0,
        "roofs_s": 1.5,
    },
    GATE,
    evidence={"kernels": ["a"]},
    roofs=ROOFS,
    memory=HELD,
    energy=USED,
    remarks=("RuntimeWarning: overflow",),
)
LEAST = Measured(SERIES, {"first_call_s": 0.1}, GATE, {})

RUN: dict[str, object] = {
    "id": "1",
    "session": "1",
    "suite": "mine",
    "seed": 0,
    "started": "2026-01-01T00:00:00+00:00",
    "finished": None,
    "complete": False,
    "host": "here",
    "machine_id": "abc",
    "options": {},
    "environment": {},
}


def read_back(result: Measured, case: Case = CASE) -> Measurement:
    entry = {
        "stats": {"data": list(result.series.samples)},
        "extra_info": {"lstm": result.to_extra(case, seed=77)},
    }
    run = parse_run(Field(Path("x"), "run", RUN))
    read = parse_benchmark(Field(Path("x"), "benchmark", json.loads(json.dumps(entry))), run)
    assert isinstance(read, Measurement)
    return read


def test_to_extra_is_read_back_by_the_reader() -> None:
    read = read_back(WHOLE)
    assert read.case == CASE
    assert read.samples == pytest.approx([0.2, 0.1, 0.3])
    assert tuple(read.rounds) == SERIES.rounds
    assert (read.calls, read.warmup) == (2, (0.5, 0.25))
    assert (read.stopped, read.steady, read.valid) == ("precise", True, True)
    assert read.evidence == {"kernels": ["a"]}
    assert read.gate["errors"] == {"y": 1e-7}
    assert (read.roofs, read.memory, read.energy) == (ROOFS, HELD, USED)
    assert read.remarks == ("RuntimeWarning: overflow",)
    assert read.streaming is None
    blocks = WHOLE.to_extra(CASE, 77)["blocks"]
    assert isinstance(blocks, dict)
    assert (blocks["seed"], blocks["synchronize_s"]) == (77, 1e-5)


def test_compile_seconds_are_first_call_minus_median() -> None:
    expected = {**WHOLE.setup, "compile_s": 3.1 - 0.2, "untimed_s": 1.25}
    assert read_back(WHOLE).setup == pytest.approx(expected)
    assert read_back(LEAST).setup["compile_s"] is None  # negative by noise
    assert read_back(replace(LEAST, setup={"first_call_s": 0.2})).setup["compile_s"] == 0.0


# -- the calls of a stream

CALLS = st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=300)


@pytest.mark.parametrize(
    ("deadline", "period", "expected", "missed"),
    [
        (None, None, None, 0),
        (None, 0.01, 0.01, 1),
        (0.002, 0.01, 0.002, 2),
        (0.004, None, 0.004, 1),
    ],
)
def test_stream_missed_deadlines_are_counted_exactly(
    deadline: float | None, period: float | None, expected: float | None, missed: int
) -> None:
    latency = np.array([0.002, 0.002, np.nextafter(0.002, 1), 0.0105])
    found = stream_calls(StreamTimes(latency, latency), StreamConditions(3, deadline), period)
    assert (found.deadline, found.missed, found.load) == (expected, missed, 3)


@given(CALLS)
def test_stream_histogram_has_every_call_and_the_exact_maximum(calls: list[float]) -> None:
    latency = np.array(calls)
    found = stream_calls(StreamTimes(latency, latency), StreamConditions(), None)
    assert found.calls == decode(found.latency.histogram).number.sum() == len(calls)
    assert found.latency.most == max(calls)


@given(CALLS)
def test_stream_percentiles_rise_within_the_range_of_calls(calls: list[float]) -> None:
    latency = np.array(calls)
    percentiles = stream_calls(
        StreamTimes(latency, latency), StreamConditions(), None
    ).latency.percentiles
    middles = [each.mid for _, each in sorted(percentiles.items())]
    assert middles == sorted(middles)
    for each in percentiles.values():
        assert min(calls) <= each.low <= each.mid <= each.high <= max(calls) < math.inf
