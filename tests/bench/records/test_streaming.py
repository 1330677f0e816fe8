"""Test the statistics and histograms of a stream's calls."""

import base64
import contextlib
import importlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import records
from bench.machine.fields import Field, ResultError
from bench.records import stored, streaming
from bench.records.hdr import decode, encode
from bench.records.streaming import CallTimes, Interval, StreamCalls
from bench.schema.decoding import decode as decode_field
from tests.places import GOLDEN

TAKEN = CallTimes(
    {50.0: Interval(1e-4, 2e-4, 3e-4, 0.96), 99.9: Interval(1e-3, 2e-3, 3e-3, 0.95)}, 4e-3, ""
)
CALLS = StreamCalls(7000, TAKEN, TAKEN, 2, 0.01, 3)


def parsed(data: object) -> StreamCalls:
    found = decode_field(Field(Path("a.json"), "streaming", data), stored.Streaming)
    return streaming.stream_calls(found)


def taken(percentile: str, values: list[float]) -> dict[str, Any]:
    return {**TAKEN.to_dict(), "percentiles": {percentile: values}}


def test_stream_calls_round_trip_is_equal() -> None:
    assert parsed(CALLS.to_dict()) == CALLS


@pytest.mark.parametrize(
    ("change", "message"),
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
        ({"latency": taken("0", [1, 2, 3, 0.9])}, "is not a percentile from 0 to 100"),
        ({"latency": taken("100", [1, 2, 3, 0.9])}, "is not a percentile from 0 to 100"),
        ({"latency": {"percentiles": {"50": [1, 2]}}}, "a lower bound"),
        ({"latency": taken("50", [1, 2, 1.5, 0.9])}, "numbers in order"),
        ({"latency": {"percentiles": {"50": [1, 2, 3, 1.5]}}}, "a number from 0 to 1"),
        ({"latency": {"percentiles": {"50": [0, 2, 3, 0.9]}}}, "a time in seconds"),
    ],
)
def test_parse_impossible_stream_raises_with_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultError, match=r"^a\.json: streaming") as raised:
        parsed(CALLS.to_dict() | change)
    assert message in str(raised.value)


# -- complete files


def test_decode_foreign_histogram_gives_its_values() -> None:
    back_to_back, paced = records.read(GOLDEN / "streaming.json").measurements
    found = back_to_back.streaming
    assert found is not None
    assert (found.calls, found.load, found.deadline, found.missed) == (700, 0, None, 0)
    assert found.latency.percentiles[99.0].mid == 0.000839233
    assert list(found.latency.percentiles) == [50.0, 90.0, 99.0]
    assert decode(found.latency.histogram).number.sum() == 700
    found = paced.streaming
    assert found is not None
    assert paced.case.workload.period == 0.01
    assert (found.load, found.deadline, found.missed) == (1, 0.0005, 13)
    assert found.service.percentiles[50.0].mid < found.latency.percentiles[50.0].mid


RNG = np.random.default_rng(5)
SECONDS = {
    "nothing": np.empty(0),
    "one": np.array([0.001]),
    "ticks": np.arange(1, 5000) * 1e-9,
    "log-normal": RNG.lognormal(-8, 1.5, 20_000),
    "an hour and more": np.array([3599.0, 3600.0, 1e6]),
    "zero": np.array([0.0, 1e-12]),
    "powers of two": 2.0 ** np.arange(42) * 1e-9,
}


@pytest.mark.parametrize("name", SECONDS)
def test_encode_any_value_is_in_a_narrow_bin(name: str) -> None:
    seconds = SECONDS[name]
    bins = decode(encode(seconds))
    assert bins.number.sum() == seconds.size
    values = np.sort(np.clip(np.rint(seconds * 1e9), 0, 3600e9))
    place = 0
    for low, high, count in zip(*bins, strict=True):
        inside = values[place : place + count] * 1e-9
        assert np.all(inside >= low * (1 - 1e-12))
        assert np.all(inside < high)
        assert high - low <= max(1e-9 + 1e-15, low * 1.001e-3)
        place += count


@pytest.mark.parametrize("name", SECONDS)
def test_encode_is_read_by_hdrhistogram(name: str) -> None:
    histogram = importlib.import_module("hdrh.histogram").HdrHistogram
    seconds = SECONDS[name]
    theirs = histogram.decode(encode(seconds))
    assert theirs.get_total_count() == seconds.size
    if seconds.size:
        for part in (0, 50, 90, 99, 99.9, 100):
            # HdrHistogram gives the largest value of the bin of the rank.
            rank = max(1, int(np.ceil(round(part / 100 * seconds.size, 6))))
            value = min(np.sort(seconds)[rank - 1], 3600.0) * 1e9
            assert theirs.get_value_at_percentile(part) == pytest.approx(value, rel=1e-3, abs=1)


def test_decode_reads_histograms_of_hdrhistogram() -> None:
    histogram = importlib.import_module("hdrh.histogram").HdrHistogram
    theirs = histogram(1, 3600 * 10**9, 3)
    seconds = SECONDS["log-normal"]
    for each in seconds:
        theirs.record_value(round(each * 1e9))
    text = theirs.encode()
    ours = decode(encode(seconds))
    found = decode(text.decode() if isinstance(text, bytes) else text)
    for column, expected in zip(found, ours, strict=True):
        assert np.array_equal(column, expected)


def packed(
    body: bytes,
    *,
    plain: int = 0x1C849313,
    cookie: int = 0x1C849314,
    digits: int = 3,
    lowest: int = 1,
    size: int | None = None,
    after: bytes = b"",
) -> str:
    head = struct.pack(
        ">iiiiqqd", plain, len(body) if size is None else size, 0, digits, lowest, 10**12, 1.0
    )
    inner = zlib.compress(head + body) + after
    return base64.b64encode(struct.pack(">ii", cookie, len(inner)) + inner).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no histogram",
        "HISTFAAA",
        "A" * (stored.LONGEST_HISTOGRAM + 1),
        packed(b"\x02")[:-8],
        packed(b"\x02", cookie=7),
        packed(b"\x02", plain=7),
        packed(b"\x02", digits=2),
        packed(b"\x02", lowest=1000),
        packed(b"\x02", size=99),
        packed(b"\x80"),
        packed(b"\xff" * 20),
        packed(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        packed(b"\xff\xff\x7f"),
        packed(b"\x02" * 40_000),
        packed(bytes(10**7)),
    ],
    ids=lambda text: f"{text[:12]}-{len(text)}",
)
def test_decode_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it"):
        decode(text)


def test_decode_histogram_with_text_at_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"truncated, or longer"):
        decode(packed(b"\x02", after=b"anna"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_decode_any_bytes_raise_only_value_error(body: bytes) -> None:
    for text in (base64.b64encode(body).decode(), packed(body)):
        with contextlib.suppress(ValueError):
            assert np.all(decode(text).number > 0)
