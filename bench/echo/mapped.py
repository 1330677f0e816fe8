"""A map trained: begun or gone on with, its cells in a journal one by one, its file at the end.

This room knows plans, workers and the files of maps; it prints nothing.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import lstm_impl
from bench.cli.command_line import UsageError
from bench.echo.plan import Plan, missing
from bench.echo.progress import interruption
from bench.echo.settings import SettingsError, check_backend
from bench.echo.workers import train_all
from bench.machine.fields import ResultError
from bench.machine.folder import LEARNING_PREFIX
from bench.machine.writers import living
from bench.machine.writing import JOURNAL_SUFFIX, LineFile, clear_left_over, write
from bench.records.digest import with_digest
from bench.records.maps import SCHEMA, Cell, LearningMap, file_data, read


@dataclass(frozen=True)
class Begun:
    """A map that is to be trained: its plan, its journal, and what was trained before."""

    plan: Plan
    journal: Path
    id: str
    started: datetime
    before: LearningMap | None = None


@dataclass(frozen=True)
class Trained:
    """What came of it. path: of the map's file, None if it was interrupted.

    cells: there are now; of: asked for.
    """

    path: Path | None
    cells: int
    of: int
    complete: bool
    problems: bool


def plan_of(chosen: Mapping[str, object]) -> Plan:
    """The plan of these options. Raises UsageError, naming the option that makes no sense."""
    try:
        return Plan(**chosen)  # type: ignore[arg-type]
    except SettingsError as error:
        field = {"echo": "distances", "bits": "timesteps", "units": "hidden"}
        name = field.get(error.field, error.field).replace("_", "-")
        raise UsageError(f"--{name} {error.problem}") from error


def begin(folder: Path, chosen: Mapping[str, object]) -> Begun:
    """A new map. Raises UsageError."""
    started, run_id = datetime.now(UTC), uuid.uuid4().hex
    stamp = started.strftime("%Y%m%dT%H%M%SZ")
    journal = folder / f"{LEARNING_PREFIX}{stamp}-{run_id[:8]}{JOURNAL_SUFFIX}"
    return Begun(plan_of(chosen), journal, run_id, started)


def resume(folder: Path, chosen: Mapping[str, object]) -> Begun:
    """The newest map that is not complete. Raises UsageError if none, or ``chosen`` differs."""
    journal, before = _unfinished(folder)
    try:
        plan = Plan.from_dict(dict(before.run.settings))
    except SettingsError as error:
        raise UsageError(f"{journal}: {error}") from error
    for name, value in chosen.items():
        if value != getattr(plan, name):
            raise UsageError(
                f"--{name.replace('_', '-')} differs from that of {journal}; leave it out, or "
                "start anew without --resume"
            )
    return Begun(plan, journal, before.run.id, before.run.started, before)


def _unfinished(folder: Path) -> tuple[Path, LearningMap]:
    found: list[tuple[datetime, Path, LearningMap]] = []
    alive = ""
    for path in sorted(folder.glob(f"{LEARNING_PREFIX}*{JOURNAL_SUFFIX}")):
        with contextlib.suppress(ResultError):
            each = read(path)
            if each.run.complete:
                continue
            if who := living(path):
                alive = f"{who} still writes {path}: wait until it has ended, or end it"
            else:
                found.append((each.run.started, path, each))
    if not found and alive:
        raise UsageError(f"--resume: {alive}")
    if not found:
        raise UsageError(f"--resume: {folder} holds no unfinished map; start one without --resume")
    _, path, newest = max(found, key=lambda entry: entry[0])
    return path, newest


def check(plan: Plan) -> None:
    """Raises UsageError if the plan's backend cannot train its tasks here."""
    for task in plan.tasks:
        check_backend(lstm_impl.get_backend(plan.backend), plan.device, plan.first_of(task))


def train(
    begun: Begun,
    jobs: int,
    budget: float | None,
    progress: Callable[[Cell, int, int], None],
) -> Trained:
    """Train what is missing, ``jobs`` cells side by side; none is begun after ``budget`` seconds.

    progress: told of each cell, how many there are then and how many there are to be.
    """
    plan, before = begun.plan, begun.before
    run: dict[str, object] = {
        "id": begun.id,
        "started": begun.started.isoformat(timespec="seconds"),
        "finished": None,
        "complete": False,
        "backend": plan.backend,
        "device": plan.device,
        "settings": plan.to_dict(),
        "libraries": _libraries(plan),
    }
    items = missing(plan, before)
    cells = [] if before is None else list(before.cells)
    total = len(cells) + len(items)
    deadline = None if budget is None else time.monotonic() + budget
    clear_left_over(begun.journal.parent)
    with (
        LineFile(begun.journal, again=before is not None) as lines,
        interruption() as interrupted,
    ):
        if before is None:
            lines.append({"learning": {"schema": SCHEMA, "run": run}})

        def done(cell: Cell) -> None:
            lines.append({"cell": cell.to_dict()})
            cells.append(cell)
            progress(cell, len(cells), total)

        complete = train_all(
            plan,
            items,
            min(jobs, max(len(items), 1)),
            done,
            lambda: not interrupted(),
            lambda: deadline is None or time.monotonic() < deadline,
        )
        problems = any(cell.problem for cell in cells)
        if interrupted():
            return Trained(None, len(cells), total, False, problems)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        lines.append({"finished": finished, "complete": complete})
    path = begun.journal.with_name(begun.journal.name.removesuffix(JOURNAL_SUFFIX) + ".json")
    whole = {**run, "finished": finished, "complete": complete}
    write(path, with_digest(file_data(whole, cells)))
    return Trained(path, len(cells), total, complete, problems)


def _libraries(plan: Plan) -> dict[str, str]:
    framework = lstm_impl.get_backend(plan.backend).framework
    found = {}
    for name in dict.fromkeys(("numpy", framework, "lstm-benchmark-suite")):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
