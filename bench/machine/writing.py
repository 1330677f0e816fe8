"""Writing results so that nothing finished is ever lost and nothing half written is ever seen.

A journal line is on the disk before the next case starts; a file takes its name only when it is
whole. What would not be read back is refused before it is written.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import stat
import time
import uuid
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.machine.closing import Closing
from bench.machine.fields import ResultError, printable
from bench.machine.writers import Writer, living, lock, token_lives

JOURNAL_SUFFIX = ".journal.jsonl"


class ResultWriteError(OSError):
    """A result file cannot be written; one line, naming the path. Nothing half written is left."""


class LineFile(Closing):
    """Writes a file line by line, each an object; a line is on the disk before the call returns.

    Used as a context manager, or closed by ``close``. The file must not exist yet, or with
    ``again`` must: it is then gone on with after its last whole line. It takes its name with its
    first line: whoever finds it finds whose it is. While it is open it is locked, and that line
    names its writer, so that others can tell that it is alive.

    Raises ResultWriteError, naming the path, where the file cannot be made or a line not written;
    the lines before it stay whole.
    """

    def __init__(self, path: str | os.PathLike[str], *, again: bool = False) -> None:
        self.path = Path(path)
        self._process = os.getpid()
        self._file = -1
        self._locks: bool | None = None
        self._hidden: Path | None = None  # where it is until it has its name
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if again:
                self._file = os.open(self.path, os.O_RDWR)
                self._locks = lock(self._file, wait=False)
                if self._locks is False:
                    raise BlockingIOError(0, f"it is being written by {living(self.path)}")
                whole = self.path.read_bytes().rfind(b"\n") + 1
                os.ftruncate(self._file, whole)
                os.lseek(self._file, whole, os.SEEK_SET)
            else:
                _check_free(self.path)
                hidden = self.path.with_name(unfinished_name(self.path.name))
                self._file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                self._hidden = hidden
                # Nobody else can have it for long: who only looks whether it is locked.
                self._locks = lock(self._file, wait=True)
            _OPEN.add(self)
        except (OSError, ValueError) as error:
            self.close()
            raise _write_error(self.path, error) from None

    def append(self, line: Mapping[str, object]) -> None:
        """One line more."""
        self._append(plain(line, ""))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if self._hidden is not None and os.getpid() == self._process:
                with contextlib.suppress(OSError):
                    self._hidden.unlink()

    def _append(self, line: Mapping[str, object]) -> None:
        if os.getpid() != self._process:
            # A fork: what it writes would stand there twice, or between two halves of a line.
            raise RuntimeError(f"{self.path} is written by process {self._process} alone")
        if os.lseek(self._file, 0, os.SEEK_CUR) == 0:
            writer = Writer.this_process(locks=self._locks is True)
            line = {**line, "writer": writer.to_dict()}
        before = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            _write_all(self._file, _encode(line) + b"\n")
            os.fsync(self._file)
            if self._hidden is not None:
                _name(self._hidden, self.path)
                self._hidden = None
        except OSError as error:
            # What was written of the line (a full disk takes a part) must not stay behind: the
            # next line would be glued to it. If even that fails the disk is gone, and the reader
            # drops a last line that is cut off.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
                os.lseek(self._file, before, os.SEEK_SET)
            raise _write_error(self.path, error) from None


def _check_free(path: Path) -> None:
    """Raises FileExistsError where the name is taken, by a link that leads nowhere too."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _name(hidden: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError where another has it."""
    try:
        path.hardlink_to(hidden)
    except FileExistsError:
        raise
    except OSError:  # a disk without such links
        _check_free(path)
        hidden.rename(path)
    else:
        with contextlib.suppress(OSError):  # it has its name: its line must not be taken back
            hidden.unlink()
    _sync_folder(path.parent)


_OPEN: weakref.WeakSet[LineFile] = weakref.WeakSet()


def _close_in_child() -> None:
    """A fork must not go on holding the lock when its parent has ended."""
    for each in list(_OPEN):
        each.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def write(path: str | os.PathLike[str], data: Mapping[str, object]) -> None:
    """Write an object to a file as JSON, in the way of ``write_bytes``."""
    write_bytes(path, _encode(plain(data, "")) + b"\n")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file of any content: all of it, or nothing.

    It is written beside its name, which it then takes. What a symbolic link leads to is written in
    that way too, and the link stays. A device or a FIFO is never replaced: the data goes into it.

    Raises ResultWriteError, naming the path; what stood under the name before then still does.
    """
    path = Path(path)
    try:
        if _is_written_through(path):
            _write_through(path, data)
        else:
            _write_beside(Path(os.path.realpath(path)), data)
    except (OSError, ValueError) as error:
        raise _write_error(path, error) from None


def clear_left_over(folder: str | os.PathLike[str]) -> None:
    """Delete what writers that were killed have left half written in a results folder.

    Only what is surely nobody's: of a process of this machine that has ended, or a day old.
    """
    folder = Path(folder)
    for place in (folder, folder / ".sessions"):
        with contextlib.suppress(OSError):
            for path in place.iterdir():
                if _UNFINISHED.fullmatch(path.name) and _is_left_over(path):
                    path.unlink(missing_ok=True)


def unfinished_name(name: str, suffix: str = ".tmp") -> str:
    """A hidden name for a file that is still being written, which tells whose it is."""
    # In bytes, of which a name can have 255.
    name = name.encode(errors="ignore")[:100].decode(errors="ignore")
    return f".{name}.{Writer.this_process().token}.{uuid.uuid4().hex[:8]}{suffix}"


_UNFINISHED = re.compile(r"\..*[0-9a-f]{8}\.(tmp|part)", re.DOTALL)

_LEFT_OVER = 86_400.0
"""Seconds after which an unfinished file is nobody's, wherever its writer was: it takes a moment to
be written."""

_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")


def _is_left_over(path: Path) -> bool:
    lives = token_lives(path.name)
    if lives is None:
        return time.time() - path.lstat().st_mtime > _LEFT_OVER
    return not lives


def _is_written_through(path: Path) -> bool:
    """Whether a path is no place for a file of its own: a device, a FIFO, an open stream."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(kind):
        return not stat.S_ISDIR(kind)
    # Where the shell leads a stream into a file, /dev/stdout is that file; others write to it too.
    return path.absolute().as_posix().startswith(_STREAMS)


def _write_through(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
    try:
        _write_all(file, data)
    finally:
        os.close(file)


def _write_beside(path: Path, data: bytes) -> None:
    beside = path.with_name(unfinished_name(path.name))
    file = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        _write_all(file, data)
        with contextlib.suppress(OSError):  # of a file that is there, its rights stay
            os.fchmod(file, stat.S_IMODE(path.stat().st_mode))
        os.fsync(file)
        os.close(file)
        file = -1
        beside.replace(path)
        _sync_folder(path.parent)
    finally:
        if file >= 0:
            os.close(file)
        # Where this fails it was never made, for the reason that is already being raised.
        with contextlib.suppress(OSError, ValueError):
            beside.unlink(missing_ok=True)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder outlive a power cut; some file systems cannot, and need not."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.fsync(file)
    os.close(file)


def _write_error(path: Path, error: Exception) -> ResultWriteError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ResultWriteError(f"{printable(str(path))} cannot be written: {printable(reason)}")


def _encode(data: object) -> bytes:
    # ASCII only, so that a lone surrogate in a name is no obstacle.
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def plain(value: Mapping[str, object], where: str) -> dict[str, object]:
    """Only what JSON can hold; raises ResultWriteError, naming where, for anything else."""
    return {str(key): _plain_value(item, f"{where}{key}") for key, item in value.items()}


def _plain_value(value: object, where: str) -> object:
    """The value as JSON can hold it; NaN and infinity, for which JSON has no spelling, as null."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return plain(value, where + ".")
    if isinstance(value, list | tuple):
        return [_plain_value(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        return _plain_value(value.tolist(), where)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise ResultError(f"{where} is a {type(value).__name__}; expected plain data")
