"""Check whether another user can write files that decide what this process runs."""

import os
import stat
from pathlib import Path

ROOT = 0


def problem(path: Path) -> str:
    """Return why a file or folder is not to be trusted, or an empty string."""
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
    # A parent folder may be its group's. In a sticky one, such as /tmp, only owners rename files.
    others = stat.S_IWOTH | (stat.S_IWGRP if own else 0)
    if found.st_mode & others and (own or not found.st_mode & stat.S_ISVTX):
        return "can be written by others: chmod go-w"
    return ""
