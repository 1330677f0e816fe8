"""Check and open files that decide what this process runs.

Another user may be able to write them. A pipe or a device may also be in their place, and reading
one may wait forever.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

ROOT = 0


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting.

    Raises OSError for a missing or unreadable file, and for a pipe, a device, a socket or a folder.
    """
    # Opening a pipe would wait for its writer. The kind is checked on the open file, since the name
    # may be another file's by now.
    wanted = ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK")
    handle = os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in wanted))
    if not is_regular(handle):
        os.close(handle)
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return os.fdopen(handle, "rb")


NOT_REGULAR = "is not a regular file"


def is_regular(handle: int) -> bool:
    """Return whether an open file is a regular one."""
    return stat.S_ISREG(os.fstat(handle).st_mode)


def read_regular(path: Path, encoding: str) -> str:
    """Return the text of a regular file, opened as by ``open_regular``.

    Raises OSError, UnicodeDecodeError.
    """
    with open_regular(path) as file:
        return file.read().decode(encoding)


def problem(path: Path) -> str:
    """Return why a file or folder is not to be trusted, or an empty string.

    Nothing but a regular file or a folder is trusted.
    """
    if not hasattr(os, "geteuid"):
        return ""  # Windows has no such owners
    path = path.absolute()
    try:
        if path.is_symlink() and path.is_dir() and path.lstat().st_uid in (ROOT, os.geteuid()):
            path = path.resolve()
        if reason := _problem(path.lstat(), own=True):
            return f"{path} {reason}"
        for folder in path.parents:
            if reason := _problem(folder.stat(), own=False):
                return f"{path} is in {folder}, which {reason}"
    except OSError as error:
        return f"{path} cannot be examined: {error.strerror}"
    return ""


def _problem(found: os.stat_result, own: bool) -> str:
    if found.st_uid not in (ROOT, os.geteuid()):
        return "belongs to another user"
    if own and stat.S_ISLNK(found.st_mode):
        return "is a link"
    if own and not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return NOT_REGULAR
    # A parent folder may be its group's. In a sticky one, such as /tmp, only owners rename files.
    others = stat.S_IWOTH | (stat.S_IWGRP if own else 0)
    if found.st_mode & others and (own or not found.st_mode & stat.S_ISVTX):
        return "can be written by others: chmod go-w"
    return ""
