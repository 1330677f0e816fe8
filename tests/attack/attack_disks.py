"""Attack with folders that are files, cyclic links, pipes and full disks.

They replace results, the file of ``--output`` and the results folder of a session. Each ends in one
line and no partial file. A full disk is a small file system if root may mount one, or else a limit
on the size of files, which fails in the same call.
"""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import records
from tests.attack import attack_kills, made_results
from tests.attack.commands import COMMANDS, Command, Ended, start, wrong_end
from tests.attack.trials import PATIENCE, Attack
from tests.places import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its files are of other kinds")

READING, WRITING, MEASURING = "broken files", "broken outputs", "broken results folders"
READ_TRIALS, WRITE_TRIALS = 80, 80


def environ(folder: Path) -> dict[str, str]:
    """Return the environment of a command, with a lock of its own."""
    own = {"PYTHONPATH": str(ROOT), "LSTM_LOCK": str(folder / "lock"), "LSTM_ROOFS": "off"}
    return dict(os.environ) | own


# Results


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.suppress(OSError):
        made.bind(str(path))  # unless its path is too long


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def within(deed: Callable[[Path], object], name: str = "a.json") -> Callable[[Path], None]:
    def made(path: Path) -> None:
        path.mkdir()
        deed(path / name)

    return made


PLACES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "an empty folder": lambda path: path.mkdir(),
    "a folder in its place": lambda path: (path / "a.json").mkdir(parents=True),
    "an empty file": lambda path: path.touch(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": os.mkfifo,
    "a pipe in a folder": within(os.mkfifo),
    "a link that goes round in a folder": within(lambda path: path.symlink_to(path.name)),
    "a socket": _socket,
    "a terabyte of nothing": _sparse,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "an empty device": lambda path: path.symlink_to("/dev/null"),
    "a device that fails": lambda path: path.symlink_to("/proc/self/mem"),
    "a folder without end": within(lambda path: path.symlink_to("."), "down"),
    "a program": lambda path: path.write_bytes(Path(sys.executable).read_bytes()[:100_000]),
}
NAMES = ("files", "files.json", "files.journal.jsonl", "learning-x.json", "a b.json", "\udcff.json")


@dataclass(frozen=True)
class Reading:
    """command: the reader; what: the replacement of the results; name: of that."""

    number: int
    command: Command
    what: str
    name: str


def read(trial: Reading, folder: Path, attack: Attack) -> Iterator[str]:
    folder.mkdir()
    path, out = folder / trial.name, folder / f"out{trial.command.suffix}"
    PLACES[trial.what](path)
    arguments = trial.command.add_paths(path, out)
    ended = start(arguments, environ(folder))
    attack.count(READING, f"ended with {ended.code}")
    yield from wrong_end(trial.command.module, ended)
    if ended.code == 0 and "FILES" in trial.command.arguments:
        yield f"it ended with 0: {ended.out[-200:]!r}"
    if ended.code != 0 and out.exists():
        yield "it failed, and a file is there"
    shutil.rmtree(folder)


def test_commands_no_result_file_is_refused_in_one_line(attack: Attack, tmp_path: Path) -> None:
    draw = attack.random(READING)
    reading = [each for each in COMMANDS if "FILES" in each.arguments]
    trials = [
        Reading(number, draw.choice(reading), draw.choice(list(PLACES)), draw.choice(NAMES))
        for number in range(attack.times(READ_TRIALS))
    ]
    attack.run(READING, trials, lambda each: read(each, tmp_path / str(each.number), attack))


# Output files

OLD = b"what stood there before"


@dataclass(frozen=True)
class Disk:
    """name: of the fault. options: of a mounted file system. most: bytes of a file. path: of the
    output, if not a file of that folder."""

    name: str
    options: str = ""
    most: int | None = None
    path: str = ""

    def __str__(self) -> str:
        return self.name


DISKS = (
    Disk("a full disk", options="size=4k"),
    Disk("a disk of 16 kB", options="size=16k"),
    Disk("no inodes", options="size=1m,nr_inodes=3"),
    Disk("files of no byte", most=0),
    Disk("files of 100 bytes", most=100),
    Disk("files of 4 kB", most=4096),
    Disk("a link to a full device", path="device"),
    Disk("no folder can be made", path="/dev/null/x/out"),
    Disk("a read-only file system", path="/proc/out"),
    Disk("a link that goes round", path="loop"),
    Disk("a folder in its place", path="folder"),
    Disk("a path too long", path="x" * 300),
)


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """Mount a file system with these options, and yield whether that worked."""
    if not options:
        yield False
        return
    command = ["mount", "-t", "tmpfs", "-o", options, "lstm-attack", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except OSError:
        done = False
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(folder)], check=True, timeout=60)


def limit(most: int | None) -> dict[str, object]:
    """Return what a command does first, so that its files have at most ``most`` bytes."""
    return {} if most is None else {"limits": {"RLIMIT_FSIZE": most}}


@dataclass(frozen=True)
class Writing:
    """command: the writer; disk: its target."""

    number: int
    command: Command
    disk: Disk


def wrong_on(out: Path, ended: Ended) -> Iterator[str]:
    """Check that the old file or the complete new one is there."""
    found = None
    with contextlib.suppress(OSError):  # a name may be too long
        found = out.read_bytes() if out.is_file() and not out.is_symlink() else None
    if ended.code != 0 and found not in (OLD, None):
        yield f"it failed, and what stood there is gone: {found[:60]!r}"
    if ended.code == 0 and found in (OLD, b"") and not list_parts(out):
        yield "it ended with 0, and has written nothing"
    for path in out.parent.iterdir():
        if path.name.endswith((".tmp", ".part")):
            yield f"left over: {path.name}"


def write(trial: Writing, made: Path, folder: Path, attack: Attack) -> Iterator[str]:
    place = folder / "place"
    place.mkdir(parents=True)
    disk, suffix = trial.disk, trial.command.suffix
    with mounted(place, disk.options) as done:
        attack.count(WRITING, "on disks of their own" if done else "on other folders")
        out = place / f"out{suffix}"
        if disk.path.startswith("/"):
            out = Path(disk.path + suffix)
        elif disk.path == "device":
            out.symlink_to("/dev/full")
        elif disk.path == "loop":
            out.symlink_to(out.name)
        elif disk.path == "folder":
            out.mkdir()
        elif disk.path:
            out = place / f"{disk.path}{suffix}"
        else:
            out.write_bytes(OLD)
        if done:
            with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
                while file.write(b"x" * 512):
                    pass
        ended = start(trial.command.add_paths(made, out), environ(folder), limit(disk.most))
        attack.count(WRITING, f"ended with {ended.code}")
        yield from wrong_end(trial.command.module, ended)
        if out.parent == place:
            yield from wrong_on(out, ended)
        fails = done or disk.path or disk.most in (0, 100)
        if ended.code == 0 and fails and not list_parts(out):
            yield f"it ended with 0: {ended.err[-200:]!r}"
    shutil.rmtree(folder)


def list_parts(out: Path) -> list[Path]:
    """Each of several pictures has a name that begins like the requested one."""
    return [path for path in out.parent.glob(f"{out.stem}-*{out.suffix}") if path.is_file()]


def test_commands_failed_output_keeps_old_file(attack: Attack, tmp_path: Path) -> None:
    draw = attack.random(WRITING)
    made = tmp_path / "made"
    made_results.make(made)
    writing = [each for each in COMMANDS if each.writes_a_file]
    disks = list(DISKS)
    draw.shuffle(disks)
    trials = [
        Writing(number, draw.choice(writing), disks[number % len(disks)])
        for number in range(attack.times(WRITE_TRIALS))
    ]
    attack.run(WRITING, trials, lambda each: write(each, made, tmp_path / str(each.number), attack))


# Results folders


@dataclass(frozen=True)
class Folder:
    """name: of the folder's fault; lay: makes the fault; most: bytes of a file."""

    name: str
    lay: Callable[[Path], object] = lambda path: None
    most: int | None = None
    options: str = ""
    removed: bool = False

    def __str__(self) -> str:
        return self.name


FOLDERS = (
    Folder("a file", lambda path: path.touch()),
    Folder("a link that goes round", lambda path: path.symlink_to(path.name)),
    Folder("a link to nothing", lambda path: path.symlink_to("nowhere/x")),
    Folder("a pipe", os.mkfifo),
    Folder("its sessions are a file", within(Path.touch, ".sessions")),
    Folder("on a read-only file system", lambda path: path.symlink_to("/proc/nowhere")),
    Folder("files of no byte", most=0),
    Folder("files of 2 kB", most=2_000),
    Folder("files of 8 kB", most=8_000),
    Folder("a full disk", options="size=4k"),
    Folder("a disk of 16 kB", options="size=16k"),
    Folder("no inodes", options="size=1m,nr_inodes=5"),
    Folder("removed meanwhile", removed=True),
)


def _remove_once_begun(folder: Path, ended: threading.Event) -> None:
    end = time.monotonic() + PATIENCE
    while not ended.is_set() and time.monotonic() < end:
        if list(folder.glob("*.journal.jsonl")):
            shutil.rmtree(folder, ignore_errors=True)
            return
        time.sleep(0.01)


def measure(folder: Path, wrong: Folder, attack: Attack) -> Iterator[str]:
    """Run a session whose results cannot be written, or not all of them."""
    session = attack_kills.Session(folder)
    (folder / "place").mkdir()
    place = folder / "place" / "results"
    if wrong.options:
        place.mkdir()
    arguments = ["bench.run", str(session.suite), "--processes", "1", "--results", str(place)]
    given = {name: value for name, value in session.environ.items() if "ATTACK" not in name}
    given["PYTHONPATH"] = str(ROOT)
    over = threading.Event()
    with mounted(place, wrong.options) as done:
        if wrong.options and not done:
            attack.count(MEASURING, "not tried: no disk can be mounted here")
            shutil.rmtree(folder)
            return
        wrong.lay(place)
        watch = threading.Thread(target=_remove_once_begun, args=(place, over))
        if wrong.removed:
            watch.start()
        try:
            ended = start(arguments, given, limit(wrong.most), cwd=folder)
        finally:
            over.set()
            if wrong.removed:
                watch.join()
        attack.count(MEASURING, f"ended with {ended.code}")
        yield from wrong_end("bench.run", ended)
        found = records.collect(attack_kills.list_results(place) if place.is_dir() else [])
        for error in found.errors:
            yield f"half written: {error}"
        if ended.code == 0 and len(found.measurements) != attack_kills.CASES:
            yield f"it ended with 0, and {len(found.measurements)} cases are there"
    shutil.rmtree(folder)


def test_run_unwritable_folder_is_reported(attack: Attack, tmp_path: Path) -> None:
    folders = list(FOLDERS)
    random.Random(attack.seed).shuffle(folders)
    attack.run(
        MEASURING,
        list(enumerate(folders[: attack.times(len(folders))])),
        lambda each: measure(tmp_path / str(each[0]), each[1], attack),
    )
