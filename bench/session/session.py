"""Describe a session as plain data, and read and write the file from which it resumes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from bench import records
from bench.case.cases import Case
from bench.cli.options import MeasurementOptions
from bench.machine.fields import Field, InputError, ResultError, file_error, printable
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import JOURNAL_SUFFIX, write
from bench.records.grouping import group_by
from bench.records.schema import ResultFile
from bench.records.stored import StoredCase, check_seed
from bench.schema.decoding import decode
from bench.schema.types import (
    Amount,
    Moment,
    Name,
    PositiveCount,
    WrongFieldError,
    described,
    integer,
    utc,
)
from lstm_impl import UnsupportedError, get_backend

Environment: TypeAlias = tuple[tuple[str, str], ...]
"""Environment variables and their values, sorted by name."""

PRECISION = 0.02
"""The largest half-width of a case's interval relative to its middle. Verdicts call such a
difference SAME.
"""


CASE_LIMIT = 120.0
"""The seconds after which a case is ended, unless the user chooses another limit."""


@dataclass(frozen=True)
class Goal:
    """When a session is done.

    precision: the largest half-width of every case's interval relative to its middle. It is judged
    from ``ENOUGH_PROCESSES`` on, and does not depend on which case is faster. processes: if given,
    each case gets this number of processes, however wide its interval is.
    """

    precision: float = PRECISION
    processes: int | None = None


@dataclass(frozen=True)
class Work:
    """What one worker process measures, as plain data that can be sent to another machine.

    number: the number of the process, from 1. cases: what it measures. order_seed: the seed for the
    order of groups, and of backends within each group. share: the part of the suite's measuring
    time that each case gets. memory: whether to measure the memory of its cases, too. environment:
    the variables that the process must have.
    """

    number: int
    cases: tuple[Case, ...]
    order_seed: int
    share: float = 1.0
    memory: bool = False
    environment: Environment = ()


@dataclass(frozen=True)
class Need:
    """What a backend needs of its process.

    framework: if the backend needs no environment, it shares a process with backends of this
    framework. environment: the variables that the backend needs. isolated: whether these variables
    change how other backends of the framework compute.
    """

    framework: str = ""
    environment: Environment = ()
    isolated: bool = False


Needs: TypeAlias = Callable[[str], Need]


def find_needs(backend: str) -> Need:
    """Return what a backend needs of its process, or no needs if there is no such backend."""
    try:
        found = get_backend(backend)
    except UnsupportedError:
        return Need()
    return Need(found.framework, tuple(sorted(found.environment.items())), found.isolated)


@dataclass(frozen=True)
class Lot:
    """The cases of one group that are measured in processes of one environment.

    references: cases of the group whose own environment is another one, but which can be measured
    in this environment as well. The first choice comes first. One of them is measured in both
    environments, so that cases of the two can be compared through it.
    """

    group: str
    environment: Environment
    cases: tuple[Case, ...]
    references: tuple[Case, ...] = ()

    @property
    def key(self) -> tuple[str, Environment]:
        """Return the identity of the lot, regardless of which of its cases are left."""
        return self.group, self.environment


def lots(cases: Iterable[Case], needs: Needs = find_needs) -> list[Lot]:
    """Return the lots of these cases, in the order of the cases."""
    cases = list(cases)
    homes = environments((case.backend for case in cases), needs)
    unbound = (case for case in cases if not needs(case.backend).environment)
    free = group_by(unbound, lambda case: case.group)
    found = []
    of_lot = group_by(cases, lambda case: (case.group, homes[case.backend]))
    for (group, environment), members in of_lot.items():
        changed = {need.framework for case in members if (need := needs(case.backend)).isolated}
        able = [
            each for each in free.get(group, ()) if needs(each.backend).framework not in changed
        ]
        # If the first choice belongs to this environment anyway, no reference is needed.
        references = () if not able or able[0] in members else tuple(able)
        found.append(Lot(group, environment, tuple(members), references))
    return found


def environments(backends: Iterable[str], needs: Needs = find_needs) -> dict[str, Environment]:
    """Return the environment in which each of these backends runs."""
    known = {name: needs(name) for name in dict.fromkeys(backends)}
    of_framework: dict[str, Environment] = {}
    for need in known.values():
        if need.environment and not need.isolated:
            of_framework.setdefault(need.framework, need.environment)
    first = next(iter(of_framework.values()), ())
    return {
        name: need.environment or of_framework.get(need.framework, first)
        for name, need in known.items()
    }


SCHEMA = 1
FOLDER = ".sessions"
"""The folder of session files in a results folder. Readers of results ignore names that begin with
a dot.
"""

_SUFFIX = ".session.json"
_ID = r"\A[A-Za-z0-9_-]{1,80}\Z"
"""The pattern of a suite's name in a session. Results are named after the suite and searched for by
this name, so it must contain no folder and no wildcard.
"""

_KNOWN_SCHEMA = f"an integer of at most {SCHEMA}: this version knows session schema {SCHEMA}"


class SessionError(InputError):
    """A session cannot be resumed. The message says which session, and why."""


@dataclass(frozen=True)
class Session:
    """What one ``bench.run`` measures.

    options: how its processes measure. The suite and the limit of a case are always set. budget:
    the seconds of the session, or None without a limit. spent: the seconds that the session had
    taken when a process last ended. finished: when the session ended (UTC, ISO 8601), or None.
    fleet: on a cluster, the id that the sessions of one run share. kind: on a cluster, the kind of
    machine of this session. Both are empty on a single machine.
    """

    id: str
    suite_name: str
    cases: tuple[Case, ...]
    goal: Goal
    budget: float | None
    started: str
    options: MeasurementOptions
    spent: float = 0.0
    finished: str | None = None
    fleet: str = ""
    kind: str = ""

    @property
    def suite(self) -> str:
        """Return the name of the suite, or the path of its file."""
        return self.options.suite or ""

    @property
    def case_limit(self) -> float:
        """Return the seconds after which a case is ended from outside."""
        return CASE_LIMIT if self.options.case_limit is None else self.options.case_limit

    def with_options(self, **changes: Any) -> Session:
        """Return the session with other options."""
        return replace(self, options=replace(self.options, **changes))

    def save(self, folder: Path) -> None:
        """Write the session into a results folder. Raise a ResultWriteError that names the path."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        del own["options"]
        own |= {"goal": asdict(self.goal), "cases": [case.to_dict() for case in self.cases]}
        write(_path(folder, self.id), {**own, **self.options.to_session(), "schema": SCHEMA})

    def ended(self, spent: float) -> Session:
        """Return the session as it is at its end."""
        return replace(self, spent=spent, finished=datetime.now(UTC).isoformat())

    def files(self, folder: Path) -> Iterator[ResultFile]:
        """Yield the results of its runs that are in a results folder."""
        with contextlib.suppress(OSError):
            # Files are named after their suite, so files of other suites need not be read.
            found = [*folder.glob(f"{self.suite_name}-*.json"), *journals(folder, self.suite_name)]
            for file in records.collect(sorted(found)).files:
                if file.run.session == self.id:
                    yield file


def journals(folder: Path, suite: str) -> list[Path]:
    """Return the journals in a results folder that are named after a suite."""
    return sorted(folder.glob(f"{suite}-*{JOURNAL_SUFFIX}"))


def load(folder: Path, session: str = "") -> Session:
    """Return the session with this id, or the newest unfinished one. Raise SessionError."""
    where = printable(str(folder))
    if session:
        path = _path(folder, session) if re.match(_ID, session) else None
        if path is None or not path.is_file():
            known = [each.id for each in _read_all(folder)[0]]
            message = f"; there are {', '.join(known[-3:])}" if known else ""
            name = printable(session)
            raise SessionError(f"there is no session {name} in {where}{message}")
        return _read(path)
    found, unread = _read_all(folder)
    open_ = [each for each in found if each.finished is None]
    if not open_:
        # A session that cannot be read may be the one that the user means.
        message = f"; {unread[-1]}" if unread else "; name one: --resume SESSION"
        raise SessionError(f"there is no unfinished session in {where}{message}")
    return max(open_, key=lambda each: each.started)


def load_newest(folder: Path) -> Session:
    """Return the session that began last, finished or not. Raise SessionError."""
    found, unread = _read_all(folder)
    if not found:
        message = unread[-1] if unread else f"there is no session in {printable(str(folder))}"
        raise SessionError(message)
    return max(found, key=lambda each: each.started)


def load_fleet(folder: Path, name: str = "") -> list[Session]:
    """Return the sessions of a fleet. Raise SessionError.

    name: the id of the fleet or of one of its sessions; by default the newest unfinished fleet.
    """
    known, _ = _read_all(folder)
    if not name or name not in {each.fleet for each in known}:
        session = load(folder, name)
        if not session.fleet:
            raise SessionError(
                f"session {session.id} began on one machine; resume it without --ray"
            )
        name = session.fleet
    return [each for each in known if each.fleet == name]


def _read_all(folder: Path) -> tuple[list[Session], list[str]]:
    """Return the sessions of a results folder by their start, and why others cannot be read."""
    found: list[Session] = []
    unread: list[str] = []
    for path in sorted((folder / FOLDER).glob(f"*{_SUFFIX}")):
        try:
            found.append(_read(path))
        except SessionError as error:
            unread.append(str(error))
    return sorted(found, key=lambda each: each.started), unread


def _path(folder: Path, session: str) -> Path:
    return folder / FOLDER / f"{session}{_SUFFIX}"


class _Versioned(Struct):
    """The schema number of a session's file, which is checked before the rest."""

    schema: Annotated[int, integer(1, SCHEMA), described(_KNOWN_SCHEMA)]


class _StoredGoal(Struct):
    precision: Amount
    processes: PositiveCount | None = None


class _Stored(Struct):
    """The content of a session's file, with the options that it always has.

    Fields with a default are newer than the first files.
    """

    id: Name
    suite: str
    suite_name: Annotated[str, Meta(pattern=_ID), described("letters, digits, - and _")]
    cases: list[StoredCase]
    goal: _StoredGoal
    case_limit: Amount
    started: Moment
    seed: Annotated[int, Meta(ge=0)]
    spent: Amount
    budget: Amount | None = None
    finished: Moment | None = None
    fleet: str | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        self.started = utc("started", self.started)
        if self.finished is not None:
            self.finished = utc("finished", self.finished)
        if self.goal.precision == 0.0 and self.goal.processes is None and self.budget is None:
            expected = "more than 0 where no budget ends the session"
            raise WrongFieldError("goal.precision", expected)


def _read(path: Path) -> Session:
    try:
        data = Field(path, "", parse_json(path, regular_bytes(path)))
        decode(data, _Versioned)
        found = decode(data, _Stored)
        if found.id != path.name.removesuffix(_SUFFIX):
            raise data["id"].error("what the file is named after")
        options = MeasurementOptions.from_session(data)
    except ResultError as error:
        raise SessionError(str(error)) from None
    except RecursionError:
        raise SessionError(str(file_error(path, "is nested too deeply to be read"))) from None
    return Session(
        id=found.id,
        suite_name=found.suite_name,
        cases=tuple(each.case for each in found.cases),
        goal=Goal(found.goal.precision, found.goal.processes),
        budget=found.budget,
        started=found.started.isoformat(),
        options=options,
        spent=found.spent,
        finished=None if found.finished is None else found.finished.isoformat(),
        fleet=found.fleet or "",
        kind=found.kind or "",
    )
