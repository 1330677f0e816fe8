"""Show the progress of a session and its summary, and determine the exit code."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bench.cli.command_line import INTERRUPTED, report_failure
from bench.machine.fields import InputError
from bench.machine.lock import HeldError, LockError
from bench.machine.writing import Closing, ResultWriteError
from bench.records.schema import ResultFile, Results
from bench.render.escape import clean
from bench.render.messages import FAILURES, counted, no_figure, outcome_text, reason_line
from bench.render.quantities import count, join_names
from bench.session.exit_codes import (
    BAD_INPUT,
    FAILED,
    HELD,
    INCOMPLETE,
    MEASURED,
    UNWRITABLE,
)
from bench.session.manager import Manager, SessionProgress, WorkerError
from bench.stats.intervals import ENOUGH_PROCESSES
from bench.stats.trust import FEW_PROCESSES
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import NothingToReportError, build
from lstm_impl import UnsupportedError

DRAW_EVERY = 1.0


def duration(seconds: float) -> str:
    """Return a time in words: 42 s, 3 min 05 s, 1 h 02 min."""
    rounded = math.floor(max(0.0, seconds))
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02} min"


class View(Closing):
    """Print events.

    On a terminal, the view also shows what runs now. Elsewhere it prints a line for each process.

    label: a text before each line, if there are several sessions. live: whether a terminal shows
    what runs. The processes of several machines would not fit.
    """

    def __init__(
        self,
        console: Console,
        label: str = "",
        *,
        live: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._now = console, now
        self._label = f"{label}: " if label else ""
        self._number, self._drawn = 0, -math.inf
        self._live: Live | None = None
        if live and console.is_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()

    def update(self, progress: SessionProgress) -> None:
        """Show the current state, on a terminal at most once per second."""
        if self._live is None:
            # Processes of several machines may be reported out of order.
            if progress.number > self._number:
                self._number = progress.number
                cases = f"{count(progress.of, 'case')} in it"
                self.message(f"{_number(progress)}: {cases}; {state(progress)}")
        elif self._now() - self._drawn >= DRAW_EVERY:
            self._drawn = self._now()
            done = f"{progress.done} of {count(progress.of, 'case')} in it"
            text = Text.assemble(
                (_number(progress), "bold"),
                f": {done}; {state(progress)}\n",
                (_busy(progress), "dim"),
            )
            self._live.update(text, refresh=True)

    def message(self, text: str) -> None:
        """Print one line that stays."""
        self._console.print(Text(clean(f"{self._label}{text}")), soft_wrap=True)

    def with_label(self, label: str) -> View:
        """Return the same view with a label before its messages."""
        found = copy.copy(self)
        found._label = f"{label}: "
        return found

    def close(self) -> None:
        """Remove the display of what runs."""
        if self._live is not None:
            self._live.stop()


def state(progress: SessionProgress) -> str:
    """Return in words how far the session has progressed."""
    kind = "precise" if progress.processes is None else "finished"
    message = f"{progress.settled} of {count(progress.cases, 'case')} {kind}"
    if progress.planned is not None:
        return f"{message}, about {duration(progress.planned)} left"
    if progress.budget is None:
        return f"{message}, {duration(progress.spent)} so far"
    return f"{message}, at most {duration(progress.budget - progress.spent)} left"


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
    return f"{'timing' if progress.timing else 'preparing'} {join_names(cases, 2)}"


_UNTRIED = ("not_measured", "refused")
_MOST_REASONS = 6  # Each case that is too large for the machine has an estimate of its own.


def run_reporting_errors(work: Callable[[], int], *, held: str, stopped: str) -> int:
    """Run a command that measures, print any error on one line, and return the exit code.

    held: what the user can do if another run measures on this machine. stopped: the line for an
    interruption.
    """
    try:
        return work()
    except (InputError, UnsupportedError) as error:
        return report_failure(error, BAD_INPUT)
    except HeldError as error:
        return report_failure(f"{error}; {held}", HELD)
    except (ResultWriteError, LockError) as error:
        return report_failure(error, UNWRITABLE)
    except WorkerError as error:
        return report_failure(error, FAILED)
    except KeyboardInterrupt:
        return report_failure(stopped, INTERRUPTED)


class Summary:
    """Summarizes the files of a session. VALID and INVALID mean the same as in the report.

    valid, unreached, few, precise: numbers of cases. spent: the seconds of the session. timed: the
    seconds inside measured blocks. reasons: why times, ratios or memory are unreliable or missing,
    each with the number of cases. skipped: why cases were not tried, likewise.
    """

    def __init__(self, manager: Manager, files: Sequence[ResultFile]) -> None:
        self._manager, self._processes = manager, len(files)
        schedule, goal = manager.schedule, manager.schedule.goal.processes
        rows: list[RankedRow] = []
        with contextlib.suppress(NothingToReportError):
            rows = [row for each in build(Results(tuple(files), ())).sections for row in each.rows]
        wanted = [row for row in rows if row.case.id in schedule.cases]
        measured = [row for row in wanted if row.result.measured]
        # What makes only a time unreliable need not affect its ratio, which the report shows.
        problems = [
            {each.code: each for each in (*row.ratio_problems, *row.result.invalid)}
            for row in measured
        ]
        if goal is None:
            for row, own in zip(measured, problems, strict=True):
                noted = row.result.validity.noted
                own |= {each.code: each for each in noted if each.code == FEW_PROCESSES}
        invalid = sum(map(bool, problems))
        kinds = Counter({"INVALID": invalid})
        kinds.update(
            row.result.outcome
            for row in wanted
            if not row.result.measured and row.result.outcome != "interrupted"
        )
        self.valid = len(measured) - invalid
        self.unreached = len(schedule.cases) - self.valid - kinds.total()
        times = {row.case.id for row in measured}
        for case, outcome in schedule.outcomes.items():
            # Some processes may have measured a case before it ended a later one; it then has a
            # time.
            if case in times and outcome.outcome in FAILURES:
                kinds[outcome.outcome] += schedule.given_up(case)
        self.outcomes = +kinds
        measurements = [each for file in files for each in file.measurements]
        self.precise = sum(map(schedule.precise, times))
        self.few = sum(len(row.result.runs) < (goal or ENOUGH_PROCESSES) for row in measured)
        self.spent, self.timed = manager.spent, sum(each.timed_s for each in measurements)
        alone = "the time alone is unreliable, ratios are judged separately: "
        found = [("", each.reason) for of in problems for each in of.values()]
        found += [(alone, each.reason) for row in measured for each in row.result.validity.of_time]
        self.reasons = counted(found)
        memories = {each.case.id: each.memory for each in measurements if each.memory is not None}
        self.reasons.update(
            f"memory {clean(no_figure(each))}"
            for each in memories.values()
            if each.get("peak_bytes") is None
        )
        self.skipped = Counter(
            clean(reason_line(row.result.reason))
            for row in wanted
            if row.result.outcome in _UNTRIED
        )

    @property
    def measured(self) -> int:
        """The number of cases that have a time."""
        return self.valid + self.outcomes["INVALID"]

    @property
    def code(self) -> int:
        """The exit code of the command."""
        if any(self.outcomes[kind] for kind in FAILURES):
            return FAILED
        # If the user gave no number of processes, the budget decides how many there are.
        requested = self._manager.session.goal.processes is not None
        return INCOMPLETE if self.unreached or (requested and self.few) else MEASURED

    def lines(self) -> list[str]:
        """Return the summary in lines."""
        return [*self._describe_cases(), *self._describe_times()]

    def without_time(self) -> list[str]:
        """Return the lines about cases without a time, and why they were not tried."""
        failed = {
            kind: n for kind, n in self.outcomes.items() if kind not in ("INVALID", *_UNTRIED)
        }
        lines = [f"{count(n, 'case')} {outcome_text(kind)}" for kind, n in failed.items()]
        if self.unreached:
            lines.append(f"{count(self.unreached, 'case')} not reached")
        return lines + [f"{why} ({count(n, 'case')})" for why, n in self.skipped.items()]

    def _describe_cases(self) -> list[str]:
        """Return the numbers of cases by outcome, and the reasons."""
        parts = [f"{self.valid} VALID"]
        parts += [f"{number} {outcome_text(kind)}" for kind, number in self.outcomes.items()]
        if self.unreached:
            parts.append(f"{self.unreached} not reached")
        lines = [f"{count(len(self._manager.schedule.cases), 'case')}: {', '.join(parts)}"]
        skipped = self.skipped.most_common(_MOST_REASONS)
        reasons = [*self.reasons.items(), *skipped]
        lines += [f"  {why} ({count(n, 'case')})" for why, n in reasons]
        if more := len(self.skipped) - len(skipped):
            lines.append(f"  {count(more, 'other reason')}: see the report")
        return lines

    def _describe_times(self) -> Iterator[str]:
        """Yield how far the goal was reached, why the session ended, and its times."""
        session, finished = self._manager.session, self._manager.schedule.finished
        goal = session.goal
        if goal.processes is None:
            few = (
                f"; {self.few} were measured in fewer than {ENOUGH_PROCESSES} processes, which is "
                "too few to judge"
            )
            yield (
                f"{self.precise} of {self.measured} measured within ±{100 * goal.precision:g}%"
                f"{few if self.few else ''}"
            )
        elif self.few:
            yield (
                f"the budget was too short: {count(self.few, 'case')} ran in fewer than the "
                f"{goal.processes} requested processes"
            )
        why = "done" if finished else "the budget is spent"
        message = f"{count(self._processes, 'process')}, {duration(self.spent)}"
        if session.fleet:
            # Several machines measure longer in total than the session takes.
            yield f"{why}{'' if finished else ', or no machine is left'}: {message}"
            return
        outside = max(0.0, self.spent - self.timed)
        share = outside / self.spent if self.spent else 0.0
        outside_words = f"{duration(outside)} ({share:.0%}) outside measured blocks"
        yield f"{why}: {message}, of which {outside_words}"
