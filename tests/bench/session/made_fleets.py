"""A fleet on a clock of its own: the real loop, managers and schedule, and machines that are drawn.

Machines fail, are preempted, come late and are slow, and some cases take their machine down, all
from a seed. Every rule that must hold is checked (``Played.broken``).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np

from bench.case.cases import Case
from bench.case.loading import Suite
from bench.machine.facts import MachineKind
from bench.records.grouping import grouped
from bench.records.schema import Measurement, Outcome, ResultFile, Run
from bench.session.cluster import ClusterMember, Fleet
from bench.session.manager import Manager, SessionProgress
from bench.session.session import Goal, Need, Session, Work
from bench.session.workers import LostError
from lstm_impl import LSTMSpec, Workload

HOUR = 3600.0


@dataclass(frozen=True)
class World:
    """What is played.

    groups, backends: the suite is their product. processes: for each case, None for a precision.
    failures, preemptions: of a machine, an hour. late: part of the machines that come in the first
    ten minutes and not at once. slow: part that takes three times as long. culprits: cases that
    take their machine down. replaced: whether a new machine comes for each that is gone.
    """

    machines: int = 10
    kinds: int = 1
    groups: int = 4
    backends: int = 3
    processes: int | None = 6
    failures: float = 0.0
    preemptions: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    culprits: int = 0
    replaced: bool = True
    budget: float | None = None
    seed: int = 0


def exponential(random: Random, rate: float) -> float:
    """Seconds until what happens so many times an hour."""
    return random.expovariate(rate / HOUR) if rate else math.inf


def measurement(case: Case, run: Run, random: Random) -> Measurement:
    """A valid one; its process is by a few per cent luckier or less so than others."""
    level = random.lognormvariate(0.0, 0.02)
    return Measurement(
        case=case,
        run=run,
        samples=np.full(5, level),
        rounds=np.arange(5),
        warmup=(),
        calls=1,
        setup={},
        gate={},
        evidence={},
        memory=None,
        roofs=None,
        energy=None,
        steady=True,
        valid=True,
        reasons=(),
        path=Path("played.json"),
    )


START, PREPARE, MEASURE, FINISH = 10.0, 1.0, 3.0, 1.0
"""Seconds that a process takes to start, to prepare a case, to measure one, and to end: about what
small cases of TensorFlow take on a machine of today."""


@dataclass
class Played:
    """What came of it.

    seconds: of the fleet's clock. planning: of this machine's, for the loop, the managers and the
    schedule. busy: machine seconds in processes, of ``there``, those that machines were there for
    while work was left. lost: processes that went with their machine; retried: cases that were in
    flight on one. processes: begun in all. broken: rules that did not hold, in words.
    """

    world: World
    seconds: float = 0.0
    planning: float = 0.0
    busy: float = 0.0
    there: float = 0.0
    processes: int = 0
    lost: int = 0
    retried: int = 0
    blamed: int = 0
    machines: int = 0
    measured: int = 0
    broken: list[str] = field(default_factory=list)


@dataclass
class _Machine:
    member: ClusterMember
    pace: float
    came: float
    gone: float
    preempted: bool
    worker: _Worker | None = None
    free: float = math.inf  # when it last ended a process


class _Worker:
    """A process that takes its time by the clock of the game."""

    def __init__(self, game: Game, machine: _Machine, session: Session, work: Work) -> None:
        self.game, self.machine, self.session, self.work = game, machine, session, work
        self.events = list(self._events())
        self.next = 0
        self.begun = game.time
        self.seen: list[Case] = []
        self.over = False
        self.cases = {case.id: case for case in work.cases}

    def _events(self) -> Iterator[tuple[float, Mapping[str, object] | None]]:
        """When which line comes; None: the machine goes."""
        pace, due = self.machine.pace, self.game.time
        due += START * pace
        for cases in grouped(self.work.cases, lambda case: case.group).values():
            for case in cases:
                yield due, {"begun": [case.id]}
                due += PREPARE * pace
                if case.id in self.game.culprits:
                    yield due, None
            yield due, {"begun": [case.id for case in cases]}
            due += MEASURE * len(cases) * self.work.share * pace
            for case in cases:
                yield due, {"benchmark": {"extra_info": {"lstm": {"case_id": case.id}}}}
        yield due + FINISH * pace, {"finished": "now"}

    @property
    def due(self) -> float:
        """When something happens next."""
        soonest = self.events[self.next][0] if self.next < len(self.events) else self.game.time
        return min(soonest, self.machine.gone)

    def poll(self) -> int | None:
        self._check()
        return 0 if self.next == len(self.events) else None

    def _check(self) -> None:
        """Raise LostError where the machine is gone, by itself or by what it measures."""
        due = [self.events[self.next]] if self.next < len(self.events) else []
        if any(line is None and when <= self.game.time for when, line in due):
            self.machine.gone = min(self.machine.gone, self.game.time)
            self.machine.preempted = False
        if self.machine.gone <= self.game.time:
            self._leave()
            self.game.played.lost += 1
            raise LostError("it is gone", blame=not self.machine.preempted)

    def lines(self) -> Sequence[Mapping[str, object]]:
        found: list[Mapping[str, object]] = []
        while self.next < len(self.events) and self.events[self.next][0] <= self.game.time:
            line = self.events[self.next][1]
            if line is None:
                break
            self.next += 1
            found.append(line)
            if "benchmark" in line:
                ours = line["benchmark"]["extra_info"]["lstm"]  # type: ignore[index]
                case = self.cases[ours["case_id"]]
                self.seen.append(case)
                self.game.counts[self.session.kind, case.id] += 1
        return found

    def kill(self) -> None:
        self._leave()

    def _leave(self) -> None:
        if not self.over:
            self.over = True
            self.machine.worker = None
            self.machine.free = self.game.time
            self.game.freed = True
            self.game.played.busy += self.game.time - self.begun

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        self._leave()
        return self.game.settled(self, outcomes)

    def last_words(self) -> str:
        return ""


class _Post:
    """The executor of a machine."""

    def __init__(self, game: Game, machine: _Machine, session: Session) -> None:
        self._game, self._machine, self._session = game, machine, session

    def start(self, work: Work) -> _Worker:
        if self._machine.worker is not None:
            self._game.broken(f"{self._machine.member.name} measures two processes at once")
        self._machine.worker = _Worker(self._game, self._machine, self._session, work)
        self._game.played.processes += 1
        return self._machine.worker

    def hurry(self) -> None:
        """Nothing takes time here."""


class Game:
    """A world in play, as the ``Machines`` and the view of a ``Fleet``."""

    def __init__(self, world: World) -> None:
        self.world, self.random = world, Random(world.seed)
        self.time = 0.0
        self.played = Played(world)
        self.told: list[str] = []
        self.cases = _cases(world)
        ids = [case.id for case in self.cases]
        self.culprits: Collection[str] = set(self.random.sample(ids, world.culprits))
        self.counts: Counter[tuple[str, str]] = Counter()
        self.places: dict[tuple[str, str], set[str]] = {}
        self.files: dict[str, list[ResultFile]] = {}
        self.freed = False  # whether a machine is since the last look
        self._here: dict[str, _Machine] = {}
        self.coming: list[_Machine] = []
        for number in range(world.machines):
            late = self.random.random() < world.late
            comes = self.random.uniform(0, 600) if late else 0.0
            kind = MachineKind(f"CPU {number % world.kinds}", 8, 0.0, (), "3", ())
            self.coming.append(self._machine(kind, comes))

    def _machine(self, kind: MachineKind, comes: float) -> _Machine:
        world, random = self.world, self.random
        suite = Suite("played", "", Path("played.toml"), self.cases, _seconds(self.cases))
        fails = exponential(random, world.failures)
        leaves = exponential(random, world.preemptions)
        pace = (3.0 if random.random() < world.slow else 1.0) * random.uniform(0.9, 1.1)
        member = ClusterMember(f"node{self.played.machines}", kind, "", suite)
        self.played.machines += 1
        gone = comes + min(fails, leaves)
        return _Machine(member, pace, comes, gone, leaves <= fails)

    # -- the machines

    @property
    def waiting(self) -> bool:
        """Whether machines are about to come."""
        return not self._here and bool(self.coming)

    def arrived(self) -> Sequence[ClusterMember]:
        """Those that have come."""
        come = [machine for machine in self.coming if machine.came <= self.time]
        self.coming = [machine for machine in self.coming if machine.came > self.time]
        self._here |= {machine.member.name: machine for machine in come}
        return [machine.member for machine in come]

    def retire(self, member: ClusterMember, *, for_good: bool) -> None:
        """A machine is given up; another comes for it, if they are replaced."""
        machine = self._here.pop(member.name)
        self.played.there += machine.gone - machine.came
        if self.world.replaced:
            comes = self.time + self.random.uniform(20, 50)
            self.coming.append(self._machine(member.kind, comes))

    # -- the view, and the clock

    def update(self, progress: SessionProgress) -> None:
        """Nobody looks."""

    def message(self, text: str) -> None:
        """Keep it."""
        self.told.append(text)

    def sleep(self, seconds: float) -> None:
        """To where something happens next: looks between would see nothing new."""
        if self.freed:  # its next process begins at the next look
            self.freed = False
            self.time += seconds
            return
        workers = [each.worker for each in self._here.values() if each.worker is not None]
        due = [worker.due for worker in workers] + [each.came for each in self.coming]
        if self.world.budget is not None:
            due.append(self.world.budget)
        self.time = max(self.time + seconds, min(due, default=self.time + seconds))

    # -- what it comes to

    def broken(self, what: str) -> None:
        """A rule did not hold."""
        self.played.broken.append(f"at {self.time:.0f} s {what}")

    def settled(
        self, worker: _Worker, outcomes: Sequence[Mapping[str, object]]
    ) -> ResultFile | None:
        """The file of a process: what it has finished, and what is said of the others."""
        key = worker.session.kind
        files = self.files.setdefault(key, [])
        now = datetime(2026, 1, 1, tzinfo=UTC)
        name = f"{key}/{len(files)}"
        run = Run(name, worker.session.id, "played", 0, now, now, True, "h", "m", {}, {})
        for case in worker.seen:
            self.places.setdefault((key, case.id), set()).add(worker.machine.member.name)
        said = {str(each["case_id"]): each for each in outcomes}
        if not worker.seen and not said:
            return None
        file = ResultFile(
            Path("played.json"),
            run,
            tuple(measurement(case, run, self.random) for case in worker.seen),
            tuple(
                Outcome(worker.cases[case], run, str(each["outcome"]), "", "", Path("played.json"))
                for case, each in said.items()
            ),
            (),
        )
        files.append(file)
        self.played.blamed += len(said)
        return file

    def manager(self, member: ClusterMember) -> Manager:
        """The session of a kind of machine."""
        world = self.world
        session = Session(
            id=f"s-{member.key}",
            suite="played",
            suite_name="played",
            cases=self.cases,
            goal=Goal(processes=world.processes) if world.processes else Goal(0.05),
            budget=world.budget,
            case_limit=HOUR,
            started="2026-01-01T00:00:00+00:00",
            seed=world.seed,
            fleet="s",
            kind=member.key,
        )
        manager = Manager(
            session,
            None,
            self,
            lambda changed: None,
            lambda: self.time,
            seconds=_seconds(self.cases),
            needs=lambda backend: Need(),
        )
        manager.begin()
        return manager

    def post(self, member: ClusterMember, manager: Manager) -> _Post:
        """The executor of a machine."""
        return _Post(self, self._here[member.name], manager.session)


def play(world: World) -> Played:
    """Play a world to its end, and check its rules."""
    game = Game(world)
    fleet = Fleet(game, game.manager, game.post, game.message, lambda: game.time, game.sleep)
    began = time.process_time()
    fleet.run()
    played = game.played
    played.planning = time.process_time() - began
    played.seconds = game.time
    played.measured = sum(game.counts.values())
    played.retried = sum("tried again elsewhere" in text for text in game.told)
    for machine in game._here.values():
        played.there += min(machine.gone, game.time) - machine.came
    _check(game, fleet)
    return played


def _check(game: Game, fleet: Fleet) -> None:
    """What must hold at the end."""
    world = game.world
    for key, manager in fleet.managers.items():
        kept = sum(len(file.measurements) for file in game.files.get(key, ()))
        counted = sum(map(len, manager.schedule.medians.values()))
        delivered = sum(count for (kind, _), count in game.counts.items() if kind == key)
        if not kept == counted == delivered:
            game.broken(f"{delivered} results came, {kept} are kept and {counted} counted")
        if not manager.schedule.finished:
            if world.budget is None and world.replaced:
                game.broken(f"{key} has work left, with machines and time to do it")
            continue
        for case in game.cases:
            _check_case(game, manager, key, case.id)


def _check_case(game: Game, manager: Manager, key: str, case: str) -> None:
    wanted, found = game.world.processes, game.counts[key, case]
    if case in game.culprits:
        if found or not manager.schedule.given_up(case):
            game.broken(f"{case} takes machines down and is not given up")
    elif manager.schedule.given_up(case):
        # Machines that failed by themselves while it was tried alone: it cannot be told apart.
        if not game.world.failures:
            game.broken(f"{case} is given up and did nothing")
    elif wanted is not None and found != wanted:
        game.broken(f"{case} was measured in {found} processes and not in {wanted}")
    elif wanted is None and not manager.schedule.precise(case):
        game.broken(f"{case} is not precise")


def _cases(world: World) -> tuple[Case, ...]:
    return tuple(
        Case(f"b{backend}", LSTMSpec(1, 4), Workload(2, 5 + group))
        for group in range(world.groups)
        for backend in range(world.backends)
    )


def _seconds(cases: Sequence[Case]) -> dict[str, float]:
    return dict.fromkeys((case.group for case in cases), MEASURE)
