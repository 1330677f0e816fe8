"""Run a suite on this machine, in two alternating environments, or on a cluster.

If the results are to go to a URL, they are first written to a folder on this machine. They are
copied after the last process has ended, because copying takes processor time from the measurement.
If copying fails, the files stay here, and the program prints the command that copies them later.
The options are those of ``bench.run``, by their names.
"""

import argparse
import contextlib
import functools
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from bench import case as suites
from bench.case import loading
from bench.case.loading import Suite
from bench.cli import command_line
from bench.cli.command_line import INTERRUPTED, UsageError
from bench.cli.options import DEFAULT_SUITE, MeasurementOptions, list_fixed_options
from bench.machine import devices, packages
from bench.machine.fields import ResultError
from bench.machine.lock import HeldError, MachineLock
from bench.machine.packages import (
    FILE,
    PROCESSES,
    SIDES,
    LabelledPython,
    NoPythonError,
    Python,
    differences,
    labels,
)
from bench.machine.processes import ignore_interruptions
from bench.machine.reading import DEFAULT_FOLDER, default_folder, expand_path, is_url
from bench.machine.remote import PlaceError, safe_url
from bench.machine.upload import check, upload
from bench.machine.writing import Writer, delete_partial_files, token_is_running
from bench.records.files import new_session_name, session_of_kind
from bench.records.seeds import newest_seed
from bench.render.compare import differences_line
from bench.render.escape import clean
from bench.render.quantities import count, join_names
from bench.session.cluster import (
    HERE,
    ClusterMachines,
    ClusterMember,
    Fleet,
    NodeRequest,
    RemoteExecutor,
)
from bench.session.exit_codes import FAILED, INCOMPLETE, MEASURED, UNWRITABLE
from bench.session.kernels import compile_kernels
from bench.session.manager import Manager, WorkerError, describe_cases
from bench.session.progress import Summary, View
from bench.session.session import (
    CASE_LIMIT,
    PRECISION,
    Goal,
    Session,
    SessionError,
    load,
    load_fleet,
    load_newest,
)
from bench.session.workers import LocalExecutor
from lstm_impl.processors import count_usable_cpus

BUDGET = 900.0
"""The default budget, in seconds. Ten minutes were enough for six processes of `quick` on two
cores, but three quarters of that time were spent on starting, tracing and checking.
"""

ENVIRONMENTS = "environments"
"""The folder in the results folder that holds the results of two environments."""


# -- sessions from options


def open_session(options: argparse.Namespace, folder: Path) -> tuple[Session, Suite]:
    """Return the new or resumed session to measure on this machine, and its suite.

    Raises UsageError, SuiteError and SessionError.
    """
    if options.resume is None:
        return new_session(options)
    _check_resume(options)
    session = load(folder, options.resume)
    if session.fleet:
        raise SessionError(
            f"session {session.id} is measured by the machines of a cluster; resume it there with "
            f"--ray ADDRESS --resume {session.fleet}, or name another session"
        )
    return resumed_session(options, session)


def new_session(options: argparse.Namespace) -> tuple[Session, Suite]:
    """Return a new session and its suite. Raise UsageError or SuiteError."""
    budget = options.budget
    if budget is None and options.processes is None:
        budget = BUDGET
    chosen = MeasurementOptions.from_run(options)
    suite = suites.load(chosen.suite or DEFAULT_SUITE, chosen.choice)
    session = Session(
        id=new_session_name(),
        suite_name=suite.name,
        cases=suite.cases,
        goal=Goal(PRECISION if options.precision is None else options.precision, options.processes),
        budget=budget,
        started=datetime.now(UTC).isoformat(),
        options=replace(
            chosen,
            # The session may be resumed from another folder, so the path is absolute.
            suite=suite.path.stem if _is_built_in(suite) else str(suite.path.absolute()),
            seed=newest_seed() if chosen.seed is None else chosen.seed,
            load=chosen.load or 0,
            memory=suite.memory if chosen.memory is None else chosen.memory,
            case_limit=CASE_LIMIT if chosen.case_limit is None else chosen.case_limit,
        ),
    )
    _check_limit(session, suite)
    return session, suite


def resumed_session(options: argparse.Namespace, session: Session) -> tuple[Session, Suite]:
    """Return a session as the options change it, and its suite. Raise UsageError or SuiteError."""
    changed = replace(session, finished=None)
    if options.budget is not None:
        # A budget applies to this call only.
        changed = replace(changed, budget=session.spent + options.budget)
    if options.case_limit is not None:
        changed = changed.with_options(case_limit=options.case_limit)
    if options.processes is not None or options.precision is not None:
        precision = session.goal.precision if options.precision is None else options.precision
        changed = replace(changed, goal=Goal(precision, options.processes))
    suite = suites.load(session.suite, session.options.choice)
    if suite.name != session.suite_name:
        raise UsageError(
            f"the suite in {clean(session.suite)} is now named {clean(suite.name)}, but was named "
            f"{clean(session.suite_name)} when session {session.id} began, and its results have "
            "that name; restore the name, or start a new session without --resume"
        )
    _check_limit(changed, suite)
    return changed, suite.with_cases(session.cases)


def _check_resume(options: argparse.Namespace) -> None:
    """Raise UsageError for options that only a new session can have."""
    for name in list_fixed_options():
        if getattr(options, name) is not None:
            what = "SUITE" if name == "suite" else f"--{name}"
            raise UsageError(
                f"{what} cannot be combined with --resume, because a session keeps its options; "
                "start a new session without --resume"
            )


def _is_built_in(suite: Suite) -> bool:
    return suite.path.parent == loading.FOLDER


def _check_limit(session: Session, suite: Suite) -> None:
    longest = session.options.budget or max(suite.seconds.values())
    if session.case_limit <= longest:
        raise UsageError(
            f"--case-limit {session.case_limit:g}s must be more than the {longest:g} s for which "
            "each case is measured; raise the limit, or measure for less time with --seconds"
        )


# -- on this machine


def run(options: argparse.Namespace, console: Console) -> int:
    """Measure on this machine and return the exit code.

    Raises UsageError, SuiteError, SessionError, FolderError, HeldError, LockError, WorkerError and
    ResultWriteError.
    """
    folder, place = folder_and_place(options.results)
    session, suite = open_session(options, folder)
    with MachineLock() as lock:
        take_lock(lock, suite.name, options, console)
        # The run that was waited for may have measured this session.
        if options.wait and options.resume is not None:
            session, suite = open_session(options, folder)
        compile_kernels(_backends_of_cpu(session), functools.partial(console.print, markup=False))
        code = _measure(session, suite, folder, place, lock, options, console)
    return code if place is None or copy_results([session], folder, place, console) else UNWRITABLE


def _backends_of_cpu(session: Session) -> list[str]:
    """Return the backends that a session measures on the CPU."""
    return [case.backend for case in session.cases if case.device == "cpu"]


def take_lock(lock: MachineLock, name: str, options: argparse.Namespace, console: Console) -> None:
    """Take the machine's lock as --wait and --force say. Raise HeldError or LockError."""
    try:
        if options.wait:
            lock.wait(name, lambda text: console.print(clean(text), markup=False))
        else:
            lock.acquire(name)
    except HeldError as error:
        if not options.force:
            raise
        text = f"{clean(str(error))}; measuring anyway (--force): the runs disturb each other"
        console.print(text, markup=False)


def _manager(suite: Suite, executor: LocalExecutor, view: View, *, resumed: bool) -> Manager:
    """Return the manager of an executor's session, with the results of earlier processes."""
    session, folder = executor.session, executor.folder
    manager = Manager(
        session,
        executor,
        view,
        functools.partial(Session.save, folder=folder),
        seconds=suite.seconds,
        absent=devices.list_missing(case.device for case in session.cases),
        side_by_side=executor.side_by_side,
    )
    if resumed:
        manager.add_earlier(folder, exclusive=executor.inherit is not None)
    return manager


def side_by_side(session: Session) -> int:
    """Return how many processes of a session start at the same time.

    While a framework starts, it keeps one processor busy, so two processes start at the same time.
    On a GPU, a framework takes most of the GPU's memory, which two cannot have at once. Some
    systems have no locks for processes to take turns.
    """
    absent = devices.list_missing(case.device for case in session.cases)
    on_gpu = any(case.device != "cpu" and case.device not in absent for case in session.cases)
    return 1 if on_gpu or os.name != "posix" or count_usable_cpus() < 2 else 2


def _measure(
    session: Session,
    suite: Suite,
    folder: Path,
    place: str | None,
    lock: MachineLock,
    options: argparse.Namespace,
    console: Console,
) -> int:
    session.save(folder)
    delete_partial_files(folder)
    with shared_folder() as judged, View(console) as view:
        together = side_by_side(session)
        executor = LocalExecutor(
            session, folder, suite.seconds, lock.fd, judged, side_by_side=together
        )
        manager = _manager(suite, executor, view, resumed=options.resume is not None)
        there = count(len(manager.schedule.runs), "process")
        found = f"; {there} measured before" if options.resume is not None else ""
        cases = describe_cases(session.cases)
        view.message(f"suite {session.suite_name}: {cases}, session {session.id}{found}")
        interrupted = False
        try:
            manager.run()
        except KeyboardInterrupt:
            interrupted = True
            replace(manager.session, spent=manager.spent).save(folder)
    ignore_interruptions()
    summary = Summary(manager, list(session.files(folder)))
    command = run_command(folder, place)
    if interrupted:
        kept = count(summary.measured, "case")
        console.print(f"stopped: {kept} measured and kept; resume with: {command} --resume")
        return INTERRUPTED
    if options.brief:
        for line in summary.without_time():
            console.print(line)
        return summary.code
    for line in summary.lines():
        console.print(line)
    console.print(f"results: {clean(str(folder / session.suite_name))}-*.json")
    if not manager.schedule.finished:
        note = f"resume with: {command} --resume {session.id} --budget "
        note += budget_option(session.budget)
        console.print(note)
    console.print(f"read them: {report_command(folder)}", style="bold")
    return summary.code


_SHARED = "lstm-judged-"


@contextlib.contextmanager
def shared_folder() -> Iterator[Path | None]:
    """Yield a folder in which workers share the gate's reference results, or None without one.

    The folder may be large. It is deleted with this session. If this session is killed, the next
    one deletes it.
    """
    try:
        for left in Path(tempfile.gettempdir()).glob(f"{_SHARED}*"):
            if token_is_running(left.name) is False:
                shutil.rmtree(left, ignore_errors=True)
        prefix = f"{_SHARED}{Writer.this_process().token}-"
        shared = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError:
        yield None
        return
    with shared as name:
        yield Path(name)


# -- in two environments


def holds_environments(results: str | None) -> bool:
    """Return whether a results folder holds the results of two environments."""
    return results is not None and not is_url(results) and (expand_path(results) / FILE).is_file()


def run_environments(options: argparse.Namespace, console: Console) -> int:
    """Measure the two environments of ``options.python`` alternately and return the exit code.

    Each environment has a session of its own. With ``options.resume``, the sessions in the folder
    ``options.results`` are resumed.

    Raises UsageError, SuiteError, SessionError, FolderError, HeldError, LockError, WorkerError and
    ResultWriteError.
    """
    if options.resume is None:
        sides, sessions, suite, folder = _two_new(options)
    else:
        sides, sessions, suite, folder = _two_resumed(options)
    base, new = sides
    differ = differences(base.python, new.python)
    line = differences_line(base.label, new.label, differ)
    console.print(clean(line, 2000), markup=False)
    with MachineLock() as lock, contextlib.ExitStack() as stack:
        take_lock(lock, suite.name, options, console)
        packages.save(folder, sides)
        view = View(console)
        stack.callback(view.close)
        cases = describe_cases(sessions[0].cases)
        view.message(f"suite {suite.name}: {cases} in each; results: {folder}")
        managers = []
        for name, side, session in zip(SIDES, sides, sessions, strict=True):
            here, python = folder / name, side.python
            judged = stack.enter_context(shared_folder())
            compile_kernels(_backends_of_cpu(session), view.message, python.executable)
            executor = LocalExecutor(
                session, here, suite.seconds, lock.fd, judged, python.executable
            )
            named, resumed = view.with_label(side.label), options.resume is not None
            managers.append(_manager(suite, executor, named, resumed=resumed))
        there, of_new = (len(manager.schedule.runs) for manager in managers)
        # The side with fewer processes goes first, or else the one that went second in the last
        # round.
        behind = of_new < there or (of_new == there and there % 2 == 1)
        try:
            interleave(managers[::-1] if behind else managers)
        except KeyboardInterrupt:
            again = command_line.format_command("run", "--results", str(folder), "--resume")
            view.message(f"stopped; resume with: {again}")
            return INTERRUPTED
    message = command_line.format_command("compare", "environments", str(folder))
    console.print(f"compare the environments with: {clean(message)}", style="bold")
    return MEASURED


def interleave(managers: Sequence[Manager]) -> None:
    """Run the processes of the sessions in turn, in alternating order.

    A drift of the machine then slows all sessions equally.
    """
    for manager in managers:
        manager.begin()
    waiting = list(managers)
    while waiting:
        waiting = [manager for manager in waiting if manager.step()][::-1]
    for manager in managers:
        manager.end()


_EnvironmentSessions: TypeAlias = tuple[Sequence[LabelledPython], Sequence[Session], Suite, Path]
"""Two environments, a session of each, their suite, and the folder of both."""


def _two_new(options: argparse.Namespace) -> _EnvironmentSessions:
    """Return new sessions of two environments, with the same cases in the same order."""
    if len(options.python) != 2:
        raise UsageError("give --python twice: first the baseline environment, then the new one")
    for name in ("budget", "precision"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name} cannot be combined with --python; --processes sets how many processes "
                "of each environment run"
            )
    paths = [expand_path(path) for path in options.python]
    pythons = map(_find_python, paths)
    sides = [LabelledPython(*each) for each in zip(labels(paths), pythons, strict=True)]
    changed = {"processes": options.processes or PROCESSES, "memory": options.memory or "off"}
    first, suite = new_session(argparse.Namespace(**vars(options) | changed))
    if options.results is None:
        folder = (
            expand_path(default_folder()) / ENVIRONMENTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        )
    elif any((folder := expand_path(options.results)).glob("*/*.json")):
        raise UsageError(f"{folder} already holds results; name another folder")
    return sides, [first, replace(first, id=new_session_name())], suite, folder


def _two_resumed(options: argparse.Namespace) -> _EnvironmentSessions:
    """Return the sessions in a folder of two environments, which must not have changed."""
    if options.python:
        raise UsageError("--python cannot be combined with --resume: the folder names both")
    _check_resume(options)
    folder = expand_path(options.results)
    found = [resumed_session(options, load_newest(folder / name)) for name in SIDES]
    try:
        sides = packages.load(folder)
    except ResultError as wrong:
        raise UsageError(str(wrong)) from None
    for side in sides:
        if changes := differences(side.python, _find_python(Path(side.python.executable))):
            message = join_names([f"{name} {was} → {now}" for name, was, now in changes], 3)
            raise UsageError(
                clean(
                    f"the environment {side.label} has changed: {message}; measure again without "
                    "--resume",
                    1000,
                )
            )
    return sides, [session for session, _ in found], found[0][1], folder


def _find_python(path: Path) -> Python:
    try:
        return packages.ask(path)
    except NoPythonError as error:
        raise UsageError(str(error)) from None


# -- on a cluster


class NodePlan:
    """Hold the sessions of a run on a cluster.

    These are the resumed sessions, and a new one for each other kind of machine.

    fleet: the id that the sessions share. Raises UsageError, SuiteError and SessionError.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options, self.folder = options, folder
        self.resumed: dict[str, Session] = {}
        if options.resume is None:
            self._model, self.suite = new_session(options)
            self.fleet = self._model.id
        else:
            _check_resume(options)
            found = [resumed_session(options, each) for each in load_fleet(folder, options.resume)]
            self._model, self.suite = found[0]
            self.fleet = self._model.fleet
            self.resumed = {session.kind: session for session, _ in found}
        self.budget = self._model.budget

    @property
    def request(self) -> NodeRequest:
        """What each node must prepare for."""
        path, options = self.suite.path, self._options
        named = _is_built_in(self.suite)
        name, text = (path.stem, None) if named else (path.name, path.read_bytes())
        return NodeRequest(name, text, self._model.options.choice, options.wait, options.force)

    def session(self, member: ClusterMember) -> tuple[Session, Suite]:
        """Return the session for the kind of a machine, and its suite on that machine."""
        suite = replace(member.suite, path=self.suite.path)
        if (session := self.resumed.get(member.key)) is not None:
            return session, suite.with_cases(session.cases)
        session = replace(
            self._model,
            id=session_of_kind(self.fleet, member.key),
            fleet=self.fleet,
            kind=member.key,
            cases=suite.cases,
            spent=0.0,
        )
        return session, suite


def run_cluster(options: argparse.Namespace, console: Console) -> int:
    """Measure on a cluster and return the exit code.

    Raises UsageError, SuiteError, SessionError, FolderError, WorkerError and ResultWriteError.
    """
    folder, place = folder_and_place(options.results)
    plan = NodePlan(options, folder)
    view = View(console, live=False)
    delete_partial_files(folder)
    with ClusterMachines(options.ray or HERE, plan.request, view.message) as cluster:
        fleet = _fleet(plan, cluster, console, view)
        view.message(f"suite {plan.suite.name} on the machines of a cluster, fleet {plan.fleet}")
        interrupted = False
        try:
            fleet.run()
        except KeyboardInterrupt:
            interrupted = True
        ignore_interruptions()
    ray = f"--ray {options.ray}" if options.ray else "--ray"
    command = f"{run_command(folder, place)} {ray} --resume {plan.fleet}"
    code = _conclude(plan, fleet, clean(command, 500), console, interrupted=interrupted)
    if place is not None and not interrupted:
        sessions = [kind.manager.session for kind in fleet.kinds.values()]
        if not copy_results(sessions, folder, place, console):
            return UNWRITABLE
    return code


def _fleet(plan: NodePlan, cluster: ClusterMachines, console: Console, view: View) -> Fleet:
    def open_manager(member: ClusterMember) -> Manager:
        session, suite = plan.session(member)
        save = functools.partial(Session.save, folder=plan.folder)
        shown = View(console, str(member), live=False)
        manager = Manager(session, None, shown, save, seconds=suite.seconds, absent=member.absent)
        if member.key in plan.resumed:
            manager.add_earlier(plan.folder, exclusive=False)
        manager.begin()
        there = len(manager.schedule.runs)
        found = f"; {count(there, 'process')} measured before" if there else ""
        view.message(f"{member}: {describe_cases(session.cases)}, session {session.id}{found}")
        return manager

    def post(member: ClusterMember, manager: Manager) -> RemoteExecutor:
        return RemoteExecutor(cluster.handle(member), manager.session, plan.folder)

    return Fleet(cluster, open_manager, post, view.message)


def _conclude(
    plan: NodePlan, fleet: Fleet, command: str, console: Console, *, interrupted: bool
) -> int:
    """Save and summarize each session at its end, and return the exit code."""
    if not fleet.kinds:
        if interrupted:
            raise KeyboardInterrupt
        raise WorkerError("no machine of the cluster could measure; the lines above say why")
    write = functools.partial(console.print, markup=False)
    codes, kept, open_ = [MEASURED], 0, False
    for kind in fleet.kinds.values():
        manager = kind.manager
        if interrupted:
            replace(manager.session, spent=manager.spent).save(plan.folder)
        elif not manager.end():
            open_ = True
        summary = Summary(manager, list(manager.session.files(plan.folder)))
        kept += summary.measured
        codes.append(summary.code)
        if not interrupted:
            write(f"\n{clean(kind.description)}, {count(kind.members, 'machine')}:")
            for line in summary.lines():
                write(line)
    if interrupted:
        write(f"stopped: {count(kept, 'case')} measured and kept; resume with: {command}")
        return INTERRUPTED
    for kind in fleet.kinds.values():
        if kind.error is not None:
            codes.append(FAILED)
            write(f"error: {clean(str(kind.error), 1000)}")
    for key in plan.resumed.keys() - fleet.kinds.keys():
        codes.append(INCOMPLETE)
        write(f"no machine of the kind {clean(key)} arrived, so its session was not resumed")
    write(f"results: {clean(str(plan.folder / plan.suite.name))}-*.json")
    if open_:
        write(f"resume with: {command} --budget {budget_option(plan.budget)}")
    write(f"read them: {report_command(plan.folder)}", style="bold")
    return next((code for code in (FAILED, INCOMPLETE) if code in codes), MEASURED)


# -- where results go


def run_command(folder: Path, place: str | None) -> str:
    """Return the command that measures into the same folder or URL, without its other options."""
    results = safe_url(place) if place else "" if folder == usual_folder() else str(folder)
    return command_line.format_command("run", *(("--results", results) if results else ()))


def report_command(folder: Path) -> str:
    """Return the command that reports on the results."""
    return command_line.format_command(
        "report", *(() if folder == usual_folder() else (str(folder),))
    )


def budget_option(seconds: float | None) -> str:
    """Return a budget as the value of an option, rounded up to minutes."""
    return f"{math.ceil((seconds or BUDGET) / 60)}m"


def folder_and_place(results: str | None) -> tuple[Path, str | None]:
    """Return the folder of the results on this machine, and the URL to copy them to, if any.

    results: a folder or a URL. Raises FolderError. Raises UsageError for a URL that cannot be
    written to, as far as that is known before measuring.
    """
    requested = results or default_folder()
    if not is_url(requested):
        return expand_path(requested), None
    try:
        check(requested)
    except PlaceError as error:
        raise UsageError(str(error)) from None
    return usual_folder(), requested


def usual_folder() -> Path:
    """Return the default folder on this machine, even if ``$LSTM_RESULTS`` is a URL."""
    here = default_folder()
    return expand_path(DEFAULT_FOLDER if is_url(here) else here)


def copy_results(sessions: Sequence[Session], folder: Path, place: str, console: Console) -> bool:
    """Copy the files of sessions to a URL and print the result. Return whether all were copied."""
    files = [file.path for session in sessions for file in session.files(folder)]
    paths = [path for path in files if path.suffix == ".json"]
    if not paths:
        return True
    there: list[str] = []
    errors: list[ResultError] = []
    try:
        there, errors = upload(paths, place)
    except PlaceError as error:
        errors = [error]
    if there:
        console.print(
            f"copied: {count(len(there), 'file')} to {clean(safe_url(place))}", markup=False
        )
    for each in errors:
        console.print(f"error: {clean(str(each), 1000)}", markup=False)
    if errors:
        later = command_line.format_command(
            "submit", "--unchanged", *map(str, paths), "--to", safe_url(place)
        )
        console.print(f"the files are complete on this machine; copy them later with: {later}")
    return not errors
