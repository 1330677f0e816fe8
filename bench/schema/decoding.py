"""Turn the contents of files into declared types, and say exactly what is wrong in a file.

A type (a ``msgspec.Struct`` or a dataclass) declares what a file may hold: its fields, their types,
and bounds as ``msgspec.Meta``. ``decode`` checks a value against its type. msgspec's errors name a
place, but not the value there, and no key of an object with free keys. This module translates such
an error. It follows the place through the type and the value. It then raises one line with the
file, the field, its value, what the type expects, and the nearest known name.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from bench.machine.fields import (
    LONGEST,
    SHORTEST,
    Field,
    MissingField,
    ResultError,
    did_you_mean,
    file_error,
    printable,
)
from bench.schema.types import LARGEST_FLOAT, Decoded, WrongFieldError

_T = TypeVar("_T")

_NUMBERS = (int, float)


def _make(kind: type[Any], data: Any) -> Any:
    """Make a ``Decoded`` type. msgspec calls this as its ``dec_hook``."""
    if issubclass(kind, Decoded):
        return kind.from_data(data)
    raise NotImplementedError(f"files hold no {kind.__name__}")


def decode(field: Field, kind: type[_T]) -> _T:
    """Return the value of a field as ``kind``. Raise a ResultError that names the inner field."""
    if field.value is MissingField:
        raise field.error(_expected(kind, MissingField))
    try:
        return msgspec.convert(field.value, kind, dec_hook=_make)
    except msgspec.ValidationError as error:
        raise _translate(error, field, kind) from None
    except UnicodeEncodeError:
        # JSON can spell half of a UTF-16 pair, but UTF-8 text cannot contain it.
        field.value = _without_surrogates(field.value)
        return decode(field, kind)


def _without_surrogates(value: object) -> object:
    """Return a value in which U+FFFD replaces each lone surrogate."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    return value


def _translate(error: msgspec.ValidationError, field: Field, kind: Any) -> ResultError:
    cause = error.__cause__
    text = str(error)
    # The message of a cause may quote the file, and the quoted part may look like a place.
    message = str(cause) if cause is not None and text.startswith(str(cause)) else ""
    found = re.fullmatch(r"(.*?)(?: - at `(?:key` in `)?\$(.*)`)?", text[len(message) :], re.DOTALL)
    message, way = message + (found[1] if found else ""), (found and found[2]) or ""
    place, expected = field, kind
    for step in re.findall(r"\.\w+|\[\d+\]|\[\.\.\.\]", way):
        place, expected = _step(place, expected, step)
    if isinstance(cause, WrongFieldError):
        for name, key in re.findall(r"([^.\[\]]+)|\[(.*)\]", cause.place, re.DOTALL):
            is_index = isinstance(place.value, list) and key.isdecimal()
            place = place.item(int(key)) if is_index else place[name or key]
        if not cause.expected and cause.found:
            return file_error(place.path, printable(cause.found), place.name)
        return place.error(cause.expected, cause.found)
    if isinstance(cause, ResultError):
        return cause
    if cause is not None:
        return file_error(place.path, message, place.name)
    if missing := re.fullmatch("Object missing required field `(.*)`", message, re.DOTALL):
        struct = _alternative(expected, place.value)
        return place[missing[1]].error(_expected(_hints(struct)[missing[1]], MissingField))
    if unknown := re.fullmatch("Object contains unknown field `(.*)`", message, re.DOTALL):
        known = list(_hints(_alternative(expected, place.value)))
        close = did_you_mean(unknown[1], known)
        what = f"is not known{close}; expected one of {', '.join(known)}"
        return file_error(place.path, what, place[unknown[1]].name)
    return place.error(_expected(expected, place.value))


def _step(place: Field, kind: Any, step: str) -> tuple[Field, Any]:
    """Return the field and the type that are one step further along a place of msgspec."""
    kind = _alternative(kind, place.value)
    if step == "[...]":
        item = get_args(kind)[-1]
        for key in place.mapping():
            if not _is(place[key].value, item):
                return place[key], item
        return place, kind  # A key is wrong, for instance because it is not text.
    if step.startswith("["):
        index = int(step[1:-1])
        arguments = [each for each in get_args(kind) if each is not ...]
        return place.item(index), arguments[index] if len(arguments) > index else arguments[-1]
    return place[step[1:]], _hints(kind)[step[1:]]


def _is(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, dec_hook=_make)
    except msgspec.ValidationError:
        return False
    return True


@functools.cache
def _hints(kind: Any) -> Mapping[str, Any]:
    """Return the types of the fields of a struct, with their constraints."""
    origin = get_origin(kind) or kind
    hints = get_type_hints(origin, include_extras=True)
    parameters = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    names = getattr(origin, "__struct_fields__", hints)
    return {name: parameters.get(hints[name], hints[name]) for name in names}


def _plain(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _select_alternative(kind: Any, value: object) -> Any:
    """Return the alternative of a union that fits this sort of value, or else the type itself."""
    plain = _plain(kind)
    if _is_union(plain):
        for each in get_args(plain):
            if _fits(_alternative(each, value), value):
                return _select_alternative(each, value)
    return kind


def _alternative(kind: Any, value: object) -> Any:
    """Return the result of ``_select_alternative`` without its constraints."""
    return _plain(_select_alternative(kind, value))


def _fits(kind: Any, value: object) -> bool:
    """Return whether a plain type can be made from this sort of value."""
    sort = get_origin(kind) or kind
    if sort is type(None):
        return value is None
    if isinstance(value, dict):
        return sort is dict or hasattr(sort, "__struct_fields__")
    if isinstance(value, list):
        return sort in (list, tuple)
    if sort is float:
        return type(value) in _NUMBERS
    return type(value) is sort


def _metas(kind: Any) -> Iterator[Meta]:
    while get_origin(kind) is Annotated:
        kind, *metas = get_args(kind)
        yield from (each for each in metas if isinstance(each, Meta))


def _expected(kind: Any, value: object) -> str:
    """Return what a type expects in place of a value, as the end of an error message."""
    own = _select_alternative(kind, value)
    plain = _plain(own)
    metas = list(_metas(own))
    if _is_union(plain) and not any(meta.description for meta in metas):
        # The value is of none of the sorts that the union accepts.
        members = [each for each in get_args(plain) if each is not type(None)]
        return " or ".join(dict.fromkeys(_expected(each, value) for each in members))
    known = next((meta.extra["known"] for meta in metas if meta.extra), None)
    if known is not None:
        close = did_you_mean(value, known) if isinstance(value, str) else ""
        return f"one of {', '.join(known)}{close}"
    if text := next((meta.description for meta in metas if meta.description), None):
        return text
    low = next((meta.ge for meta in metas if meta.ge is not None), None)
    high = next((meta.le for meta in metas if meta.le is not None), None)
    return _words(plain, low, high, value)


def _words(plain: Any, low: float | None, high: float | None, value: object) -> str:
    sort = get_origin(plain) or plain
    if sort is int:
        words = "a positive integer" if low == 1 else f"an integer of at least {low}"
        too_large = type(value) is int and high is not None and value > high
        return f"{words} and at most {high}" if too_large else words
    if sort is float:
        return _number_words(low, high)
    if sort is dict or hasattr(sort, "__struct_fields__") or issubclass(sort, Mapping):
        return "an object"
    words_by_sort = {bool: "true or false", str: "text", list: "a list", tuple: "a list"}
    return words_by_sort.get(sort, "an object")


def _number_words(low: float | None, high: float | None) -> str:
    if (low, high) == (SHORTEST, LONGEST):
        return f"a time in seconds between {SHORTEST:g} and {LONGEST:g}"
    bounded_below = low is not None and low > -LARGEST_FLOAT
    if high is not None and high < LARGEST_FLOAT:
        return (
            f"a number from {low:g} to {high:g}"
            if bounded_below
            else (f"a number of at most {high:g}")
        )
    return f"a number of at least {low:g}" if bounded_below else "a finite number"
