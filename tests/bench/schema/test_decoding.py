"""Test the errors of values that are not of their declared type."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Struct

from bench.machine.fields import Field, InputError, ResultError
from bench.schema.decoding import decode
from bench.schema.types import (
    DEEPEST,
    Decoded,
    FreeObject,
    Moment,
    Name,
    PositiveCount,
    Seconds,
    WrongFieldError,
    choices,
    described,
    integer,
    number,
    utc,
)


class Even(Decoded):
    @classmethod
    def from_data(cls, data: object) -> "Even":
        if data == "raise":
            raise ResultError("a line of its own")
        if data != 2:
            raise WrongFieldError("", "2 - at `$.cells[0]`")
        return cls()


class Cell(Struct, forbid_unknown_fields=True):
    window: PositiveCount
    stride: Annotated[int, integer(0, 9)] = 0
    task: Annotated[str, choices(("echo", "copy"))] = "echo"
    losses: dict[str, Annotated[float, number(0.0, 1.0)] | str | None] = {}
    sizes: Annotated[int, integer(1, 9)] | list[Annotated[int, integer(1, 9)]] = 1
    pair: Annotated[tuple[Seconds, float], described("a time and a number")] | None = None
    names: list[Name] | None = None
    start: Moment | None = None
    more: FreeObject | None = None
    even: Even | None = None

    def __post_init__(self) -> None:
        if self.stride > self.window:
            raise WrongFieldError("stride", f"at most the window of {self.window}")
        if "a.b[0]" in self.losses:
            raise WrongFieldError("losses[a.b[0]]", "another name", "is named badly")


class Map(Struct):
    cells: list[Cell]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (3, " is 3; expected an object"),
        ({}, ".window is missing; expected a positive integer"),
        ({"window": 0}, ".window is 0; expected a positive integer"),
        ({"window": True}, ".window is true; expected a positive integer"),
        ({"window": 2.0}, ".window is 2.0; expected a positive integer"),
        ({"stride": 10}, ".stride is 10; expected an integer of at least 0 and at most 9"),
        ({"stride": 7}, ".stride is 7; expected at most the window of 5"),
        ({"wndow": 1}, ".wndow is not known (did you mean window?); expected one of window, "),
        ({"\x1b`$.x": 1}, ".?`$.x is not known; expected one of window, "),
        ({"task": "ecko"}, '.task is "ecko"; expected one of echo, copy (did you mean echo?)'),
        ({"task": 1}, ".task is 1; expected one of echo, copy"),
        ({"losses": []}, ".losses is a list; expected an object"),
        ({"losses": {"a": 0, "b.c": -1}}, ".losses.b.c is -1; expected a number from 0 to 1"),
        ({"losses": {"a": True}}, ".losses.a is true; expected a number from 0 to 1 or text"),
        ({"losses": {"a.b[0]": 1}}, ".losses.a.b[0] is named badly; expected another name"),
        ({"sizes": 0}, ".sizes is 0; expected a positive integer"),
        ({"sizes": [1, 10]}, ".sizes[1] is 10; expected a positive integer and at most 9"),
        ({"sizes": "x"}, '.sizes is "x"; expected a positive integer or a list'),
        ({"pair": [1]}, ".pair is a list; expected a time and a number"),
        ({"pair": [0, 1]}, ".pair[0] is 0; expected a time in seconds between 1e-12 and 1e+09"),
        ({"pair": [1, None]}, ".pair[1] is null; expected a finite number"),
        ({"names": ["a", " "]}, '.names[1] is " "; expected a name'),
        ({"start": "\ud800"}, "; expected a time with its zone, like"),
        ({"\ud800": 1}, ".\N{REPLACEMENT CHARACTER} is not known; expected one of window, "),
        ({"start": "2025-01-31T12:00:00"}, '00"; expected a time with its zone, like "2025'),
        ({"more": {"a": [1], "b": 40 * [1]}, "names": 1}, ".names is 1; expected a list"),
        ({"more": 1}, ".more is 1; expected an object"),
        # A text of a file may look like a place in msgspec's errors.
        ({"even": 3}, ".even is 3; expected 2 - at `$.cells[0]`"),
    ],
)
def test_decode_wrong_value_is_named_with_place_and_expectation(cell: object, message: str) -> None:
    usual = {"window": 5} if cell else {}
    changed = {**usual, **cell} if isinstance(cell, dict) else cell
    document = {"cells": [{"window": 1}, changed]}
    with pytest.raises(ResultError) as caught:
        decode(Field(Path("a.json"), "map", document), Map)
    assert str(caught.value).startswith("a.json: map.cells[1]")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def nested(levels: int, of_lists: bool) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value] if of_lists else {"a": value}
    return value


@pytest.mark.parametrize("of_lists", [False, True])
def test_decode_object_nested_too_deeply_is_refused(of_lists: bool) -> None:
    def decoded(levels: int) -> FreeObject:
        field = Field(Path("a.json"), "more", {"a": nested(levels - 1, of_lists)})
        return decode(field, FreeObject)

    assert decoded(DEEPEST) == {"a": nested(DEEPEST - 1, of_lists)}
    for levels in (DEEPEST + 1, 100_000):
        with pytest.raises(ResultError, match=f"more is nested too deeply; .*{DEEPEST}"):
            decoded(levels)


def test_decode_wide_object_is_taken() -> None:
    wide = {"a": [[1]] * 1000}
    assert decode(Field(Path("a.json"), "", wide), FreeObject) == wide


def test_utc_other_zone_is_converted() -> None:
    moment = datetime.fromisoformat("2025-01-31T12:00:00+01:00")
    assert utc("started", moment) == datetime(2025, 1, 31, 11, tzinfo=UTC)
    assert utc("started", moment).tzinfo is UTC
    with pytest.raises(WrongFieldError, match="started: expected a time with its zone"):
        utc("started", datetime.fromisoformat("0001-01-01T00:00:00+23:59"))


def test_decode_error_of_a_value_of_its_own_is_kept() -> None:
    with pytest.raises(InputError, match=r"^a line of its own$"):
        decode(Field(Path("a.json"), "", {"window": 1, "even": "raise"}), Cell)


def test_decode_missing_field_says_what_is_expected() -> None:
    root = Field(Path("a.json"), "", {})
    with pytest.raises(ResultError, match=r"a\.json: map is missing; expected an object"):
        decode(root["map"], Map)
