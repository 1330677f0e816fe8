"""Places that are no folder of this machine: any that fsspec knows, by their URL.

``s3://``, ``gs://``, ``https://``, ``sftp://``, ``memory://`` and the like. Whatever such a place
does (it denies, is slow, cuts a file off, loses one between two questions), an answer comes within
a limit or one line says what is wrong with which file. fsspec is an extra and is imported when the
first URL is met.

What is read is copied into a folder of the user's cache and read there as any other file. A copy is
taken for the file as long as the place says of it what it said when it was copied (its ETag or time
of change, and its size). A copy is whole or it is not there. A place may list what it holds late:
files that were there before are requested by their names. A file that is there already is left as
it is, and another one of the same name is never replaced, since names of results are their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import os
import posixpath
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from platformdirs import user_cache_path

from bench.machine.fields import ResultError, printable
from bench.machine.reading import LARGEST_FILE, regular_bytes
from bench.machine.writing import ResultWriteError, write, write_bytes

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
        """``text`` says of the place, or of a file in it, what is wrong with it."""
        return PlaceError(
            f"{self.name}/{printable(name)} {text}" if name else f"{self.name} {text}"
        )


def opened(url: str) -> RemotePath:
    """The place of a URL. Nothing of it is asked yet.

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
    except ImportError as error:  # fsspec says what to install
        text = printable(_cleaned(str(error), url))
        raise PlaceError(f"{shown(url)} cannot be reached: {text}") from None
    except Exception as error:
        raise PlaceError(f"{shown(url)} cannot be reached: {reason(error, url)}") from None
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
    """Return why a place did not do what it was requested, in words, without credentials.

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
    for each in _credentials(url):
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


def size_of(info: Mapping[str, Any]) -> int | None:
    """The bytes of a file by what a place says of it, None where it does not say."""
    size = info.get("size")
    return size if type(size) is int and size >= 0 else None


# Files from elsewhere, copied into a folder of the cache, and files of ours copied there

FOLDER = "remote"
"""In the user's cache folder: a folder for each place."""

INDEX = ".copies.json"
"""In it: of each copy, what the place said of its file."""

_MARKS = (
    *("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "Last-Modified"),
    *("last_modified", "updated", "modified", "created"),
)
"""What places call that by which a file with other contents is known, the surest first."""

_FILES = (".json", ".jsonl")
"""How the URL of a file ends; any other is a folder's."""

Wanted = Callable[[Iterable[str]], Iterable[str]]
"""Which of the names in a folder are to be read."""


@dataclass(frozen=True)
class Fetched:
    """The copy of a place: a folder, or a file. errors: of files of which there is no copy."""

    path: Path
    errors: tuple[ResultError, ...] = ()
    notes: tuple[str, ...] = ()


_NAMES: dict[str, str] = {}
"""Of each copy that this process has, by its path, what it is a copy of."""


def named(text: str) -> str:
    """What was said of copies, said of the places that they are copies of."""
    for path, name in _NAMES.items():
        text = text.replace(path, name)
    return text


@dataclass
class _Copies:
    """The copies of one place. marks: of each what its file was known by, perhaps nothing."""

    folder: Path
    marks: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, place: RemotePath) -> _Copies:
        # By its whole URL: two users of one place may see different files.
        key = hashlib.sha256(place.url.rstrip("/").encode()).hexdigest()[:16]
        found = cls(user_cache_path("lstm-benchmark-suite").absolute() / FOLDER / key)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            marks = json.loads((found.folder / INDEX).read_bytes())
            found.marks = {name: mark for name, mark in marks.items() if isinstance(mark, str)}
        return found

    def update(self, place: RemotePath, path: str, name: str, info: Mapping[str, Any]) -> None:
        """Bring a copy up to date. Raises PlaceError, or what the place raises.

        info: what the place says of the file. name: its own in a folder, or that of the place.
        """
        mark, size = _mark(info), size_of(info)
        if mark and self.marks.get(name) == mark and (self.folder / name).is_file():
            return
        where = "" if path == place.root else name
        if size is not None and size > LARGEST_FILE:
            text = f"is larger than {LARGEST_FILE:,} bytes, the most that is read"
            raise place.error(text, where)
        data: bytes = answer_within_limit(place.files.cat_file, path)
        if size is not None and len(data) != size:
            text = f"is cut off: {len(data):,} of {size:,} bytes came; try again"
            raise place.error(text, where)
        self.keep(name, data, mark)

    def keep(self, name: str, data: bytes, mark: str) -> None:
        write_bytes(self.folder / name, data)
        self.marks[name] = mark

    def forget(self, name: str) -> None:
        self.marks.pop(name, None)
        with contextlib.suppress(OSError):
            (self.folder / name).unlink(missing_ok=True)

    def save(self) -> None:
        """Only what is known to be there is left for anyone who reads the folder."""
        write(self.folder / INDEX, dict(self.marks))
        for path in self.folder.iterdir():
            if path.name not in self.marks and not path.name.startswith("."):
                self.forget(path.name)


def fetched(url: str, wanted: Wanted) -> Fetched:
    """The copy of a file, or of the files in a folder that are wanted, as they are now.

    Raises PlaceError where the place, or a file that is requested by its URL, cannot be had.
    """
    place = opened(url)
    try:
        is_file = urlsplit(url).path.endswith(_FILES)
        found = _file(place) if is_file else _folder(place, wanted)
    except ResultWriteError as error:
        raise place.error(f"cannot be copied: {error}") from None
    _NAMES[str(found.path)] = place.name
    return found


def keep(place: RemotePath, written: Mapping[Path, Mapping[str, Any]]) -> None:
    """Take up files that were just copied to a folder elsewhere, where there is room for it.

    Their place may not list them for a while. written: of each what the place says of it.
    """
    with contextlib.suppress(ResultWriteError, ResultError):
        copies = _Copies.of(place)
        for path, info in written.items():
            copies.keep(path.name, regular_bytes(path), _mark(info))
        copies.save()


def _mark(info: Mapping[str, Any]) -> str:
    """What a file is known by; empty where the place says nothing that changes with it."""
    found = next((str(info[key]) for key in _MARKS if info.get(key)), "")
    return f"{found} {size_of(info)}" if found else ""


def _file(place: RemotePath) -> Fetched:
    name = posixpath.basename(urlsplit(place.url).path)
    copies = _Copies.of(place)
    try:
        copies.update(place, place.root, name, answer_within_limit(place.files.info, place.root))
    except (PlaceError, ResultWriteError):
        copies.forget(name)
        raise
    except Exception as error:
        copies.forget(name)
        raise place.error(f"cannot be read: {reason(error, place.url)}") from None
    copies.save()
    return Fetched(copies.folder / name)


def _folder(place: RemotePath, wanted: Wanted) -> Fetched:
    copies = _Copies.of(place)
    listed = _listed(place, bool(copies.marks))
    unlisted = set(copies.marks) - set(listed)
    names = sorted(wanted([*listed, *unlisted]))

    def update(name: str) -> str | None:
        """What is wrong with the file; None if it has a copy, empty if it was deleted."""
        info = listed.get(name, {})
        path = str(info.get("name") or place.inside(name))
        try:
            if size_of(info) is None:
                info = answer_within_limit(place.files.info, path)
            copies.update(place, path, name, info)
        except PlaceError as error:
            return str(error)
        except Exception as error:
            if not is_gone(error):
                return str(place.error(f"cannot be read: {reason(error, place.url)}", name))
            if name not in listed:
                return ""
            text = "was listed and is not there: it was deleted meanwhile, or the list is late"
            return str(place.error(text, name))
        return None

    errors, notes = [], []
    for name, wrong in zip(names, each(update, names), strict=True):
        if wrong is not None:
            copies.forget(name)
        elif name in unlisted:
            text = "is there, and its place does not list it yet; it is read all the same"
            notes.append(f"{place.name}/{printable(name)} {text}")
        if wrong:
            errors.append(PlaceError(wrong))
    for name in set(copies.marks) - set(names):
        copies.forget(name)
    copies.save()
    return Fetched(copies.folder, tuple(errors), tuple(notes))


def _listed(place: RemotePath, known: bool) -> dict[str, dict[str, Any]]:
    """What the place says of each file directly in the folder, by its name.

    known: whether there were files before; then an empty folder is none that does not exist.
    """
    try:
        found = answer_within_limit(place.files.ls, place.root, detail=True)
    except Exception as error:
        if known and is_gone(error):
            return {}
        raise place.error(f"cannot be read: {reason(error, place.url)}") from None
    # What is asked of a single file must not be answered from this list.
    place.files.invalidate_cache()
    listed = {}
    for info in found:
        name = posixpath.basename(str(info.get("name", "")).rstrip("/"))
        # One that is a path here and not there would be written elsewhere.
        if info.get("type") == "file" and name and not {"\\", "\0"} & set(name):
            listed[name] = info
    return listed


# -- to elsewhere

_WITH_FOLDERS = frozenset(("file", "local", "sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs"))
"""Places where a folder must be made before a file in it. In an object store nothing is made but
objects: a bucket whose name was mistyped is an error and not a new bucket."""


_EXCLUSIVE = frozenset(("file", "local", "sftp", "ssh"))
"""Places whose files can be opened under the condition that they are new."""


def check(url: str) -> None:
    """Raise PlaceError where files cannot be written to such a place, as far as can be reported."""
    place = opened(url)
    if place.protocols & {"http", "https"}:
        raise place.error("can only be read: results go to s3://, gs://, sftp:// and the like")


def upload(paths: Sequence[Path], url: str) -> tuple[list[str], list[ResultError]]:
    """Copy files into a folder elsewhere: the URLs of those that are there now, and what failed.

    Raises PlaceError where the place cannot be reached at all.
    """
    check(url)
    place = opened(url)

    def one(path: Path) -> Mapping[str, Any] | ResultError:
        try:
            return _upload(path, place)
        except ResultError as error:
            return error

    there: dict[Path, Mapping[str, Any]] = {}
    errors: list[ResultError] = []
    for path, found in zip(paths, each(one, paths), strict=True):
        if isinstance(found, ResultError):
            errors.append(found)
        else:
            there[path] = found
    keep(place, there)
    return [f"{place.name}/{path.name}" for path in there], errors


def _upload(path: Path, place: RemotePath) -> Mapping[str, Any]:
    """Copy a file, and return what the place says of it now."""
    data = regular_bytes(path)
    target = place.inside(path.name)
    try:
        found = _there(place, target)
        if found is None:
            if place.protocols & _WITH_FOLDERS:
                answer_within_limit(place.files.makedirs, place.root, exist_ok=True)
            _create(place, target, data)
            # Of two who write one name at once only one is told that its file is there.
            found = _there(place, target)
        # Of the file itself: the place's list may be late.
        info: Mapping[str, Any] = answer_within_limit(place.files.info, target)
    except Exception as error:
        text = "there is no such folder or bucket" if is_gone(error) else reason(error, place.url)
        raise place.error(f"cannot be written: {text}", path.name) from None
    if found is None or (found != data and data.startswith(found)):
        text = f"was not written whole: {len(found or b''):,} of {len(data):,} bytes are there"
        raise place.error(text, path.name)
    if found != data:
        raise place.error("is there with other contents; it is left as it is", path.name)
    return info


def _create(place: RemotePath, target: str, data: bytes) -> None:
    """Write a file that is not there, where the place can without replacing another's.

    Whatever another has written meanwhile is compared by the caller.
    """
    try:
        if place.protocols & _EXCLUSIVE:
            answer_within_limit(_write_exclusively, place, target, data)
        else:
            # S3 and Google's store are told to refuse it (`If-None-Match: *`).
            answer_within_limit(place.files.pipe_file, target, data, mode="create")
    except Exception as error:
        if isinstance(error, FileExistsError) or _there(place, target) is not None:
            return
        if isinstance(error, TypeError | NotImplementedError) or "NotImplemented" in str(error):
            answer_within_limit(
                place.files.pipe_file, target, data
            )  # a store without conditional writes
            return
        raise


def _write_exclusively(place: RemotePath, target: str, data: bytes) -> None:
    with place.files.open(target, "xb") as file:
        file.write(data)


def _there(place: RemotePath, target: str) -> bytes | None:
    """What stands under a path; None if nothing does."""
    try:
        found: bytes = answer_within_limit(place.files.cat_file, target)
    except Exception as error:
        if is_gone(error):
            return None
        raise
    return found
