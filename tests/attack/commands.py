"""The commands that read, with their formats, and the endings that each documents."""

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.attack.trials import PATIENCE
from tests.places import ROOT

READER_LEFT = 141
"""The exit code of every command, by docs/running.md."""


OLDER = "older"
"""The folder of an older session inside that of the results."""


@dataclass(frozen=True)
class Command:
    """arguments: of ``python -m``. FILES in them means the results that are read, OLDER those
    they are compared with, OUT a written file, whose name ends in ``suffix``."""

    arguments: tuple[str, ...]
    suffix: str = ""

    def __str__(self) -> str:
        return " ".join(self.arguments)

    @property
    def module(self) -> str:
        return self.arguments[0]

    @property
    def format(self) -> str:
        if "--format" in self.arguments:
            return self.arguments[self.arguments.index("--format") + 1]
        return self.suffix.removeprefix(".") or "text"

    @property
    def writes_a_file(self) -> bool:
        return "OUT" in self.arguments

    def add_paths(self, files: Path, out: Path) -> list[str]:
        paths = {"FILES": str(files), "OLDER": str(files / OLDER), "OUT": str(out)}
        return [paths.get(each, each) for each in self.arguments]


def _formats(arguments: str, texts: Sequence[str], files: Sequence[str] = ()) -> Iterator[Command]:
    given = tuple(arguments.split())
    for kind in texts:
        yield Command((*given, "--format", kind))
    for kind in (*texts, *files):
        yield Command((*given, "--format", kind, "--output", "OUT"), f".{kind}")


def _all() -> Iterator[Command]:
    every = ("terminal", "markdown", "csv", "json", "html", "svg")
    yield from _formats("bench.report FILES", every, ["parquet"])
    yield from _formats("bench.report --brief FILES", ("terminal", "markdown", "svg"))
    yield from _formats("bench.history FILES", ("terminal", "markdown", "csv", "svg"))
    texts = ("terminal", "markdown", "csv", "json")
    yield from _formats("bench.compare runs OLDER FILES", texts)
    yield from _formats("bench.compare backends FILES", texts)
    yield from _formats("bench.compare published FILES", texts)
    yield from _formats("bench.compare devices FILES", (*texts, "svg"))
    yield from _formats("bench.report --along window FILES", texts)
    for suffix in (".svg", ".png"):
        yield Command(("bench.plot", "FILES", "--along", "window", "--output", "OUT"), suffix)
    question = "bench.recommend --batch 2 --hidden 4 --dependency 3 FILES"
    for kind in ("text", "json"):
        yield Command((*question.split(), "--format", kind))
    yield Command(("bench.echo", "windows", "--show", "FILES"))
    for what in ("throughput", "speedup", "setup", "memory", "roofline"):
        for suffix in (".svg", ".png", ".pdf"):
            yield Command(("bench.plot", "FILES", "--what", what, "--output", "OUT"), suffix)
    yield Command(("bench.run", "--list"))
    yield Command(("bench.run", "--results", "FILES", "--resume"))
    for kind in ("terminal", "json"):
        yield Command(("bench.doctor", "--backends", "numpy", "--device", "cpu", "--format", kind))


COMMANDS = tuple(_all())


@functools.cache
def documented(module: str) -> frozenset[int]:
    """Return the exit codes in a command's help, and 141, which all have."""
    message = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | {"COLUMNS": "100"},
    ).stdout
    _, found, rest = message.partition("exit codes:")
    if not found:
        raise AssertionError(f"{module} --help names no exit codes")
    return frozenset(map(int, re.findall(r"^  (\d+)\s{2,}\S", rest, re.MULTILINE))) | {READER_LEFT}


@dataclass(frozen=True)
class Ended:
    """The exit code and output of a command."""

    code: int
    out: bytes
    err: bytes


_LAUNCH = """\
import json, os, resource, sys
given = json.loads(sys.argv[1])
if "folder" in given:
    os.chdir(given["folder"])
    if given.get("gone"):
        os.rmdir(given["folder"])
for name, most in given.get("limits", {}).items():
    # Python ignores SIGXFSZ: a write that goes too far fails as on a full disk.
    resource.setrlimit(getattr(resource, name), (most, most))
for number in given.get("closed", []):
    os.close(number)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])
"""


def start(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    before: Mapping[str, object] | None = None,
    **more: Any,
) -> Ended:
    """Run a command to its end, from the clone.

    before: what its process does first: ``folder``, where it starts, and whether that is then
    ``gone``; ``limits`` by their names in ``resource``; numbers of files that are ``closed``. more:
    for ``subprocess.run``.
    """
    command = [sys.executable, "-m", *arguments]
    if before:
        command = [sys.executable, "-I", "-S", "-c", _LAUNCH, json.dumps(before), *arguments]
    settings: dict[str, Any] = {
        "cwd": ROOT,
        "env": environ,
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "timeout": PATIENCE,
    }
    done = subprocess.run(command, **(settings | more))
    return Ended(done.returncode, done.stdout or b"", done.stderr or b"")


def wrong_end(module: str, ended: Ended, *, err_is_seen: bool = True) -> Iterator[str]:
    """Return what is undocumented in a command's end: its code, or a missing error line."""
    if ended.code not in documented(module):
        yield f"exit code {ended.code}, which its help does not name: {ended.err[-300:]!r}"
    for stream in (ended.out, ended.err):
        if b"Traceback (most recent call last)" in stream or b"Exception ignored" in stream:
            yield f"a traceback: {stream[-700:]!r}"
    if b"Warning" in ended.err:
        yield f"a warning: {ended.err[-300:]!r}"
    said = ended.err.strip() or ended.out.strip()
    if ended.code == 2 and err_is_seen and not said:
        yield "it failed without a word"
