"""Measure two environments interleaved: a process of one, a process of the other, and again.

Each side is a session of its own with a manager of its own; here they take turns, the first of a
turn being the last of the next, so that a machine that becomes slower slows both alike. The
options are those of ``bench.run``, by their names.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.case.loading import Suite
from bench.cli import command_line
from bench.cli.command_line import INTERRUPTED, UsageError
from bench.machine import packages
from bench.machine.fields import ResultError
from bench.machine.lock import MachineLock
from bench.machine.packages import (
    FILE,
    PROCESSES,
    SIDES,
    LabelledPython,
    NoPythonError,
    Python,
    differences,
    labels,
    load,
    save,
)
from bench.machine.reading import default_folder, expanded, is_url
from bench.records import naming
from bench.render.compare import differences_line
from bench.render.escape import clean
from bench.render.quantities import listed
from bench.session import progress
from bench.session.manager import Manager, ProgressView, SessionProgress, cases_words
from bench.session.measure import (
    check_limit,
    check_resume,
    gone_on_with,
    hold,
    manager_here,
    open_session,
    shared_folder,
    suite_of,
)
from bench.session.progress import MEASURED
from bench.session.session import Session, newest
from bench.session.workers import LocalExecutor

FOLDER = "environments"
"""In the results folder: next to a person's other results, which they must not be taken for."""


@dataclass(frozen=True)
class _Turns:
    """What is to be measured in turn: two environments, a session each, their suite, a folder.

    resumed: whether the folder holds a part of it already.
    """

    sides: Sequence[LabelledPython]
    sessions: Sequence[Session]
    suite: Suite
    folder: Path
    resumed: bool = False


def holds(results: str | None) -> bool:
    """Whether a results folder is one of two environments."""
    return results is not None and not is_url(results) and (expanded(results) / FILE).is_file()


def run(options: argparse.Namespace, console: Console) -> int:
    """Measure the two environments of ``options.python``, interleaved; the exit code.

    With ``options.resume`` what is missing in the folder ``options.results`` is measured.

    Raises UsageError, SuiteError, SessionError, FolderError, HeldError, LockError, WorkerError, and
    ResultWriteError.
    """
    turns = _gone_on_with(options) if options.resume is not None else _new(options)
    base, new = turns.sides
    differ = differences(base.python, new.python)
    line = differences_line(base.label, new.label, differ)
    console.print(clean(line, 2000), markup=False)
    suite, folder = turns.suite, turns.folder
    with MachineLock() as lock, contextlib.ExitStack() as stack:
        hold(lock, suite.name, options, console)
        save(folder, turns.sides)
        view = progress.view(console)
        stack.enter_context(view)
        view.message(
            f"suite {suite.name}: {cases_words(turns.sessions[0].cases)} in each; results: {folder}"
        )
        try:
            interleave(_managers(turns, lock, view, stack))
        except KeyboardInterrupt:
            view.message(
                f"go on: {command_line.typed('run', '--results', str(folder), '--resume')}"
            )
            return INTERRUPTED
    message = command_line.typed("compare", "environments", str(folder))
    console.print(f"compare them: {clean(message)}", style="bold")
    return MEASURED


def interleave(managers: Sequence[Manager]) -> None:
    """A process of each, in this order and then the other, until none has anything left to do."""
    for manager in managers:
        manager.begin()
    waiting = list(managers)
    while waiting:
        waiting = [manager for manager in waiting if manager.step()][::-1]
    for manager in managers:
        manager.end()


class _Named:
    """A view that names the environment of each message."""

    def __init__(self, view: ProgressView, label: str) -> None:
        self._view, self._label = view, label

    def update(self, progress: SessionProgress) -> None:
        self._view.update(progress)

    def message(self, text: str) -> None:
        self._view.message(f"{self._label}: {text}")


def _managers(
    turns: _Turns, lock: MachineLock, view: ProgressView, stack: contextlib.ExitStack
) -> Sequence[Manager]:
    """One of each side, who is next the first; stack: what ends with them."""
    found = []
    for name, side, session in zip(SIDES, turns.sides, turns.sessions, strict=True):
        here, python = turns.folder / name, side.python
        judged = stack.enter_context(shared_folder())
        executor = LocalExecutor(
            session, here, lock.fd, judged, python.executable, Path(python.bench)
        )
        manager = manager_here(session, turns.suite, executor, _Named(view, side.label), here)
        if turns.resumed:
            manager.take_in(here, alone=lock.fd is not None)
        found.append(manager)
    base, new = (len(manager.schedule.runs) for manager in found)
    # In a turn that was cut off the one that is behind; else who was the second of the last.
    behind = new < base or (new == base and base % 2 == 1)
    return found[::-1] if behind else found


def _new(options: argparse.Namespace) -> _Turns:
    """Two environments in a new folder: a session a side, of the same cases in the same order."""
    if len(options.python) != 2:
        raise UsageError("give --python twice: the environment to compare with, then the new one")
    for name in ("budget", "precision"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} does not go with --python: --processes says how many turns")
    paths = [expanded(path) for path in options.python]
    sides = [
        LabelledPython(label, _installed(path))
        for label, path in zip(labels(paths), paths, strict=True)
    ]
    changed = {"processes": options.processes or PROCESSES, "memory": options.memory or "off"}
    first, suite = open_session(argparse.Namespace(**vars(options) | changed), Path())
    sessions = [first, replace(first, id=naming.new())]
    return _Turns(sides, sessions, suite, _folder(options))


def _gone_on_with(options: argparse.Namespace) -> _Turns:
    """What a folder of two environments has, and what is still to be measured of it."""
    if options.python:
        raise UsageError("--python does not go with --resume: the folder has the environments")
    check_resume(options)
    folder = expanded(options.results)
    try:
        sides = load(folder)
    except ResultError as wrong:
        raise UsageError(str(wrong)) from None
    for side in sides:
        _unchanged(side)
    sessions = [gone_on_with(options, newest(folder / name)) for name in SIDES]
    suite = suite_of(sessions[0]).only(sessions[0].cases)
    check_limit(sessions[0], suite)
    return _Turns(sides, sessions, suite, folder, resumed=True)


def _unchanged(side: LabelledPython) -> None:
    """Raise UsageError where an environment is not what it was when its results began."""
    now = _installed(Path(side.python.executable))
    if found := differences(side.python, now):
        message = listed([f"{name} {was} → {now}" for name, was, now in found], 3)
        raise UsageError(
            clean(
                f"{side.label} is not the environment that it was: {message}; measure again, "
                "without --resume",
                1000,
            )
        )


def _installed(path: Path) -> Python:
    try:
        return packages.ask(path)
    except NoPythonError as error:
        raise UsageError(str(error)) from None


def _folder(options: argparse.Namespace) -> Path:
    if options.results is not None:
        folder = expanded(options.results)
        if any(folder.glob("*/*.json")):
            raise UsageError(f"{folder} holds results already; name another folder")
        return folder
    return expanded(default_folder()) / FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
