"""Values of a suite's file: what each may be, and that an error says where it stands and what."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import parse_period, period_words
from bench.case.loading import Value, did_you_mean, shown


def value(what: object, where: str = "here") -> Value:
    return Value(Path("my.toml"), where, what)


@given(st.text(), st.text())
def test_an_error_is_one_line_that_a_terminal_may_show(where: str, what: str) -> None:
    told = str(value(what, where).error("another"))
    assert told.isprintable()


def test_an_error_is_not_as_long_as_what_it_quotes() -> None:
    assert len(str(value({"a": 1}).error("x" * 100_000))) < 2010
    assert shown("x" * 58) == f'"{"x" * 58}"'
    assert shown("x" * 59) == f'"{"x" * 56}...'
    assert len(shown(list(range(1000)))) == 60


def test_only_names_that_are_like_it_are_suggested_and_no_more_than_three() -> None:
    assert did_you_mean("xyz", ["batch"]) == ""
    assert did_you_mean("mode1", ["mode2", "mode3", "mode4", "mode5"]).count(" or ") == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10ms", 0.01), ("10 ms", 0.01), ("0.5s", 0.5), ("1s", 1.0), ("20us", 2e-5), ("20µs", 2e-5)],
)
def test_a_period_is_a_time_with_its_unit(text: str, seconds: float) -> None:
    assert parse_period(text) == seconds
    assert parse_period(period_words(seconds)) == seconds


def test_back_to_back_is_no_period() -> None:
    assert parse_period("back-to-back") is None
    assert period_words(None) == "back-to-back"


@pytest.mark.parametrize("text", ["", "10", "ms", "-1ms", "0s", "1h", "2e3s", "10msx", "7200s"])
def test_what_is_no_period_says_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match='"10ms"'):
        parse_period(text)
