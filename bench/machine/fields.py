"""Values of a result file, each checked where it is used and each knowing where it stands.

What is read may be anything, so nothing is taken for what it should be: a ``Field`` is a value with
the way that leads to it, and asking it for a number, a list of times or a name gives that or raises
one line that names the file and the field. This module knows JSON's values and no schema.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeGuard, cast

# A step shorter than a picosecond or longer than thirty years was not measured; within these
# bounds no rate or ratio overflows.
SHORTEST, LONGEST = 1e-12, 1e9
# Integers past this lose digits in other JSON readers, and no size of a workload comes near it.
LARGEST_INTEGER = 2**53
# Free-form fields come from our own writer at a depth of three or four.
DEEPEST = 40


class InputError(ValueError):
    """What was given or requested cannot be; one line that says what, where, and what to do.

    A command tells it and ends.
    """


class ResultError(InputError):
    """A result file cannot be used; one line, naming the file and the field."""


def error_at(path: Path, text: str, where: str = "") -> ResultError:
    """``text`` says of the file, or of the field ``where`` in it, what it is and should be."""
    subject = printable(str(path))
    return ResultError(f"{subject}: {where} {text}" if where else f"{subject} {text}")


_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/{1,2})"
    # A password may hold a slash, which no parser of URLs allows for.
    r"(?:[^\s'\"<>@]*:[^\s'\"<>]*@|[^\s'\"<>/@]*@)?"
    r"(?P<place>[^\s'\"<>?#]*)(?:[?#][^\s'\"<>]*)?"
)


def without_secrets(text: str) -> str:
    """Return the text with the URLs in it cut down to scheme, host and path.

    The user's name, the password, the query and the fragment go: any of them may be a credential.
    Paths halve the slashes of a URL, which is known all the same.
    """
    if ":/" not in text:
        return text
    return _URL.sub(lambda url: url["scheme"] + url["place"], text)


def printable(text: str, limit: int = 300) -> str:
    """Return the text on one line, without what a terminal would act on, or credentials of URLs."""
    text = without_secrets(text)
    text = text if len(text) <= limit else text[:limit] + "..."
    if text.isprintable():
        return text  # as nearly all is
    # A letter that is replaced may have hidden a URL, or make a query of what follows it.
    return without_secrets("".join(each if each.isprintable() else "?" for each in text))


def shown(value: object) -> str:
    """A value of a file, short, on one line and harmless."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return printable(json.dumps(value[:60], ensure_ascii=False) + "..." * (len(value) > 60))
    return printable(json.dumps(value), 60)


def mapping(value: object) -> Mapping[str, object]:
    """An object of free-form data, in which anything may stand; else one that holds nothing."""
    return value if isinstance(value, Mapping) else {}


class MissingField:
    """The value of a field that is not there."""


class Field:
    """A value of a file and the way that leads to it, as an error names it.

    Every method that asks for a kind of value raises ResultError where it is of another. There are
    many and they are right: a name is put together only where an error asks for it.
    """

    __slots__ = ("_key", "_parent", "path", "value")

    def __init__(
        self, path: Path, name: str | int, value: object, parent: Field | None = None
    ) -> None:
        self.path = path
        self.value = value
        self._key = name
        self._parent = parent

    @property
    def name(self) -> str:
        """The way that leads to it from the file."""
        if self._parent is None:
            return str(self._key)
        before = self._parent.name
        if isinstance(self._key, int):
            return f"{before}[{self._key}]"
        between = "" if not before else " " if before.endswith(":") else "."
        return f"{before}{between}{self._key}"

    def error(self, expected: str, found: str | None = None) -> ResultError:
        """What the field is, or ``found``, and what it should be."""
        if found is None:
            found = "is missing" if self.value is MissingField else f"is {shown(self.value)}"
        return error_at(self.path, f"{found}; expected {expected}", self.name)

    def mapping(self) -> dict[str, object]:
        """An object."""
        if not isinstance(self.value, dict):
            raise self.error("an object")
        return self.value

    def __getitem__(self, key: str) -> Field:
        """The field under a key, which may be missing: what is asked of it will say so."""
        return Field(self.path, key, self.mapping().get(key, MissingField), self)

    @property
    def given(self) -> bool:
        """Whether it is there and not null."""
        return self.value is not MissingField and self.value is not None

    def only_of(self, *keys: str) -> str:
        """The one of these keys that the object has."""
        found = [key for key in keys if key in self.mapping()]
        if len(found) != 1:
            raise error_at(self.path, f"holds {found or 'none'}; expected one of {keys}", self.name)
        return found[0]

    def items(self) -> list[Field]:
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        return [Field(self.path, index, value, self) for index, value in enumerate(self.value)]

    def text(self) -> str:
        """Any text, possibly empty."""
        if not isinstance(self.value, str):
            raise self.error("text")
        return self.value

    def one_of(self, known: Collection[str]) -> str:
        """One of these texts."""
        if not isinstance(self.value, str) or self.value not in known:
            raise self.error(f"one of {', '.join(known)}")
        return self.value

    def label(self) -> str:
        """Text that names something, so not blank."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error("a name")
        return self.value

    def boolean(self) -> bool:
        """True or False, and not 1 or 0."""
        if not isinstance(self.value, bool):
            raise self.error("true or false")
        return self.value

    def integer(self, minimum: int, maximum: int = LARGEST_INTEGER) -> int:
        """An integer within these bounds."""
        if type(self.value) is not int or not minimum <= self.value <= maximum:
            kind = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
            too_large = type(self.value) is int and self.value > maximum
            raise self.error(f"{kind} and at most {maximum}" if too_large else kind)
        return self.value

    def integers(self, minimum: int) -> list[int]:
        """A list of integers."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        if not all(
            type(value) is int and minimum <= value <= LARGEST_INTEGER for value in self.value
        ):
            return [item.integer(minimum) for item in self.items()]
        return self.value

    def number(self, minimum: float = -math.inf, maximum: float = math.inf) -> float:
        """A finite number within these bounds."""
        value = self.value
        if not is_number(value, minimum, maximum):
            raise self.error(_number_words(minimum, maximum))
        return float(value)

    def times(self) -> list[float]:
        """A list of seconds."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        # As in all lists of numbers: item by item only to name the one that is not right.
        if not all(is_number(value, SHORTEST, LONGEST) for value in self.value):
            return [item.number(SHORTEST, LONGEST) for item in self.items()]
        return self.value

    def numbers_or_nulls(
        self, minimum: float = -math.inf, maximum: float = math.inf
    ) -> dict[str, float | None]:
        """An object whose values are numbers within these bounds, or null."""
        values = self.mapping()
        for value in values.values():
            if value is not None and not (
                type(value) is float and is_number(value, minimum, maximum)
            ):
                break
        else:
            return cast("dict[str, float | None]", values)
        return {
            key: None if value is None else self[key].number(minimum, maximum)
            for key, value in values.items()
        }

    def time(self) -> datetime:
        """A moment, in UTC."""
        expected = 'a time with its zone, like "2025-01-31T12:00:00+00:00"'
        try:
            moment = datetime.fromisoformat(self.text())
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise self.error(expected)

    def free(self) -> dict[str, object]:
        """An object of any content, if it is not nested without end."""
        level: list[object] = [self.mapping()]
        for _ in range(DEEPEST):
            inner: list[object] = []
            for value in level:
                if isinstance(value, dict):
                    inner.extend(value.values())
                elif isinstance(value, list):
                    inner.extend(value)
            if not inner:
                return self.mapping()
            level = inner
        raise self.error(f"at most {DEEPEST} levels", "is nested too deeply")

    def annotated(self, annotation: str) -> None:
        """Check against the type of a dataclass's field, as it is written there."""
        if annotation.endswith(" | None"):
            if self.value is None:
                return
            annotation = annotation.removesuffix(" | None")
        if annotation == "int":
            self.integer(1)
        elif annotation == "float":
            self.number(0.0)
        elif annotation == "bool":
            self.boolean()
        elif annotation == "str":
            self.label()
        else:
            raise TypeError(f"{self.name}: no check is known for the type {annotation}")


def is_number(
    value: object, minimum: float = -math.inf, maximum: float = math.inf
) -> TypeGuard[float]:
    """Whether a value is a finite number within these bounds."""
    if type(value) is float:
        return minimum <= value <= maximum and math.isfinite(value)
    # An integer may be past what a float can hold, but compares with one all the same.
    return type(value) is int and minimum <= value <= maximum and abs(value) <= LARGEST_INTEGER


def _number_words(minimum: float, maximum: float) -> str:
    if (minimum, maximum) == (SHORTEST, LONGEST):
        return f"a time in seconds between {SHORTEST:g} and {LONGEST:g}"
    if math.isfinite(minimum) and math.isfinite(maximum):
        return f"a number from {minimum:g} to {maximum:g}"
    if minimum == 0.0:
        return "a number of at least 0"
    return "a finite number"
