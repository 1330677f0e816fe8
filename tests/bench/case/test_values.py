"""Values of a suite's file: what each may be, and that an error says where it stands and what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import parse_period, period_words
from bench.case.loading import SuiteError, Value, did_you_mean, shown
from lstm_impl.spec import MOST_SIZE


def value(what: object, where: str = "here") -> Value:
    return Value(Path("my.toml"), where, what)


READ: dict[str, Callable[[Value], Any]] = {
    "integer": Value.positive_integer,
    "sizes": Value.sizes,
    "text": Value.text,
    "items": lambda value: value.items("a list"),
    "table": lambda value: value.table(("a", "b"), ("a",)),
    "boolean": Value.boolean,
    "number": lambda value: value.number("a share", lambda part: 0 <= part <= 1),
    "word": lambda value: value.one_of(("sgd", "adam")),
}


@pytest.mark.parametrize(
    ("kind", "what", "found"),
    [
        ("integer", 1, 1),
        ("integer", MOST_SIZE, MOST_SIZE),
        ("sizes", 3, (3,)),
        ("sizes", [3, 1, 3], (3, 1)),
        ("text", " a ", " a "),
        ("items", [7], [value(7, "here[0]")]),
        ("table", {"a": 1}, {"a": value(1, "here.a")}),
        ("boolean", False, False),
        ("number", 1, 1.0),
        ("word", "adam", "adam"),
    ],
)
def test_what_is_right_is_read(kind: str, what: object, found: object) -> None:
    assert READ[kind](value(what)) == found


@pytest.mark.parametrize(
    ("kind", "what", "told"),
    [
        *(
            ("integer", what, f"here is {said}; expected a positive integer")
            for what, said in ((0, "0"), (-1, "-1"), (2.0, "2.0"), (True, "true"), ("x", '"x"'))
        ),
        ("integer", 10**18, f"here is {10**18}; expected at most {MOST_SIZE}"),
        ("sizes", 0, "here is 0; expected a positive integer or a list of them"),
        ("sizes", [], "here is []; expected a positive integer or a list of them"),
        ("sizes", [1, True], "here[1] is true; expected a positive integer"),
        ("sizes", [[6]], "here[0] is [6]; expected a positive integer"),
        ("text", "  ", 'here is "  "; expected a text'),
        ("items", [], "here is []; expected a list"),
        ("table", [], "here is []; expected a table"),
        ("table", {"aa": 1}, "here.aa is not known (did you mean a?); expected one of a, b"),
        ("table", {"b": 1}, "here.a is missing"),
        ("boolean", 1, "here is 1; expected true or false"),
        ("number", True, "here is true; expected a share"),
        ("number", 1.5, "here is 1.5; expected a share"),
        ("number", float("nan"), "here is NaN; expected a share"),
        ("word", "adma", 'here is "adma"; expected one of sgd, adam (did you mean adam?)'),
        ("word", 3, "here is 3; expected one of sgd, adam"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(kind: str, what: object, told: str) -> None:
    with pytest.raises(SuiteError) as raised:
        READ[kind](value(what))
    assert str(raised.value) == f"my.toml: {told}"


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
