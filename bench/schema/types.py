"""Provide the types and constraints that declare the kinds of files.

A type states what its values are, and an error what is expected in place of another value. A rule
between two fields is in ``__post_init__`` of the type, which raises ``WrongFieldError``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta

from bench.machine.fields import LARGEST_INTEGER, LONGEST, SHORTEST

LARGEST_FLOAT = sys.float_info.max

DEEPEST = 40
"""The deepest nesting of free-form data. Our writer makes three or four levels."""


def choices(known: Collection[str]) -> Meta:
    """Return the constraint that a text is one of ``known``."""
    pattern = "|".join(map(re.escape, known))
    return Meta(pattern=rf"\A(?:{pattern})\Z", extra={"known": tuple(known)})


def integer(minimum: int, maximum: int = LARGEST_INTEGER) -> Meta:
    """Return the constraint that an integer lies within these bounds."""
    return Meta(ge=minimum, le=maximum)


def number(minimum: float = -LARGEST_FLOAT, maximum: float = LARGEST_FLOAT) -> Meta:
    """Return the constraint that a finite number lies within these bounds."""
    return Meta(ge=minimum, le=maximum)


def described(text: str) -> Meta:
    """Return a description of what is expected, for types whose own description says too little."""
    return Meta(description=text)


Name = Annotated[str, Meta(pattern=r"\S", description="a name")]
"""A text that is not blank."""

Seconds = Annotated[float, number(SHORTEST, LONGEST)]
"""A measured time in seconds. Within these bounds, no rate or ratio overflows."""

Amount = Annotated[float, number(0.0)]
Count = Annotated[int, integer(0)]
PositiveCount = Annotated[int, integer(1)]

MOMENT = 'a time with its zone, like "2025-01-31T12:00:00+00:00"'
Moment = Annotated[datetime, Meta(tz=True, description=MOMENT)]
"""A time with its zone. ``utc`` converts it when its type is made."""


class WrongFieldError(ValueError):
    """A field breaks a rule of its type that no constraint can express.

    place: the path of the field from the object that has the rule, such as ``blocks.round[2]``. A
    key that may contain any character is in brackets. expected: what the field should be, or
    nothing if ``found`` says it. found: what to say in place of the field's value.
    """

    def __init__(self, place: str, expected: str, found: str | None = None) -> None:
        super().__init__(f"{place}: expected {expected}")
        self.place = place
        self.expected = expected
        self.found = found


class Decoded:
    """The base of types that check and make themselves from a value of a file."""

    @classmethod
    def from_data(cls, data: Any) -> Any:
        """Return the value. Raise WrongFieldError, or a ResultError with a place of its own."""
        raise NotImplementedError


class FreeObject(dict[str, Any], Decoded):
    """An object with any content, nested at most ``DEEPEST`` levels deep."""

    @classmethod
    def from_data(cls, data: Any) -> FreeObject:
        """Return the object. Raise WrongFieldError."""
        if not isinstance(data, dict):
            raise WrongFieldError("", "an object")
        level: list[Any] = [data]
        for _ in range(DEEPEST):
            level = [
                inner
                for each in level
                for inner in (each.values() if type(each) is dict else each)
                if type(inner) is dict or type(inner) is list
            ]
            if not level:
                return cls(data)
        raise WrongFieldError("", f"at most {DEEPEST} levels", "is nested too deeply")


def utc(place: str, moment: datetime) -> datetime:
    """Return a moment in UTC. Raise WrongFieldError for a moment in the year 0 or 10,000 of UTC."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise WrongFieldError(place, MOMENT) from None
