"""What is measured next, and when it is enough: the manager's decisions, as pure functions of time.

``Schedule`` has what was found of each case and hands out work, to one process or to many side by
side; ``plan`` says what a budget holds, and ``Costs``, ``Faults`` and ``Flights`` keep what earlier
processes took and did. Nothing here starts a process, opens a file or reads a clock.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeAlias

from bench.case.cases import Case
from bench.records.schema import Outcome, ResultFile
from bench.session.session import Environment, Goal, Lot, Needs, Work, lots, needs_of
from bench.stats.intervals import ENOUGH_PROCESSES, case_interval, median_interval

OUTSIDE_CASE, OUTSIDE_PROCESS = 0.8, 12.0
"""Seconds that preparing a case and starting a process take, by a guess that only the first process
is planned with: building, tracing and checking small cases of TensorFlow on two cores, and its
start."""


class Costs:
    """What measuring takes next to the measuring, of each case and of a process by itself; both
    differ between the environments of processes.

    Seconds. startup: from the last process's beginning to its first case.

    seconds: of measuring that the suite gives each case of a group, by ``Case.group``.
    side_by_side: how many processes start at the same time and so share what starting takes.
    """

    def __init__(self, seconds: Mapping[str, float], side_by_side: int = 1) -> None:
        self.startup = 0.0
        self._process = OUTSIDE_PROCESS / side_by_side
        self._seconds = seconds
        self._cases: dict[tuple[str, Environment], float] = {}
        self._looks: Counter[tuple[str, Environment]] = Counter()
        self._processes: dict[Environment, float] = {}

    def learn(self, work: Work, startup: float, costs: Mapping[str, float], outside: float) -> None:
        """What a process took: to start, for each case that it came to the end of, and in all
        next to measuring.

        A process imports a framework within its first cases, which are others each time: the least
        that a case took is its own, and what is left over is every process's.
        """
        environment = work.environment
        for case, seconds in costs.items():
            key = case, environment
            self._cases[key] = min(seconds, self._cases.get(key, math.inf))
            self._looks[key] += 1
        self.startup = startup
        if all(case.id in costs for case in work.cases):
            known = sum(self._cases[case.id, environment] for case in work.cases)
            self._processes[environment] = max(startup, outside - known)

    def expected(self, work: Work) -> float:
        """Seconds that a process of this work will take of the session's time."""
        environment = work.environment
        own = self.process(environment)
        return own + self.outside(work.cases, environment) + work.share * self.measuring(work.cases)

    def measuring(self, cases: Iterable[Case]) -> float:
        """That a process measures these for, each for its whole time."""
        return sum(self._seconds.get(case.group, 0.0) for case in cases)

    def outside(self, cases: Iterable[Case], environment: Environment) -> float:
        """That a process takes for these next to measuring, by a guess if it is not known."""
        return sum(self._cases.get((case.id, environment), OUTSIDE_CASE) for case in cases)

    def looks(self, cases: Iterable[Case], environment: Environment) -> int:
        """How many processes have shown what each of these takes; 0 if it is not known of all."""
        return min((self._looks[case.id, environment] for case in cases), default=0)

    def process(self, environment: Environment, guess: float | None = None) -> float:
        """That any process takes next to its cases."""
        return self._processes.get(environment, self._process if guess is None else guess)


class Flights:
    """The processes in work.

    A process that has begun counts as if it had brought its results, so that no other repeats it;
    what a place has been given is remembered, so that replicates are spread over places. One that
    ends, in whichever way, counts no more: its results do, if it brought any.

    number: of the last that was begun. works: each with the place that it runs on, by its number.
    cases: how many measure each now. given: how often a place has been given a group.
    """

    def __init__(self) -> None:
        self.number = 0
        self.works: dict[int, tuple[Work, str]] = {}
        self.cases: Counter[tuple[Environment, str]] = Counter()
        self.given: Counter[tuple[str, str, Environment]] = Counter()

    def begin(self, work: Work, place: str = "") -> None:
        """A process begins; place: the name of the machine that it runs on."""
        self.number = max(self.number, work.number)
        self.works[work.number] = work, place
        self.cases.update((work.environment, case.id) for case in work.cases)
        groups = {case.group for case in work.cases}
        self.given.update((place, group, work.environment) for group in groups)

    def end(self, work: Work) -> None:
        """It has ended."""
        del self.works[work.number]
        self.cases.subtract((work.environment, case.id) for case in work.cases)


MOST_CRASHES = 2
"""A process may be ended by something outside (another's hunger for memory, a person); a case that
its process dies of twice is at fault."""

MOST_LOSSES = 2
"""The same of a machine that is gone with its process: the cause is outside more often still, and a
machine is dearer than a process."""

FINAL = ("not_measured", "refused", "failed", "timed_out")
"""Outcomes that another process would only repeat."""


class Faults:
    """What is held against the cases of a session. suspects: those to be measured alone."""

    def __init__(self) -> None:
        self._crashes: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self.suspects: set[str] = set()

    def measured(self, case: str) -> None:
        """A case has a time: what its process or machine had died of before was not its doing."""
        self.suspects.discard(case)
        self._losses.pop(case, None)

    def crashed(self, case: str) -> None:
        """A process died of it."""
        self._crashes[case] += 1
        self.suspects.add(case)

    def lose(self, cases: Sequence[str]) -> list[str]:
        """A machine was gone while these were in flight; returns those that are not tried again.

        Where several were timed in turn none can be blamed: those that lost a machine before, too,
        are tried alone.
        """
        self._losses.update(cases)
        again = [case for case in cases if self._losses[case] >= MOST_LOSSES]
        if len(cases) > 1:
            self.suspects.update(again)
            return []
        return again

    def given_up(self, case: str, outcome: Outcome) -> bool:
        """Whether another process could find nothing new about a case with this outcome."""
        if outcome.outcome == "crashed":
            return self._crashes[case] >= MOST_CRASHES or self._losses[case] >= MOST_LOSSES
        return outcome.outcome in FINAL


BUDGET_USED = 0.93
"""Part of a budget that is planned with. One process takes some per cent longer than another, and
the last would not be begun if it did not fit."""

LEAST_SHARE = 0.2
"""Of the measuring time that a suite gives its cases: the slowest of the package's suites then have
four blocks in a process, and with less would have warm-up and little else. A budget that holds not
even that for every case is spent on fewer cases."""


@dataclass(frozen=True)
class Coming:
    """What is to come of a lot.

    begun: processes that it has had or is in; missing: what it lacks to enough, when these have
    ended; left: the same while those in work are still to come, one at the least. outside,
    measuring: seconds of one process, measuring at its whole length. looks: processes that
    have shown ``outside``; a guess where none has.
    """

    lot: Lot
    begun: int
    missing: int
    left: int
    outside: float
    measuring: float
    looks: int


class Needed:
    """Seconds that processes to come take in all. process: one of an environment by itself.

    Lots of one environment that have had equally many share processes.
    """

    def __init__(self, process: Callable[[Environment], float]) -> None:
        self._process = process
        self._outside = self._measuring = 0.0
        self._processes: dict[Environment, set[int]] = {}

    def fits(self, each: Coming, number: int, seconds: float) -> bool:
        """Whether there is time for so many processes of a lot, too, at the least share."""
        outside, measuring = self._with(each, number)
        return outside + LEAST_SHARE * measuring <= BUDGET_USED * seconds

    def add(self, each: Coming, number: int) -> None:
        """There are so many of a lot."""
        self._outside, self._measuring = self._with(each, number)
        there = self._processes.setdefault(each.lot.environment, set())
        there.update(range(each.begun, each.begun + number))

    def share(self, seconds: float) -> float:
        """The part of its measuring time that each case gets in so many seconds.

        More processes with fewer samples each say more than the other way round: the processes
        differ by more than the samples of one.
        """
        if self._measuring <= 0:
            return 1.0
        rest = BUDGET_USED * seconds - self._outside
        return min(1.0, max(LEAST_SHARE, rest / self._measuring))

    def _with(self, each: Coming, number: int) -> tuple[float, float]:
        environment = each.lot.environment
        there = self._processes.get(environment, ())
        more = sum(n not in there for n in range(each.begun, each.begun + number))
        outside = number * each.outside + more * self._process(environment)
        return self._outside + outside, self._measuring + number * each.measuring


_Parts: TypeAlias = list[tuple[Coming, int]]
"""Lots, and so many processes of each."""


def plan(
    coming: Sequence[Coming], seconds: float, process: Callable[[Environment], float]
) -> tuple[_Parts, _Parts]:
    """Which lots there is time for in so many seconds; the others are put off.

    On a slow machine a budget holds fewer groups: some with intervals and verdicts that hold say
    more than all with none. Those that have come furthest are kept, and of equals those that the
    suite names first. Until every lot's costs are known, all are tried.

    The first process of a session compiles what others find compiled, and computes what they read,
    so that what it shows is more than others take. A lot that one process has met is met by another
    before it is put off: if it could come to enough had all of that been for once, and if those
    that are kept come to enough next to it.
    """
    if seconds == math.inf or not all(each.looks for each in coming):
        return [(each, each.left) for each in coming], []
    needed, numbers = Needed(process), dict[int, int]()
    order = sorted(range(len(coming)), key=lambda n: -coming[n].begun)
    for n in order:
        if needed.fits(coming[n], coming[n].missing, seconds):
            needed.add(coming[n], coming[n].missing)
            numbers[n] = coming[n].left
    for n in [n for n in order if numbers and n not in numbers and coming[n].looks == 1]:
        at_best = replace(coming[n], outside=0.0)
        if needed.fits(at_best, at_best.missing, seconds) and needed.fits(coming[n], 1, seconds):
            needed.add(coming[n], 1)
            numbers[n] = 1
    first = [(coming[n], number) for n, number in sorted(numbers.items())]
    return first, [(each, each.left) for n, each in enumerate(coming) if n not in numbers]


class Schedule:
    """What has been found of each case of a session, and what is still to be done.

    seconds: of measuring that each case of a group gets in a process, by ``Case.group``. memory:
    whether that of each case is measured, by the first process that reaches it. absent: devices
    that are not here, whose cases take no time. needs: what each backend needs of its process.
    side_by_side: how many processes start at the same time.
    put_off: groups that there is no time for, as of the last look at what is next.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        goal: Goal,
        seed: int,
        seconds: Mapping[str, float] | None = None,
        memory: bool = False,
        absent: Collection[str] = (),
        needs: Needs = needs_of,
        side_by_side: int = 1,
    ) -> None:
        self.cases = {case.id: case for case in cases}
        self.goal = goal
        self.medians: dict[str, list[float]] = {case: [] for case in self.cases}
        self.outcomes: dict[str, Outcome] = {}
        self.runs: set[str] = set()
        self.flights = Flights()
        self.faults = Faults()
        self.put_off: tuple[str, ...] = ()
        self.costs = Costs(seconds or {}, side_by_side)
        self._seed = seed
        self._enough = goal.processes or ENOUGH_PROCESSES  # processes of a case, at the least
        # Asked once of each: for a name that is not ours all installed packages are looked through.
        needs = functools.cache(needs)
        self._memory = memory
        self._absent = frozenset(absent)
        self._weighed: set[str] = set()
        self._lots = lots(self.cases.values(), needs)
        self._homes = {case.id: lot.environment for lot in self._lots for case in lot.cases}
        bound = {case.backend: bool(needs(case.backend).environment) for case in cases}
        self._bound = {name for name, case in self.cases.items() if bound[case.backend]}
        self._processes: Counter[Environment] = Counter()
        self._widths: dict[str, tuple[int, float]] = {}
        self._unfit: set[tuple[Environment, str]] = set()
        self._seen: Counter[tuple[Environment, str]] = Counter()

    # -- what is learned

    def add(self, file: ResultFile) -> int:
        """Take in what one run found; returns how many of the session's cases it settled."""
        self.runs.add(file.run.id)
        environment = self._environment(file)
        self._processes[environment] += 1
        settled = 0
        for measurement in file.measurements:
            if measurement.case.id in self.cases:
                median = median_interval(measurement.samples).mid
                self.medians[measurement.case.id].append(median)
                self._seen[environment, measurement.case.id] += 1
                self.faults.measured(measurement.case.id)
                if measurement.memory is not None:
                    self._weighed.add(measurement.case.id)
                settled += 1
        for outcome in file.outcomes:
            if outcome.case.id not in self.cases:
                continue
            if self._homes[outcome.case.id] != environment:
                # As a bridge it is no use there; at home it may be fine.
                self._unfit.add((environment, outcome.case.id))
                continue
            if outcome.outcome == "crashed":
                self.faults.crashed(outcome.case.id)
            if outcome.outcome in (*FINAL, "crashed"):
                self.outcomes[outcome.case.id] = outcome
                settled += 1
        return settled

    def _environment(self, file: ResultFile) -> Environment:
        """In which one a run's cases were measured: a bridge alone would be at home."""
        ids = [each.case.id for each in file.measurements]
        ids += [each.case.id for each in file.outcomes]
        known = [name for name in ids if name in self.cases]
        bound = [name for name in known if name in self._bound]
        return next((self._homes[name] for name in (*bound, *known)), ())

    # -- what follows

    def given_up(self, case: str) -> bool:
        """Whether another process could find nothing new about a case."""
        outcome = self.outcomes.get(case)
        return outcome is not None and self.faults.given_up(case, outcome)

    def precise(self, case: str) -> bool:
        """Whether a case's interval over its processes is narrow enough."""
        return self.half_width(case) <= self.goal.precision

    def half_width(self, case: str) -> float:
        """How far it reaches, relative to its middle; infinite under ``ENOUGH_PROCESSES``."""
        medians = self.medians[case]
        if len(medians) < ENOUGH_PROCESSES:
            return math.inf
        if self._widths.get(case, (0, 0.0))[0] != len(medians):
            width = case_interval([[median] for median in medians]).half_width
            self._widths[case] = len(medians), width
        return self._widths[case][1]

    def done(self, case: str) -> bool:
        """Whether a case needs no more processes for its own sake."""
        if self.given_up(case):
            return True
        if self.goal.processes is not None:
            return len(self.medians[case]) >= self.goal.processes
        return self.precise(case)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return not self._open()

    def next(self, seconds: float = math.inf, machines: int = 1, place: str = "") -> Work | None:
        """Work for one more process that ends within ``seconds``, or None if there is none now.

        machines: how many run processes side by side; each gets a part of the groups. place: the
        name of this one; of groups that are equally far it gets those that it has had least often,
        so that replicates come from many machines.

        The groups with the fewest processes come first, so that no group gets a second process
        before each had its first. A group is left out as a whole, and only when all of its cases
        are precise: its backends are compared within a process. Groups that would not come to
        enough processes in the time that is left are put off (see ``planning.plan``): they get what
        the others leave over, which is not to be done again (``--resume``).
        """
        number = max(len(self.runs), self.flights.number) + 1
        order = Random(f"{self._seed}/{number}")
        coming = [*map(self._coming, self._open())]
        first, late = plan(coming, machines * seconds, self.costs.process)
        named = first or any(
            self._count(replace(lot, cases=tuple(living))) >= self._enough
            for lot in self._lots
            if (living := [case for case in lot.cases if not self.given_up(case.id)])
        )
        self.put_off = tuple(dict.fromkeys(each.lot.group for each, _ in late if named))
        for waiting in (first, late):
            # A hand takes its part of all that is still to come: large parts first, since each
            # process starts a framework, and small ones at the end, so that all end together.
            most = max(1, math.ceil(sum(max(1, each.missing) for each, _ in waiting) / machines))
            lots = [each for each, _ in waiting]
            order.shuffle(lots)
            lots.sort(key=lambda each: self.flights.given[(place, *each.lot.key)])
            if chosen := self._chosen(lots, seconds, most):
                share = min(self._share(waiting, machines * seconds), self._share(chosen, seconds))
                cases = tuple(case for each, _ in chosen for case in self._behind(each.lot))
                seed = order.getrandbits(32)
                memory = bool(self._unweighed(cases))
                environment = chosen[0][0].lot.environment
                return Work(number, cases, seed, share, memory, environment)
        return None

    def _coming(self, lot: Lot) -> Coming:
        environment = lot.environment
        # Devices that are not here take no time.
        present = [each for each in self._with_reference(lot) if each.device not in self._absent]
        begun = self._count(lot)
        seen = min((self._seen[environment, case.id] for case in present), default=begun)
        return Coming(
            lot,
            begun=begun,
            missing=max(0, self._enough - begun),
            left=max(1, self._enough - seen),
            outside=self.costs.outside(present, environment),
            measuring=self.costs.measuring(present),
            looks=self.costs.looks(present, environment),
        )

    def _share(self, parts: Iterable[tuple[Coming, int]], seconds: float) -> float:
        """What part of its measuring time each case gets where so much is to come."""
        needed = Needed(self.costs.process)
        for each, number in parts:
            needed.add(each, number)
        return needed.share(seconds)

    def _chosen(
        self, waiting: Sequence[Coming], seconds: float, most: int
    ) -> list[tuple[Coming, int]]:
        """One process each of those that one process measures in that time, the furthest behind."""
        for level in sorted({each.begun for each in waiting}):
            there = [each for each in waiting if each.begun == level]
            # The environment with the fewest processes first: so they alternate in time.
            had = self._processes + Counter(
                work.environment for work, _ in self.flights.works.values()
            )
            environments = dict.fromkeys(each.lot.environment for each in there)
            for environment in sorted(environments, key=had.__getitem__):
                here = [each for each in there if each.lot.environment == environment]
                if chosen := self._that_fit(here, seconds, most):
                    return [(each, 1) for each in chosen]
        return []

    def _that_fit(self, waiting: Sequence[Coming], seconds: float, most: int) -> list[Coming]:
        """Of lots of one environment, those that one process measures in that time."""
        chosen: list[Coming] = []
        environment = waiting[0].lot.environment
        left = seconds - self.costs.process(environment, self.costs.startup)
        for each in waiting:
            cases = self._behind(each.lot)
            # What no process has had yet is tried: how long it takes is not known.
            cost = 0.0
            if self.costs.looks(cases, environment):
                cost = self.costs.outside(cases, environment)
                cost += LEAST_SHARE * self.costs.measuring(cases)
            if cost <= left and left > 0 and len(chosen) < most:
                left -= cost
                chosen.append(each)
        return chosen

    def _unweighed(self, cases: Iterable[Case]) -> list[Case]:
        """Those whose memory is still to be measured: unlike the time, once is enough."""
        if not self._memory:
            return []
        now = [work for work, _ in self.flights.works.values() if work.memory]
        weighed = self._weighed.union(case.id for work in now for case in work.cases)
        return [case for case in cases if case.id not in weighed]

    def _open(self) -> list[Lot]:
        """What is not done of each lot, without the cases that are given up."""
        found = []
        for lot in self._lots:
            living = [case for case in lot.cases if not self.given_up(case.id)]
            if (wanted := self.goal.processes) is not None:
                # What a killed process took with it is all that is made up for.
                seen = {case.id: self._begun(lot.environment, case) for case in living}
                living = [case for case in living if seen[case.id] < wanted]
                if living:
                    found.append(replace(lot, cases=tuple(living)))
            elif not all(self.done(case.id) for case in living):
                # Up to the number that an interval takes, one more next to those in work; then so
                # many at once that what turns out to be too much is half of what was needed.
                lot = replace(lot, cases=tuple(living))
                begun = self._count(lot)
                ended = min(self._seen[lot.environment, case.id] for case in living)
                if begun < ENOUGH_PROCESSES or begun - ended < max(1, ended // 2):
                    found.append(lot)
        return found

    def _begun(self, environment: Environment, case: Case) -> int:
        """How many processes have measured a case, or measure it now."""
        return self._seen[environment, case.id] + self.flights.cases[environment, case.id]

    def _count(self, lot: Lot) -> int:
        return min(self._begun(lot.environment, case) for case in lot.cases)

    def _with_reference(self, lot: Lot) -> list[Case]:
        """Its cases, and the first that can be measured along with them of those it is given."""
        fit = (
            case
            for case in lot.references
            if not self.given_up(case.id) and (lot.environment, case.id) not in self._unfit
        )
        return [*lot.cases, *itertools.islice(fit, 1)]

    def _behind(self, lot: Lot) -> list[Case]:
        """Of one lot, what one process measures."""
        fewest = self._count(lot)
        behind = [case for case in lot.cases if self._begun(lot.environment, case) == fewest]
        suspects = [case for case in behind if case.id in self.faults.suspects]
        return suspects[:1] or self._with_reference(replace(lot, cases=tuple(behind)))
