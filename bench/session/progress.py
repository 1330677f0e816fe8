"""How a session is shown while it goes on, and what came of it at its end; exit codes."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.cli.command_line import INTERRUPTED, failed
from bench.machine.fields import InputError
from bench.machine.lock import HeldError, LockError
from bench.machine.process_pool import PoolError
from bench.machine.writing import Closing, ResultWriteError
from bench.records.schema import Measurement, ResultFile, Results
from bench.render import quantities
from bench.render.escape import clean
from bench.render.messages import doubt_advice, doubt_text
from bench.render.quantities import count, listed
from bench.session.manager import Manager, SessionProgress, WorkerError
from bench.session.schedule import Leader
from bench.session.session import Goal
from bench.stats.intervals import ENOUGH_PROCESSES
from bench.stats.rows import NothingToReportError, Row, build
from bench.stats.trust import FEW_PROCESSES, Doubt
from bench.worker.resources import unweighed
from lstm_impl import UnsupportedError

DRAW_EVERY = 1.0
MOST_LEADERS = 20
"""Rows of the live table: more would not fit the height of a terminal."""


def duration(seconds: float) -> str:
    """A length of time in words: 42 s, 3 min 05 s, 1 h 02 min."""
    whole = math.floor(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class PlainView(Closing):
    """A line when a process begins, and for what goes wrong: for logs and pipes, and for a fleet,
    whose machines would not fit a picture.

    label: of whom it tells, before each line; empty if there is no other.
    """

    def __init__(self, console: Console, label: str = "") -> None:
        self._console = console
        self._label = f"{label}: " if label else ""
        self._number = 0

    def update(self, progress: SessionProgress) -> None:
        """Tell that a process has begun."""
        if progress.number > self._number:  # of machines side by side the others go on
            self._number = progress.number
            self.message(
                f"{_number(progress)}: {count(progress.of, 'case')} in it; {state(progress)}"
            )

    def message(self, text: str) -> None:
        """One line."""
        self._console.print(Text(clean(f"{self._label}{text}")), soft_wrap=True)

    def close(self) -> None:
        """Nothing is open."""


class LiveView(Closing):
    """What runs, what is done, the time that is left, and who leads in each group."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._now = now
        self._drawn = -math.inf

    def update(self, progress: SessionProgress) -> None:
        """Draw it, unless that was done a moment ago."""
        if self._now() - self._drawn >= DRAW_EVERY:
            self._drawn = self._now()
            self._live.update(picture(progress), refresh=True)

    def message(self, text: str) -> None:
        """One line above the picture, which stays."""
        self._live.console.print(Text(clean(text)))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def close(self) -> None:
        """Take it away."""
        self._live.stop()


def view(console: Console) -> LiveView | PlainView:
    """The one that fits where it is shown."""
    return LiveView(console) if console.is_terminal else PlainView(console)


def state(progress: SessionProgress) -> str:
    """How far the session is, in words."""
    if progress.processes is None:
        message = f"{progress.settled} of {count(progress.cases, 'case')} precise"
    else:
        message = f"{progress.settled} of {count(progress.cases, 'case')} finished"
    if progress.budget is None:
        return f"{message}, {duration(progress.spent)} so far"
    return f"{message}, {duration(progress.budget - progress.spent)} left"


def picture(progress: SessionProgress) -> RenderableType:
    """The live view."""
    head = Text.assemble(
        (_number(progress), "bold"),
        f": {progress.done} of {count(progress.of, 'case')} in it; {state(progress)}",
    )
    parts: list[RenderableType] = [head, Text(_busy(progress), style="dim")]
    if progress.leaders:
        parts.append(_table(progress.leaders))
    return Group(*parts)


def _number(progress: SessionProgress) -> str:
    number = f"process {progress.number}"
    if progress.place:
        return f"{number} on {progress.place}"
    if progress.processes is not None:
        number += f" (every case is measured in {progress.processes})"
    return number


def _busy(progress: SessionProgress) -> str:
    if not progress.busy:
        return "between two cases"
    cases = [clean(case, 120) for case in progress.busy]
    return f"{'timing' if progress.timing else 'preparing'} {listed(cases, 2)}"


def _table(leaders: tuple[Leader, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("shortest median so far")
    table.add_column("backend")
    table.add_column("time", justify="right")
    table.add_column("processes", justify="right")
    for leader in leaders[:MOST_LEADERS]:
        table.add_row(
            Text(clean(leader.group, 120)),
            Text(clean(leader.backend, 60)),
            quantities.seconds(leader.time),
            f"{leader.processes}{' ✓' if leader.precise else ''}",
        )
    if len(leaders) > MOST_LEADERS:
        table.add_row(Text(f"and {len(leaders) - MOST_LEADERS} more"))
    return table


MEASURED, FAILED, BAD_INPUT, UNWRITABLE, HELD, INCOMPLETE = range(6)

_UNTRIED = ("not_measured", "refused")
_MOST_REASONS = 6  # each case that is too large for the machine has its own estimate

UNTIMED = "inputs and calls before blocks"
WARM_UP = "warm-up and finding how many calls make a block"
FIRST_USE, MEMORY = "building, tracing and compiling", "memory"

_OF_SETUP = {
    **dict.fromkeys(("build_s", "trace_s", "first_call_s"), FIRST_USE),
    "gate_s": "the gate",
    "evidence_s": "evidence",
    "start_s": "starting frameworks",
    "roofs_s": "roofs",
}
"""What the seconds of a case's record went into."""

REST = "processes' start and end, cases without a time"
"""What no case's record tells."""


@dataclass(frozen=True)
class Overhead:
    """Seconds of a session.

    measured: inside blocks that count. seconds: outside these, by what they went into, as far as
    the cases' records have it.
    """

    spent: float
    measured: float
    seconds: Mapping[str, float]

    @property
    def outside(self) -> float:
        """All but the blocks that count."""
        return max(0.0, self.spent - self.measured)

    def parts(self) -> list[tuple[str, float]]:
        """What was outside measured blocks, in words, the longest first."""
        rest = max(0.0, self.outside - sum(self.seconds.values()))
        return sorted([*self.seconds.items(), (REST, rest)], key=lambda part: -part[1])


def overhead(measurements: Iterable[Measurement], spent: float) -> Overhead:
    """Where ``spent`` seconds went, of which these measurements came."""
    seconds = dict.fromkeys((UNTIMED, WARM_UP, *_OF_SETUP.values(), MEMORY), 0.0)
    measured = 0.0
    for each in measurements:
        inside = each.timed_s
        measured += inside
        # Each has an even part of its group's time: what one had less of, another had more. Files
        # of before it was recorded have no ``timing_s``.
        untimed = each.setup.get("untimed_s") or 0.0  # missing in older files
        seconds[UNTIMED] += untimed
        seconds[WARM_UP] += (each.setup.get("timing_s", inside) or 0.0) - inside - untimed
        for key, part in _OF_SETUP.items():
            seconds[part] += each.setup.get(key) or 0.0
        took = (each.memory or {}).get("seconds")
        seconds[MEMORY] += took if isinstance(took, int | float) else 0.0
    seconds[WARM_UP] = max(0.0, seconds[WARM_UP])
    return Overhead(spent, measured, seconds)


def code_of(work: Callable[[], int], *, held: str, stopped: str) -> int:
    """The exit code of a command that measures; what keeps it from its end is one line.

    held: what to do about another run that measures here. stopped: the line for an interruption.
    """
    try:
        return work()
    except (InputError, UnsupportedError) as error:
        return failed(error, BAD_INPUT)
    except HeldError as error:
        return failed(f"{error}; {held}", HELD)
    except (ResultWriteError, LockError) as error:
        return failed(error, UNWRITABLE)
    except (WorkerError, PoolError) as error:
        return failed(error, FAILED)
    except KeyboardInterrupt:
        return failed(stopped, INTERRUPTED)


@dataclass(frozen=True)
class Summary:
    """What a session has found.

    invalid: why measurements or their ratios are not to be trusted, and how many; doubtful: why
    times alone are not. skipped: why cases were not even tried, and how many. unweighed: why the
    memory of cases is not known, though it was requested. overhead: where the time went.
    """

    cases: int
    valid: int
    invalid: Counter[str]
    outcomes: Counter[str]
    unreached: int
    processes: int
    precise: int
    few: int
    overhead: Overhead
    doubtful: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    unweighed: Counter[str] = field(default_factory=Counter)

    @property
    def measured(self) -> int:
        """Cases that have a time."""
        return self.valid + self.outcomes["INVALID"]

    @property
    def code(self) -> int:
        """The command's exit code."""
        if any(self.outcomes[kind] for kind in ("failed", "crashed", "timed_out")):
            return FAILED
        return INCOMPLETE if self.unreached else MEASURED

    def lines(self, manager: Manager) -> list[str]:
        """In words."""
        goal = manager.session.goal
        return [*self._of_cases(), *self._of_goal(goal), *self._of_time(manager)]

    def without_time(self) -> list[str]:
        """What has no time, and why as far as it was not even tried."""
        failed = {
            kind: n for kind, n in self.outcomes.items() if kind not in ("INVALID", *_UNTRIED)
        }
        lines = [f"{count(n, 'case')} {kind.replace('_', ' ')}" for kind, n in failed.items()]
        if self.unreached:
            lines.append(f"{count(self.unreached, 'case')} not reached")
        return lines + [f"{why} ({count(n, 'case')})" for why, n in self.skipped.items()]

    def _of_cases(self) -> list[str]:
        """What came of them, and what is to be said against it."""
        words = {
            "not_measured": "not measured (not possible here)",
            "refused": "refused by their backend",
            "timed_out": "over their time limit",
            "INVALID": "INVALID",
        }
        parts = [f"{self.valid} VALID"]
        parts += [f"{number} {words.get(kind, kind)}" for kind, number in self.outcomes.items()]
        if self.unreached:
            parts.append(f"{self.unreached} not reached")
        lines = [f"{count(self.cases, 'case')}: {', '.join(parts)}"]

        def add(found: Iterable[tuple[str, int]], start: str = "") -> None:
            lines.extend(f"  {start}{why} ({count(n, 'case')})" for why, n in found)

        add(self.invalid.items())
        add(self.doubtful.items(), "unreliable as a time, ratios are judged separately: ")
        add(self.skipped.most_common(_MOST_REASONS))
        if (more := len(self.skipped) - _MOST_REASONS) > 0:
            lines.append(f"  {count(more, 'other reason')}: the report has them")
        add(self.unweighed.most_common(_MOST_REASONS), "memory ")
        return lines

    def _of_goal(self, goal: Goal) -> list[str]:
        """How far it was reached."""
        if goal.processes is None:
            message = (
                f"{self.precise} of {self.measured} measured within ±{100 * goal.precision:g}%"
            )
            if self.few:
                message += f"; {self.few} have fewer than the {ENOUGH_PROCESSES} processes it takes"
            return [message]
        fewer = f"{count(self.few, 'case')} in fewer than the {goal.processes} processes that were "
        return [f"{fewer}asked for: the budget held no more"] if self.few else []

    def _of_time(self, manager: Manager) -> list[str]:
        """Why it ended, and where the time went."""
        spent, outside = self.overhead.spent, self.overhead.outside
        share = outside / spent if spent else 0.0
        finished = manager.schedule.finished
        why = "done" if finished else "the budget is spent"
        message = f"{count(self.processes, 'process')}, {duration(spent)}"
        if manager.session.fleet:
            # Machines side by side: what they measured is more than went by, and says nothing.
            if not finished:
                why = "the budget is spent, or no machine is left"
            return [f"{why}: {message}"]
        message += f", of which {duration(outside)} ({share:.0%}) outside measured blocks"
        largest = [(name, seconds) for name, seconds in self.overhead.parts() if seconds >= 0.5]
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in largest)
        return [f"{why}: {message}", *([f"  of these: {parts}"] if parts else [])]


def summarize(manager: Manager, files: Sequence[ResultFile]) -> Summary:
    """What a session's files hold; VALID and INVALID as the report has them."""
    schedule, rows = manager.schedule, _rows(files)
    wanted = [row for row in rows if row.case.id in schedule.cases]
    measured = [row for row in wanted if row.measured]
    doubts = [list(_spoilt(row)) for row in measured]
    if schedule.goal.processes is None:
        # Processes are what this command is there for: too few of them is no good end here.
        for row, found in zip(measured, doubts, strict=True):
            found += [doubt for doubt in row.validity.noted if doubt.code == FEW_PROCESSES]
    spoilt = sum(map(bool, doubts))
    wanted_processes = schedule.goal.processes or ENOUGH_PROCESSES
    kinds: Counter[str] = Counter()
    kinds["INVALID"] = spoilt
    kinds.update(row.outcome for row in wanted if not row.measured and row.outcome != "interrupted")
    known = sum(kinds.values()) + len(measured) - spoilt
    times = {row.case.id: row for row in measured}
    for case, outcome in schedule.outcomes.items():
        # Measured by some processes, and then it ended one: the report has its time.
        if case in times and outcome.outcome in ("failed", "crashed", "timed_out"):
            kinds[outcome.outcome] += 0 if not schedule.given_up(case) else 1
    measurements = [each for file in files for each in file.measurements]
    memories = {each.case.id: each.memory for each in measurements if each.memory is not None}
    return Summary(
        cases=len(schedule.cases),
        valid=len(measured) - spoilt,
        invalid=_counted_doubts(doubts),
        doubtful=_counted_doubts(row.validity.of_time for row in measured),
        outcomes=+kinds,
        unreached=len(schedule.cases) - known,
        processes=len(files),
        precise=sum(schedule.precise(case) for case in times),
        few=sum(len(row.runs) < wanted_processes for row in measured),
        overhead=overhead(measurements, manager.spent),
        skipped=Counter(
            clean("; ".join(text for text in (row.reason, row.advice) if text))
            for row in wanted
            if row.outcome in _UNTRIED
        ),
        unweighed=Counter(map(clean, unweighed(memories.values()).elements())),
    )


def _spoilt(row: Row) -> tuple[Doubt, ...]:
    """Why a row is INVALID, or the ratio that the report has of it; a time alone is separate."""
    own = {doubt.code for doubt in row.invalid}
    return (*row.invalid, *(doubt for doubt in row.ratio_doubts if doubt.code not in own))


def _counted_doubts(cases: Iterable[Sequence[Doubt]]) -> Counter[str]:
    """How many cases each kind of reason spoils, in the words of the first."""
    words: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for doubts in cases:
        for doubt in doubts:
            advice = f"; {message}" if (message := doubt_advice(doubt)) else ""
            counts[words.setdefault(doubt.code, clean(f"{doubt_text(doubt)}{advice}"))] += 1
    return counts


def _rows(files: Sequence[ResultFile]) -> list[Row]:
    if not files:
        return []
    try:
        report = build(Results(tuple(files), ()))
    except NothingToReportError:
        return []
    return [row for section in report.sections for row in section.rows]
