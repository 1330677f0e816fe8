"""Write files atomically, and find out whether the writer of a file is still running.

A file gets its name only when it is complete. A journal is locked while it is written. It also
names its writer (the process and the start of its machine), because on some file systems other
machines and containers do not see the lock. An unknown writer counts as running.
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
from bench.machine.reading import open_flags


class Closing(ABC):
    """A context manager that yields itself and is closed at the end of its block."""

    @abstractmethod
    def close(self) -> None:
        """Release what is held. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


FRESH = 900.0
"""The seconds after its last change in which a file may have a writer that this machine cannot see.

Few cases take longer.
"""


@dataclass(frozen=True)
class Writer:
    """A process.

    started: when it started, in the system's unit. boot: identifies the start of the machine.
    namespace: identifies the container. locks: whether the process has locked its file.
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
        """Return the calling process."""
        return cls(os.getpid(), _started(os.getpid()) or 0, *_here(), locks)

    @classmethod
    def from_data(cls, data: object) -> Writer | None:
        """Return the result of ``to_dict`` as a Writer, or None for anything else."""
        kinds = {"pid": int, "started": int, "boot": str, "namespace": str}
        kinds |= {"host": str, "machine": str}
        given = data if isinstance(data, Mapping) else {}
        if any(type(given.get(name)) is not kind for name, kind in kinds.items()):
            return None
        return cls(**{name: given[name] for name in kinds}, locks=given.get("locks") is True)

    def to_dict(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)

    @property
    def token(self) -> str:
        """Return a short form for the name of a file."""
        boot = re.sub("[^0-9a-f]", "", self.boot.lower())[-8:].rjust(8, "0")
        return f"{self.pid}-{self.started}-{boot}-{re.sub('[^0-9]', '', self.namespace) or '0'}"

    @property
    def is_running(self) -> bool | None:
        """Return whether the process is running, or None if that is unknown here."""
        boot, namespace, host, machine = _here()
        if self.boot != boot:
            # The process has ended if this machine has started again. The host name alone does not
            # identify a machine.
            same = bool(machine) and (self.host, self.machine) == (host, machine)
            return False if same else None
        if self.namespace != namespace:
            return None
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        where = f" on {printable(self.host, 60)}" if self.host else ""
        return f"process {self.pid}{where}"


def token_is_running(name: str) -> bool | None:
    """Return whether the process is running whose ``token`` is in a name, or None if unknown."""
    found = re.search(r"(\d+)-(\d+)-([0-9a-f]{8}-\d+)", name)
    if found is None or found[3] != Writer.this_process().token.split("-", 2)[2]:
        return None
    return _started(int(found[1])) == int(found[2])


def read_writer(path: Path) -> Writer | None:
    """Return the process that the first line of a journal names, if any."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.readline(2**20))
    except (OSError, ValueError, RecursionError):
        return None
    return Writer.from_data(data.get("writer")) if isinstance(data, dict) else None


def running_writer(path: Path) -> str:
    """Describe the process that still writes a journal, or return an empty string if none does."""
    writer = read_writer(path)
    held = _locked(path)
    if held:
        return str(writer or "a process that does not give its number")
    if held is False and (writer is None or (writer.locks and writer.boot == _here()[0])):
        return ""  # All containers of a machine see the same locks.
    if writer is not None and writer.is_running is not None:
        return str(writer) if writer.is_running else ""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return ""
    return f"{writer or 'a process'}, it seems" if age < FRESH else ""


def lock(file: int, *, wait: bool, shared: bool = False) -> bool | None:
    """Lock an open file until it is closed.

    Returns False if another process has the lock, and None if the system has no locks.
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
    try:
        file = os.open(path, os.O_RDONLY | open_flags("O_NONBLOCK"))
    except OSError:
        return None
    try:
        # The lock is shared, so that two simultaneous readers do not take each other for a writer.
        free = lock(file, wait=False, shared=True)
    finally:
        os.close(file)
    return None if free is None else not free


@functools.cache
def _here() -> tuple[str, str, str, str]:
    """Return identifiers of the machine's start and the container, and names of the machine."""
    boot = _text("/proc/sys/kernel/random/boot_id")
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (not a path)
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


def _started(pid: int) -> int | None:
    """Return when a process was started, in the system's unit, or None if there is none."""
    try:
        # The name may contain anything. After it come the state, which is the third field of
        # proc(5), and as the twenty-second field the start.
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
    """A file cannot be written. The message is one line with the path. No partial file is left."""


def write(path: str | os.PathLike[str], data: Mapping[str, object]) -> None:
    """Write an object to a file as JSON, like ``write_bytes``."""
    write_bytes(path, encode(plain(data)) + b"\n")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file completely or not at all.

    The data is written under another name, which is then changed. A symbolic link stays, and its
    target is written. A device or a FIFO is never replaced: the data is written into it.

    Raises a ResultWriteError that names the path. An existing file then stays as it was.
    """
    path = Path(path)
    try:
        if _is_written_through(path):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | open_flags("O_NOCTTY"))
            try:
                write_all(file, data)
            finally:
                os.close(file)
        else:
            _write_and_rename(Path(os.path.realpath(path)), data)
    except (OSError, ValueError) as error:
        raise write_error(path, error) from None


def delete_partial_files(folder: str | os.PathLike[str]) -> None:
    """Delete partial files whose writer has ended. If that is unknown, delete them after a day."""
    for place in (Path(folder), Path(folder) / ".sessions"):
        with contextlib.suppress(OSError):
            for path in place.iterdir():
                if not re.fullmatch(r"\..*[0-9a-f]{8}\.(tmp|part)", path.name, re.DOTALL):
                    continue
                running = token_is_running(path.name)
                if running is None:
                    running = time.time() - path.lstat().st_mtime < 86_400
                if not running:
                    path.unlink(missing_ok=True)


def unfinished_name(name: str) -> str:
    """Return a hidden name for a file that is being written, with the token of its writer."""
    # A name can have up to 255 bytes.
    name = name.encode(errors="ignore")[:100].decode(errors="ignore")
    return f".{name}.{Writer.this_process().token}.{uuid.uuid4().hex[:8]}.tmp"


def _is_written_through(path: Path) -> bool:
    """Return whether a path is a device, a FIFO or an open stream, which no file may replace."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(kind):
        return not stat.S_ISDIR(kind)
    # If the shell redirects a stream, /dev/stdout is that file, and others write to it as well.
    streams = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
    return path.absolute().as_posix().startswith(streams)


def _write_and_rename(path: Path, data: bytes) -> None:
    unfinished = path.with_name(unfinished_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | open_flags(), 0o666)
        try:
            write_all(file, data)
            with contextlib.suppress(OSError):  # An existing file keeps its permissions.
                unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
            os.fsync(file)
        finally:
            os.close(file)
        unfinished.replace(path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError, ValueError):
            unfinished.unlink(missing_ok=True)


def write_all(file: int, data: bytes) -> None:
    """Write all of the data to an open file."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power failure, if the file system can."""
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
    # The result is ASCII, because a name may contain a lone surrogate.
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def plain(value: Mapping[str, object], where: str = "") -> dict[str, object]:
    """Return an object in a form that JSON can hold. Raise a ResultError that names the place."""
    return {str(key): _plain_value(item, f"{where}{key}") for key, item in value.items()}


def _plain_value(value: object, where: str) -> object:
    """Return a value in a form that JSON can hold. NaN and infinity become null."""
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
