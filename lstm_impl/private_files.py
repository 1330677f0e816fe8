"""Check and open files that decide which code this process runs.

Another user may be able to write such a file. There may also be a pipe or a device in its place,
and reading from that can wait forever.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

ROOT = 0
"""The number of the user root."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting.

    Raises
    ------
    OSError
        If the file is missing or unreadable, or if it is a pipe, a device, a socket or a folder.
    """
    # Opening a pipe would wait for its writer, so the file is opened without blocking. Its kind is
    # checked after it is open, because another file may get its name at any time.
    wanted = ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK")
    handle = os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in wanted))
    if not is_regular(handle):
        os.close(handle)
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return os.fdopen(handle, "rb")


NOT_REGULAR = "is not a regular file"
"""The end of the sentence that refuses a pipe, a device, a socket or a folder."""


def is_regular(handle: int) -> bool:
    """Return whether an open file is a regular file."""
    return stat.S_ISREG(os.fstat(handle).st_mode)


def read_regular(path: Path, encoding: str) -> str:
    """Read the text of a regular file, which ``open_regular`` opens.

    Raises
    ------
    OSError
        As ``open_regular`` does.
    UnicodeDecodeError
        If the file is not text in this encoding.
    """
    with open_regular(path) as file:
        return file.read().decode(encoding)


def problem(path: Path) -> str:
    """Return the reason why a file or a folder cannot be trusted, or an empty string.

    Only regular files and folders are trusted. Other users must be able to write neither to the
    file nor to any folder above it.
    """
    if not hasattr(os, "geteuid"):
        # Windows has no owners like those that are checked here.
        return ""
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
    """Return the reason why a file's owner, kind or permissions cannot be trusted."""
    if found.st_uid not in (ROOT, os.geteuid()):
        return "belongs to another user"
    if own and stat.S_ISLNK(found.st_mode):
        return "is a link"
    if own and not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return NOT_REGULAR
    # A folder above may be writable by its group. In a sticky folder such as /tmp, only owners can
    # rename files.
    others = stat.S_IWOTH | (stat.S_IWGRP if own else 0)
    if found.st_mode & others and (own or not found.st_mode & stat.S_ISVTX):
        return "can be written by others; run chmod go-w on it"
    return ""
