"""A session to be measured: a new one, or one that is gone on with, as the command's options say.

This room knows sessions and suites, and the options of ``bench.run`` by their names.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import case as suites
from bench.case import loading
from bench.case.loading import Choice, Suite
from bench.cli.command_line import UsageError
from bench.records import naming
from bench.render.escape import clean
from bench.session.session import Session, SessionError, load
from bench.session.work import PRECISION, Goal

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
            "named after that: name it so again, or start anew without --resume"
        )
    return suite


def choice_of(session: Session) -> Choice:
    """What of its suite a session measures."""
    return Choice(
        session.backends, session.devices, session.modes, session.periods, session.variants
    )


def chosen_suite(options: argparse.Namespace) -> Suite:
    """The suite that the options name. Raises SuiteError."""
    choice = Choice(options.backends, options.device, options.mode, options.period, options.variant)
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
