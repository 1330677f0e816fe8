"""Run a suite on this machine: from the options to the session, its manager and its summary.

Results that are to lie elsewhere are measured into a folder here, and copied there at the end: not
before the last process has ended, since a copy on its way takes processor time from what is
measured. What was measured is never lost to a bad connection: the files here stay, and the command
that copies them later is printed. The options are those of
``bench.run``, by their names.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import case as suites
from bench.case import loading
from bench.case.loading import Suite, SuiteChoice
from bench.cli import command_line
from bench.cli.command_line import INTERRUPTED, UsageError
from bench.machine import devices
from bench.machine.fields import ResultError
from bench.machine.lock import LOOK_EVERY, HeldError, MachineLock
from bench.machine.reading import DEFAULT_FOLDER, default_folder, expanded, is_url
from bench.machine.remote import PlaceError, check, shown, upload
from bench.machine.writing import Writer, clear_left_over, token_lives
from bench.records import naming
from bench.render.escape import clean
from bench.render.quantities import count
from bench.session import progress
from bench.session.manager import Manager, ProgressView, cases_words
from bench.session.progress import UNWRITABLE, summarize
from bench.session.session import PRECISION, Goal, Session, SessionError, load
from bench.session.workers import Executor, LocalExecutor, being_written
from lstm_impl.tuning.machine import usable

SUITE = "quick"

BUDGET = 900.0
"""Seconds. Ten minutes held six processes of `quick` on two cores, but three quarters of them went
into starting, tracing and checking; what is added is measured."""

CASE_LIMIT = 120.0

_FIXED = (
    *("suite", "device", "backends", "mode", "seed", "threads", "seconds", "memory"),
    *("period", "deadline", "load", "variant"),
)
"""What a session keeps when it is gone on with."""


def open_session(options: argparse.Namespace, folder: Path) -> tuple[Session, Suite]:
    """The session to be measured, new or gone on with, and its suite.

    Raises UsageError, SuiteError, SessionError.
    """
    if options.resume is not None:
        check_resume(options)
        session = load(folder, options.resume)
        if session.fleet:
            raise SessionError(
                f"session {session.id} is measured by the machines of a cluster; go on with it "
                f"there: --ray ADDRESS --resume {session.fleet}, or name another"
            )
        session = gone_on_with(options, session)
        suite = suite_of(session).only(session.cases)
    else:
        suite = chosen_suite(options)
        session = new_session(options, suite)
    check_limit(session, suite)
    return session, suite


def check_limit(session: Session, suite: Suite) -> None:
    """Raise UsageError where no case could be measured within the limit of one."""
    longest = session.seconds or max(suite.seconds.values())
    if session.case_limit <= longest:
        raise UsageError(
            f"--case-limit {session.case_limit:g}s is not more than the {longest:g} s of measuring "
            "that a case gets; allow more, or measure less: --seconds"
        )


def check_resume(options: argparse.Namespace) -> None:
    """Raise UsageError for options that only a new session can have."""
    for name in _FIXED:
        if getattr(options, name) is not None:
            what = "SUITE" if name == "suite" else f"--{name}"
            raise UsageError(
                f"{what} does not go with --resume: a session goes on with what it has; "
                "start a new one without --resume"
            )


def gone_on_with(options: argparse.Namespace, session: Session) -> Session:
    """A session as the options have it go on."""
    changed = replace(session, finished=None)
    if options.budget is not None:
        # Of this call: what was spent before is not taken from it.
        changed = replace(changed, budget=session.spent + options.budget)
    if options.case_limit is not None:
        changed = replace(changed, case_limit=options.case_limit)
    if options.processes is not None or options.precision is not None:
        precision = session.goal.precision if options.precision is None else options.precision
        changed = replace(changed, goal=Goal(precision, options.processes))
    return changed


def suite_of(session: Session) -> Suite:
    """The suite of a session that goes on. Raises UsageError, SuiteError."""
    suite = suites.load(session.suite, choice_of(session))
    if suite.name != session.suite_name:
        raise UsageError(
            f"the suite in {clean(session.suite)} is named {clean(suite.name)} now; it was "
            f"{clean(session.suite_name)} when session {session.id} began, and its results are "
            "named after that: name it so again, or start again without --resume"
        )
    return suite


def choice_of(session: Session) -> SuiteChoice:
    """What of its suite a session measures."""
    return SuiteChoice(
        session.backends, session.devices, session.modes, session.periods, session.variants
    )


def chosen_suite(options: argparse.Namespace) -> Suite:
    """The suite that the options name. Raises SuiteError."""
    choice = SuiteChoice(
        options.backends, options.device, options.mode, options.period, options.variant
    )
    return suites.load(options.suite or SUITE, choice)


def new_session(options: argparse.Namespace, suite: Suite) -> Session:
    """A session of a suite as the options have it."""
    budget = options.budget
    if budget is None and options.processes is None:
        budget = BUDGET
    return Session(
        id=naming.new(),
        # A path is kept whole: it may be gone on with from elsewhere.
        suite=place_of(suite),
        suite_name=suite.name,
        cases=suite.cases,
        goal=Goal(PRECISION if options.precision is None else options.precision, options.processes),
        budget=budget,
        case_limit=CASE_LIMIT if options.case_limit is None else options.case_limit,
        started=datetime.now(UTC).isoformat(),
        seed=options.seed or 0,
        devices=options.device,
        backends=options.backends,
        modes=options.mode,
        periods=options.period,
        deadline=options.deadline,
        load=options.load or 0,
        threads=options.threads,
        seconds=options.seconds,
        variants=options.variant,
        memory=suite.memory if options.memory is None else options.memory == "on",
    )


def place_of(suite: Suite) -> str:
    """What a suite is found by again: the name of one of the package, or the path of a file."""
    named = suite.path.parent == loading.FOLDER
    return suite.path.stem if named else str(suite.path.absolute())


def run(options: argparse.Namespace, console: Console) -> int:
    """Measure what the options ask for, and return the exit code.

    Raises UsageError, SuiteError, SessionError, FolderError, HeldError, LockError, WorkerError, and
    ResultWriteError.
    """
    folder, place = folder_and_place(options.results)
    session, suite = open_session(options, folder)
    with MachineLock() as lock:
        hold(lock, suite.name, options, console)
        if options.resume is not None:
            _leave_to_its_writer(session, folder, options, console)
            if options.wait:  # the one waited for may have measured it
                session, suite = open_session(options, folder)
        resumed = options.resume is not None
        code = _measure(
            session, suite, folder, place, lock, console, resumed=resumed, brief=options.brief
        )
    if place is not None:
        files = [file.path for file in session.files(folder) if file.path.suffix == ".json"]
        if not copy(files, place, console):
            return UNWRITABLE
    return code


def hold(lock: MachineLock, name: str, options: argparse.Namespace, console: Console) -> None:
    """Take the machine's lock, as the options have it. Raises HeldError, LockError."""
    try:
        if options.wait:
            lock.wait(name, lambda text: console.print(clean(text), markup=False))
        else:
            lock.acquire(name)
    except HeldError as error:
        if not options.force:
            raise
        console.print(f"{clean(str(error))}; forced: both spoil each other", markup=False)


def manager_here(
    session: Session,
    suite: Suite,
    executor: Executor,
    view: ProgressView,
    folder: Path,
    together: int = 1,
) -> Manager:
    """The manager of a session on this machine, which writes it down in a folder."""
    return Manager(
        session,
        executor,
        view,
        lambda changed: changed.save(folder),
        seconds=suite.seconds,
        absent=devices.missing(case.device for case in session.cases),
        side_by_side=together,
    )


def side_by_side(session: Session) -> int:
    """How many processes of a session start at the same time.

    A framework's start keeps one processor busy. On a GPU it takes most of the GPU's memory, which
    two cannot have at once; and some systems have no locks by which they take turns.
    """
    absent = devices.missing(case.device for case in session.cases)
    on_gpu = any(case.device != "cpu" and case.device not in absent for case in session.cases)
    return 1 if on_gpu or os.name != "posix" or usable() < 2 else 2


def _leave_to_its_writer(
    session: Session, folder: Path, options: argparse.Namespace, console: Console
) -> None:
    """Wait for a process that measures this session already, or go on next to it if forced to.

    Such a process is on another machine or in another container, whose lock is another, or has been
    forced too. Raises HeldError.
    """
    note = False
    while found := being_written(session, folder):
        path, who = next(iter(found.items()))
        where = clean(str(path))
        if options.force:
            console.print(
                f"{who} still measures session {session.id}: {where} is left alone, and what it "
                "has not finished by now is measured again",
                markup=False,
            )
            return
        message = f"{who} still measures session {session.id} ({where})"
        if not options.wait:
            raise HeldError(message)
        if not note:
            console.print(f"{message}; waiting for it")
            note = True
        time.sleep(LOOK_EVERY)


def _measure(
    session: Session,
    suite: Suite,
    folder: Path,
    place: str | None,
    lock: MachineLock,
    console: Console,
    *,
    resumed: bool,
    brief: bool = False,
) -> int:
    session.save(folder)
    clear_left_over(folder)
    with shared_folder() as judged, progress.view(console) as view:
        together = side_by_side(session)
        executor = LocalExecutor(session, folder, lock.fd, judged, side_by_side=together)
        manager = manager_here(session, suite, executor, view, folder, together)
        if resumed:
            manager.take_in(folder, alone=lock.fd is not None)
        there = count(len(manager.schedule.runs), "process")
        found = f"; {there} of it are there" if resumed else ""
        view.message(
            f"suite {session.suite_name}: {cases_words(session.cases)}, session {session.id}{found}"
        )
        interrupted = False
        try:
            manager.run()
        except KeyboardInterrupt:
            interrupted = True
            replace(manager.session, spent=manager.spent).save(folder)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # what is left takes a moment, and is the answer
    summary = summarize(manager, list(session.files(folder)))
    command = again(folder, place)
    if interrupted:
        kept = count(summary.measured, "case")
        console.print(f"stopped: {kept} measured and kept; go on: {command} --resume")
        return INTERRUPTED
    if brief:
        for line in summary.without_time():
            console.print(line)
        return summary.code
    for line in summary.lines(manager):
        console.print(line)
    console.print(f"results: {clean(str(folder / session.suite_name))}-*.json")
    if not manager.schedule.finished:
        note = f"go on: {command} --resume {session.id} --budget {short(session.budget)}"
        console.print(note)
    console.print(f"read them: {reader(folder)}", style="bold")
    return summary.code


_SHARED = "lstm-judged-"


@contextlib.contextmanager
def shared_folder() -> Iterator[Path | None]:
    """Where workers share what the gate's reference computed, or None where there is no such place.

    It is of use to no other session, and may be large: it goes with this one, or if that was killed
    with the next.
    """
    try:
        for left in Path(tempfile.gettempdir()).glob(f"{_SHARED}*"):
            if token_lives(left.name) is False:
                shutil.rmtree(left, ignore_errors=True)
        prefix = f"{_SHARED}{Writer.this_process().token}-"
        shared = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError:
        yield None
        return
    with shared as name:
        yield Path(name)


def again(folder: Path, place: str | None) -> str:
    """The command that measures into the same place, without its other options."""
    results = shown(place) if place else "" if folder == usual_folder() else str(folder)
    return command_line.typed("run", *(("--results", results) if results else ()))


def reader(folder: Path) -> str:
    """The command that reads what was measured."""
    return command_line.typed("report", *(() if folder == usual_folder() else (str(folder),)))


def short(seconds: float | None) -> str:
    """A budget as it is typed."""
    return f"{math.ceil((seconds or BUDGET) / 60)}m"


# Where results go


def folder_and_place(results: str | None) -> tuple[Path, str | None]:
    """The folder here, and the URL of the place elsewhere if results are to go to one.

    results: what was requested, a folder or a URL. Raises FolderError; UsageError for a place that
    cannot be written to, as far as that is known before anything is measured.
    """
    requested = results or default_folder()
    if not is_url(requested):
        return expanded(requested), None
    try:
        check(requested)
    except PlaceError as error:
        raise UsageError(str(error)) from None
    return usual_folder(), requested


def usual_folder() -> Path:
    """The folder here if nobody names one, also where ``$LSTM_RESULTS`` is a URL."""
    here = default_folder()
    return expanded(DEFAULT_FOLDER if is_url(here) else here)


def copy(paths: Sequence[Path], place: str, console: Console) -> bool:
    """Copy a session's files to their place, and say what became of them; whether all are there."""
    if not paths:
        return True
    there: list[str] = []
    errors: list[ResultError] = []
    try:
        there, errors = upload(paths, place)
    except PlaceError as error:
        errors = [error]
    if there:
        console.print(f"copied: {count(len(there), 'file')} to {clean(shown(place))}", markup=False)
    if not errors:
        return True
    for each in errors:
        console.print(f"error: {clean(str(each), 1000)}", markup=False)
    again = command_line.typed("submit", "--unchanged", *map(str, paths), "--to", shown(place))
    console.print(f"the files are here, whole; copy them later: {again}")
    return False
