"""What ``bench.learning`` is asked: options to a map that is trained, or to one that is shown.

An option that is not given is not among the options: where a map is gone on with, its file decides.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields
from functools import partial
from pathlib import Path

import lstm_impl
from bench.cli import command_line, output
from bench.cli.command_line import UsageError
from bench.echo import map_picture, mapped, words
from bench.echo.plan import Plan
from bench.machine.folder import default_folder, expanded
from bench.machine.writing import write_bytes
from bench.records.maps import LearningMap, collect, read
from bench.records.only import only_cells
from bench.render import drawing
from lstm_impl.tuning.machine import usable

PICTURES = ("svg", "png")

_FILTERS = {"task": "tasks", "distance": "distances", "window": "windows", "carried": "states"}
"""Of what is shown: what of a cell is chosen by which part of a plan."""


def _chosen(options: argparse.Namespace) -> dict[str, object]:
    """What of a plan the options decide."""
    given = vars(options)
    names = [field.name for field in fields(Plan)]
    chosen: dict[str, object] = {name: given[name] for name in names if name in given}
    for name, states in (("carried", (True,)), ("reset", (False,)), ("both", (True, False))):
        if name in given:
            chosen["states"] = states
    if "backend" in chosen:
        chosen["backend"] = lstm_impl.get_backend(str(chosen["backend"])).name
    return chosen


def train(options: argparse.Namespace) -> int:
    """Train the map that is asked for, or go on with one; the exit code of ``bench.learning``."""
    given = vars(options)
    folder = given.get("results") or expanded(default_folder())
    jobs = given.get("jobs", usable())
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}; expected a positive integer")
    begun = (mapped.resume if given.get("resume") else mapped.begin)(folder, _chosen(options))
    mapped.check(begun.plan)
    start = time.monotonic()
    found = mapped.train(
        begun,
        jobs,
        given.get("budget"),
        lambda *cell: print(words.progress(*cell), flush=True),
    )
    if found.path is None:
        print(
            f"stopped after {found.cells} of {found.of} cells; they are in {begun.journal}\n"
            f"go on with: {_again(folder)}"
        )
        return command_line.INTERRUPTED
    print(f"{found.cells} of {found.of} cells, {time.monotonic() - start:.0f} s in this go\n")
    _show(read(found.path), options)
    print(f"\nmap: {found.path}")
    if not found.complete:
        print(f"the budget is spent; go on with: {_again(folder)}")
    return 1 if found.problems else 0


def _again(folder: Path) -> str:
    elsewhere = () if str(folder) == default_folder() else ("--results", str(folder))
    return command_line.typed("learning", "--resume", *elsewhere)


def _show(found: LearningMap, options: argparse.Namespace) -> None:
    given = vars(options)
    if not found.cells:
        print("no cell is trained yet: there is nothing to show")
        return
    values, path = given.get("values", "closed"), given.get("output")
    output.deliver(
        given.get("format") or output.kind_of(path),
        output.Target(path),
        lambda console: words.terminal(found, values, console),
        {
            "markdown": lambda: words.markdown(found, values),
            "csv": lambda: words.as_csv(found),
            "json": lambda: words.as_json(found),
            **{kind: partial(map_picture.picture, found, kind) for kind in PICTURES},
        },
    )
    if (picture := given.get("picture")) is not None:
        write_bytes(picture, map_picture.picture(found, picture.suffix[1:].lower()))
        print(f"picture: {picture}")


def show_newest(options: argparse.Namespace) -> int:
    """Show the newest map that is there, of it what is asked for; the command's exit code."""
    paths = options.show or [expanded(default_folder())]
    # The usual folder need not be there yet; one that somebody names must.
    loaded = collect(paths if options.show or paths[0].is_dir() else [])
    command_line.tell_errors(loaded.errors)
    if not loaded.maps:
        if not loaded.errors:
            where = ", ".join(map(str, paths))
            raise UsageError(f"{where} holds no map; python -m bench.learning makes one")
        return command_line.BAD_INPUT
    newest = loaded.maps[0]
    for note in newest.notes:
        print(f"note: {note}", file=sys.stderr)
    chosen = _chosen(options)
    wanted = {name: chosen.get(of) for name, of in _FILTERS.items()}
    _show(only_cells(newest, wanted), options)  # type: ignore[arg-type]
    return command_line.BAD_INPUT if loaded.errors else 0


def check(options: argparse.Namespace) -> None:
    """Whether the options go together. Raises UsageError."""
    given = vars(options)
    path = given.get("output")
    output.check(given.get("format") or output.kind_of(path), output.Target(path))
    picture = given.get("picture")
    if picture is not None:
        if drawing.kind_of(picture) is None:
            raise UsageError(
                f"--picture {picture}: expected a name that ends in .{', .'.join(drawing.FORMATS)}"
            )
        output.check(picture.suffix[1:].lower(), output.Target(picture))
    if "backends" in given and not given.get("agree"):
        raise UsageError("--backends goes with --agree; --backend is for the map")
    kinds = [f"--{name}" for name in ("show", "agree", "resume") if name in given]
    if len(kinds) > 1:
        raise UsageError(f"{' and '.join(kinds)}: expected one of them")
