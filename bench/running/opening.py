"""A session to be measured: a new one, or one that is gone on with, as the command's options say.

This room knows sessions and suites, and the options of ``bench.run`` by their names.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import suites
from bench.running.session import Session, load
from bench.running.work import PRECISION, Goal
from bench.suites import loading
from bench.suites.loading import Choice, Suite
from bench.telling.command_line import UsageError
from bench.telling.inert import clean

SUITE = "quick"

BUDGET = 900.0
"""Seconds. Ten minutes held six processes of `quick` on two cores, but three quarters of them went
into starting, tracing and checking; what is added is measured."""

CASE_LIMIT = 120.0

_FIXED = (
    *("suite", "device", "backends", "mode", "seed", "threads", "seconds", "memory"),
    *("period", "deadline", "load"),
)
"""What a session keeps when it is gone on with."""


def open_session(options: argparse.Namespace, folder: Path) -> tuple[Session, Suite]:
    """The session to be measured, new or gone on with, and its suite.

    Raises UsageError, SuiteError, SessionError.
    """
    if options.resume is not None:
        session, suite = _gone_on_with(options, folder)
    else:
        session, suite = _new(options)
    longest = session.seconds or max(suite.seconds.values())
    if session.case_limit <= longest:
        raise UsageError(
            f"--case-limit {session.case_limit:g}s is not more than the {longest:g} s of measuring "
            "that a case gets; allow more, or measure less: --seconds"
        )
    return session, suite


def _gone_on_with(options: argparse.Namespace, folder: Path) -> tuple[Session, Suite]:
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
    choice = Choice(session.backends, session.devices, session.modes, session.periods)
    suite = suites.load(session.suite, choice)
    if suite.name != session.suite_name:
        raise UsageError(
            f"the suite in {clean(session.suite)} is named {clean(suite.name)} now; it was "
            f"{clean(session.suite_name)} when session {session.id} began, and its results are "
            "named after that: name it so again, or start anew without --resume"
        )
    return session, suite.only(session.cases)


def _new(options: argparse.Namespace) -> tuple[Session, Suite]:
    name = options.suite or SUITE
    choice = Choice(options.backends, options.device, options.mode, options.period)
    suite = suites.load(name, choice)
    budget = options.budget
    if budget is None and options.processes is None:
        budget = BUDGET
    session = Session(
        id=Session.new_id(),
        # A path is kept whole: it may be gone on with from elsewhere.
        suite=str(suite.path.absolute()) if suite.path.parent != loading.FOLDER else name,
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
        memory=suite.memory if options.memory is None else options.memory == "on",
    )
    return session, suite
