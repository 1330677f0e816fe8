"""Run a suite on a cluster: a session for each kind of machine, from the options to the summary.

Its options are those of ``bench.run``, by their names.
"""

from __future__ import annotations

import argparse
import signal
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.case import loading
from bench.case.loading import Suite
from bench.cli.command_line import INTERRUPTED
from bench.machine.writing import clear_left_over
from bench.records.naming import of_kind
from bench.render.escape import clean
from bench.render.quantities import count
from bench.session.cluster import HERE, ClusterMachines, ClusterMember, Fleet, RemoteExecutor
from bench.session.hand import NodeRequest
from bench.session.manager import Manager, WorkerError, cases_words
from bench.session.measure import (
    again,
    check_limit,
    check_resume,
    choice_of,
    chosen_suite,
    copy,
    folder_and_place,
    gone_on_with,
    new_session,
    reader,
    short,
    suite_of,
)
from bench.session.progress import FAILED, INCOMPLETE, MEASURED, UNWRITABLE, PlainView, summarize
from bench.session.session import Session, of_fleet


class NodePlan:
    """What the options ask for: the sessions there are, and those that a kind of machine begins.

    fleet: what its sessions have in common. Raises UsageError, SuiteError, SessionError.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options, self.folder = options, folder
        self.resumed: dict[str, Session] = {}
        if options.resume is None:
            self.suite = chosen_suite(options)
            self._model = new_session(options, self.suite)
            self.fleet = self._model.id
        else:
            check_resume(options)
            found = [gone_on_with(options, each) for each in of_fleet(folder, options.resume)]
            self._model = found[0]
            self.fleet = self._model.fleet
            self.suite = suite_of(self._model)
            self.resumed = {each.kind: each for each in found}
        check_limit(self._model, self.suite)

    @property
    def budget(self) -> float | None:
        """Seconds that the options give, None without a limit."""
        return self._model.budget

    @property
    def asked(self) -> NodeRequest:
        """What each node is asked to be ready for."""
        path, options = self.suite.path, self._options
        named = path.parent == loading.FOLDER
        name, text = (path.stem, None) if named else (path.name, path.read_bytes())
        return NodeRequest(name, text, choice_of(self._model), options.wait, options.force)

    def session(self, member: ClusterMember) -> tuple[Session, Suite]:
        """The session of a kind of machine, and its suite there."""
        suite = replace(member.suite, path=self.suite.path)
        session = self.resumed.get(member.key)
        if session is not None:
            return session, suite.only(session.cases)
        session = replace(
            self._model,
            id=of_kind(self.fleet, member.key),
            fleet=self.fleet,
            kind=member.key,
            cases=suite.cases,
            spent=0.0,
        )
        return session, suite


def run(options: argparse.Namespace, console: Console) -> int:
    """Measure what the options ask for on a cluster, and return the exit code.

    Raises UsageError, SuiteError, SessionError, FolderError, WorkerError, and ResultWriteError.
    """
    folder, place = folder_and_place(options.results)
    plan = NodePlan(options, folder)
    view = PlainView(console)
    clear_left_over(folder)
    with ClusterMachines(options.ray or HERE, plan.asked, view.message) as cluster:
        fleet = _fleet(plan, cluster, console, view)
        view.message(f"suite {plan.suite.name} on the machines of a cluster, fleet {plan.fleet}")
        interrupted = False
        try:
            fleet.run()
        except KeyboardInterrupt:
            interrupted = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # what is left takes a moment, and is the answer
    ray = f"--ray {options.ray}" if options.ray else "--ray"
    command = f"{again(folder, place)} {ray} --resume {plan.fleet}"
    code = _conclude(plan, fleet, clean(command, 500), console, interrupted=interrupted)
    sessions = [manager.session for manager in fleet.managers.values()]
    if place is not None and not interrupted:
        files = [file.path for session in sessions for file in session.files(folder)]
        if not copy([path for path in files if path.suffix == ".json"], place, console):
            return UNWRITABLE
    return code


def _fleet(plan: NodePlan, cluster: ClusterMachines, console: Console, view: PlainView) -> Fleet:
    def open_manager(member: ClusterMember) -> Manager:
        session, suite = plan.session(member)
        manager = Manager(
            session,
            None,
            PlainView(console, str(member)),
            lambda changed: changed.save(plan.folder),
            seconds=suite.seconds,
            absent=member.absent,
        )
        if member.key in plan.resumed:
            manager.take_in(plan.folder, alone=False)
        manager.begin()
        there = len(manager.schedule.runs)
        found = f"; {count(there, 'process')} of it are there" if there else ""
        view.message(f"{member}: {cases_words(session.cases)}, session {session.id}{found}")
        return manager

    def post(member: ClusterMember, manager: Manager) -> RemoteExecutor:
        return RemoteExecutor(cluster.far(member), manager.session, plan.folder)

    return Fleet(cluster, open_manager, post, view.message)


def _conclude(
    plan: NodePlan, fleet: Fleet, command: str, console: Console, *, interrupted: bool
) -> int:
    """Write down how each session ended and say what came of it; the exit code."""
    if not fleet.managers:
        if interrupted:
            raise KeyboardInterrupt
        raise WorkerError("no machine of the cluster could measure; the lines above say why")
    codes, kept, open_ = [MEASURED], 0, False
    for key, manager in fleet.managers.items():
        if interrupted:
            replace(manager.session, spent=manager.spent).save(plan.folder)
        elif not manager.end():
            open_ = True
        summary = summarize(manager, list(manager.session.files(plan.folder)))
        kept += summary.measured
        codes.append(summary.code)
        if not interrupted:
            seats = fleet.members[key]
            console.print(f"\n{clean(fleet.kinds[key])}, {count(seats, 'machine')}:", markup=False)
            for line in summary.lines(manager):
                console.print(line, markup=False)
    if interrupted:
        message = f"stopped: {count(kept, 'case')} measured and kept; go on: {command}"
        console.print(message, markup=False)
        return INTERRUPTED
    for error in fleet.errors.values():
        codes.append(FAILED)
        console.print(f"error: {clean(str(error), 1000)}", markup=False)
    for key in plan.resumed.keys() - fleet.managers.keys():
        codes.append(INCOMPLETE)
        console.print(f"no machine of the kind {clean(key)} came: its session is not gone on with")
    console.print(f"results: {clean(str(plan.folder / plan.suite.name))}-*.json", markup=False)
    if open_:
        message = f"go on: {command} --budget {short(plan.budget)}"
        console.print(message, markup=False)
    console.print(f"read them: {reader(plan.folder)}", style="bold", markup=False)
    return next((code for code in (FAILED, INCOMPLETE) if code in codes), MEASURED)
