"""Test the formatting of times, rates, ratios, sizes and shapes."""

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.render import quantities
from bench.stats.intervals import Interval
from lstm_impl import LSTMSpec, Workload

UNITS = {
    "s": 1.0,
    "ms": 1e-3,
    "µs": 1e-6,
    "ns": 1e-9,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "B": 1.0,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
}
THREE_DIGITS = 0.00501
"""The largest rounding error of three digits."""


def read(text: str) -> float:
    number, unit = re.fullmatch(r"([−\d.,e+]+) ?(\D*)", text).groups()  # type: ignore[union-attr]
    return float(number.replace(",", "").replace("−", "-")) * UNITS[unit]


def positive(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(math.log(least), math.log(most)).map(math.exp)


@given(positive(1e-9, 1e9))
@example(0.9995)
@example(0.99949)
@example(999.5)
def test_seconds_any_time_is_short_and_read_back(value: float) -> None:
    message = quantities.seconds(value)
    assert read(message) == pytest.approx(value, rel=THREE_DIGITS)
    assert len(message) <= len("49.8 ms") or value >= 999.5


@given(positive(1e-2, 1e15))
@example(9994.9)
@example(9995.0)
def test_rate_any_number_has_six_letters_and_is_read_back(value: float) -> None:
    message = quantities.rate(value)
    assert read(message) == pytest.approx(value, rel=THREE_DIGITS)
    assert len(message) <= 6


@given(positive(1, 2.0**45), st.sampled_from((1, -1)))
@example(1023.6, 1)
def test_size_of_either_sign_is_read_back(value: float, sign: int) -> None:
    assert read(quantities.size(sign * value)) == pytest.approx(sign * value, rel=THREE_DIGITS)


@given(positive(0.1, 1e6))
def test_ratio_has_two_places_or_three_digits(value: float) -> None:
    assert float(quantities.ratio(value)) == pytest.approx(value, rel=THREE_DIGITS, abs=0.00501)
    assert quantities.ratio(1 / value) != "0" or value > 1e5


@pytest.mark.parametrize(
    ("value", "places", "message"),
    [
        (1.024, 2, "1.02"),
        (1.0249, 3, "1.025"),
        (0.0349, 2, "0.0349"),
        (12.34, 2, "12.3"),
        (1219.6, 2, "1220"),
        (2e6, 2, "∞"),
        (math.inf, 2, "∞"),
        (1e-7, 2, "0"),
    ],
)
def test_ratio_beyond_a_million_is_infinite_or_zero(
    value: float, places: int, message: str
) -> None:
    assert quantities.ratio(value, places) == message


def test_times_bounds_exchange_low_and_high() -> None:
    assert quantities.times_bounds(0.5, 2.0) == quantities.bounds(0.5, 2.0) == "0.50–2.00"
    assert quantities.times_bounds(0.25, 0.5) == "2.00–4.00"


def test_ranges_use_the_unit_of_their_middle() -> None:
    assert quantities.seconds_range(0.0008, 0.0012, 0.001) == "0.800–1.20"
    assert quantities.seconds_range(0.9, math.inf, 0.9995) == "0.900–∞"
    assert quantities.size_range(Interval(2**19, 2**20, 2**21, 0.95)) == "0.500–2.00"


def test_size_and_percent_are_readable() -> None:
    assert quantities.size(12.5 * 1024) == "12.5 KiB"
    assert quantities.size(-1.5 * 2**20) == "−1.50 MiB"
    assert quantities.size(0) == "0 B"
    assert quantities.percent(0.004) == "0.4%"
    assert quantities.percent(0.0095) == "1%"
    assert quantities.percent(0.12) == "12%"


def test_count_agrees_with_its_noun() -> None:
    assert [quantities.count(n, "case") for n in (0, 1, 2_000)] == [
        "0 cases",
        "1 case",
        "2,000 cases",
    ]
    assert quantities.count(2, "process") == "2 processes"
    assert [quantities.format_part(n, 2, "ratio") for n in (1, 2)] == ["1 ratio of 2", "2 ratios"]


def test_listed_long_list_counts_what_is_left_out() -> None:
    assert quantities.join_names(["a"]) == "a"
    assert quantities.join_names(["a", "b", "c"]) == "a, b and c"
    assert quantities.join_names(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_shape_words_have_unusual_properties() -> None:
    plain = Case("keras", LSTMSpec(3, 4), Workload(2, 1))
    assert quantities.shape_texts(plain) == ["batch 2 × 1 timestep", "3 in, 4 hidden"]
    spec = LSTMSpec(3, 4, num_layers=2, bidirectional=True)
    work = Workload(
        *(2, 10, "training"),
        min_length=5,
        dropout=0.25,
        batch_major=True,
        optimizer="adam",
        gradients="weights",
    )
    assert quantities.shape_texts(Case("keras", spec, work)) == [
        *(
            "batch 2 × 10 timesteps",
            "3 in, 4 hidden",
            "2 layers",
            "bidirectional",
            "lengths from 5",
        ),
        *("dropout 0.25", "batch-major", "adam updates", "gradients of weights"),
    ]
    stream = Case("keras", LSTMSpec(3, 4), Workload(1, 1, "streaming", period=0.0125))
    assert quantities.shape_texts(stream)[-1] == "a call every 12.5 ms"


def test_bounds_of_either_sign_have_same_digits() -> None:
    assert quantities.seconds_range(-1.16e-3, 1.418e-3, 9.67e-4) == "-1160–1418"
    assert quantities.seconds_range(1e-3, 2e-3, 1e-3) == "1.00–2.00"
