"""Copy files to places outside this machine, completely and never over another file."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.machine.fields import ResultError
from bench.machine.reading import regular_bytes
from bench.machine.remote import (
    AT_ONCE,
    RemotePath,
    answer_within_limit,
    is_gone,
    open_place,
    reason,
)

_WITH_FOLDERS = frozenset(("file", "local", "sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs"))
"""The places where a folder must be created before a file in it.

In an object store, a mistyped bucket is an error and is never created.
"""

_EXCLUSIVE = frozenset(("file", "local", "sftp", "ssh"))
"""The places that can open a file on the condition that it is new."""

QUIET = 10.0
"""After this many seconds without a new byte, another writer of a file counts as gone.

A writer sends its buffers every few hundred milliseconds, and a stalled connection recovers in
seconds.
"""

BETWEEN_LOOKS = 0.5
"""The interval between two looks at a file that another writer may be finishing, in seconds."""

_clock, _pause = time.monotonic, time.sleep


def check(url: str) -> RemotePath:
    """Return a place. Raise PlaceError if files can certainly not be written there."""
    place = open_place(url)
    if place.protocols & {"http", "https"}:
        raise place.error("can only be read; results go to s3://, gs://, sftp:// and the like")
    return place


def upload(paths: Sequence[Path], url: str) -> tuple[list[str], list[ResultError]]:
    """Copy files elsewhere. Return the URLs of those that are now there, and the errors.

    Raises PlaceError.
    """
    place = check(url)

    def one(path: Path) -> str | ResultError:
        try:
            _upload(regular_bytes(path), place, path.name)
        except ResultError as error:
            return error
        return f"{place.name}/{path.name}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(one, paths))
    errors = [each for each in found if isinstance(each, ResultError)]
    return [each for each in found if isinstance(each, str)], errors


def _upload(data: bytes, place: RemotePath, name: str) -> None:
    target = place.inside(name)
    created = False
    try:
        found = _read_existing(place, target)
        if found is None:
            if place.protocols & _WITH_FOLDERS:
                answer_within_limit(place.files.makedirs, place.root, exist_ok=True)
            created = _create(place, target, data)
            # If two writers write the same name at the same time, only one finds its own file.
            found = _read_existing(place, target)
        if not created:
            found = _wait_for_writer(place, target, data, found)
    except Exception as error:
        text = "there is no such folder or bucket" if is_gone(error) else reason(error, place.url)
        raise place.error(f"cannot be written: {text}", name) from None
    if found == data:
        return
    if found is not None and not data.startswith(found):
        raise place.error("exists with other contents and was not changed", name)
    part = f"{len(found or b''):,} of {len(data):,} bytes are there"
    if created:
        raise place.error(f"was not written completely: {part}", name)
    raise place.error(
        f"is incomplete: {part}; another upload has not finished it, or was cut off. If no other "
        "upload is running, delete the file there and run the command again",
        name,
    )


def _wait_for_writer(
    place: RemotePath, target: str, data: bytes, found: bytes | None
) -> bytes | None:
    """Return the file of another writer, when it is complete or has stopped growing.

    A file that is shorter than ours and begins like ours may still be in the making.
    """
    deadline = _clock() + QUIET
    while found is not None and len(found) < len(data) and data.startswith(found):
        if _clock() >= deadline:
            break
        _pause(BETWEEN_LOOKS)
        before, found = found, _read_existing(place, target)
        if found is not None and len(found) > len(before):
            deadline = _clock() + QUIET
    return found


def _create(place: RemotePath, target: str, data: bytes) -> bool:
    """Write a new file, if possible without replacing one. Return whether this call wrote it.

    The result is what the place says. The caller compares the file with its own data.
    """

    def exclusively() -> None:
        with place.files.open(target, "xb") as file:
            file.write(data)

    try:
        if place.protocols & _EXCLUSIVE:
            answer_within_limit(exclusively)
        else:
            # S3 and Google's store can refuse to replace a file (`If-None-Match: *`).
            answer_within_limit(place.files.pipe_file, target, data, mode="create")
    except Exception as error:
        if isinstance(error, FileExistsError) or _read_existing(place, target) is not None:
            return False
        if not isinstance(error, TypeError | NotImplementedError) and (
            "NotImplemented" not in str(error)
        ):
            raise
        # This store has no conditional writes.
        answer_within_limit(place.files.pipe_file, target, data)
    return True


def _read_existing(place: RemotePath, target: str) -> bytes | None:
    """Return the contents of a file, or None if it does not exist."""
    try:
        found: bytes = answer_within_limit(place.files.cat_file, target)
    except Exception as error:
        if is_gone(error):
            return None
        raise
    return found
