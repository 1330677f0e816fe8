"""Read folders and files elsewhere, by any URL that fsspec knows.

Such a place may deny access, be slow, cut off a file or lose it between two requests. Every request
is therefore answered within a limit, or an error says in one line what is wrong with which file.
fsspec is an optional package that is imported for the first URL.

Files are copied into the user's cache folder and read there. A copy is used until the ETag, the
time of change or the size of its file differs.
"""

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

LIMIT_VARIABLE = "LSTM_REMOTE_LIMIT"
LIMIT = 60.0
"""The time limit of one request in seconds, unless the variable is set.

A megabyte over a slow line takes ten seconds.
"""

AT_ONCE = 8
"""The number of files that are copied in parallel, because most of the time is latency."""

ASKING = "asking elsewhere"
"""The name of each thread that waits for a place."""

INDEX = ".copies.json"
"""The file in a folder of copies that holds the mark of each copy."""

_MARKS = (
    *("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "Last-Modified"),
    *("last_modified", "updated", "modified", "created"),
)
"""The names of a property that changes with the contents of a file, the most reliable first."""

_FILES = (".json", ".jsonl")
"""The endings of the URLs of files. Any other URL is that of a folder."""

Wanted = Callable[[Iterable[str]], Iterable[str]]
"""Selects the names in a folder that are to be read."""

T = TypeVar("T")


class PlaceError(ResultError):
    """A place cannot be used. The message is one line that begins with the URL."""


def safe_url(url: str) -> str:
    """Return a URL without a password and without the signature of a link."""
    return printable(url, max(300, len(url)))


@dataclass(frozen=True)
class RemotePath:
    """A folder or a file elsewhere.

    files: fsspec's file system. root: the path in it.
    """

    url: str
    files: Any
    root: str

    @property
    def name(self) -> str:
        """Return the URL for messages, without a slash at its end."""
        return safe_url(self.url).rstrip("/")

    @property
    def protocols(self) -> frozenset[str]:
        """Return its protocols, such as ``s3`` or ``https``."""
        found = self.files.protocol
        return frozenset((found,) if isinstance(found, str) else found)

    def inside(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return f"{self.root.rstrip('/')}/{name}"

    def error(self, text: str, name: str = "") -> PlaceError:
        """Return an error about the place, or about a file in it."""
        return PlaceError(f"{self.name}{name and f'/{printable(name)}'} {text}")


def open_place(url: str) -> RemotePath:
    """Return the place of a URL, without sending a request.

    Raises PlaceError if something that fsspec needs is missing.
    """
    try:
        core = importlib.import_module("fsspec.core")
    except ImportError:
        text = "cannot be reached without fsspec; pip install 'lstm-benchmark-suite[remote]'"
        raise PlaceError(f"{safe_url(url)} {text}") from None
    try:
        files, root = core.url_to_fs(url)
        # Listings of an earlier command may be outdated.
        files.invalidate_cache()
    except Exception as error:
        # The ImportError of fsspec says what to install.
        install = isinstance(error, ImportError)
        text = printable(_remove_credentials(str(error), url)) if install else reason(error, url)
        raise PlaceError(f"{safe_url(url)} cannot be reached: {text}") from None
    return RemotePath(url, files, str(root))


def limit() -> float:
    """Return the time limit of one request in seconds."""
    try:
        found = float(os.environ.get(LIMIT_VARIABLE, ""))
    except ValueError:
        return LIMIT
    return found if 0 < found < math.inf else LIMIT


def answer_within_limit(call: Callable[..., T], *arguments: object, **options: object) -> T:
    """Return what a call returns within the limit.

    Raises TimeoutError, or the error of the call. The call cannot be cancelled, so a daemon thread
    continues to wait for it.
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
    """Return the reason of a place's error as text without credentials.

    url: the URL of the place. Other libraries may put its credentials into their messages.
    """
    if _is_denied(error):
        return "access is denied; check the credentials"
    if isinstance(error, TimeoutError):
        return f"no answer within {limit():g} s (set {LIMIT_VARIABLE}=SECONDS to wait longer)"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    text = _remove_credentials(re.sub(r"\?[^\s'\"]*", "", str(error)), url) or "no reason was given"
    return printable(f"{type(error).__name__}: {text}", 200)


def _remove_credentials(text: str, url: str) -> str:
    """Remove the credentials of a URL and their parts from a text, the longest first."""
    head, _, query = url.partition("://")[2].partition("?")
    user = head.rpartition("@")[0]
    found = {user, query, *re.split("[:/]", user), *(value for _, value in parse_qsl(query))}
    found |= {unquote(each) for each in found}
    for each in sorted((each for each in found if len(each) > 2), key=len, reverse=True):
        text = text.replace(each, "(hidden)")
    return text


def is_gone(error: BaseException) -> bool:
    """Return whether something does not exist. Some places report denied access in the same way."""
    return isinstance(error, FileNotFoundError) and not _is_denied(error)


def _is_denied(error: BaseException) -> bool:
    """Return whether access was denied, by the error or its causes (401 and 403 in HTTP)."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        if isinstance(cause, PermissionError) or getattr(cause, "status", None) in (401, 403):
            return True
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return False


def _size(info: Mapping[str, Any]) -> int | None:
    size = info.get("size")
    return size if type(size) is int and size >= 0 else None


@dataclass(frozen=True)
class LocalCopy:
    """The copy of a folder or a file.

    errors: those of files that could not be copied.
    """

    path: Path
    errors: tuple[ResultError, ...] = ()


_NAMES: dict[str, str] = {}
"""The URL of each copy that this process uses, by its path."""


def replace_paths(text: str) -> str:
    """Replace the paths of copies in a text by their URLs."""
    for path, name in _NAMES.items():
        text = text.replace(path, name)
    return text


def fetch_copy(url: str, wanted: Wanted) -> LocalCopy:
    """Copy a file, or the wanted files of a folder, unless the copies are up to date.

    Raises PlaceError.
    """
    place = open_place(url)
    # The key is the complete URL, because two users of one place may see different files.
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
        """Return the mark of the copied file, or the error."""
        where = "" if file else name
        try:
            return _copy(place, folder / name, listed[name], where, marks.get(name))
        except PlaceError as error:
            return error
        except ResultWriteError as error:
            return place.error(f"cannot be copied: {error}")
        except Exception as error:
            text = "was listed but no longer exists"
            if not is_gone(error):
                text = f"cannot be read: {reason(error, url)}"
            return place.error(text, where)

    names = sorted([file] if file else wanted(listed))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(names, pool.map(copy, names), strict=True))
    copied = {name: mark for name, mark in found.items() if isinstance(mark, str)}
    errors = tuple(error for error in found.values() if isinstance(error, PlaceError))
    try:
        # Readers of the folder should find only the current copies.
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
    return LocalCopy(path, errors)


def _listed(place: RemotePath) -> dict[str, Mapping[str, Any]]:
    """Return fsspec's information on each file directly in the folder, by its name."""
    found = answer_within_limit(place.files.ls, place.root, detail=True)
    # A later request for a single file must not be answered from this list.
    place.files.invalidate_cache()
    listed = {}
    for info in found:
        name = posixpath.basename(str(info.get("name", "")).rstrip("/"))
        # A name that is a path here would be written to another folder.
        if info.get("type") == "file" and name and not {"\\", "\0"} & set(name):
            listed[name] = info
    return listed


def _copy(place: RemotePath, to: Path, info: Mapping[str, Any], where: str, known: object) -> str:
    """Update a copy whose mark is ``known``. Return the mark of its file, which may be empty.

    where: the name of the file in errors.
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
        raise place.error(f"is larger than {LARGEST_FILE:,} bytes, the limit for reading", where)
    data: bytes = answer_within_limit(place.files.cat_file, path)
    if size is not None and len(data) != size:
        text = f"is cut off: only {len(data):,} of {size:,} bytes arrived; try again"
        raise place.error(text, where)
    write_bytes(to, data)
    return mark
