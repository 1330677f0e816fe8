"""What a result file says of a stream's calls, read back and refused where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.machine.fields import Field, ResultError
from bench.records import streaming
from bench.records.hdr import decode
from bench.records.streaming import Bounds, StreamCalls, Taken
from tests.places import GOLDEN

TAKEN = Taken(
    {50.0: Bounds(1e-4, 2e-4, 3e-4, 0.96), 99.9: Bounds(1e-3, 2e-3, 3e-3, 0.95)}, 4e-3, ""
)
CALLS = StreamCalls(7000, TAKEN, TAKEN, 2, 0.01, 3)


def parsed(data: object) -> StreamCalls | None:
    return streaming.parse(Field(Path("a.json"), "streaming", data))


def test_it_comes_back_as_it_went() -> None:
    assert parsed(CALLS.to_dict()) == CALLS


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"calls": 0}, "streaming.calls"),
        ({"missed": 7001}, "streaming.missed is 7001; expected at most the 7000 calls"),
        ({"missed": -1}, "streaming.missed"),
        ({"load": True}, "streaming.load"),
        ({"deadline_s": 0}, "streaming.deadline_s"),
        ({"latency": None}, "streaming.latency"),
        ({"service": {"percentiles": {}, "most_s": "x", "histogram": ""}}, "service.most_s"),
        ({"service": {"percentiles": {}, "most_s": 1, "histogram": "x" * 200_001}}, "histogram"),
        ({"latency": {"percentiles": {"x": []}}}, "latency.percentiles.x"),
        ({"latency": {"percentiles": {"nan": []}}}, "latency.percentiles.nan"),
        ({"latency": {"percentiles": {"100": []}}}, "latency.percentiles.100"),
        ({"latency": {"percentiles": {"0": [1, 2, 3, 0.9]}}}, "is no percentile from 0 to 100"),
        ({"latency": {"percentiles": {"100": [1, 2, 3, 0.9]}}}, "is no percentile from 0 to 100"),
        ({"latency": {"percentiles": {"50": [1, 2]}}}, "a lower bound"),
        ({"latency": {"percentiles": {"50": [1, 2, 1.5, 0.9]}}}, "numbers in order"),
        ({"latency": {"percentiles": {"50": [1, 2, 3, 1.5]}}}, "a number from 0 to 1"),
        ({"latency": {"percentiles": {"50": [0, 2, 3, 0.9]}}}, "a time in seconds"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ResultError, match=r"^a\.json: streaming") as raised:
        parsed(CALLS.to_dict() | change)
    assert told in str(raised.value)


# -- whole files


def test_a_file_of_this_format_is_read_as_it_was_written() -> None:
    back_to_back, paced = records.read(GOLDEN / "streaming.json").measurements
    found = back_to_back.streaming
    assert found is not None
    assert (found.calls, found.load, found.deadline, found.missed) == (700, 0, None, 0)
    assert found.latency.percentiles[99.0].mid == 0.000839233
    assert list(found.latency.percentiles) == [50.0, 90.0, 99.0]
    assert sum(each.number for each in decode(found.latency.histogram)) == 700
    found = paced.streaming
    assert found is not None
    assert paced.case.workload.period == 0.01
    assert (found.load, found.deadline, found.missed) == (1, 0.0005, 13)
    assert found.service.percentiles[50.0].mid < found.latency.percentiles[50.0].mid
