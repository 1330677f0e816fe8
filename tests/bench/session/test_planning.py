"""Test planning with a budget in complete sessions on simulated clocks."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.records.schema import ResultFile
from bench.session.manager import Manager, SessionProgress
from bench.session.schedule import LEAST_SHARE
from bench.session.session import Environment, Goal, Lot, Need, Work, lots
from bench.session.workers import Worker
from lstm_impl import LSTMSpec, Workload
from tests.bench.session.made_sessions import make_file, session

WANTED = 6
START, IMPORT, END = 5.0, 5.0, 1.0
ROUNDING = 1e-6


def needs(backend: str) -> Need:
    sides = {name: Need(name, (("SIDE", name),)) for name in ("east", "west")}
    return sides.get(backend, Need("west"))


@dataclass
class Machine:
    """The costs of processes, and what they did.

    own: seconds of each case in each process, outside timing; once: in the first that has it;
    both by id. early: part of its time that a case is timed for. measuring: seconds of each case,
    by its group.
    """

    cases: tuple[Case, ...]
    budget: float
    own: Mapping[str, float]
    measuring: Mapping[str, float]
    once: Mapping[str, float] = field(default_factory=dict)
    early: Mapping[str, float] = field(default_factory=dict)
    time: float = 0.0
    works: list[Work] = field(default_factory=list)
    killed: list[Work] = field(default_factory=list)
    had: Counter[tuple[Environment, str]] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lots = lots(self.cases, needs)
        goal = Goal(processes=WANTED)
        self.manager = Manager(
            session(cases=self.cases, goal=goal, budget=self.budget, case_limit=1e9),
            self,
            self,
            lambda changed: None,
            lambda: self.time,
            self.sleep,
            seconds=self.measuring,
            needs=needs,
        )

    def sleep(self, seconds: float) -> None:
        self.time = max(self.time, min(self.process.due, self.budget))

    @property
    def left(self) -> float:
        return self.budget - self.time

    def start(self, work: Work) -> Worker:
        if all(self.count(lot) for lot in self.lots):
            self.check(work)
        self.works.append(work)
        self.process = Process(self, work)
        return self.process

    def check(self, work: Work) -> None:
        """Check that work fits into the time, and that no group is overtaken."""
        assert self.least(work.cases, work.environment) <= self.left + ROUNDING
        here = {case.id for case in work.cases}
        chosen = [
            lot
            for lot in self.lots
            if lot.environment == work.environment and here & {case.id for case in lot.cases}
        ]
        level = min(map(self.count, chosen))
        for lot in self.lots:
            overtaken = self.count(lot) < level and lot.group not in self.manager.schedule.put_off
            assert not overtaken or self.least_lot(lot) > self.left - ROUNDING

    def count(self, lot: Lot) -> int:
        return min(self.had[lot.environment, case.id] for case in lot.cases)

    def least_lot(self, lot: Lot) -> float:
        return self.least([*lot.cases, *lot.references[:1]], lot.environment)

    def least(self, cases: Sequence[Case], environment: Environment) -> float:
        found = START + IMPORT + END
        for case in cases:
            found += self.own[case.id] + LEAST_SHARE * self.measuring[case.group]
            if self.had[environment, case.id] < 2:
                found += self.once.get(case.id, 0.0)
        return found

    def update(self, progress: SessionProgress) -> None:
        """Ignore progress."""

    def message(self, text: str) -> None:
        self.messages.append(text)


class Process:
    """A worker that writes its lines as it reaches them."""

    def __init__(self, machine: Machine, work: Work) -> None:
        self.machine, self.work = machine, work
        self.ends = 0.0
        self.coming = list(self.script())
        self.measured: list[Case] = []

    def script(self) -> Iterator[tuple[float, dict[str, Any]]]:
        machine, work = self.machine, self.work
        due = machine.time + START
        groups: dict[str, list[Case]] = {}
        for case in work.cases:
            groups.setdefault(case.group, []).append(case)
        importing = IMPORT
        for group, cases in groups.items():
            setups: dict[str, dict[str, float]] = {}
            for case in cases:
                yield due, {"begun": [case.id]}
                due += importing + machine.own[case.id]
                if not machine.had[work.environment, case.id]:
                    due += machine.once.get(case.id, 0.0)
                timed = work.share * machine.measuring[group] * machine.early.get(case.id, 1.0)
                setups[case.id] = {"start_s": importing, "timing_s": timed}
                importing = 0.0
            yield due, {"begun": [case.id for case in cases]}
            due += sum(setup["timing_s"] for setup in setups.values())
            for name, setup in setups.items():
                ours = {"case_id": name, "setup": setup}
                yield due, {"benchmark": {"extra_info": {"lstm": ours}}}
        self.ends = due + END
        yield due, {"finished": "now"}

    @property
    def due(self) -> float:
        return self.coming[0][0] if self.coming else self.ends

    def poll(self) -> int | None:
        return 0 if self.machine.time >= self.ends else None

    def lines(self) -> Sequence[Mapping[str, object]]:
        found = []
        while self.coming and self.coming[0][0] <= self.machine.time:
            found.append(self.coming.pop(0)[1])
        done = {
            line["benchmark"]["extra_info"]["lstm"]["case_id"]
            for line in found
            if "benchmark" in line
        }
        self.measured += [case for case in self.work.cases if case.id in done]
        return found

    def kill(self) -> None:
        if self.coming:
            self.machine.killed.append(self.work)

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        self.machine.had.update((self.work.environment, case.id) for case in self.measured)
        if not self.measured:
            return None
        return make_file(self.work.number, dict.fromkeys(self.measured, 1.0))

    def last_output(self) -> str:
        return ""


def make_cases(backends: Sequence[str], groups: int) -> tuple[Case, ...]:
    return tuple(
        Case(backend, LSTMSpec(1, 4), Workload(2, 5 + group))
        for group in range(groups)
        for backend in backends
    )


def tables(
    ids: Sequence[str], most: float, rare: bool = False
) -> st.SearchStrategy[dict[str, float]]:
    values = st.floats(0.5, most)
    return st.fixed_dictionaries({each: st.just(0.0) | values if rare else values for each in ids})


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    sides = draw(st.sampled_from([(), ("east",), ("west",), ("east", "west")]))
    backends = [*draw(st.sampled_from([("a",), ("a", "b")])), *sides]
    cases = make_cases(backends, draw(st.integers(1, 4)))
    ids = [case.id for case in cases]
    return Machine(
        cases,
        budget=draw(st.floats(10, 1500)),
        own=draw(tables(ids, 20.0)),
        measuring=draw(tables(list(dict.fromkeys(case.group for case in cases)), 15.0)),
        once=draw(tables(ids, 60.0, rare=True)),
        early=draw(st.fixed_dictionaries({each: st.floats(0.3, 1.0) for each in ids})),
    )


@settings(max_examples=50, deadline=None)
@given(machines())
def test_next_with_any_costs_keeps_spends_and_shares_the_budget(machine: Machine) -> None:
    finished = machine.manager.run()
    counts = {lot.key: machine.count(lot) for lot in machine.lots}
    assert machine.time <= machine.budget
    # A process ended by the budget holds a case that no process had finished.
    for work in machine.killed:
        assert any(not machine.had[work.environment, case.id] for case in work.cases)
    assert max(counts.values()) <= WANTED
    assert finished == (min(counts.values()) == WANTED)
    for lot in machine.lots:
        if counts[lot.key] < WANTED:
            assert machine.left < machine.least_lot(lot) + ROUNDING
