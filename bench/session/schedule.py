"""Decide what the processes of a session measure next, and when the session is done.

``Schedule`` keeps the results of each case and gives work to one process, or to several side by
side. ``plan`` selects what fits into a budget. ``RunningProcesses``, ``Costs`` and ``Faults`` keep
the state of processes. This module starts no process, opens no file and reads no clock.
"""

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
from bench.session.session import Environment, Goal, Lot, Needs, Work, find_needs, lots
from bench.stats.intervals import ENOUGH_PROCESSES, case_interval, median_interval

OUTSIDE_CASE, OUTSIDE_PROCESS = 0.8, 12.0
"""The estimated seconds to prepare a case and to start a process, which are used until they are
measured. They hold for small cases of TensorFlow on two cores, and include building, tracing and
checking.
"""


class Costs:
    """The seconds that each case and each process takes apart from measuring, by environment.

    startup: the seconds from the start of the last process to its first case. seconds: the
    measuring time that the suite gives each case, by ``Case.group``. side_by_side: how many
    processes start at the same time and so share the time of starting.
    """

    def __init__(self, seconds: Mapping[str, float], side_by_side: int = 1) -> None:
        self.startup = 0.0
        self._process = OUTSIDE_PROCESS / side_by_side
        self._seconds = seconds
        self._cases: dict[tuple[str, Environment], float] = {}
        self._observations: Counter[tuple[str, Environment]] = Counter()
        self._processes: dict[Environment, float] = {}

    def learn(self, work: Work, startup: float, costs: Mapping[str, float], outside: float) -> None:
        """Improve the estimates by what a process took that has ended.

        startup: how long it took to start, in seconds. costs: how long each finished case took, in
        seconds. outside: the seconds that were not spent on measuring, including the startup.

        The first case of a process also pays for importing its framework, and which case is the
        first differs from process to process.
        The least time that a case ever took is therefore the cost of the case, and the rest is the
        cost of the process.
        """
        environment = work.environment
        for case, seconds in costs.items():
            key = case, environment
            self._cases[key] = min(seconds, self._cases.get(key, math.inf))
            self._observations[key] += 1
        self.startup = startup
        if all(case.id in costs for case in work.cases):
            known = sum(self._cases[case.id, environment] for case in work.cases)
            self._processes[environment] = max(startup, outside - known)

    def expected(self, work: Work) -> float:
        """Return how many seconds of the session a process with this work is expected to take."""
        environment = work.environment
        own = self.process(environment)
        return own + self.outside(work.cases, environment) + work.share * self.measuring(work.cases)

    def measuring(self, cases: Iterable[Case]) -> float:
        """Return the seconds of measuring these cases, each for its full time."""
        return sum(self._seconds.get(case.group, 0.0) for case in cases)

    def outside(self, cases: Iterable[Case], environment: Environment) -> float:
        """Return the seconds that these cases take apart from measuring.

        Unknown times are estimated.
        """
        return sum(self._cases.get((case.id, environment), OUTSIDE_CASE) for case in cases)

    def observations(self, cases: Iterable[Case], environment: Environment) -> int:
        """Return how many processes have shown the costs of every one of these cases."""
        return min((self._observations[case.id, environment] for case in cases), default=0)

    def process(self, environment: Environment, guess: float | None = None) -> float:
        """Return the seconds that a process takes apart from its cases."""
        return self._processes.get(environment, self._process if guess is None else guess)


class RunningProcesses:
    """The processes that run now.

    A running process counts as if its results were there, so that no other process repeats it. The
    object also remembers what each machine was given, so that replicates are spread over machines.

    number: the number of the last process begun. works: the work and place of each process, by its
    number. cases: how many processes measure each case now. given: how often each place was given
    each group.
    """

    def __init__(self) -> None:
        self.number = 0
        self.works: dict[int, tuple[Work, str]] = {}
        self.cases: Counter[tuple[Environment, str]] = Counter()
        self.given: Counter[tuple[str, str, Environment]] = Counter()

    def begin(self, work: Work, place: str = "") -> None:
        """Add a process.

        place: the name of the machine that it runs on.
        """
        self.number = max(self.number, work.number)
        self.works[work.number] = work, place
        self.cases.update((work.environment, case.id) for case in work.cases)
        groups = {case.group for case in work.cases}
        self.given.update((place, group, work.environment) for group in groups)

    def end(self, work: Work) -> None:
        """Remove a process that has ended."""
        del self.works[work.number]
        self.cases.subtract((work.environment, case.id) for case in work.cases)


MOST_CRASHES = 2
"""A case whose process dies this often is at fault. A single death may have another cause: the
system ends a process for lack of memory, or a person does.
"""

MOST_LOSSES = 2
"""The same for a machine that is lost together with its process."""

FINAL = ("not_measured", "refused", "failed", "timed_out")
"""The outcomes that another process would only repeat."""


class Faults:
    """The crashes and lost machines of cases.

    suspects: the cases that must be measured alone.
    """

    def __init__(self) -> None:
        self._crashes: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self.suspects: set[str] = set()

    def measured(self, case: str) -> None:
        """Clear a measured case of suspicion: it did not cause earlier losses."""
        self.suspects.discard(case)
        self._losses.pop(case, None)

    def crashed(self, case: str) -> None:
        """Count a process that died in a case."""
        self._crashes[case] += 1
        self.suspects.add(case)

    def lost(self, cases: Sequence[str]) -> list[str]:
        """Count a machine that was lost during these cases. Return the cases that are given up.

        If several cases were interleaved, none can be blamed. Those that had lost a machine before
        are then tried alone.
        """
        self._losses.update(cases)
        again = [case for case in cases if self._losses[case] >= MOST_LOSSES]
        if len(cases) > 1:
            self.suspects.update(again)
            return []
        return again

    def given_up(self, case: str, outcome: Outcome) -> bool:
        """Return whether another process would find nothing new about a case."""
        if outcome.outcome == "crashed":
            return self._crashes[case] >= MOST_CRASHES or self._losses[case] >= MOST_LOSSES
        return outcome.outcome in FINAL


BUDGET_USED = 0.85
"""The part of the remaining budget that plans use.

On a virtual machine, a process can take 10% longer than the one before it. With 0.93, the last of
six processes of the suite ``first`` was once stopped after two minutes, and its cases had five
results.
"""

LEAST_SHARE = 0.2
"""The least part of the suite's measuring time that a case gets. The slowest cases of the package's
suites then have four blocks in a process. If the budget is too small for that, it is spent on fewer
cases.
"""


@dataclass(frozen=True)
class Remaining:
    """The processes that a lot still needs.

    begun: the processes that have measured the lot or measure it now. missing: how many more it
    needs after these have ended. left: the same, but counting the running processes, and at least
    one. outside: the seconds of one process apart from measuring. measuring: the seconds of
    measuring for the full time. observations: how many processes have shown ``outside``.
    """

    lot: Lot
    begun: int
    missing: int
    left: int
    outside: float
    measuring: float
    observations: int


_Part: TypeAlias = tuple[Remaining, int]
"""A lot, and a number of processes for it."""


class PlannedTime:
    """The total time of planned processes.

    Lots of one environment with equally many processes share these processes.

    process: returns the seconds of a process apart from its cases.
    """

    def __init__(
        self, process: Callable[[Environment], float], planned: Iterable[_Part] = ()
    ) -> None:
        self._process = process
        self._outside = self._measuring = 0.0
        self._processes: dict[Environment, set[int]] = {}
        for each, number in planned:
            self.add(each, number)

    def fits(self, each: Remaining, number: int, seconds: float) -> bool:
        """Return whether ``number`` processes of a lot also fit, at the least share."""
        outside, measuring = self._with(each, number)
        return outside + LEAST_SHARE * measuring <= BUDGET_USED * seconds

    def add(self, each: Remaining, number: int) -> None:
        """Plan ``number`` processes of a lot."""
        self._outside, self._measuring = self._with(each, number)
        there = self._processes.setdefault(each.lot.environment, set())
        there.update(range(each.begun, each.begun + number))

    def share(self, seconds: float) -> float:
        """Return the part of its measuring time that each case gets if ``seconds`` are available.

        More processes with fewer samples are better than fewer processes with more samples, because
        processes differ more than the samples of one process.
        """
        if self._measuring <= 0:
            return 1.0
        rest = BUDGET_USED * seconds - self._outside
        return min(1.0, max(LEAST_SHARE, rest / self._measuring))

    def total(self, seconds: float) -> float:
        """Return the seconds that the processes take if ``seconds`` are available."""
        return self._outside + self.share(seconds) * self._measuring

    def _with(self, each: Remaining, number: int) -> tuple[float, float]:
        environment = each.lot.environment
        there = self._processes.get(environment, ())
        more = sum(n not in there for n in range(each.begun, each.begun + number))
        outside = number * each.outside + more * self._process(environment)
        return self._outside + outside, self._measuring + number * each.measuring


def plan(
    coming: Sequence[Remaining], seconds: float, process: Callable[[Environment], float]
) -> tuple[list[_Part], list[_Part]]:
    """Return the lots that fit into ``seconds``, and those that are postponed.

    On a slow machine fewer groups fit. Reliable verdicts on some groups are better than unreliable
    ones on all. The groups with the most processes are kept, and among equals those that the suite
    names first. All groups are tried until the costs of every lot are known.

    The first process of a session compiles and computes what others reuse, so its costs are too
    high. A lot that only one process has tried therefore gets a second process before it is
    postponed. The condition is that it would fit without these costs, and that the kept lots fit
    next to it.
    """
    if seconds == math.inf or not all(each.observations for each in coming):
        return [(each, each.left) for each in coming], []
    needed, numbers = PlannedTime(process), dict[int, int]()
    order = sorted(range(len(coming)), key=lambda n: -coming[n].begun)
    for n in order:
        if needed.fits(coming[n], coming[n].missing, seconds):
            needed.add(coming[n], coming[n].missing)
            numbers[n] = coming[n].left
    for n in [n for n in order if numbers and n not in numbers and coming[n].observations == 1]:
        at_best = replace(coming[n], outside=0.0)
        if needed.fits(at_best, at_best.missing, seconds) and needed.fits(coming[n], 1, seconds):
            needed.add(coming[n], 1)
            numbers[n] = 1
    first = [(coming[n], number) for n, number in sorted(numbers.items())]
    return first, [(each, each.left) for n, each in enumerate(coming) if n not in numbers]


class Schedule:
    """The results of each case of a session, and the work that is left.

    seconds: the measuring time of each case in a process, by ``Case.group``. memory: whether to
    measure the memory of each case, in the first process that reaches it. absent: the devices that
    this machine does not have; their cases take no time. needs: returns what a backend needs of its
    process. side_by_side: how many processes start at the same time. put_off: the groups for which
    the last call of ``next`` found no time.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        goal: Goal,
        seed: int,
        seconds: Mapping[str, float] | None = None,
        memory: bool = False,
        absent: Collection[str] = (),
        needs: Needs = find_needs,
        side_by_side: int = 1,
    ) -> None:
        self.cases = {case.id: case for case in cases}
        self.goal = goal
        self.medians: dict[str, list[float]] = {case: [] for case in self.cases}
        self.outcomes: dict[str, Outcome] = {}
        self.runs: set[str] = set()
        self.running = RunningProcesses()
        self.faults = Faults()
        self.put_off: tuple[str, ...] = ()
        self.costs = Costs(seconds or {}, side_by_side)
        self._seed = seed
        # The least number of processes of a case.
        self._enough = goal.processes or ENOUGH_PROCESSES
        # The result is cached, because a backend of another package is searched for in all
        # installed packages.
        needs = functools.cache(needs)
        self._memory = memory
        self._absent = frozenset(absent)
        self._memory_known: set[str] = set()
        self._lots = lots(self.cases.values(), needs)
        self._homes = {case.id: lot.environment for lot in self._lots for case in lot.cases}
        bound = {case.backend: bool(needs(case.backend).environment) for case in cases}
        self._bound = {name for name, case in self.cases.items() if bound[case.backend]}
        self._processes: Counter[Environment] = Counter()
        self._widths: dict[str, tuple[int, float]] = {}
        self._unfit: set[tuple[Environment, str]] = set()
        self._seen: Counter[tuple[Environment, str]] = Counter()

    def add(self, file: ResultFile) -> int:
        """Add the results of a run. Return how many cases of the session they settle."""
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
                    self._memory_known.add(measurement.case.id)
                settled += 1
        for outcome in file.outcomes:
            if outcome.case.id not in self.cases:
                continue
            if self._homes[outcome.case.id] != environment:
                # The case cannot serve as a shared reference there, but it may run in its own
                # environment.
                self._unfit.add((environment, outcome.case.id))
                continue
            if outcome.outcome == "crashed":
                self.faults.crashed(outcome.case.id)
            if outcome.outcome in (*FINAL, "crashed"):
                self.outcomes[outcome.case.id] = outcome
                settled += 1
        return settled

    def _environment(self, file: ResultFile) -> Environment:
        """Return the environment of a run. A shared reference does not determine it."""
        ids = [each.case.id for each in file.measurements]
        ids += [each.case.id for each in file.outcomes]
        known = [name for name in ids if name in self.cases]
        bound = [name for name in known if name in self._bound]
        return next((self._homes[name] for name in (*bound, *known)), ())

    def given_up(self, case: str) -> bool:
        """Return whether another process would find nothing new about a case."""
        outcome = self.outcomes.get(case)
        return outcome is not None and self.faults.given_up(case, outcome)

    def precise(self, case: str) -> bool:
        """Return whether the interval of a case over its processes is narrow enough."""
        return self.half_width(case) <= self.goal.precision

    def half_width(self, case: str) -> float:
        """Return the relative half-width of a case's interval.

        It is infinite below ``ENOUGH_PROCESSES``.
        """
        medians = self.medians[case]
        if len(medians) < ENOUGH_PROCESSES:
            return math.inf
        if self._widths.get(case, (0, 0.0))[0] != len(medians):
            width = case_interval([[median] for median in medians]).half_width
            self._widths[case] = len(medians), width
        return self._widths[case][1]

    def done(self, case: str) -> bool:
        """Return whether a case needs no more processes."""
        if self.given_up(case):
            return True
        if self.goal.processes is not None:
            return len(self.medians[case]) >= self.goal.processes
        return self.precise(case)

    @property
    def finished(self) -> bool:
        """Whether no work is left."""
        return not self._open()

    def expected(self, seconds: float = math.inf) -> float:
        """Return the seconds that running processes and the remaining work take.

        They are estimated from earlier processes.

        If precision determines the number of processes, each lot needs at least one more.
        """
        left = [(each, max(1, each.missing)) for each in map(self._remaining, self._open())]
        needed = PlannedTime(self.costs.process, left)
        running = (self.costs.expected(work) for work, _ in self.running.works.values())
        return sum(running) + needed.total(seconds)

    def next(self, seconds: float = math.inf, machines: int = 1, place: str = "") -> Work | None:
        """Return work for one more process that ends within ``seconds``, or None if there is none.

        machines: how many machines run processes side by side; each gets a part of the groups.
        place: the name of this machine. Among groups with equally many processes, it gets those
        that it was given least often, so that replicates come from many machines.

        The groups with the fewest processes come first, so that no group gets a second process
        before each had its first. A group is left out only when all of its cases are precise,
        because its backends are compared within a process. Groups that ``plan`` postpones get the
        time that the others leave.
        """
        number = max(len(self.runs), self.running.number) + 1
        order = Random(f"{self._seed}/{number}")
        coming = [*map(self._remaining, self._open())]
        first, late = plan(coming, machines * seconds, self.costs.process)
        named = first or any(
            self._count(replace(lot, cases=tuple(active))) >= self._enough
            for lot in self._lots
            if (active := [case for case in lot.cases if not self.given_up(case.id)])
        )
        self.put_off = tuple(dict.fromkeys(each.lot.group for each, _ in late if named))
        for waiting in (first, late):
            # Each machine takes its part of the remaining work. The parts are large at first, since
            # each process starts a framework, and small at the end, so that all machines end
            # together.
            most = max(1, math.ceil(sum(max(1, each.missing) for each, _ in waiting) / machines))
            lots = [each for each, _ in waiting]
            order.shuffle(lots)
            lots.sort(key=lambda each: self.running.given[(place, *each.lot.key)])
            if chosen := self._chosen(lots, seconds, most):
                whole, own = (PlannedTime(self.costs.process, each) for each in (waiting, chosen))
                share = min(whole.share(machines * seconds), own.share(seconds))
                cases = tuple(case for each, _ in chosen for case in self._behind(each.lot))
                seed = order.getrandbits(32)
                memory = bool(self._memory_unknown(cases))
                environment = chosen[0][0].lot.environment
                return Work(number, cases, seed, share, memory, environment)
        return None

    def _remaining(self, lot: Lot) -> Remaining:
        environment = lot.environment
        # Cases on devices that this machine does not have take no time.
        present = [each for each in self._with_reference(lot) if each.device not in self._absent]
        begun = self._count(lot)
        seen = min((self._seen[environment, case.id] for case in present), default=begun)
        return Remaining(
            lot,
            begun=begun,
            missing=max(0, self._enough - begun),
            left=max(1, self._enough - seen),
            outside=self.costs.outside(present, environment),
            measuring=self.costs.measuring(present),
            observations=self.costs.observations(present, environment),
        )

    def _chosen(self, waiting: Sequence[Remaining], seconds: float, most: int) -> list[_Part]:
        """Return the lots with the fewest processes that one process can measure in that time."""
        for level in sorted({each.begun for each in waiting}):
            there = [each for each in waiting if each.begun == level]
            # The environment with the fewest processes comes first, so that environments alternate.
            had = self._processes + Counter(
                work.environment for work, _ in self.running.works.values()
            )
            environments = dict.fromkeys(each.lot.environment for each in there)
            for environment in sorted(environments, key=had.__getitem__):
                here = [each for each in there if each.lot.environment == environment]
                if chosen := self._that_fit(here, seconds, most):
                    return [(each, 1) for each in chosen]
        return []

    def _that_fit(self, waiting: Sequence[Remaining], seconds: float, most: int) -> list[Remaining]:
        """Return those lots of one environment that one process can measure in that time."""
        chosen: list[Remaining] = []
        environment = waiting[0].lot.environment
        left = seconds - self.costs.process(environment, self.costs.startup)
        for each in waiting:
            cases = self._behind(each.lot)
            # The costs of a lot that no process has tried are unknown, so it is tried.
            cost = 0.0
            if self.costs.observations(cases, environment):
                cost = self.costs.outside(cases, environment)
                cost += LEAST_SHARE * self.costs.measuring(cases)
            if cost <= left and left > 0 and len(chosen) < most:
                left -= cost
                chosen.append(each)
        return chosen

    def _memory_unknown(self, cases: Iterable[Case]) -> list[Case]:
        """Return the cases whose memory is not measured yet. Measuring it once is enough."""
        if not self._memory:
            return []
        now = [work for work, _ in self.running.works.values() if work.memory]
        known = self._memory_known.union(case.id for work in now for case in work.cases)
        return [case for case in cases if case.id not in known]

    def _open(self) -> list[Lot]:
        """Return the remaining lots, without the cases that are given up."""
        found = []
        for lot in self._lots:
            active = [case for case in lot.cases if not self.given_up(case.id)]
            if (wanted := self.goal.processes) is not None:
                seen = {case.id: self._begun(lot.environment, case) for case in active}
                active = [case for case in active if seen[case.id] < wanted]
                if active:
                    found.append(replace(lot, cases=tuple(active)))
            elif not all(self.done(case.id) for case in active):
                # Until an interval is possible, the processes of a case run one after the other.
                # After that, at most half as many run side by side as have ended, so that few turn
                # out to be superfluous.
                lot = replace(lot, cases=tuple(active))
                begun = self._count(lot)
                ended = min(self._seen[lot.environment, case.id] for case in active)
                if begun < ENOUGH_PROCESSES or begun - ended < max(1, ended // 2):
                    found.append(lot)
        return found

    def _begun(self, environment: Environment, case: Case) -> int:
        """Return how many processes have measured a case or measure it now."""
        return self._seen[environment, case.id] + self.running.cases[environment, case.id]

    def _count(self, lot: Lot) -> int:
        return min(self._begun(lot.environment, case) for case in lot.cases)

    def _with_reference(self, lot: Lot) -> list[Case]:
        """Return the cases of a lot, and the first of its references that can run with them."""
        fit = (
            case
            for case in lot.references
            if not self.given_up(case.id) and (lot.environment, case.id) not in self._unfit
        )
        return [*lot.cases, *itertools.islice(fit, 1)]

    def _behind(self, lot: Lot) -> list[Case]:
        """Return the cases of a lot that the next process measures."""
        fewest = self._count(lot)
        behind = [case for case in lot.cases if self._begun(lot.environment, case) == fewest]
        suspects = [case for case in behind if case.id in self.faults.suspects]
        return suspects[:1] or self._with_reference(replace(lot, cases=tuple(behind)))
