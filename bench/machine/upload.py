"""Copy files to places that are no folder of this machine, whole and never over another file."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.machine.fields import ResultError
from bench.machine.reading import regular_bytes
from bench.machine.remote import AT_ONCE, RemotePath, answer_within_limit, is_gone, opened, reason

_WITH_FOLDERS = frozenset(("file", "local", "sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs"))
"""Places where a folder must be created before a file in it. In an object store a mistyped bucket
is an error and is never created."""

_EXCLUSIVE = frozenset(("file", "local", "sftp", "ssh"))
"""Places that can open a file on the condition that it is new."""


def check(url: str) -> RemotePath:
    """Return a place. Raises PlaceError if files can certainly not be written there."""
    place = opened(url)
    if place.protocols & {"http", "https"}:
        raise place.error("can only be read: results go to s3://, gs://, sftp:// and the like")
    return place


def upload(paths: Sequence[Path], url: str) -> tuple[list[str], list[ResultError]]:
    """Copy files elsewhere; return the URLs of those there, and errors. Raises PlaceError."""
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
    try:
        found = _there(place, target)
        if found is None:
            if place.protocols & _WITH_FOLDERS:
                answer_within_limit(place.files.makedirs, place.root, exist_ok=True)
            _create(place, target, data)
            # Of two simultaneous writers of one name, only one finds its own file.
            found = _there(place, target)
    except Exception as error:
        text = "there is no such folder or bucket" if is_gone(error) else reason(error, place.url)
        raise place.error(f"cannot be written: {text}", name) from None
    if found is None or (found != data and data.startswith(found)):
        text = f"was not written completely: {len(found or b''):,} of {len(data):,} bytes are there"
        raise place.error(text, name)
    if found != data:
        raise place.error("exists with other contents and was not changed", name)


def _create(place: RemotePath, target: str, data: bytes) -> None:
    """Write a new file, if possible without replacing another's; the caller compares with that."""

    def exclusively() -> None:
        with place.files.open(target, "xb") as file:
            file.write(data)

    try:
        if place.protocols & _EXCLUSIVE:
            answer_within_limit(exclusively)
        else:
            # S3 and Google's store refuse to replace a file (`If-None-Match: *`).
            answer_within_limit(place.files.pipe_file, target, data, mode="create")
    except Exception as error:
        if isinstance(error, FileExistsError) or _there(place, target) is not None:
            return
        if not isinstance(error, TypeError | NotImplementedError) and (
            "NotImplemented" not in str(error)
        ):
            raise
        # A store without conditional writes.
        answer_within_limit(place.files.pipe_file, target, data)


def _there(place: RemotePath, target: str) -> bytes | None:
    """Return the contents of a file, None if it does not exist."""
    try:
        found: bytes = answer_within_limit(place.files.cat_file, target)
    except Exception as error:
        if is_gone(error):
            return None
        raise
    return found
