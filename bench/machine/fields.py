"""Say where a value is in a file, and what is wrong with it, in one line.

A ``Field`` is a value with its place in the file. ``bench.schema`` checks the fields of a kind of
file. For single values, a field returns a number or a name, or raises one line that names the file
and the field.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeGuard

SHORTEST, LONGEST = 1e-12, 1e9
"""The bounds of a measured time in seconds. Within them, no rate or ratio overflows."""

LARGEST_INTEGER = 2**53
"""Larger integers lose digits in other JSON readers. No size of a workload comes close."""


class InputError(ValueError):
    """An input is invalid. The message says in one line what is wrong, where, and what to do."""


class ResultError(InputError):
    """A result file cannot be used. The message is one line that names the file and the field."""


def require(package: str, what: str, extra: str) -> None:
    """Raise InputError if a package is missing, and say what to install."""
    if find_spec(package) is None:
        install = f"pip install 'lstm-benchmark-suite[{extra}]'"
        raise InputError(f"{what} needs {package}, which is not installed; {install}")


def file_error(path: Path, text: str, where: str = "") -> ResultError:
    """Return an error that begins with the file and, if given, the field ``where`` in it."""
    subject = printable(str(path))
    return ResultError(f"{subject}: {where} {text}" if where else f"{subject} {text}")


_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/{1,2})"
    # A password may contain a slash, although parsers of URLs do not expect one there.
    r"(?:[^\s'\"<>@]*:[^\s'\"<>]*@|[^\s'\"<>/@]*@)?"
    r"(?P<place>[^\s'\"<>?#]*)(?:[?#][^\s'\"<>]*)?"
)


def without_secrets(text: str) -> str:
    """Return the text with each URL reduced to scheme, host and path, without credentials."""
    if ":/" not in text:  # Path halves the slashes of a URL.
        return text
    return _URL.sub(lambda url: url["scheme"] + url["place"], text)


def printable(text: str, limit: int = 300) -> str:
    """Return the text on one line, without control characters and without credentials in URLs."""
    text = without_secrets(text)
    text = text if len(text) <= limit else text[:limit] + "..."
    if text.isprintable():
        return text
    # A replaced character may have hidden a URL, or may turn what follows it into a query.
    return without_secrets("".join(each if each.isprintable() else "?" for each in text))


def format_value(value: object) -> str:
    """Return a value of a file as a short and safe line."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, str):
        return printable(json.dumps(value[:60], ensure_ascii=False) + "..." * (len(value) > 60))
    return printable(json.dumps(value, default=str), 60)  # TOML has dates, too.


def mapping(value: object) -> Mapping[str, object]:
    """Return an object of free-form data, or an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


class MissingField:
    """The value of a missing field."""


class Field:
    """A value of a file and its place there.

    The methods raise ResultError for other kinds of value.
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
        """Return the place in the file, such as ``benchmarks[3].stats``."""
        if self._parent is None:
            return str(self._key)
        before = self._parent.name
        if isinstance(self._key, int):
            return f"{before}[{self._key}]"
        between = "" if not before else " " if before.endswith(":") else "."
        return f"{before}{between}{printable(self._key, 60)}"

    def error(self, expected: str, found: str | None = None) -> ResultError:
        """Return an error that says what the field is, or ``found``, and what is expected."""
        if found is None:
            found = "is missing" if self.value is MissingField else f"is {format_value(self.value)}"
        return file_error(self.path, f"{found}; expected {expected}", self.name)

    def mapping(self) -> dict[str, object]:
        """Return an object."""
        if not isinstance(self.value, dict):
            raise self.error("an object")
        return self.value

    def __getitem__(self, key: str) -> Field:
        """Return the field of a key. If the key is missing, the field's methods raise an error."""
        return Field(self.path, key, self.mapping().get(key, MissingField), self)

    def item(self, index: int) -> Field:
        """Return the field of a list's item.

        If the item is missing, the field's methods raise an error.
        """
        items = self._list()
        return Field(self.path, index, items[index] if index < len(items) else MissingField, self)

    @property
    def given(self) -> bool:
        """Return whether the field exists and is not null."""
        return self.value is not MissingField and self.value is not None

    def single_key(self, *keys: str) -> str:
        """Return which of these keys the object has. Raise ResultError unless it is exactly one."""
        found = [key for key in keys if key in self.mapping()]
        if len(found) != 1:
            raise file_error(
                self.path, f"holds {found or 'none'}; expected one of {keys}", self.name
            )
        return found[0]

    def items(self) -> list[Field]:
        """Return the items of a list as fields."""
        return [Field(self.path, index, value, self) for index, value in enumerate(self._list())]

    def _list(self) -> list[object]:
        if not isinstance(self.value, list):
            raise self.error("a list")
        return self.value

    def text(self) -> str:
        """Return a text, which may be empty."""
        if not isinstance(self.value, str):
            raise self.error("text")
        return self.value

    def choice(self, known: Collection[str]) -> str:
        """Return a text that is one of ``known``."""
        expected = f"one of {', '.join(known)}"
        if not isinstance(self.value, str):
            raise self.error(expected)
        if self.value not in known:
            raise self.error(f"{expected}{did_you_mean(self.value, known)}")
        return self.value

    def label(self) -> str:
        """Return a text that is not blank."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error("a name")
        return self.value

    def integer(self, minimum: int, maximum: int = LARGEST_INTEGER) -> int:
        """Return an integer within these bounds."""
        if type(self.value) is not int or not minimum <= self.value <= maximum:
            kind = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
            too_large = type(self.value) is int and self.value > maximum
            raise self.error(f"{kind} and at most {maximum}" if too_large else kind)
        return self.value

    def number(self, minimum: float = -math.inf, maximum: float = math.inf) -> float:
        """Return a finite number within these bounds."""
        value = self.value
        if is_number(value, minimum, maximum):
            return float(value)
        if (minimum, maximum) == (SHORTEST, LONGEST):
            raise self.error(f"a time in seconds between {SHORTEST:g} and {LONGEST:g}")
        if math.isfinite(minimum) and math.isfinite(maximum):
            raise self.error(f"a number from {minimum:g} to {maximum:g}")
        if math.isfinite(maximum):
            raise self.error(f"a number of at most {maximum:g}")
        raise self.error("a number of at least 0" if minimum == 0.0 else "a finite number")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return which known names are similar, as the end of a sentence."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def is_number(
    value: object, minimum: float = -math.inf, maximum: float = math.inf
) -> TypeGuard[float]:
    """Return whether a value is a finite number within these bounds."""
    if type(value) is float:
        return minimum <= value <= maximum and math.isfinite(value)
    # An integer that is too large for a float can still be compared with one.
    return type(value) is int and minimum <= value <= maximum and abs(value) <= LARGEST_INTEGER
