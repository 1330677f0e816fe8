from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import results
from bench.disk.writing import ResultWriteError
from bench.results.journal import Journal
from bench.results.schema import Figures, Measurement, Outcome, ResultFile, Run
from bench.running import manager, workers
from bench.running.known import MEMORY_CASE
from bench.running.manager import Manager, Progress, WorkerError
from bench.running.planning import LEAST_SHARE, share_of_time
from bench.running.schedule import Schedule
from bench.running.session import Session, SessionError, load
from bench.running.summary import summarize
from bench.running.watch import IDLE_LIMIT, Watch
from bench.running.work import Goal, Work
from bench.running.workers import Worker
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, Workload
from tests.places import ROOT

HERE = Path(__file__)


def case(backend: str, steps: int = 5) -> Case:
    return Case(backend, LSTMSpec(1, 4), Workload(2, steps, "training"))


A5, B5, A6, B6 = CASES = (case("a"), case("b"), case("a", 6), case("b", 6))


def run_of(number: int, session: str = "s") -> Run:
    now = datetime.now(UTC)
    return Run(f"run{number}", session, "mine", 0, now, now, True, "host", "m", {}, {})


def measurement(
    case: Case, run: Run, seconds: float = 1.0, memory: Figures | None = None
) -> Measurement:
    return Measurement(
        case=case,
        run=run,
        samples=np.array([seconds] * 6),
        rounds=np.arange(6),
        warmup=(),
        calls=1,
        setup={},
        gate={},
        evidence={},
        memory=memory,
        roofs=None,
        energy=None,
        steady=True,
        valid=True,
        reasons=(),
        path=Path("x.json"),
    )


def file_of(
    number: int,
    measured: Mapping[Case, float],
    outcomes: Mapping[Case, str] | None = None,
    memory: Figures | None = None,
) -> ResultFile:
    run, path = run_of(number), Path("x.json")
    return ResultFile(
        path,
        run,
        tuple(measurement(case, run, seconds, memory) for case, seconds in measured.items()),
        tuple(Outcome(case, run, what, "why", "", path) for case, what in (outcomes or {}).items()),
        (),
    )


def even(costs: Mapping[str, float]) -> dict[str, float]:
    """Of each case, where a group's two take these seconds."""
    return {case.id: costs[case.group] / 2 for case in CASES}


def ids(work: Work | None) -> set[str]:
    return set() if work is None else {case.id for case in work.cases}


# -- the schedule


def test_every_case_is_measured_in_as_many_processes_as_are_wanted() -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0)
    for number in (1, 2):
        work = schedule.next()
        assert ids(work) == {case.id for case in CASES}
        assert work is not None
        assert work.number == number
        schedule.add(file_of(number, dict.fromkeys(CASES, 1.0)))
    assert schedule.next() is None
    assert schedule.finished


def test_the_order_comes_from_the_seed_and_differs_between_processes() -> None:
    def seeds(seed: int) -> list[int]:
        schedule, found = Schedule(CASES, Goal(processes=3), seed), []
        while work := schedule.next():
            found.append(work.order_seed)
            schedule.add(file_of(work.number, dict.fromkeys(work.cases, 1.0)))
        return found

    assert seeds(7) == seeds(7)
    assert seeds(7) != seeds(8)
    assert len(set(seeds(7))) == 3


def test_what_a_killed_process_did_not_reach_comes_before_a_second_process() -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0)
    schedule.add(file_of(1, {A5: 1.0, B5: 1.0, A6: 1.0}))
    assert ids(schedule.next()) == {B6.id}
    schedule.add(file_of(2, {B6: 1.0}))
    assert ids(schedule.next()) == {case.id for case in CASES}


def test_precision_is_judged_at_six_processes_and_not_before() -> None:
    schedule = Schedule([A5], Goal(0.02), 0)
    for number in range(1, 6):
        schedule.add(file_of(number, {A5: 1.0}))
        assert not schedule.precise(A5.id)
        assert math.isinf(schedule.half_width(A5.id))
        assert schedule.next() is not None
    schedule.add(file_of(6, {A5: 1.0}))
    assert schedule.precise(A5.id)
    assert schedule.next() is None


def test_a_wide_interval_asks_for_more_processes_until_it_is_narrow() -> None:
    schedule = Schedule([A5], Goal(0.02), 0)
    for number in range(1, 7):
        schedule.add(file_of(number, {A5: 1.0 + 0.01 * number}))
    assert schedule.next() is not None
    for number in range(7, 30):
        schedule.add(file_of(number, {A5: 1.03}))
    assert schedule.next() is None


def test_a_clear_winner_is_no_reason_to_stop() -> None:
    schedule = Schedule([A5, B5], Goal(0.02), 0)
    for number in range(1, 9):
        wide = 1.0 + 0.05 * (number % 2)
        schedule.add(file_of(number, {A5: wide, B5: 100 * wide}))
    assert ids(schedule.next()) == {A5.id, B5.id}


def test_a_group_is_left_out_as_a_whole_once_all_of_it_is_precise() -> None:
    schedule = Schedule(CASES, Goal(0.02), 0)
    for number in range(1, 7):
        schedule.add(file_of(number, {A5: 1.0, B5: 1.0, A6: 1.0, B6: 1.0 + number / 10}))
    assert ids(schedule.next()) == {A6.id, B6.id}


@pytest.mark.parametrize("outcome", ["not_measured", "refused", "failed", "timed_out"])
def test_what_another_process_would_only_repeat_is_not_tried_again(outcome: str) -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0)
    schedule.add(file_of(1, {A5: 1.0, A6: 1.0, B6: 1.0}, {B5: outcome}))
    assert B5.id not in ids(schedule.next())


def test_what_was_interrupted_is_tried_again() -> None:
    schedule = Schedule([A5], Goal(processes=1), 0)
    schedule.add(file_of(1, {}, {A5: "interrupted"}))
    assert ids(schedule.next()) == {A5.id}


def test_a_case_that_crashed_goes_alone_next_and_twice_is_enough() -> None:
    schedule = Schedule([A5, B5], Goal(processes=1), 0)
    schedule.add(file_of(1, {}, {B5: "crashed"}))
    assert ids(schedule.next()) == {B5.id}
    schedule.add(file_of(2, {}, {B5: "crashed"}))
    assert ids(schedule.next()) == {A5.id}
    schedule.add(file_of(3, {A5: 1.0}))
    assert schedule.next() is None
    assert schedule.outcomes[B5.id].outcome == "crashed"


def test_suspects_are_measured_one_by_one_and_then_together_again() -> None:
    schedule = Schedule([A5, B5], Goal(processes=2), 0)
    schedule.faults.suspect([A5.id, B5.id])
    alone = schedule.next()
    assert len(ids(alone)) == 1
    assert alone is not None
    schedule.add(file_of(1, {alone.cases[0]: 1.0}))
    other = schedule.next()
    assert ids(alone) | ids(other) == {A5.id, B5.id}
    assert other is not None
    schedule.add(file_of(2, {other.cases[0]: 1.0}))
    assert ids(schedule.next()) == {A5.id, B5.id}


def test_only_what_fits_the_time_left_is_begun() -> None:
    schedule = Schedule(CASES, Goal(processes=9), 0)
    assert ids(schedule.next(1.0)) == {case.id for case in CASES}  # not known yet
    assert schedule.next(0.0) is None
    schedule.add(file_of(1, dict.fromkeys(CASES, 1.0)))
    schedule.costs.learn(Work(1, CASES, 0), 2.0, even({A5.group: 10.0, A6.group: 30.0}), 42.0)
    assert ids(schedule.next(42.0)) == {case.id for case in CASES}
    assert ids(schedule.next(20.0)) == {A5.id, B5.id}
    assert schedule.next(11.0) is None
    assert not schedule.finished


WEIGHED: Figures = {"peak_bytes": 10, "steady_bytes": 5, "how": "told", "seconds": 7.0}


def test_memory_is_measured_once_a_case_and_only_where_it_is_wanted() -> None:
    for wanted in (True, False):
        schedule = Schedule(CASES, Goal(processes=3), 0, memory=wanted)
        found = []
        while work := schedule.next():
            found.append(work.memory)
            figures = WEIGHED if work.memory else None
            schedule.add(file_of(work.number, dict.fromkeys(work.cases, 1.0), memory=figures))
        assert found == [wanted, False, False]


def test_memory_that_a_killed_process_did_not_come_to_is_measured_by_the_next() -> None:
    schedule = Schedule(CASES, Goal(processes=2), 0, memory=True)
    schedule.add(file_of(1, {A5: 1.0, B5: 1.0, A6: 1.0}, memory=WEIGHED))
    work = schedule.next()
    assert work is not None
    assert (ids(work), work.memory) == ({B6.id}, True)
    schedule.add(file_of(2, {B6: 1.0}, memory=WEIGHED))
    work = schedule.next()
    assert work is not None
    assert not work.memory


def test_memory_that_could_not_be_told_is_not_tried_in_every_process() -> None:
    schedule = Schedule([A5], Goal(processes=2), 0, memory=True)
    unknown: Figures = {"peak_bytes": None, "steady_bytes": None, "how": "not known: it died"}
    schedule.add(file_of(1, {A5: 1.0}, memory=unknown))
    work = schedule.next()
    assert work is not None
    assert not work.memory


def test_memory_still_to_be_measured_counts_in_what_fits_the_time_left() -> None:
    def fits(figures: Figures | None) -> float:
        """The least time, to half a second, in which everything is begun."""
        schedule = Schedule(CASES, Goal(processes=9), 0, memory=True)
        schedule.add(file_of(1, dict.fromkeys(CASES, 1.0), memory=figures))
        schedule.costs.learn(Work(1, CASES, 0), 2.0, even({A5.group: 10.0, A6.group: 30.0}), 42.0)
        return next(each / 2 for each in range(200) if len(ids(schedule.next(each / 2))) == 4)

    assert fits(WEIGHED) == 42.0
    assert fits(None) == 42.0 + 4 * MEMORY_CASE


def test_the_leader_of_a_group_is_its_fastest_backend() -> None:
    schedule = Schedule(CASES, Goal(), 0)
    schedule.add(file_of(1, {A5: 2.0, B5: 1.0}))
    (leader,) = schedule.leaders()
    assert (leader.group, leader.backend, leader.time) == (A5.group, "b", 1.0)


# -- the watch


def test_a_case_has_its_limit_while_it_is_prepared() -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see({"begun": [A5.id]}, 5.0)
    assert not watch.overdue(15.0)
    assert watch.overdue(15.1)
    assert watch.busy == (A5.id,)
    assert not watch.timing


def test_cases_that_are_timed_in_turn_share_what_each_has_left() -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see({"begun": [A5.id]}, 0.0)
    watch.see({"begun": [B5.id]}, 4.0)
    assert not watch.timing
    watch.see({"begun": [A5.id, B5.id]}, 7.0)
    assert watch.timing
    assert not watch.overdue(20.0)  # 6 s of one and 7 s of the other
    assert watch.overdue(20.1)


def test_a_case_alone_in_its_group_is_announced_twice_and_has_one_limit() -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see({"begun": [A5.id]}, 0.0)
    watch.see({"begun": [A5.id]}, 4.0)
    assert watch.timing
    assert not watch.overdue(10.0)
    assert watch.overdue(10.1)


def test_finished_cases_are_not_busy_any_more() -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see({"begun": [A5.id, B5.id]}, 0.0)
    watch.see({"benchmark": {"extra_info": {"lstm": {"case_id": A5.id}}}}, 1.0)
    assert set(watch.busy) == {B5.id}
    watch.see({"outcome": {"case_id": B5.id}}, 2.0)
    assert not watch.busy
    assert watch.done == {A5.id, B5.id}
    watch.see({"finished": "now"}, 3.0)
    assert watch.ended


def test_a_worker_without_a_case_may_not_hang_either() -> None:
    watch = Watch(CASES, 10.0, 100.0)
    assert not watch.overdue(100.0 + IDLE_LIMIT)
    assert watch.overdue(100.1 + IDLE_LIMIT)


def test_the_watch_learns_what_starting_and_each_group_cost() -> None:
    watch = Watch(CASES, 10.0, 1.0)
    watch.see({"begun": [A5.id]}, 3.0)
    watch.see({"begun": [A5.id, B5.id]}, 4.0)
    watch.see({"begun": [A6.id]}, 9.0)
    watch.see({"finished": "now"}, 11.0)
    assert watch.startup == 2.0
    # Preparing A5 took 1 s; what nobody said of whom it was is shared.
    assert watch.costs == {A5.id: 1.0 + 2.5, B5.id: 2.5, A6.id: 1.0, B6.id: 1.0}


def line_of(case: Case, **ours: object) -> dict[str, object]:
    return {"benchmark": {"extra_info": {"lstm": {"case_id": case.id, **ours}}}}


def weighed(case: Case) -> dict[str, object]:
    return line_of(case, memory=dict(WEIGHED))


def test_a_case_costs_what_it_took_beside_being_timed_and_an_import_is_the_processs() -> None:
    watch = Watch(CASES, 100.0, 0.0, dict.fromkeys((case.id for case in CASES), 10.0))
    watch.see({"begun": [A5.id]}, 2.0)
    watch.see({"begun": [B5.id]}, 12.0)  # 6 of them an import
    watch.see({"begun": [A5.id, B5.id]}, 15.0)
    setups = {A5: {"start_s": 6.0, "timing_s": 4.0}, B5: {"start_s": 1.0, "timing_s": 12.0}}
    for case, setup in setups.items():
        watch.see(line_of(case, setup=setup), 33.0)
    watch.see({"begun": [A6.id]}, 33.0)
    watch.see({"outcome": {"case_id": A6.id}}, 35.0)
    watch.see({"finished": "now"}, 35.0)
    # 18 s in turn, of which 4 and 10 were to be timed.
    assert watch.timed == 14.0
    assert watch.costs == {A5.id: 10.0 - 6.0 + 2.0, B5.id: 3.0 + 2.0, A6.id: 1.0, B6.id: 1.0}


def test_the_time_for_memory_is_no_cost_of_a_later_process() -> None:
    watch = Watch(CASES, 100.0, 0.0)
    watch.see({"begun": [A5.id]}, 2.0)
    watch.see({"begun": [B5.id]}, 3.0)
    watch.see({"begun": [A5.id, B5.id]}, 4.0)
    watch.see({"begun": [A5.id]}, 10.0)
    watch.see({"begun": [B5.id]}, 17.0)
    watch.see(weighed(A5), 24.0)
    watch.see(weighed(B5), 24.0)
    watch.see({"begun": [A6.id]}, 25.0)
    watch.see({"finished": "now"}, 26.0)
    assert watch.once == 14.0
    assert watch.costs[A5.id] + watch.costs[B5.id] == 23.0 - 14.0
    assert watch.costs[A6.id] + watch.costs[B6.id] == 1.0


def test_a_case_whose_memory_is_measured_has_what_preparing_it_has_left() -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see({"begun": [A5.id]}, 0.0)
    watch.see({"begun": [B5.id]}, 4.0)
    watch.see({"begun": [A5.id, B5.id]}, 7.0)
    watch.see({"begun": [A5.id]}, 18.0)  # timed for 11 s, which the two share
    assert not watch.overdue(24.0)
    assert watch.overdue(24.1)
    watch.see({"begun": [B5.id]}, 20.0)
    assert not watch.overdue(27.0)
    assert watch.overdue(27.1)


@pytest.mark.parametrize("seconds", [None, "soon", -1.0, math.inf, math.nan])
def test_a_time_for_memory_that_makes_no_sense_is_none(seconds: object) -> None:
    watch = Watch(CASES, 10.0, 0.0)
    ours = {"case_id": A5.id, "memory": {"seconds": seconds}}
    watch.see({"benchmark": {"extra_info": {"lstm": ours}}}, 1.0)
    assert watch.once == 0.0


@pytest.mark.parametrize(
    "line", [{}, {"begun": 3}, {"begun": []}, {"benchmark": 1}, {"outcome": {"case_id": 3}}]
)
def test_lines_that_make_no_sense_are_passed_over(line: dict[str, object]) -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see(line, 1.0)
    assert (watch.busy, watch.done, watch.ended) == ((), set(), False)


# -- the manager, with workers that do as they are told on a clock of the test's own

HANG, DIE, SEGFAULT = "hang", "die", "segfault"


@dataclass
class World:
    """behaviour: of a case, what happens while it is prepared, or timed ("timed die").

    seconds: of measuring for each case, by its group. weighing: seconds for a case's memory. step:
    seconds from one line of a journal to the next.
    """

    time: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    weighing: float = 7.0
    step: float = 1.0
    behaviour: dict[str, str] = field(default_factory=dict)
    started: list[Work] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    saved: list[Session] = field(default_factory=list)
    shown: list[Progress] = field(default_factory=list)
    files: list[ResultFile] = field(default_factory=list)
    interrupt_at: float = math.inf
    words: str = ""
    mute: bool = False
    lingers: bool = False

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.time >= self.interrupt_at:
            self.interrupt_at = math.inf
            raise KeyboardInterrupt

    def start(self, work: Work) -> Worker:
        self.started.append(work)
        return Told(self, work)

    def update(self, progress: Progress) -> None:
        self.shown.append(progress)

    def tell(self, text: str) -> None:
        self.told.append(text)

    def manager(self, session: Session) -> Manager:
        return Manager(
            session,
            self,
            self,
            self.saved.append,
            lambda: self.time,
            self.sleep,
            seconds=self.seconds,
        )

    @property
    def outcomes(self) -> dict[str, str]:
        found = [each for file in self.files for each in file.outcomes]
        return {each.case.id: each.outcome for each in found}

    @property
    def counts(self) -> dict[str, int]:
        found = [each.case.id for file in self.files for each in file.measurements]
        return {case.id: found.count(case.id) for case in CASES}


class Told:
    """Prepares a case in a step, and times a group in one or for as long as it is told to."""

    def __init__(self, world: World, work: Work) -> None:
        self.world, self.work = world, work
        self.code: int | None = None
        self.measured: list[Case] = []
        self.events = iter(self.script())
        self.due = world.time + world.step
        self.killed = False

    def script(self) -> Iterator[dict[str, object] | int]:
        if self.world.mute:
            yield 4
        groups: dict[str, list[Case]] = {}
        for each in self.work.cases:
            groups.setdefault(each.group, []).append(each)
        for cases in groups.values():
            for each in cases:
                yield {"begun": [each.id]}
                yield from self.happen(self.world.behaviour.get(each.id, ""))
            yield {"begun": [each.id for each in cases]}
            measuring = self.world.seconds.get(cases[0].group, 0.0) * len(cases)
            self.due += self.work.share * measuring
            for each in cases:
                behaviour = self.world.behaviour.get(each.id, "")
                yield from self.happen(behaviour.removeprefix("timed "), "timed" in behaviour)
            for each in cases if self.work.memory else ():
                yield {"begun": [each.id]}
                self.due += self.world.weighing - self.world.step  # the next line comes after that
            for each in cases:
                self.measured.append(each)
                ours = {"case_id": each.id, "memory": self.figures()}
                yield {"benchmark": {"extra_info": {"lstm": ours}}}
        yield {"finished": "now"}
        while self.world.lingers:
            yield {}
        yield 0

    def figures(self) -> Figures | None:
        return {**WEIGHED, "seconds": self.world.weighing} if self.work.memory else None

    def happen(self, what: str, now: bool = True) -> Iterator[dict[str, object] | int]:
        while now and what == HANG:
            yield {}
        if now and what == DIE:
            yield -9
        if now and what == SEGFAULT:
            yield -11

    def poll(self) -> int | None:
        return self.code

    def lines(self) -> Sequence[Mapping[str, object]]:
        found: list[Mapping[str, object]] = []
        while self.code is None and not self.killed and self.world.time >= self.due:
            self.due += self.world.step
            event = next(self.events)
            if isinstance(event, int):
                self.code = event
            else:
                found.append(event)
        return found

    def kill(self) -> None:
        self.killed = True

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        if self.world.mute:
            return None
        number = len(self.world.files) + 1
        named = {Case.from_dict(each["case"]): each for each in outcomes}  # type: ignore[arg-type]
        file = file_of(number, dict.fromkeys(self.measured, 1.0), memory=self.figures())
        more = tuple(
            Outcome(each, file.run, str(said["outcome"]), str(said["reason"]), "", Path("x.json"))
            for each, said in named.items()
        )
        self.world.files.append(replace(file, outcomes=more))
        return self.world.files[-1]

    def last_words(self) -> str:
        return self.world.words


def session(**changes: object) -> Session:
    found = Session(
        id="s",
        suite="mine",
        suite_name="mine",
        cases=CASES,
        goal=Goal(processes=2),
        budget=None,
        case_limit=10.0,
        started=datetime.now(UTC).isoformat(),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def test_a_session_is_measured_and_ends() -> None:
    world = World()
    assert world.manager(session()).run()
    assert world.counts == {case.id: 2 for case in CASES}
    assert len(world.started) == 2
    assert world.saved[0].finished is None
    assert world.saved[-1].finished is not None
    assert world.saved[-1].spent == pytest.approx(world.time)


def test_a_process_that_does_not_end_after_its_work_is_ended_and_nothing_is_blamed() -> None:
    world = World(lingers=True)
    assert world.manager(session()).run()
    assert world.counts == {case.id: 2 for case in CASES}
    assert world.outcomes == {}
    ended = [told for told in world.told if "had finished and did not end" in told]
    assert len(ended) == len(world.started) == 2
    assert world.time < 2 * (manager.END_LIMIT + 60)


def test_a_case_over_its_limit_is_recorded_and_the_others_go_on() -> None:
    world = World(behaviour={B5.id: HANG})
    assert world.manager(session()).run()
    assert world.outcomes == {B5.id: "timed_out"}
    assert world.counts == {A5.id: 2, B5.id: 0, A6.id: 2, B6.id: 2}
    (reason,) = {each.reason for file in world.files for each in file.outcomes}
    assert "limit of 10 s" in reason
    assert "prepared" in reason
    assert any(B5.id in line for line in world.told)


def test_a_process_that_dies_names_its_signal_and_the_others_go_on() -> None:
    world = World(behaviour={B5.id: SEGFAULT})
    assert world.manager(session()).run()
    assert world.outcomes == {B5.id: "crashed"}
    assert world.counts == {A5.id: 2, B5.id: 0, A6.id: 2, B6.id: 2}
    assert "SIGSEGV" in next(each.reason for file in world.files for each in file.outcomes)


@pytest.mark.parametrize(("how", "outcome"), [(DIE, "crashed"), (HANG, "timed_out")])
def test_of_cases_timed_in_turn_the_guilty_one_is_found_alone(how: str, outcome: str) -> None:
    world = World(behaviour={B5.id: f"timed {how}"})
    assert world.manager(session()).run()
    assert world.outcomes == {B5.id: outcome}  # A5, timed beside it, has nothing held against it
    assert world.counts == {A5.id: 2, B5.id: 0, A6.id: 2, B6.id: 2}


def test_when_the_budget_is_spent_the_worker_is_ended() -> None:
    world = World(behaviour={B6.id: HANG})
    found = world.manager(session(goal=Goal(), budget=8.0, case_limit=100.0))
    assert not found.run()
    assert world.time < 9.0
    assert world.outcomes == {}
    assert world.saved[-1].finished is not None


def test_no_process_is_begun_that_would_not_end_within_the_budget() -> None:
    world = World()
    world.manager(session(goal=Goal(), budget=18.0)).run()
    assert len(world.started) == 1
    assert world.outcomes == {}


HOURS = dict.fromkeys((case.group for case in CASES), 100.0)


@pytest.mark.parametrize("budget", [600.0, 900.0, 1200.0])
def test_a_budget_holds_the_six_processes_that_an_interval_takes(budget: float) -> None:
    world = World(seconds=HOURS)
    world.manager(session(goal=Goal(), budget=budget, case_limit=1000.0)).run()
    assert min(world.counts.values()) >= 6
    assert world.outcomes == {}
    assert 0.85 * budget < world.time < budget


def test_with_time_enough_each_process_measures_for_as_long_as_the_suite_says() -> None:
    world = World(seconds=HOURS)
    world.manager(session(goal=Goal(), budget=1e5, case_limit=1000.0)).run()
    assert {work.share for work in world.started} == {1.0}


@pytest.mark.parametrize("weighing", [1.0, 20.0])
def test_a_budget_holds_six_processes_and_the_memory_that_the_first_measures(
    weighing: float,
) -> None:
    world = World(seconds=HOURS, weighing=weighing)
    world.manager(session(goal=Goal(), budget=800.0, case_limit=1000.0, memory=True)).run()
    assert min(world.counts.values()) >= 6
    assert world.outcomes == {}
    assert [work.memory for work in world.started] == [True, *[False] * (len(world.started) - 1)]
    assert 0.85 * 800.0 < world.time < 800.0


@pytest.mark.parametrize("slow", [1.0, 2.0, 4.0, 5.0])
@pytest.mark.parametrize("goal", [Goal(), Goal(processes=6)])
def test_on_a_slow_machine_a_budget_is_spent_on_fewer_cases_with_six_processes(
    slow: float, goal: Goal
) -> None:
    world = World(seconds=dict.fromkeys(HOURS, 20.0), step=slow)
    found = world.manager(session(goal=goal, budget=400.0, case_limit=1000.0))
    finished = found.run()
    first, second = {world.counts[A5.id], world.counts[B5.id]}, {world.counts[A6.id]}
    assert min(first) >= 6
    assert min(second) >= 6 if slow <= 2.0 else max(second) <= 3
    assert finished is (slow <= 2.0)
    assert world.time <= 401.0
    told = [line for line in world.told if line.startswith("put off")]
    assert [A6.group in line for line in told] == ([] if slow <= 2.0 else [True])  # told once


def test_what_was_put_off_is_measured_when_there_is_more_time() -> None:
    world = World(seconds=dict.fromkeys(HOURS, 20.0), step=5.0)
    found = world.manager(session(goal=Goal(processes=6), budget=400.0, case_limit=1000.0))
    assert not found.run()
    found.session = replace(found.session, budget=2000.0)
    assert found.run()
    assert set(world.counts.values()) == {6}


def test_of_groups_that_cannot_all_be_done_those_that_have_come_furthest_are_kept() -> None:
    schedule = Schedule(CASES, Goal(processes=6), 0)
    for number in (1, 2, 3):
        schedule.add(file_of(number, {A6: 1.0, B6: 1.0}))
    schedule.add(file_of(4, {A5: 1.0, B5: 1.0}))
    schedule.costs.learn(Work(1, CASES, 0), 2.0, even({A5.group: 10.0, A6.group: 10.0}), 22.0)
    assert ids(schedule.next(40.0)) == {A6.id, B6.id}
    assert ids(schedule.next(100.0)) == {A5.id, B5.id}  # both fit: the one behind comes first


def test_the_import_that_falls_into_a_processs_first_group_is_no_cost_of_the_group() -> None:
    schedule = Schedule(CASES, Goal(processes=6), 0)
    for first, second in ((17.0, 10.0), (10.0, 17.0)):  # 7 s to import, 1 s to end
        costs = even({A5.group: first, A6.group: second})
        schedule.costs.learn(Work(1, CASES, 0), 2.0, costs, 2.0 + 27.0 + 1.0)
    schedule.add(file_of(1, dict.fromkeys(CASES, 1.0)))
    assert schedule.next(29.9) is not None
    work = schedule.next(30.0)  # 10 for itself with each of the groups, 20 for both
    assert ids(work) == {case.id for case in CASES}


def test_the_first_process_is_not_shortened_for_cases_of_a_device_that_is_not_here() -> None:
    elsewhere = [replace(case, device=f"gpu:{n}") for case in CASES for n in range(9)]
    every = {case.group: 100.0 for case in (*CASES, *elsewhere)}
    shares = []
    for cases, absent in ((CASES, ()), ((*CASES, *elsewhere), tuple(f"gpu:{n}" for n in range(9)))):
        schedule = Schedule(cases, Goal(), 0, every, memory=True, absent=absent)
        work = schedule.next(600.0)
        assert work is not None
        assert {case.id for case in work.cases} >= {case.id for case in CASES}
        shares.append(work.share)
    assert shares[0] == shares[1]


def test_a_time_that_was_chosen_for_each_case_is_not_shortened() -> None:
    world = World(seconds=HOURS)
    world.manager(session(goal=Goal(), budget=300.0, seconds=100.0)).run()
    assert {work.share for work in world.started} == {1.0}


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


def test_what_a_session_spent_before_counts() -> None:
    world = World()
    found = world.manager(session(budget=100.0, spent=99.0))
    assert found.left == pytest.approx(1.0)


def test_an_interruption_keeps_what_was_finished() -> None:
    world = World(interrupt_at=6.5)
    with pytest.raises(KeyboardInterrupt):
        world.manager(session()).run()
    assert sum(world.counts.values()) >= 1
    assert world.outcomes == {}
    assert world.saved[-1].finished is None


def test_a_worker_that_measures_nothing_is_an_error_with_its_last_words() -> None:
    world = World(mute=True, words="hello\nERROR: no such option: --nonsense\nmore\n")
    with pytest.raises(WorkerError, match=r"exit code 4 .*no such option: --nonsense"):
        world.manager(session()).run()


def test_a_worker_that_cannot_write_says_where() -> None:
    words = "!!! _pytest.outcomes.Exit: /a b/c cannot be written: No space; what was before !!!\n"
    world = World(mute=True, words=words)
    with pytest.raises(ResultWriteError, match=r"^/a b/c cannot be written: No space$"):
        world.manager(session()).run()


# -- sessions on disk


def test_a_session_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = session(
        backends=("a", "b"), budget=3.5, threads=2, seconds=1.5, seed=2**53, memory=True
    )
    written.save(tmp_path)
    assert load(tmp_path) == written
    assert load(tmp_path, "s") == written


def test_a_session_of_streams_goes_on_as_it_was(tmp_path: Path) -> None:
    written = session(periods=(None, 0.01), deadline=0.0005, load=2)
    written.save(tmp_path)
    assert load(tmp_path) == written
    (path,) = (tmp_path / ".sessions").iterdir()
    data = json.loads(path.read_text())
    for key in ("periods", "deadline", "load"):
        del data[key]
    path.write_text(json.dumps(data))
    # As it was written before there were any.
    assert load(tmp_path) == session(started=written.started)


def test_a_session_of_before_memory_goes_on_without_it(tmp_path: Path) -> None:
    written = session(memory=True)
    written.save(tmp_path)
    (path,) = (tmp_path / ".sessions").iterdir()
    data = json.loads(path.read_text())
    del data["memory"]
    path.write_text(json.dumps(data))
    assert load(tmp_path, "s") == replace(written, memory=False)


def test_the_newest_unfinished_session_is_gone_on_with(tmp_path: Path) -> None:
    for name, day in (("a", 1), ("b", 3), ("c", 2)):
        session(id=name, started=datetime(2025, 1, day, tzinfo=UTC).isoformat()).save(tmp_path)
    session(id="d", started=datetime(2025, 1, 4, tzinfo=UTC).isoformat()).ended(1.0).save(tmp_path)
    assert load(tmp_path).id == "b"
    assert load(tmp_path, "d").finished is not None


@pytest.mark.parametrize("name", ["nonsense", "../s", "a/b", "\x1b[2J"])
def test_an_unknown_session_is_told_with_the_known_ones(tmp_path: Path, name: str) -> None:
    session().save(tmp_path)
    with pytest.raises(SessionError, match=r"no session .*there are s$"):
        load(tmp_path, name)


def test_no_file_outside_the_sessions_is_taken_for_one(tmp_path: Path) -> None:
    session().save(tmp_path)
    (tmp_path / ".sessions" / "s.session.json").rename(tmp_path / "s.session.json")
    with pytest.raises(SessionError, match="there is no session"):
        load(tmp_path, "../s")


@pytest.mark.parametrize(
    "change",
    [
        {"goal": 3},
        {"cases": [{"backend": 4}]},
        {"cases": [3]},
        {"seed": -1},
        {"schema": 9},
        {"budget": "x"},
        {"memory": 1},
        {"id": "../../elsewhere"},
        {"id": "another"},
        {"suite_name": "../*"},
        {"precision": 0.0},
    ],
)
def test_a_damaged_session_is_told_with_its_field(
    tmp_path: Path, change: dict[str, object]
) -> None:
    session().save(tmp_path)
    (path,) = (tmp_path / ".sessions").iterdir()
    data = json.loads(path.read_text())
    if "precision" in change:  # which no measurement ever reaches, and no budget ends
        change = {"goal": change | {"processes": None}, "budget": None}
    path.write_text(json.dumps(data | change))
    with pytest.raises(SessionError, match=next(iter(change)).removesuffix("s")):
        load(tmp_path, "s")
    # Where no session is named, the one that may be meant is told, not that there is none.
    with pytest.raises(SessionError, match=rf"no unfinished session in .*; .*{path.name}"):
        load(tmp_path)
    path.write_text("{")
    with pytest.raises(SessionError, match="is cut off or not JSON"):
        load(tmp_path, "s")


# -- what a worker is told


def test_a_worker_is_told_whether_to_measure_memory_and_the_limit_it_has_for_it(
    tmp_path: Path,
) -> None:
    executor = workers.LocalExecutor(session(case_limit=45.0), tmp_path)
    for memory, said in ((True, "on"), (False, "off")):
        command = executor._command(Work(1, CASES, 0, memory=memory), tmp_path / "cases.json")
        assert f"--lstm-memory={said}" in command
        assert "--lstm-case-limit=45.0" in command


def test_a_worker_is_told_when_calls_are_due_and_what_runs_beside_them(tmp_path: Path) -> None:
    streams = session(periods=(None, 0.01), deadline=0.0005, load=2)
    work, listing = Work(1, CASES, 0), tmp_path / "cases.json"
    command = workers.LocalExecutor(streams, tmp_path)._command(work, listing)
    told = {"--lstm-period=back-to-back,10ms", "--lstm-deadline=0.5ms", "--lstm-load=2"}
    assert told <= set(command)
    plain = workers.LocalExecutor(session(), tmp_path)._command(work, listing)
    assert not [each for each in plain if each.startswith(("--lstm-period", "--lstm-deadline"))]


def test_workers_are_told_where_they_share_what_the_reference_computed(tmp_path: Path) -> None:
    work = Work(1, CASES, 0)
    alone = workers.LocalExecutor(session(), tmp_path)._command(work, tmp_path / "cases.json")
    assert not [part for part in alone if part.startswith("--lstm-judged")]
    sharing = workers.LocalExecutor(session(), tmp_path, judged=tmp_path / "j")
    assert f"--lstm-judged={tmp_path / 'j'}" in sharing._command(work, tmp_path / "cases.json")


# -- what a killed worker leaves


def journal_of(folder: Path, measured: Sequence[Case], name: str = "1") -> Path:
    path = folder / f"mine-{name}.journal.jsonl"
    with Journal(path) as journal:
        journal.start(replace(run_of(1), id=name, finished=None, complete=False))
        for each in measured:
            journal.begin([each.id])
            journal.benchmark(entry_of(each))
    return path


def entry_of(case: Case) -> dict[str, object]:
    return {
        "name": case.id,
        "stats": {"data": [0.1] * 6},
        "extra_info": {
            "lstm": {
                "schema": 1,
                "case": case.to_dict(),
                "case_id": case.id,
                "gate": {"passed": True},
                "evidence": {},
                "setup": {},
                "blocks": {"calls": 1, "round": list(range(6)), "warmup": []},
                "steady": True,
                "validity": {"valid": True, "reasons": []},
            }
        },
    }


def crash(case: Case) -> dict[str, object]:
    return {
        "case": case.to_dict(),
        "case_id": case.id,
        "outcome": "crashed",
        "reason": "it was so",
        "advice": "",
    }


def test_a_journal_becomes_the_result_file_with_what_it_died_of(tmp_path: Path) -> None:
    path = journal_of(tmp_path, [A5, A6])
    with path.open("a") as file:
        file.write('{"begun": ["cut off')
    file_ = workers.settle(path, [crash(B5)])
    assert file_ is not None
    assert [each.case for each in file_.measurements] == [A5, A6]
    assert [(each.case, each.outcome) for each in file_.outcomes] == [(B5, "crashed")]
    assert not file_.run.complete
    assert [each.name for each in tmp_path.iterdir()] == ["mine-1.json"]


@pytest.mark.parametrize("content", ["", '{"run": {"id": '])
def test_a_journal_without_a_whole_line_is_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine-1.journal.jsonl"
    path.write_text(content)
    assert workers.settle(path) is None
    assert not path.exists()


def test_a_journal_that_cannot_be_read_otherwise_stays(tmp_path: Path) -> None:
    path = journal_of(tmp_path, [A5])
    path.write_text(path.read_text().replace("benchmark", "nonsense"))
    assert workers.settle(path) is None
    assert path.exists()


def test_only_the_journals_of_the_session_are_settled(tmp_path: Path) -> None:
    journal_of(tmp_path, [A5], "1")
    (tmp_path / "mine-2.journal.jsonl").write_text("")
    other = journal_of(tmp_path, [A5], "3")
    other.write_text(other.read_text().replace('"session":"s"', '"session":"t"'))
    workers.settle_all(session(), tmp_path, alone=False)
    names = ["mine-1.json", "mine-2.journal.jsonl", "mine-3.journal.jsonl"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    workers.settle_all(session(), tmp_path, alone=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == [names[0], names[2]]


def test_a_journal_whose_writer_lives_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine-1.journal.jsonl"
    with Journal(path) as journal:
        journal.start(replace(run_of(1), id="1", finished=None, complete=False))
        journal.benchmark(entry_of(A5))
        found = workers.being_written(session(), tmp_path)
        assert list(found) == [path]
        assert f"process {os.getpid()}" in found[path]
        workers.settle_all(session(), tmp_path, alone=True)
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
        journal.benchmark(entry_of(A6))  # it goes on, and nothing of it is lost
    assert workers.being_written(session(), tmp_path) == {}
    workers.settle_all(session(), tmp_path, alone=True)
    (made,) = tmp_path.iterdir()
    assert [each.case for each in results.read(made).measurements] == [A5, A6]


def test_a_worker_does_not_take_the_journal_of_another_process_for_its_own(tmp_path: Path) -> None:
    worker = workers.LocalWorker([sys.executable, "-c", ""], session(), tmp_path, None)
    journal_of(tmp_path, [A5])  # of the same session, by this process
    try:
        assert worker._find_journal() is None
        assert worker.lines() == []
    finally:
        worker.kill()
    assert worker.settle([crash(B5)]) is None
    worker._output.close()
    assert [each.name for each in tmp_path.iterdir()] == ["mine-1.journal.jsonl"]


# -- killed at any moment: real processes, whose worker takes milliseconds a case

DRIVER = """\
import sys
from pathlib import Path
from bench.running.workers import LocalExecutor, settle_all
from bench.running.manager import Manager
from bench.running.session import load

class Executor(LocalExecutor):
    def _command(self, work, listing):
        said = (str(listing), str(self.folder), self.session.id, str(work.number))
        return [sys.executable, sys.argv[2], *said]

class Silent:
    def update(self, progress): pass
    def tell(self, text): print(text)

folder = Path(sys.argv[1])
session = load(folder)
manager = Manager(session, Executor(session, folder), Silent(), lambda s: s.save(folder))
settle_all(session, folder, alone=True)
for file in session.files(folder):
    manager.schedule.add(file)
manager.run()
"""

WORKER = """\
import json, sys, uuid
from pathlib import Path
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
from bench import results
from bench.suites.cases import Case
from bench.results.journal import Journal
from entries import entry_of, run_of

def step():
    # One more thing done: what is killed is killed between any two, or within one.
    with open(Path(sys.argv[0]).with_name("steps"), "a") as file:
        file.write(".")

listing, folder, session, number = sys.argv[1:]
identity = uuid.uuid4().hex
journal = Journal(Path(folder) / f"mine-{identity}.journal.jsonl")
journal.start(run_of(identity, session))
groups = {}
for data in json.loads(Path(listing).read_text()):
    case = Case.from_dict(data)
    groups.setdefault(case.group, []).append(case)
for cases in groups.values():
    for case in cases:
        journal.begin([case.id])
        step()
    journal.begin([case.id for case in cases])
    step()
    for case in cases:
        journal.benchmark(entry_of(case))
        step()
journal.finish()
step()
results.journal_to_json(journal.path)
step()
journal.path.unlink()
"""


def journals_and_files(folder: Path) -> set[tuple[str, str]]:
    found = results.collect([folder])
    return {(each.run.id, each.case.id) for each in found.measurements}


def test_killing_manager_or_worker_at_any_moment_loses_no_finished_case(tmp_path: Path) -> None:
    import inspect

    folder = tmp_path / "results"
    cases = tuple(case(name, steps) for steps in range(2, 6) for name in ("a", "b"))
    session(cases=cases, goal=Goal(processes=2)).save(folder)
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "entries.py").write_text(
        "from datetime import UTC, datetime\nfrom bench.suites.cases import Case\n"
        "from bench.results.schema import Run\n"
        + inspect.getsource(entry_of)
        + textwrap.dedent("""
            def run_of(identity, session):
                now = datetime.now(UTC)
                return Run(identity, session, "mine", 0, now, None, False, "h", "m", {}, {})
            """)
    )
    chance = random.Random(1)
    kept: set[tuple[str, str]] = set()
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        str(tmp_path / "driver.py"),
        str(folder),
        str(tmp_path / "worker.py"),
    ]
    steps = tmp_path / "steps"
    steps.touch()
    kills = 0

    def comes_to(more: int) -> bool:
        """Whether it does so many steps more before its end; however long that takes it here."""
        wanted = steps.stat().st_size + more
        while steps.stat().st_size < wanted:
            if driver.poll() is not None:
                return False
            time.sleep(0.001)
        return True

    while True:
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as driver:
            if not comes_to(chance.randrange(1, 14)):
                break
            kills += 1
            if chance.random() < 0.5 and (worker := child_of(driver.pid)) is not None:
                os.kill(worker, signal.SIGKILL)
                comes_to(chance.randrange(0, 4))
            driver.kill()
        wait_for_no(str(tmp_path / "worker.py"))
        now = journals_and_files(folder) if any(folder.glob("mine-*")) else set()
        assert kept <= now
        kept = now
        if load(folder, "s").finished is not None:
            break  # killed between its end and its exit: nothing is left to go on with
    assert driver.returncode in (0, -signal.SIGKILL)
    assert kills >= 3, "what was to be killed did not come so far"
    counts = {each.id: 0 for each in cases}
    crashed = set()
    found = results.collect([folder])
    assert not found.errors
    for each in found.measurements:
        counts[each.case.id] += 1
    crashed = {each.case.id for each in found.outcomes if each.outcome == "crashed"}
    assert kept <= {(each.run.id, each.case.id) for each in found.measurements}
    # A case whose process was killed twice is given up; nothing else is missing or too much.
    assert len(crashed) < len(cases)
    assert all(counts[each.id] == 2 for each in cases if each.id not in crashed)
    assert all(counts[each.id] <= 2 for each in cases)
    assert not list(folder.glob("*.jsonl"))
    assert load(folder, "s").finished is not None


def child_of(pid: int) -> int | None:
    import psutil

    try:
        children = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return None
    return children[0].pid if children else None


def wait_for_no(script: str) -> None:
    """Until no worker is left: the kernel kills it when its manager is killed."""
    import psutil

    end = time.monotonic() + 120
    while time.monotonic() < end:
        lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        if not any(script in line[1:2] for line in lines):
            return
        time.sleep(0.05)
    pytest.fail("a worker outlives its manager")


# -- what the command says of it


@pytest.mark.parametrize("processes", [2, 6])
def test_cases_in_fewer_processes_than_were_asked_for_are_told(processes: int) -> None:
    world = World(seconds=dict.fromkeys(HOURS, 20.0), step=5.0)
    goal = Goal(processes=processes)
    found = world.manager(session(goal=goal, budget=400.0, case_limit=1000.0))
    found.run()
    summary = summarize(found, world.files)
    assert summary.unreached == 0
    told = "\n".join(summary.lines(found))
    if processes == 6:
        few = "2 cases in fewer than the 6 processes that were asked for: the budget held no more"
        assert few in told
    else:
        assert "fewer than" not in told
