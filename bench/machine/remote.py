"""Places that are no folder of this machine: any that fsspec knows, by their URL.

``s3://``, ``gs://``, ``https://``, ``sftp://``, ``memory://`` and the like. Whatever such a place
does (it denies, is slow, cuts a file off, loses one between two questions), an answer comes within
a limit or one line says what is wrong with which file. fsspec is an extra and is imported when the
first URL is met. Files come and go by ``disk.copying``.
"""

from __future__ import annotations

import importlib
import math
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from bench.machine.fields import ResultError, printable

EXTRA = "lstm-benchmark-suite[remote]"
"""What brings fsspec."""

LIMIT_VARIABLE = "LSTM_REMOTE_LIMIT"
LIMIT = 60.0
"""Seconds for one question or one file, unless the variable says otherwise: a file of a megabyte
over a slow line takes some ten."""

AT_ONCE = 8
"""Files copied side by side: what takes time is the way there and back, and a thousand files one
after the other would take a minute."""

ASKING = "asking elsewhere"
"""The name of each thread that waits for a place."""

S = TypeVar("S")
T = TypeVar("T")


class PlaceError(ResultError):
    """A place cannot be used, or not in this way; one line that begins with its URL."""


def shown(url: str) -> str:
    """Return a URL without a password or the signature of a link."""
    return printable(url, max(300, len(url)))


def _credentials(url: str) -> list[str]:
    """Return what of a URL nobody else may see, in whole and in parts, the longest first."""
    head, _, query = url.partition("://")[2].partition("?")
    user = head.rpartition("@")[0]
    found = {user, query, *re.split("[:/]", user), *(value for _, value in parse_qsl(query))}
    found |= {unquote(each) for each in found}
    return sorted((each for each in found if len(each) > 2), key=len, reverse=True)


@dataclass(frozen=True)
class Place:
    """A folder or a file elsewhere. files: fsspec's file system, on which ``root`` is its path."""

    url: str
    files: Any
    root: str

    @property
    def name(self) -> str:
        """As it is told, without a slash at its end."""
        return shown(self.url).rstrip("/")

    @property
    def protocols(self) -> frozenset[str]:
        """What kind of place it is: ``s3``, ``https``."""
        found = self.files.protocol
        return frozenset((found,) if isinstance(found, str) else found)

    def inside(self, name: str) -> str:
        """The path of a file in the folder."""
        return f"{self.root.rstrip('/')}/{name}"

    def error(self, told: str, name: str = "") -> PlaceError:
        """``told`` says of the place, or of a file in it, what is wrong with it."""
        return PlaceError(
            f"{self.name}/{printable(name)} {told}" if name else f"{self.name} {told}"
        )


def opened(url: str) -> Place:
    """The place of a URL. Nothing of it is asked yet.

    Raises PlaceError where fsspec, or what it needs for this kind of place, is not installed.
    """
    try:
        core = importlib.import_module("fsspec.core")
    except ImportError:
        told = f"cannot be reached without fsspec: pip install '{EXTRA}'"
        raise PlaceError(f"{shown(url)} {told}") from None
    try:
        files, root = core.url_to_fs(url)
        # What another command of this process saw may be old.
        files.invalidate_cache()
    except ImportError as error:  # fsspec says what to install
        told = printable(_cleaned(str(error), url))
        raise PlaceError(f"{shown(url)} cannot be reached: {told}") from None
    except Exception as error:
        raise PlaceError(f"{shown(url)} cannot be reached: {reason(error, url)}") from None
    return Place(url, files, str(root))


def limit() -> float:
    """Seconds for one question."""
    try:
        found = float(os.environ.get(LIMIT_VARIABLE, ""))
    except ValueError:
        return LIMIT
    return found if 0 < found < math.inf else LIMIT


def asked(call: Callable[..., T], *arguments: object, **options: object) -> T:
    """What a place answers within the limit; raises TimeoutError after it, or what it raises.

    The question itself cannot be taken back: a thread waits on for it, and holds nothing up.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((call(*arguments, **options), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=ask, name=ASKING, daemon=True).start()
    try:
        answer, error = answers.get(timeout=limit())
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


def each(work: Callable[[S], T], items: Sequence[S]) -> Iterator[T]:
    """``work`` of every item, several at once, in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(work, items)


def reason(error: BaseException, url: str = "") -> str:
    """Return why a place did not do what it was asked for, in words, without credentials.

    url: of the place, whose credentials the words of other libraries may hold in any form.
    """
    if _denied(error):
        return "access is denied: are the credentials those of somebody who may?"
    if isinstance(error, TimeoutError):
        return f"no answer within {limit():g} s ({LIMIT_VARIABLE}=SECONDS allows more)"
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    told = _cleaned(re.sub(r"\?[^\s'\"]*", "", str(error)), url) or "no reason was given"
    return printable(f"{type(error).__name__}: {told}", 200)


def _cleaned(text: str, url: str) -> str:
    for each in _credentials(url):
        text = text.replace(each, "(hidden)")
    return text


def is_gone(error: BaseException) -> bool:
    """Whether what was asked for is not there, and not only denied: some places say so of both."""
    return isinstance(error, FileNotFoundError) and not _denied(error)


def _denied(error: BaseException) -> bool:
    """By the error or one that led to it: 401 and 403 are HTTP's words for it."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        if isinstance(cause, PermissionError) or getattr(cause, "status", None) in (401, 403):
            return True
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return False


def size_of(info: Mapping[str, Any]) -> int | None:
    """The bytes of a file by what a place says of it, None where it does not say."""
    size = info.get("size")
    return size if type(size) is int and size >= 0 else None
