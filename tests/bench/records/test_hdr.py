"""Histograms as HdrHistogram writes them: its own library reads ours, and ours reads its own."""

from __future__ import annotations

import base64
import contextlib
import importlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.records import hdr
from bench.records.hdr import decode, encode

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
def test_every_value_is_in_its_bin_and_a_bin_is_a_thousandth_wide(name: str) -> None:
    seconds = SECONDS[name]
    bins = decode(encode(seconds))
    assert sum(each.number for each in bins) == seconds.size
    values = np.sort(np.clip(np.rint(seconds * 1e9), 0, 3600e9))
    place = 0
    for low, high, count in bins:
        inside = values[place : place + count] * 1e-9
        assert np.all(inside >= low * (1 - 1e-12))
        assert np.all(inside < high)
        assert high - low <= max(1e-9 + 1e-15, low * 1.001e-3)
        place += count


@pytest.mark.parametrize("name", SECONDS)
def test_hdrhistogram_s_own_library_reads_the_same(name: str) -> None:
    histogram = importlib.import_module("hdrh.histogram").HdrHistogram
    seconds = SECONDS[name]
    theirs = histogram.decode(encode(seconds))
    assert theirs.get_total_count() == seconds.size
    if seconds.size:
        for part in (0, 50, 90, 99, 99.9, 100):
            # Theirs is the largest value of the bin in which that of the rank is.
            rank = max(1, int(np.ceil(round(part / 100 * seconds.size, 6))))
            value = min(np.sort(seconds)[rank - 1], 3600.0) * 1e9
            assert theirs.get_value_at_percentile(part) == pytest.approx(value, rel=1e-3, abs=1)


def test_ours_reads_what_hdrhistogram_s_own_library_writes() -> None:
    histogram = importlib.import_module("hdrh.histogram").HdrHistogram
    theirs = histogram(1, 3600 * 10**9, 3)
    seconds = SECONDS["log-normal"]
    for each in seconds:
        theirs.record_value(round(each * 1e9))
    text = theirs.encode()
    assert decode(text.decode() if isinstance(text, bytes) else text) == decode(encode(seconds))


def test_a_stream_of_a_minute_takes_some_kilobytes() -> None:
    assert len(encode(RNG.lognormal(-9, 0.3, 600_000))) < 8000


def packed(
    body: bytes,
    *,
    plain: int = 0x1C849313,
    cookie: int = 0x1C849314,
    digits: int = 3,
    lowest: int = 1,
    size: int | None = None,
) -> str:
    head = struct.pack(
        ">iiiiqqd", plain, len(body) if size is None else size, 0, digits, lowest, 10**12, 1.0
    )
    inner = zlib.compress(head + body)
    return base64.b64encode(struct.pack(">ii", cookie, len(inner)) + inner).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no histogram",
        "HISTFAAA",
        "A" * (hdr.LONGEST_TEXT + 1),
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
def test_what_is_no_such_histogram_is_refused_in_a_word(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it"):
        decode(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    for text in (base64.b64encode(body).decode(), packed(body)):
        with contextlib.suppress(ValueError):
            assert all(each.number > 0 for each in decode(text))
