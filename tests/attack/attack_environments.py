"""Attack every command with rare environments: it must end as documented, without a traceback."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.attack import made_results
from tests.attack.commands import COMMANDS, Command, start, wrong_end
from tests.attack.trials import Attack
from tests.places import ROOT

KIND = "environments"
TRIALS = 200


@dataclass(frozen=True)
class World:
    """An environment. changed: variables, None for one that is not set. streams: of a command, by
    name: a path to open, or "closed". cwd: where it starts. code: the one it must end with."""

    name: str
    changed: dict[str, str | None] = field(default_factory=dict)
    streams: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    files: int = 0

    def __str__(self) -> str:
        return self.name


def _variables(name: str, *values: str | None) -> Iterator[World]:
    for value in values:
        message = "unset" if value is None else repr(value[:30])
        yield World(f"{name} {message}", {name: value})


def _worlds() -> Iterator[World]:
    yield from _variables("HOME", None, "", "/nowhere", "/dev/null", "x" * 5000)
    yield from _variables("COLUMNS", "0", "-1", "1", "x", "", "9" * 30, "20", "100000")
    yield from _variables("LINES", "0", "-5", "x")
    yield from _variables("TERM", None, "", "dumb", "\x1b[31m")
    yield from _variables("LANG", None, "C", "POSIX", "xx_YY.nothing")
    yield from _variables("LC_ALL", "C", "tr_TR.UTF-8", "nonsense")
    yield from _variables("PYTHONIOENCODING", "ascii", "utf-16", "latin-1:strict")
    yield from _variables("PYTHONUTF8", "0", "1")
    yield from _variables("PYTHONWARNINGS", "error", "always")
    yield from _variables("PYTHONHASHSEED", "0")
    yield from _variables("PYTHONOPTIMIZE", "2")
    yield from _variables("NO_COLOR", "1", "")
    yield from _variables("FORCE_COLOR", "1", "")
    yield from _variables("TMPDIR", None, "", "/nowhere", "/dev/null", "/proc")
    yield from _variables("PATH", None, "", "/nowhere")
    yield from _variables("TZ", "", "Nowhere/Town", "UTC+25", "\udcff")
    yield from _variables("USER", None)
    yield from _variables("XDG_CACHE_HOME", "/nowhere", "/dev/null", "relative", "~nosuchuser/x")
    yield from _variables("MPLCONFIGDIR", "/nowhere", "/dev/null")
    yield from _variables("MPLBACKEND", "nonsense", "TkAgg")
    yield from _variables("LSTM_RESULTS", "", "/nowhere", "/dev/null", "~nosuchuser", "x" * 5000)
    yield from _variables("LSTM_LOCK", "", "/nowhere/x", "/dev/null", "/", "x" * 5000)
    yield from _variables("LSTM_ROOFS", "", "/nowhere/x", "/dev/null", "/", "x" * 5000)
    yield from _variables("OMP_NUM_THREADS", "0", "-1", "x", "9" * 20)
    for stream in ("stdin", "stdout", "stderr"):
        yield World(f"{stream} closed", streams={stream: "closed"})
    yield World("nothing open", streams=dict.fromkeys(("stdin", "stdout", "stderr"), "closed"))
    yield World("stdout full", streams={"stdout": "/dev/full"})
    yield World("stderr full", streams={"stderr": "/dev/full"})
    yield World("both full", streams=dict.fromkeys(("stdout", "stderr"), "/dev/full"))
    yield World("no reader", streams={"stdout": "no reader"})
    yield World("started in a read-only folder", cwd="/proc/self")
    yield World("started in a folder that is gone", cwd="gone")
    yield World("thirty open files", files=30)


WORLDS = tuple(_worlds())


def _before(world: World, folder: Path) -> dict[str, object]:
    """Return what the command's process does first, for ``start``."""
    streams = enumerate(("stdin", "stdout", "stderr"))
    found: dict[str, object] = {
        "closed": [number for number, name in streams if world.streams.get(name) == "closed"]
    }
    if world.cwd:
        found["folder"] = world.cwd
    if world.cwd == "gone":
        (folder / "gone").mkdir()
        found |= {"folder": str(folder / "gone"), "gone": True}
    if world.files:
        found["limits"] = {"RLIMIT_NOFILE": world.files}
    return found


def attempt(
    command: Command, world: World, made: Path, folder: Path, attack: Attack
) -> Iterator[str]:
    """Run one command in one environment. made: the results that it reads."""
    folder.mkdir()
    files, out = folder / "files", folder / f"out{command.suffix}"
    shutil.copytree(made, files)
    environ = dict(os.environ) | {
        "PYTHONPATH": str(ROOT),
        "LSTM_LOCK": str(folder / "lock"),
        "LSTM_RESULTS": str(files),
        "LSTM_ROOFS": "off",
    }
    environ.pop("COLUMNS", None)
    for name, value in world.changed.items():
        environ.pop(name, None)
        if value is not None:
            environ[name] = value
    opened: dict[str, Any] = {}
    for name, where in world.streams.items():
        if where == "closed":
            continue
        if where == "no reader":
            reading, opened[name] = os.pipe()
            os.close(reading)
        else:
            opened[name] = os.open(where, os.O_WRONLY)
    try:
        ended = start(command.add_paths(files, out), environ, _before(world, folder), **opened)
    finally:
        for file in opened.values():
            os.close(file)
    attack.count(KIND, f"ended with {ended.code}")
    yield from wrong_end(command.module, ended, err_is_seen="stderr" not in world.streams)
    # Each of several streams has its own picture, named by its shape.
    written = list(out.parent.glob(f"{out.stem}*{out.suffix}"))
    if ended.code == 0 and command.writes_a_file and not written:
        yield "it ended with 0, and its file is not there"
    if ended.code == 0 and not command.writes_a_file and not world.streams and not ended.out:
        yield "it ended with 0, and printed nothing"
    for path in folder.rglob("*.tmp"):
        yield f"left over: {path.name}"
    shutil.rmtree(folder, ignore_errors=True)


def test_commands_any_environment_end_as_documented(attack: Attack, tmp_path: Path) -> None:
    draw = attack.random(KIND)
    worlds = list(WORLDS)
    draw.shuffle(worlds)
    trials = []
    for number in range(attack.times(TRIALS)):
        # Every environment in turn, since a small attack has fewer trials than there are.
        trials.append((number, draw.choice(COMMANDS), worlds[number % len(worlds)]))
    attack.count(KIND, "environments", len({str(world) for _, _, world in trials}))
    attack.count(KIND, "commands", len({command for _, command, _ in trials}))
    made = tmp_path / "made"
    made_results.make(made)
    attack.run(
        KIND, trials, lambda each: attempt(each[1], each[2], made, tmp_path / str(each[0]), attack)
    )
