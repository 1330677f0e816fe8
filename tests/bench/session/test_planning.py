"""What a budget comes to: the plan, and whole sessions on machines with a clock of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.records.schema import ResultFile
from bench.session.manager import Manager, SessionProgress
from bench.session.schedule import BUDGET_USED, LEAST_SHARE, Coming, plan, share_of_time
from bench.session.session import Environment, Goal, Lot, Need, Work, lots
from bench.session.workers import Worker
from lstm_impl import LSTMSpec, Workload
from tests.bench.session.made_sessions import file_of, session

WANTED = 6
START, IMPORT, END = 5.0, 5.0, 1.0
ROUNDING = 1e-6

Key = tuple[str, Environment]


def needs(backend: str) -> Need:
    sides = {name: Need(name, (("SIDE", name),)) for name in ("east", "west")}
    return sides.get(backend, Need("west"))


# -- the plan


def coming(
    lot: Lot, begun: int, looks: int = 2, promised: bool = False, **changes: float
) -> Coming:
    missing = max(0, WANTED - begun)
    found = Coming(lot, begun, missing, max(1, missing), promised, 10.0, 20.0, 0.0, looks)
    return replace(found, **changes)  # type: ignore[arg-type]


def lot(number: int, environment: Environment = ()) -> Lot:
    return Lot(f"group {number}", environment, ())


def process(environment: Environment) -> float:
    return 8.0 if environment else 5.0


COMING = st.lists(
    st.builds(
        lambda begun, looks, promised, side, outside, measuring: (
            begun,
            looks,
            promised,
            side,
            outside,
            measuring,
        ),
        st.integers(0, 7),
        st.sampled_from([1, 2, 3]),
        st.booleans(),
        st.sampled_from(["", "east"]),
        st.floats(0, 60),
        st.floats(0, 60),
    ),
    min_size=1,
    max_size=8,
)


@given(COMING, st.floats(1, 3000))
def test_a_plan_fits_and_what_is_late_would_not_have(
    drawn: list[tuple[int, int, bool, str, float, float]], seconds: float
) -> None:
    every = [
        coming(
            lot(n, (("SIDE", side),) if side else ()),
            begun,
            looks,
            promised,
            outside=outside,
            measuring=measuring,
        )
        for n, (begun, looks, promised, side, outside, measuring) in enumerate(drawn)
    ]
    found = plan(every, seconds, process)
    assert Counter(each.lot for each, _ in (*found.first, *found.late)) == Counter(
        each.lot for each in every
    )

    def takes(parts: Sequence[tuple[Coming, int]]) -> float:
        starts = {
            (each.lot.environment, turn)
            for each, number in parts
            for turn in range(each.begun, each.begun + number)
        }
        cases = sum(n * (each.outside + LEAST_SHARE * each.measuring) for each, n in parts)
        return cases + sum(process(side) for side, _ in starts)

    kept = [(each, each.missing) for each, number in found.first if number == each.left]
    looked = [(each, number) for each, number in found.first if number != each.left]
    assert takes([*kept, *looked]) <= BUDGET_USED * seconds + ROUNDING
    for each, _ in [*found.late, *looked]:
        assert takes([*kept, (each, each.missing)]) > BUDGET_USED * seconds - ROUNDING
    for each, number in looked:
        assert (each.looks, number) == (1, 1)


def test_until_all_costs_are_known_all_are_tried_and_without_a_budget_too() -> None:
    every = [coming(lot(1), 1), coming(lot(2), 0, looks=0)]
    assert [each for each, _ in plan(every, 1.0, process).first] == every
    assert [each for each, _ in plan(every[:1], float("inf"), process).first] == every[:1]


def test_what_was_promised_is_kept_before_what_has_come_further() -> None:
    every = [coming(lot(1), 2), coming(lot(2), 1, promised=True), coming(lot(3), 3)]
    # 14 s a process, and 5 s to start it.
    found = plan(every, 105.0, process)
    assert [each.lot.group for each, _ in found.first] == ["group 2"]
    found = plan(every, 165.0, process)
    assert [each.lot.group for each, _ in found.first] == ["group 2", "group 3"]


def test_what_one_process_has_met_is_met_by_another_before_it_is_put_off() -> None:
    kept, dear = coming(lot(1), 1), coming(lot(2), 1, looks=1, outside=80.0)
    found = plan([kept, dear], 220.0, process)  # 95 of them for the first
    assert [(each.lot.group, number) for each, number in found.first] == [
        ("group 1", 5),
        ("group 2", 1),
    ]
    twice = replace(dear, looks=2)
    assert [each for each, _ in plan([kept, twice], 220.0, process).late] == [twice]
    # Not where it would cost those that are kept their time, nor where it could not help.
    assert [each for each, _ in plan([kept, dear], 180.0, process).late] == [dear]
    long = replace(dear, outside=1.0, measuring=150.0)
    assert [each for each, _ in plan([kept, long], 220.0, process).late] == [long]


@given(
    left=st.floats(0, 1e6),
    outside=st.floats(0, 1e4),
    measuring=st.floats(0, 1e6),
)
def test_a_share_is_a_part_and_never_nothing(left: float, outside: float, measuring: float) -> None:
    share = share_of_time(left, outside, measuring)
    assert 0 < share <= 1
    if LEAST_SHARE < share < 1:
        assert outside + share * measuring <= left
    if share > LEAST_SHARE and measuring > 0:
        assert outside + share * measuring <= BUDGET_USED * left + ROUNDING
    else:
        assert share in (LEAST_SHARE, 1)


# -- whole sessions


@dataclass
class Machine:
    """What processes take on it, and what they did.

    own: seconds of each case in each process, beside being timed; once: in the first that has it;
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
    promised: set[Key] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

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
        """To where something happens next: looks between would see nothing new."""
        self.time = max(self.time, min(self.process.due, self.budget))

    @property
    def left(self) -> float:
        return self.budget - self.time

    def start(self, work: Work) -> Worker:
        if all(self.count(lot) for lot in self.lots):
            self.promised |= self.manager.schedule.promised
            self.check(work)
        self.works.append(work)
        self.process = Process(self, work)
        return self.process

    def check(self, work: Work) -> None:
        """That it can be done in the time, and that nothing is overtaken."""
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
            assert not overtaken or self.least_of(lot) > self.left - ROUNDING

    def count(self, lot: Lot) -> int:
        return min(self.had[lot.environment, case.id] for case in lot.cases)

    def least_of(self, lot: Lot) -> float:
        return self.least([*lot.cases, *lot.bridges[:1]], lot.environment)

    def least(self, cases: Sequence[Case], environment: Environment) -> float:
        """Seconds that a process takes for these, as far as others have shown it."""
        found = START + IMPORT + END
        for case in cases:
            found += self.own[case.id] + LEAST_SHARE * self.measuring[case.group]
            if self.had[environment, case.id] < 2:
                found += self.once.get(case.id, 0.0)
        return found

    def update(self, progress: SessionProgress) -> None:
        """Nobody looks."""

    def message(self, text: str) -> None:
        self.told.append(text)


class Process:
    """One of them, which writes its lines when it comes to them."""

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
        return file_of(self.work.number, dict.fromkeys(self.measured, 1.0))

    def last_words(self) -> str:
        return ""


def cases_of(backends: Sequence[str], groups: int) -> tuple[Case, ...]:
    return tuple(
        Case(backend, LSTMSpec(1, 4), Workload(2, 5 + group))
        for group in range(groups)
        for backend in backends
    )


def first(once: float, budget: float, groups: int = 3) -> Machine:
    """Groups of three backends; the last group's third is compiled by the first process."""
    cases = cases_of(("a", "b", "c"), groups)
    return Machine(
        cases,
        budget,
        own=dict.fromkeys((case.id for case in cases), 1.5),
        measuring=dict.fromkeys((case.group for case in cases), 2.0),
        once={cases[-1].id: once},
    )


def test_what_the_first_process_compiles_is_not_planned_for_the_others() -> None:
    machine = first(once=40.0, budget=300.0)
    assert machine.manager.run()
    assert [machine.count(lot) for lot in machine.lots] == [WANTED] * 3
    assert len(machine.works) == WANTED
    assert machine.told == []


def test_what_groups_leave_over_goes_to_those_that_were_put_off() -> None:
    machine = first(once=0.0, budget=450.0)
    machine.own = {**machine.own, machine.cases[-1].id: 60.0}
    assert not machine.manager.run()
    *kept, late = map(machine.count, machine.lots)
    assert kept == [WANTED] * 2
    assert late == 3  # with the others, once more to be sure what it takes, and of what was over
    assert any(line.startswith("put off") for line in machine.told)
    assert machine.left < machine.least_of(machine.lots[-1])


def test_a_case_that_failed_is_no_cost_of_its_group() -> None:
    """It was compiled for a minute, and is not tried again."""
    machine = first(once=0.0, budget=300.0)
    failing = machine.cases[-1]
    machine.own = {**machine.own, failing.id: 60.0}
    script = Process.script

    def fails(process: Process) -> Iterator[tuple[float, dict[str, Any]]]:
        for due, line in script(process):
            ours = line.get("benchmark", {}).get("extra_info", {}).get("lstm", {})
            if ours.get("case_id") != failing.id:
                yield due, line
                continue
            said = {"case": failing.to_dict(), "case_id": failing.id, "outcome": "failed"}
            yield due, {"outcome": said}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "script", fails)
        settle = Process.settle

        def settled(
            process: Process, outcomes: Sequence[Mapping[str, object]]
        ) -> ResultFile | None:
            found = settle(process, outcomes)
            if found is None or failing not in process.work.cases:
                return found
            return replace(found, outcomes=file_of(0, {}, {failing: "failed"}).outcomes)

        patch.setattr(Process, "settle", settled)
        assert machine.manager.run()
    counts = [machine.had[(), case.id] for case in machine.cases if case != failing]
    assert set(counts) == {WANTED}


def tables(
    ids: Sequence[str], most: float, rare: bool = False
) -> st.SearchStrategy[dict[str, float]]:
    values = st.floats(0.5, most)
    return st.fixed_dictionaries({each: st.just(0.0) | values if rare else values for each in ids})


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    sides = draw(st.sampled_from([(), ("east",), ("west",), ("east", "west")]))
    backends = [*draw(st.sampled_from([("a",), ("a", "b")])), *sides]
    cases = cases_of(backends, draw(st.integers(1, 4)))
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
def test_whatever_processes_take_a_budget_is_kept_spent_and_shared(machine: Machine) -> None:
    finished = machine.manager.run()
    counts = {lot.key: machine.count(lot) for lot in machine.lots}
    assert machine.time <= machine.budget
    # What is ended with the budget has something in it that no process had come to the end of.
    for work in machine.killed:
        assert any(not machine.had[work.environment, case.id] for case in work.cases)
    assert max(counts.values()) <= WANTED
    assert all(counts[key] == WANTED for key in machine.promised)
    assert finished == (min(counts.values()) == WANTED)
    for lot in machine.lots:
        if counts[lot.key] < WANTED:
            assert machine.left < machine.least_of(lot) + ROUNDING
