"""Test the errors of values that are not of their declared type."""

from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Struct

from bench.machine.fields import Field, InputError, ResultError
from bench.schema.decoding import decode
from bench.schema.types import (
    Decoded,
    FreeObject,
    Moment,
    Name,
    PositiveCount,
    Seconds,
    WrongFieldError,
    described,
    integer,
    number,
    one_of,
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
    task: Annotated[str, one_of(("echo", "copy"))] = "echo"
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


def test_decode_deep_object_is_refused_and_flat_one_taken() -> None:
    nested: object = 1
    for _ in range(50):
        nested = {"a": nested}
    document = {"cells": [{"window": 1, "more": nested}]}
    with pytest.raises(ResultError, match=r"cells\[0\].more is nested too deeply; expected at mo"):
        decode(Field(Path("a.json"), "", document), Map)
    wide = {"a": [[1]] * 1000}
    (cell,) = decode(Field(Path("a.json"), "", {"cells": [{"window": 1, "more": wide}]}), Map).cells
    assert cell.more == wide


def test_decode_error_of_a_value_of_its_own_is_kept() -> None:
    with pytest.raises(InputError, match=r"^a line of its own$"):
        decode(Field(Path("a.json"), "", {"window": 1, "even": "raise"}), Cell)


def test_decode_missing_field_says_what_is_expected() -> None:
    root = Field(Path("a.json"), "", {})
    with pytest.raises(ResultError, match=r"a\.json: map is missing; expected an object"):
        decode(root["map"], Map)
