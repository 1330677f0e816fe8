"""Files of this machine, copied whole to a place elsewhere.

A file that is there already is left as it is, and another one of the same name is never replaced:
names of results are their own. After writing, the place is asked for the file itself, since its
list may be late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.disk.fetching import keep
from bench.disk.fields import ResultError
from bench.disk.reading import regular_bytes
from bench.disk.remote import Place, asked, each, is_gone, opened, reason, size_of

_WITH_FOLDERS = frozenset(("file", "local", "sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs"))
"""Places where a folder must be made before a file in it. In an object store nothing is made but
objects: a bucket whose name was mistyped is an error and not a new bucket."""


def check(url: str) -> None:
    """Raise PlaceError where files cannot be written to such a place, as far as can be told."""
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


def _upload(path: Path, place: Place) -> Mapping[str, Any]:
    """Copy a file, and return what the place says of it now."""
    data = regular_bytes(path)
    target = place.inside(path.name)
    try:
        old = _there(place, target)
        if old is None:
            if place.protocols & _WITH_FOLDERS:
                asked(place.files.makedirs, place.root, exist_ok=True)
            asked(place.files.pipe_file, target, data)
        info: Mapping[str, Any] = asked(place.files.info, target)
    except Exception as error:
        told = "there is no such folder or bucket" if is_gone(error) else reason(error)
        raise place.error(f"cannot be written: {told}", path.name) from None
    if old is not None and old != data:
        raise place.error("is there with other contents; it is left as it is", path.name)
    if size_of(info) != len(data):
        told = f"was not written whole: {size_of(info)} of {len(data):,} bytes are there"
        raise place.error(told, path.name)
    return info


def _there(place: Place, target: str) -> bytes | None:
    """What stands under a path; None if nothing does."""
    try:
        found: bytes = asked(place.files.cat_file, target)
    except Exception as error:
        if is_gone(error):
            return None
        raise
    return found
