"""``python -m bench.run SUITE``: measure a suite in fresh processes until its intervals are narrow.

This room knows the command: its options and what of them goes together, the lock, the folder, the
summary at the end and the exit codes. What is measured next, and how, is the manager's work.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import suites
from bench.disk.folder import (
    DEFAULT_FOLDER,
    RESULTS_VARIABLE,
    FolderError,
    default_folder,
    expanded,
)
from bench.disk.writers import Writer, token_lives
from bench.disk.writing import ResultWriteError, clear_left_over
from bench.judging.process_means import ENOUGH_PROCESSES
from bench.machine import devices
from bench.machine.lock import LOOK_EVERY, HeldError, LockError, MachineLock
from bench.running import live
from bench.running.manager import Manager, Stopped, WorkerError, cases_words
from bench.running.schedule import PRECISION, Goal
from bench.running.session import Session, SessionError, load
from bench.running.summary import (
    BAD_INPUT,
    FAILED,
    HELD,
    INTERRUPTED,
    MEASURED,
    UNWRITABLE,
    summarize,
)
from bench.running.workers import LocalExecutor, being_written, settle_all
from bench.suites import loading
from bench.suites.loading import Choice, Suite
from bench.suites.values import SuiteError
from bench.telling import arguments, command_line
from bench.telling.command_line import UsageError
from bench.telling.inert import clean
from bench.telling.quantities import count
from bench.telling.terminal import text_console

SUITE = "quick"

BUDGET = 900.0
"""Seconds. Ten minutes held six processes of `quick` on two cores, but three quarters of them went
into starting, tracing and checking; what is added is measured."""

CASE_LIMIT = 120.0
EPILOG = f"""\
It ends when the interval of every case is narrow enough (judged at {ENOUGH_PROCESSES} processes
or more), or when the budget is spent. Times are numbers with s, m or h: 90s, 10m, 1h30m.

exit codes:
  0    every case was measured, or cannot be measured here (no such device, not installed,
       refused by its backend); a result that is not to be trusted says so, and is no error
  1    a case failed, crashed or took longer than its limit, or a worker process could not
       measure at all; the others were measured
  2    bad input
  3    the results cannot be written: a full disk, an unwritable folder
  4    another run measures on this machine (--wait waits for it, --force goes on)
  5    the budget was spent before every case was measured at least once
  130  stopped by Ctrl-C or SIGTERM; what was finished is kept, and --resume goes on

docs/running.md explains how it measures.
"""

_FIXED = ("suite", "device", "backends", "mode", "seed", "threads", "seconds", "memory")
"""What a session keeps when it is gone on with."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    options.suite = options.suite or options.named
    command_line.write_any_letter()
    console = text_console(soft_wrap=True)
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        return _list() if options.list else _run(options, console)
    except (UsageError, SuiteError, SessionError, FolderError) as error:
        return _error(error, BAD_INPUT)
    except HeldError as error:
        return _error(f"{error}; --wait waits for it, --force goes on all the same", HELD)
    except (ResultWriteError, LockError) as error:
        return _error(error, UNWRITABLE)
    except WorkerError as error:
        return _error(error, FAILED)
    except KeyboardInterrupt:
        return _error("stopped; nothing was being measured", INTERRUPTED)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _error(told: object, code: int) -> int:
    print(f"error: {clean(str(told), 1000)}", file=sys.stderr)
    return code


def _list() -> int:
    found = {name: suites.load(name) for name in suites.available()}
    width = max(map(len, (*found, *loading.UNTIMED)))
    for name, suite in found.items():
        print(f"{name:{width}}  {count(len(suite.cases), 'case'):>11}  {suite.summary}")
    for name, told in loading.UNTIMED.items():
        print(f"{name:{width}}  {'no cases':>11}  {told}")
    return MEASURED


def _run(options: argparse.Namespace, console: Console) -> int:
    folder = expanded(options.results or default_folder())
    session, suite = _open(options, folder)
    with MachineLock() as lock:
        try:
            if options.wait:
                lock.wait(suite.name, lambda text: console.print(clean(text)))
            else:
                lock.acquire(suite.name)
        except HeldError as error:
            if not options.force:
                raise
            console.print(f"{clean(str(error))}; forced: both spoil each other")
        if options.resume is not None:
            _leave_to_its_writer(session, folder, options, console)
            if options.wait:
                session, suite = _open(options, folder)  # the one waited for may have measured it
        resumed = options.resume is not None
        return _measure(session, suite, folder, lock, console, resumed=resumed)


def _leave_to_its_writer(
    session: Session, folder: Path, options: argparse.Namespace, console: Console
) -> None:
    """Wait for a process that measures this session already, or go on beside it if forced to.

    Such a process is on another machine or in another container, whose lock is another, or has been
    forced too. Raises HeldError.
    """
    told = False
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
        if not told:
            console.print(f"{message}; waiting for it")
            told = True
        time.sleep(LOOK_EVERY)


def _open(options: argparse.Namespace, folder: Path) -> tuple[Session, Suite]:
    """The session to be measured, new or gone on with, and its suite."""
    if options.resume is not None:
        for name in _FIXED:
            if getattr(options, name) is not None:
                what = "SUITE" if name == "suite" else f"--{name}"
                raise UsageError(
                    f"{what} does not go with --resume: a session goes on with what it has; "
                    "start a new one without --resume"
                )
        session = load(folder, options.resume)
        changed = replace(session, finished=None)
        if options.budget is not None:
            # Of this call: what was spent before is not taken from it.
            changed = replace(changed, budget=session.spent + options.budget)
        if options.case_limit is not None:
            changed = replace(changed, case_limit=options.case_limit)
        if options.processes is not None or options.precision is not None:
            precision = session.goal.precision if options.precision is None else options.precision
            changed = replace(changed, goal=Goal(precision, options.processes))
        session = changed
        choice = Choice(session.backends, session.devices, session.modes)
        suite = suites.load(session.suite, choice)
        if suite.name != session.suite_name:
            raise UsageError(
                f"the suite in {clean(session.suite)} is named {clean(suite.name)} now; it was "
                f"{clean(session.suite_name)} when session {session.id} began, and its results are "
                "named after that: name it so again, or start anew without --resume"
            )
        suite = suite.only(session.cases)
    else:
        name = options.suite or SUITE
        suite = suites.load(name, Choice(options.backends, options.device, options.mode))
        budget = options.budget
        if budget is None and options.processes is None:
            budget = BUDGET
        session = Session(
            id=Session.new_id(),
            # A path is kept whole: it may be gone on with from elsewhere.
            suite=str(suite.path.absolute()) if suite.path.parent != loading.FOLDER else name,
            suite_name=suite.name,
            cases=suite.cases,
            goal=Goal(
                PRECISION if options.precision is None else options.precision, options.processes
            ),
            budget=budget,
            case_limit=CASE_LIMIT if options.case_limit is None else options.case_limit,
            started=datetime.now(UTC).isoformat(),
            seed=options.seed or 0,
            devices=options.device,
            backends=options.backends,
            modes=options.mode,
            threads=options.threads,
            seconds=options.seconds,
            memory=suite.memory if options.memory is None else options.memory == "on",
        )
    longest = session.seconds or max(suite.seconds.values())
    if session.case_limit <= longest:
        raise UsageError(
            f"--case-limit {session.case_limit:g}s is not more than the {longest:g} s of measuring "
            "that a case gets; allow more, or measure less: --seconds"
        )
    return session, suite


def _measure(
    session: Session,
    suite: Suite,
    folder: Path,
    lock: MachineLock,
    console: Console,
    *,
    resumed: bool,
) -> int:
    session.save(folder)
    clear_left_over(folder)
    with _shared_folder() as judged, live.view(console) as view:
        executor = LocalExecutor(session, folder, lock.fd, judged)
        asked = {case.device for case in session.cases}
        manager = Manager(
            session,
            executor,
            view,
            lambda changed: changed.save(folder),
            seconds=suite.seconds,
            absent=[device for device in asked if devices.explain_missing(device)],
        )
        if resumed:
            settle_all(session, folder, alone=lock.fd is not None)
            for file in session.files(folder):
                manager.schedule.add(file)
            found = f"; {count(len(manager.schedule.runs), 'process')} of it are there"
        else:
            found = ""
        view.tell(
            f"suite {session.suite_name}: {cases_words(session.cases)}, session {session.id}{found}"
        )
        interrupted = False
        try:
            stopped = manager.run()
        except KeyboardInterrupt:
            stopped, interrupted = Stopped.BUDGET, True
            replace(manager.session, spent=manager.spent).save(folder)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # what is left takes a moment, and is the answer
    summary = summarize(manager, list(session.files(folder)))
    again = _again(folder)
    if interrupted:
        kept = count(summary.measured, "case")
        console.print(f"stopped: {kept} measured and kept; go on: {again} --resume")
        return INTERRUPTED
    for line in summary.lines(stopped, manager):
        console.print(line)
    console.print(f"results: {clean(str(folder / session.suite_name))}-*.json")
    if stopped is Stopped.BUDGET:
        told = f"go on: {again} --resume {session.id} --budget {_short(session.budget)}"
        console.print(told)
    console.print(f"read them: {_report(folder)}", style="bold")
    return summary.code


_SHARED = "lstm-judged-"


@contextlib.contextmanager
def _shared_folder() -> Iterator[Path | None]:
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


def _again(folder: Path) -> str:
    where = "" if folder == expanded(default_folder()) else f" --results {shlex.quote(str(folder))}"
    return command_line.told(f"{command_line.python()} -m bench.run{where}")


def _report(folder: Path) -> str:
    where = "" if folder == expanded(default_folder()) else f" {shlex.quote(str(folder))}"
    return command_line.told(f"{command_line.python()} -m bench.report{where}")


def _short(seconds: float | None) -> str:
    return f"{math.ceil((seconds or BUDGET) / 60)}m"


# -- the command line


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m bench.run",
        description="Measure a suite in fresh processes until its intervals are narrow.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(name: str, metavar: str, text: str, kind: object = str) -> None:
        parser.add_argument(f"--{name}", metavar=metavar, help=text, type=kind)  # type: ignore[arg-type]

    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "suite",
        nargs="?",
        metavar="SUITE",
        help=f"a suite of the package or the path of a TOML file (default: {SUITE})",
    )
    which.add_argument("--suite", dest="named", metavar="SUITE", help="the same, as an option")
    parser.add_argument("--list", action="store_true", help="list the suites and end")
    add(
        "budget",
        "TIME",
        f"time for all (default: {BUDGET / 60:g}m; none with --processes)",
        arguments.seconds,
    )
    add(
        "precision",
        "PERCENT",
        "end when every median's 95%% interval over the processes reaches at most this far "
        f"(default: {PRECISION:.0%}%)",
        arguments.percentage,
    )
    add(
        "processes",
        "N",
        "measure each case in so many processes, whatever its interval",
        arguments.whole(1, 10_000),
    )
    add(
        "case-limit",
        "TIME",
        "end a process whose case takes longer, with tracing and compiling (default: "
        f"{CASE_LIMIT:g}s)",
        arguments.seconds,
    )
    add(
        "seconds",
        "TIME",
        "of measuring for each case in each process (default: what the suite says)",
        arguments.seconds,
    )
    add("device", "DEVICES", "cpu, gpu:0, ... or all, separated by commas", arguments.names)
    add("backends", "NAMES", "which implementations, separated by commas, or all", arguments.names)
    add("mode", "MODES", "only inference, or only training", arguments.names)
    add("threads", "N", "threads for every framework", arguments.whole(1, 4096))
    parser.add_argument(
        "--memory",
        choices=("on", "off"),
        help="whether the first process measures the peak memory of cases on the CPU too, some "
        "seconds for each (default: what the suite says)",
    )
    add(
        "seed",
        "N",
        "of weights, inputs and every random order (default: 0)",
        arguments.whole(0, 2**53),
    )
    add(
        "results",
        "DIR",
        f"folder for the results (default: ${RESULTS_VARIABLE}, or {DEFAULT_FOLDER})",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="SESSION",
        help="go on with this session, or with the newest that is unfinished",
    )
    busy = parser.add_mutually_exclusive_group()
    busy.add_argument("--wait", action="store_true", help="wait while another run measures here")
    busy.add_argument(
        "--force", action="store_true", help="measure beside another run all the same"
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
