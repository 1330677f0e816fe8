"""Write results so that nothing finished is ever lost and nothing half written is ever seen.

A journal line is on the disk before the next case starts; a file takes its name only when it is
whole. A journal is locked while it is written, and names its writer (the machine since its start,
the process, and when that was started), since some file systems have no locks that another machine
or container can see. A writer of which nothing is known is taken to be alive.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import socket
import stat
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from bench.machine.fields import ResultError, printable


class Closing(ABC):
    """A context manager that is itself what its block uses, and is closed in the end."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


FRESH = 900.0
"""Seconds since its last change for which a file may have a writer where nothing else shows it: on
another machine, over a file system without common locks. Few cases take as long."""


@dataclass(frozen=True)
class Writer:
    """A process. started: as the system counts it. boot: which start of the machine. namespace: in
    which container its number counts. locks: whether it has locked what it writes.
    """

    pid: int
    started: int
    boot: str
    namespace: str
    host: str = ""
    machine: str = ""
    locks: bool = False

    @classmethod
    def this_process(cls, *, locks: bool = False) -> Writer:
        """Return the process that calls it."""
        return cls(os.getpid(), _started(os.getpid()) or 0, *_here(), locks)

    @classmethod
    def from_data(cls, data: object) -> Writer | None:
        """Return what ``to_dict`` wrote; None for anything else."""
        kinds = {"pid": int, "started": int, "boot": str, "namespace": str}
        kinds |= {"host": str, "machine": str}
        given = data if isinstance(data, Mapping) else {}
        if any(type(given.get(name)) is not kind for name, kind in kinds.items()):
            return None
        return cls(**{name: given[name] for name in kinds}, locks=given.get("locks") is True)

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)

    @property
    def token(self) -> str:
        """Short and of plain letters, for the name of a file."""
        space = "".join(filter(str.isdigit, self.namespace)) or "0"
        return f"{self.pid}-{self.started}-{_short(self.boot)}-{space}"

    @property
    def lives(self) -> bool | None:
        """Whether it still runs; None if that cannot be determined from here."""
        boot, namespace, host, machine = _here()
        if self.boot != boot:
            # Of this machine, it has ended when that was started again. Of machines of one name
            # only those are one that have an id, too.
            same = bool(machine) and (self.host, self.machine) == (host, machine)
            return False if same else None
        if self.namespace != namespace:
            return None
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        where = f" on {printable(self.host, 60)}" if self.host else ""
        return f"process {self.pid}{where}"


def token_lives(name: str) -> bool | None:
    """Whether the process whose ``token`` a name holds still runs; None if that is unknown."""
    found = re.search(r"(\d+)-(\d+)-([0-9a-f]{8})-(\d+)", name)
    if found is None:
        return None
    boot, namespace, _, _ = _here()
    mine = (_short(boot), "".join(filter(str.isdigit, namespace)) or "0")
    if (found[3], found[4]) != mine:
        return None
    return _started(int(found[1])) == int(found[2])


def writer_of(path: Path) -> Writer | None:
    """Return the process that the first line of a journal names, if it names one."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.readline(2**20))
    except (OSError, ValueError, RecursionError):
        return None
    return Writer.from_data(data.get("writer")) if isinstance(data, dict) else None


def living(path: Path) -> str:
    """Return which process still writes a journal, in words; empty if none does."""
    writer = writer_of(path)
    held = _locked(path)
    if held:
        return str(writer or "a process that does not give its number")
    if held is False and (writer is None or (writer.locks and writer.boot == _here()[0])):
        return ""  # one machine has one set of locks, for all of its containers
    lives = None if writer is None else writer.lives
    if lives is not None:
        return str(writer) if lives else ""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return ""
    return f"{writer or 'a process'}, it seems" if age < FRESH else ""


def lock(file: int, *, wait: bool, shared: bool = False) -> bool | None:
    """Lock an open file until it is closed. False if another process has it, None without locks.

    shared: with all who lock it so.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _locked(path: Path) -> bool | None:
    """Whether a process has locked a file; None where that cannot be determined."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        # Shared: two that look at the same time do not take each other for a writer.
        free = lock(file, wait=False, shared=True)
    finally:
        os.close(file)
    return None if free is None else not free


@functools.cache
def _here() -> tuple[str, str, str, str]:
    """This start of this machine, the container, and what they are called."""
    boot = _text("/proc/sys/kernel/random/boot_id")
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (it leads to no path)
    except OSError:
        namespace = ""
    if not boot:
        import psutil

        boot = str(int(psutil.boot_time()))
    return boot, namespace, socket.gethostname(), _text("/etc/machine-id")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _short(boot: str) -> str:
    digits = "".join(letter for letter in boot.lower() if letter in "0123456789abcdef")
    return digits[-8:].rjust(8, "0")


def _started(pid: int) -> int | None:
    """When a process was started, in the system's own count; None if there is none."""
    try:
        # After the name, which may hold anything: the state is the third field of proc(5), the
        # start the twenty-second.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    import psutil

    try:
        return int(1000 * psutil.Process(pid).create_time())
    except psutil.Error:
        return None


JOURNAL_SUFFIX = ".journal.jsonl"


class ResultWriteError(OSError):
    """A result file cannot be written; one line, naming the path. Nothing half written is left."""


def write(path: str | os.PathLike[str], data: Mapping[str, object]) -> None:
    """Write an object to a file as JSON, in the way of ``write_bytes``."""
    write_bytes(path, encode(plain(data, "")) + b"\n")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file of any content: all of it, or nothing.

    It is written next to its name, which it then takes. What a symbolic link leads to is written in
    that way too, and the link stays. A device or a FIFO is never replaced: the data goes into it.

    Raises ResultWriteError, naming the path; what stood under the name before then still does.
    """
    path = Path(path)
    try:
        if _is_written_through(path):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
            try:
                write_all(file, data)
            finally:
                os.close(file)
        else:
            _write_and_rename(Path(os.path.realpath(path)), data)
    except (OSError, ValueError) as error:
        raise write_error(path, error) from None


def clear_left_over(folder: str | os.PathLike[str]) -> None:
    """Delete what writers that were killed have left half written in a results folder.

    That is what a process of this machine that has ended was writing, or what is a day old.
    """
    for place in (Path(folder), Path(folder) / ".sessions"):
        with contextlib.suppress(OSError):
            for path in place.iterdir():
                if not re.fullmatch(r"\..*[0-9a-f]{8}\.(tmp|part)", path.name, re.DOTALL):
                    continue
                lives = token_lives(path.name)
                if lives is None:
                    lives = time.time() - path.lstat().st_mtime < 86_400
                if not lives:
                    path.unlink(missing_ok=True)


def unfinished_name(name: str, suffix: str = ".tmp") -> str:
    """Return a hidden name for a file that is still being written, with its writer in it."""
    # In bytes, of which a name can have 255.
    name = name.encode(errors="ignore")[:100].decode(errors="ignore")
    return f".{name}.{Writer.this_process().token}.{uuid.uuid4().hex[:8]}{suffix}"


def _is_written_through(path: Path) -> bool:
    """Whether a path is no place for a file of its own: a device, a FIFO, an open stream."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(kind):
        return not stat.S_ISDIR(kind)
    # Where the shell leads a stream into a file, /dev/stdout is that file; others write to it too.
    streams = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
    return path.absolute().as_posix().startswith(streams)


def _write_and_rename(path: Path, data: bytes) -> None:
    unfinished = path.with_name(unfinished_name(path.name))
    file = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        write_all(file, data)
        with contextlib.suppress(OSError):  # of a file that is there, its rights stay
            os.fchmod(file, stat.S_IMODE(path.stat().st_mode))
        os.fsync(file)
        os.close(file)
        file = -1
        unfinished.replace(path)
        sync_folder(path.parent)
    finally:
        if file >= 0:
            os.close(file)
        # If this fails it was never made, for the reason that is already being raised.
        with contextlib.suppress(OSError, ValueError):
            unfinished.unlink(missing_ok=True)


def write_all(file: int, data: bytes) -> None:
    """Write all of the data to an open file."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder outlive a power cut; some file systems cannot, and need not."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.fsync(file)
    os.close(file)


def write_error(path: Path, error: Exception) -> ResultWriteError:
    """Return the error for a file that cannot be written."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ResultWriteError(f"{printable(str(path))} cannot be written: {printable(reason)}")


def encode(data: object) -> bytes:
    """Return plain data as JSON."""
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
