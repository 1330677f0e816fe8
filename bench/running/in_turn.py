"""Two environments measured in turn: a process of one, a process of the other, and again.

Each side is a session of its own with a manager of its own; here they take turns, the first of a
turn being the last of the next, so that a machine that becomes slower slows both alike. This room
knows which room does what. Its options are those of ``bench.compare environments``, by their names.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.comparing.two_environments import SIDES, Environment, differences_line, labels, save
from bench.disk.folder import default_folder, expanded
from bench.machine import devices, packages
from bench.machine.lock import HeldError, MachineLock
from bench.machine.packages import NoPythonError
from bench.results.only import fits
from bench.running import live
from bench.running.manager import Manager, Progress, View, cases_words
from bench.running.measured import shared_folder
from bench.running.opening import open_session
from bench.running.session import Session
from bench.running.workers import LocalExecutor
from bench.suites.loading import Suite
from bench.telling.command_line import UsageError
from bench.telling.inert import clean

FOLDER = "environments"
"""In the results folder: beside a person's other results, which they must not be taken for."""


def measure(
    options: argparse.Namespace, only: Mapping[str, Sequence[str] | None], console: Console
) -> Path:
    """Measure the two environments of ``options.paths``; the folder with their results.

    only: by name of a filter the names that are asked for.

    Raises UsageError, SuiteError, FolderError, HeldError, LockError, WorkerError,
    ResultWriteError, and KeyboardInterrupt when interrupted.
    """
    paths = [expanded(path) for path in options.paths]
    try:
        pythons = [packages.ask(path) for path in paths]
    except NoPythonError as error:
        raise UsageError(str(error)) from None
    sides = [
        Environment(label, python) for label, python in zip(labels(paths), pythons, strict=True)
    ]
    console.print(clean(differences_line(sides[0], sides[1]), 2000), markup=False)
    sessions, suite = _sessions(options, only)
    folder = _folder(options)
    with MachineLock() as lock, contextlib.ExitStack() as stack, _interruptible():
        try:
            if options.wait:
                lock.wait(suite.name, lambda text: console.print(clean(text), markup=False))
            else:
                lock.acquire(suite.name)
        except HeldError as error:
            if not options.force:
                raise
            console.print(f"{clean(str(error))}; forced: both spoil each other", markup=False)
        save(folder, sides)
        view = live.view(console)
        stack.enter_context(view)
        view.tell(
            f"suite {suite.name}: {cases_words(sessions[0].cases)} in each; results: {folder}"
        )
        managers = []
        for name, side, session in zip(SIDES, sides, sessions, strict=True):
            here, python = folder / name, side.python
            judged = stack.enter_context(shared_folder())
            executor = LocalExecutor(
                session, here, lock.fd, judged, python.executable, Path(python.bench)
            )
            managers.append(_manager(session, suite, executor, _Named(view, side.label), here))
        in_turn(managers)
    return folder


def in_turn(managers: Sequence[Manager]) -> None:
    """A process of each, in this order and then the other, until none has anything left to do."""
    for manager in managers:
        manager.begin()
    waiting = list(managers)
    while waiting:
        waiting = [manager for manager in waiting if manager.step()][::-1]
    for manager in managers:
        manager.end()


class _Named:
    """A view that says of which environment it is told."""

    def __init__(self, view: View, label: str) -> None:
        self._view, self._label = view, label

    def update(self, progress: Progress) -> None:
        self._view.update(progress)

    def tell(self, text: str) -> None:
        self._view.tell(f"{self._label}: {text}")


def _manager(
    session: Session, suite: Suite, executor: LocalExecutor, view: View, folder: Path
) -> Manager:
    asked = {case.device for case in session.cases}
    return Manager(
        session,
        executor,
        view,
        lambda changed: changed.save(folder),
        seconds=suite.seconds,
        absent=[device for device in asked if devices.explain_missing(device)],
    )


def _sessions(
    options: argparse.Namespace, only: Mapping[str, Sequence[str] | None]
) -> tuple[list[Session], Suite]:
    """A session a side, of the same cases in the same order."""
    asked = argparse.Namespace(
        suite=options.suite,
        device=options.device,
        backends=options.backend,
        mode=options.mode,
        processes=options.processes,
        seconds=options.seconds,
        threads=options.threads,
        case_limit=options.case_limit,
        seed=options.seed,
        memory="off",  # it is the times that are compared
        **dict.fromkeys(("resume", "budget", "precision", "period", "deadline", "load")),
    )
    first, suite = open_session(asked, Path())
    cases = tuple(case for case in first.cases if fits(case, only))
    if not cases:
        raise UsageError(f"the suite {suite.name} has no case of what is asked for")
    first = replace(first, cases=cases)
    return [first, replace(first, id=Session.new_id())], suite.only(cases)


def _folder(options: argparse.Namespace) -> Path:
    if options.results is not None:
        folder = expanded(options.results)
        if any(folder.glob("*/*.json")):
            raise UsageError(f"{folder} holds results already; name another folder")
        return folder
    return expanded(default_folder()) / FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """What asks a process to end is an interruption, as Ctrl-C is, so that workers end with it."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> Iterable[signal.Signals]:
    return (signal.SIGTERM, signal.SIGHUP)
