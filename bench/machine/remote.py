"""Places that are no folder of this machine: any that fsspec knows, by their URL.

Whatever such a place does (it denies, is slow, cuts a file off, loses one between two questions),
an answer comes within a limit or one line says what is wrong with which file. fsspec is an extra
and is imported when the first URL is met.

What is read is copied into a folder of the user's cache and read there as any other file. A copy is
used as long as the place says of the file what it said when it was copied (its ETag or time of
change, and its size).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import os
import posixpath
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from platformdirs import user_cache_path

from bench.machine.fields import ResultError, printable
from bench.machine.reading import LARGEST_FILE
from bench.machine.writing import ResultWriteError, write, write_bytes

EXTRA = "lstm-benchmark-suite[remote]"
"""What brings fsspec."""

LIMIT_VARIABLE = "LSTM_REMOTE_LIMIT"
LIMIT = 60.0
"""Seconds for one question or one file, unless the variable says otherwise: a file of a megabyte
over a slow line takes some ten."""

AT_ONCE = 8
"""Files copied side by side: most of the time is the way there and back."""

ASKING = "asking elsewhere"
"""The name of each thread that waits for a place."""

INDEX = ".copies.json"
"""In the folder of copies: of each, what the place said of its file."""

_MARKS = (
    *("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "Last-Modified"),
    *("last_modified", "updated", "modified", "created"),
)
"""What places call that by which a file with other contents is known, the surest first."""

_FILES = (".json", ".jsonl")
"""How the URL of a file ends; any other is a folder's."""

Wanted = Callable[[Iterable[str]], Iterable[str]]
"""Which of the names in a folder are to be read."""

T = TypeVar("T")


class PlaceError(ResultError):
    """A place cannot be used, or not in this way; one line that begins with its URL."""


def shown(url: str) -> str:
    """Return a URL without a password or the signature of a link."""
    return printable(url, max(300, len(url)))


@dataclass(frozen=True)
class RemotePath:
    """A folder or a file elsewhere. files: fsspec's file system, on which ``root`` is its path."""

    url: str
    files: Any
    root: str

    @property
    def name(self) -> str:
        """As it is reported, without a slash at its end."""
        return shown(self.url).rstrip("/")

    @property
    def protocols(self) -> frozenset[str]:
        """What kind of place it is: ``s3``, ``https``."""
        found = self.files.protocol
        return frozenset((found,) if isinstance(found, str) else found)

    def inside(self, name: str) -> str:
        """The path of a file in the folder."""
        return f"{self.root.rstrip('/')}/{name}"

    def error(self, text: str, name: str = "") -> PlaceError:
        """``text`` says what is wrong with the place, or with a file in it."""
        return PlaceError(
            f"{self.name}/{printable(name)} {text}" if name else f"{self.name} {text}"
        )


def opened(url: str) -> RemotePath:
    """The place of a URL. Nothing of it is requested yet.

    Raises PlaceError where fsspec, or what it needs for this kind of place, is not installed.
    """
    try:
        core = importlib.import_module("fsspec.core")
    except ImportError:
        text = f"cannot be reached without fsspec: pip install '{EXTRA}'"
        raise PlaceError(f"{shown(url)} {text}") from None
    try:
        files, root = core.url_to_fs(url)
        # What another command of this process saw may be old.
        files.invalidate_cache()
    except Exception as error:
        # fsspec says what to install.
        install = isinstance(error, ImportError)
        text = printable(_cleaned(str(error), url)) if install else reason(error, url)
        raise PlaceError(f"{shown(url)} cannot be reached: {text}") from None
    return RemotePath(url, files, str(root))


def limit() -> float:
    """Seconds for one question."""
    try:
        found = float(os.environ.get(LIMIT_VARIABLE, ""))
    except ValueError:
        return LIMIT
    return found if 0 < found < math.inf else LIMIT


def answer_within_limit(call: Callable[..., T], *arguments: object, **options: object) -> T:
    """What a place answers within the limit; raises TimeoutError after it, or what it raises.

    The question itself cannot be taken back: a thread waits on for it, and holds nothing up.
    """
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(call(*arguments, **options))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name=ASKING, daemon=True).start()
    return answer.result(limit())


def reason(error: BaseException, url: str = "") -> str:
    """Return why a place did not do what was requested, in words, without credentials.

    url: of the place, whose credentials the words of other libraries may hold in any form.
    """
    if _denied(error):
        return "access is denied: are the credentials those of somebody who may?"
    if isinstance(error, TimeoutError):
        return f"no answer within {limit():g} s ({LIMIT_VARIABLE}=SECONDS allows more)"
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    text = _cleaned(re.sub(r"\?[^\s'\"]*", "", str(error)), url) or "no reason was given"
    return printable(f"{type(error).__name__}: {text}", 200)


def _cleaned(text: str, url: str) -> str:
    """Remove the credentials of a URL from a text, in whole and in parts, the longest first."""
    head, _, query = url.partition("://")[2].partition("?")
    user = head.rpartition("@")[0]
    found = {user, query, *re.split("[:/]", user), *(value for _, value in parse_qsl(query))}
    found |= {unquote(each) for each in found}
    for each in sorted((each for each in found if len(each) > 2), key=len, reverse=True):
        text = text.replace(each, "(hidden)")
    return text


def is_gone(error: BaseException) -> bool:
    """Whether what was requested is not there, and not only denied: some places say so of both."""
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


def _size(info: Mapping[str, Any]) -> int | None:
    """The bytes of a file by what a place says of it, None where it does not say."""
    size = info.get("size")
    return size if type(size) is int and size >= 0 else None


@dataclass(frozen=True)
class Fetched:
    """The copy of a place: a folder, or a file. errors: of files of which there is no copy."""

    path: Path
    errors: tuple[ResultError, ...] = ()


_NAMES: dict[str, str] = {}
"""Of each copy that this process has, by its path, what it is a copy of."""


def named(text: str) -> str:
    """Return a text about copies as one about the places that they are copies of."""
    for path, name in _NAMES.items():
        text = text.replace(path, name)
    return text


def fetched(url: str, wanted: Wanted) -> Fetched:
    """The copy of a file, or of the files in a folder that are wanted, as they are now.

    Raises PlaceError where the place, or a file that is requested by its URL, cannot be had.
    """
    place = opened(url)
    # By its whole URL: two users of one place may see different files.
    key = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    folder = user_cache_path("lstm-benchmark-suite").absolute() / "remote" / key
    marks: dict[str, object] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        marks = dict(json.loads((folder / INDEX).read_bytes()))
    file = posixpath.basename(urlsplit(url).path) if urlsplit(url).path.endswith(_FILES) else ""
    try:
        listed = {file: answer_within_limit(place.files.info, place.root)} if file else {}
        listed = listed or _listed(place)
    except Exception as error:
        raise place.error(f"cannot be read: {reason(error, url)}") from None

    def copy(name: str) -> str | PlaceError:
        """The mark of the file, of which there is a copy now, or why there is none."""
        where = "" if file else name
        try:
            return _copy(place, folder / name, listed[name], where, marks.get(name))
        except PlaceError as error:
            return error
        except ResultWriteError as error:
            return place.error(f"cannot be copied: {error}")
        except Exception as error:
            text = "was listed and is not there: it was deleted meanwhile"
            if not is_gone(error):
                text = f"cannot be read: {reason(error, url)}"
            return place.error(text, where)

    names = sorted([file] if file else wanted(listed))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(names, pool.map(copy, names), strict=True))
    copied = {name: mark for name, mark in found.items() if isinstance(mark, str)}
    errors = tuple(error for error in found.values() if isinstance(error, PlaceError))
    try:
        # Only what is known to be there is left for anyone who reads the folder.
        write(folder / INDEX, copied)
        for path in folder.iterdir():
            if path.name not in copied and path.name != INDEX:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise place.error(f"cannot be copied: {error}") from None
    if file and errors:
        raise errors[0]
    path = folder / file
    _NAMES[str(path)] = place.name
    return Fetched(path, errors)


def _listed(place: RemotePath) -> dict[str, Mapping[str, Any]]:
    """What the place says of each file directly in the folder, by its name."""
    found = answer_within_limit(place.files.ls, place.root, detail=True)
    # A question about a single file must not be answered from this list.
    place.files.invalidate_cache()
    listed = {}
    for info in found:
        name = posixpath.basename(str(info.get("name", "")).rstrip("/"))
        # One that is a path here and not there would be written elsewhere.
        if info.get("type") == "file" and name and not {"\\", "\0"} & set(name):
            listed[name] = info
    return listed


def _copy(place: RemotePath, to: Path, info: Mapping[str, Any], where: str, known: object) -> str:
    """Bring a copy up to date and return what its file is known by, perhaps nothing.

    known: the same of the copy that is there. where: how errors name the file in its place.
    """
    path = str(info.get("name") or place.inside(where)) if where else place.root
    if _size(info) is None:
        info = answer_within_limit(place.files.info, path)
    size = _size(info)
    mark = next((str(info[key]) for key in _MARKS if info.get(key)), "")
    mark = mark and f"{mark} {size}"
    if mark and known == mark and to.is_file():
        return mark
    if size is not None and size > LARGEST_FILE:
        raise place.error(f"is larger than {LARGEST_FILE:,} bytes, the most that is read", where)
    data: bytes = answer_within_limit(place.files.cat_file, path)
    if size is not None and len(data) != size:
        text = f"is cut off: {len(data):,} of {size:,} bytes came; try again"
        raise place.error(text, where)
    write_bytes(to, data)
    return mark
