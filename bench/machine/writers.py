"""Which process writes a file, told so that another process can find out whether it still does.

The lock on a journal says it best: it goes with its holder, however that ends. Some file systems
have no locks, or none that a second machine or container can see; so that a file also names its
writer: the machine since its start, the process, and when that was started, since numbers of
processes are used again. What cannot be told is taken to be alive. This room knows processes and
locks, and not what is written.
"""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.machine.fields import printable

FRESH = 900.0
"""Seconds since its last change for which a file may have a writer where nothing else can tell: on
another machine, over a file system without common locks. Between two lines of a journal lies one
case; few take as long."""

_FIRST_LINE = 2**20
"""Bytes that are read of a journal in search of its first line, which holds a machine's state."""

_TOKEN = re.compile(r"(\d+)-(\d+)-([0-9a-f]{8})-(\d+)")


@dataclass(frozen=True)
class Writer:
    """A process. started: as the system counts it; boot: which start of the machine, and namespace:
    in which container its number counts; either is empty where the system has no such thing. locks:
    whether it has locked what it writes.
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
        """The one that asks."""
        started = _started(os.getpid()) or 0
        return cls(os.getpid(), started, *_here(), locks)

    @classmethod
    def from_data(cls, data: object) -> Writer | None:
        """The one that ``to_dict`` wrote down; None for anything else."""
        if not isinstance(data, Mapping):
            return None
        numbers = (data.get("pid"), data.get("started"))
        words = tuple(data.get(name) for name in ("boot", "namespace", "host", "machine"))
        if not all(type(each) is int for each in numbers):
            return None
        if not all(isinstance(each, str) for each in words):
            return None
        return cls(*numbers, *words, data.get("locks") is True)  # type: ignore[arg-type, call-arg]

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
        """Whether it still runs; None if that cannot be told from here."""
        boot, namespace, host, machine = _here()
        if self.boot != boot:
            # Of this machine, it has ended when that was started anew. Of machines of one name only
            # those are one that have an id, too.
            same = bool(machine) and (self.host, self.machine) == (host, machine)
            return False if same else None
        if self.namespace != namespace:
            return None
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        where = f" on {printable(self.host, 60)}" if self.host else ""
        return f"process {self.pid}{where}"


def token_lives(name: str) -> bool | None:
    """Whether the process whose ``token`` a name holds still runs; None if it cannot be told."""
    found = _TOKEN.search(name)
    if found is None:
        return None
    boot, namespace, _, _ = _here()
    mine = (_short(boot), "".join(filter(str.isdigit, namespace)) or "0")
    if (found[3], found[4]) != mine:
        return None
    return _started(int(found[1])) == int(found[2])


def writer_of(path: Path) -> Writer | None:
    """The one that the first line of a journal names, if it names one."""
    try:
        with path.open("rb") as file:
            line = file.readline(_FIRST_LINE)
        data = json.loads(line)
    except (OSError, ValueError, RecursionError):
        return None
    return Writer.from_data(data.get("writer")) if isinstance(data, dict) else None


def living(path: Path) -> str:
    """Who still writes a journal, in words; empty if it has been left by whoever did."""
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
    """Whether a process has locked a file; None where that cannot be told."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        # Shared, so that two who ask at once do not take each other for a writer.
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
    """Eight digits of what tells one start of a machine from the next."""
    digits = "".join(letter for letter in boot.lower() if letter in "0123456789abcdef")
    return digits[-8:].rjust(8, "0")


def _started(pid: int) -> int | None:
    """When a process was started, in the system's own count; None if there is none."""
    try:
        # What stands after the name, which may hold anything: the state is the third field of
        # proc(5), the start the twenty-second.
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
