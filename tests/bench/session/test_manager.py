"""Test the manager with scripted workers on a simulated clock."""

import inspect
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bench import records
from bench.machine.writing import ResultWriteError
from bench.render.messages import reason_line
from bench.session import manager
from bench.session.manager import Watch, WorkerError
from bench.session.session import Goal, Work, load
from bench.worker.order import CANNOT_MEASURE, CANNOT_WRITE
from tests.bench.session import made_sessions
from tests.bench.session.made_sessions import (
    A5,
    A6,
    B5,
    B6,
    CASES,
    DIE,
    HANG,
    HOURS,
    World,
    case,
    make_entry,
    reported,
    session,
)
from tests.places import ROOT


def test_run_measures_a_session_to_its_end() -> None:
    world = World()
    assert world.manager(session()).run()
    assert world.counts == {case.id: 2 for case in CASES}
    assert len(world.started) == 2
    assert world.saved[0].finished is None
    assert world.saved[-1].finished is not None
    assert world.saved[-1].spent == pytest.approx(world.time)


def test_step_with_two_processes_measures_one_after_the_other() -> None:
    one, two = World(side_by_side=1), World(side_by_side=2)
    assert one.manager(session(goal=Goal(processes=5))).run()
    assert two.manager(session(goal=Goal(processes=5))).run()
    assert two.counts == {case.id: 5 for case in CASES}
    assert [work.number for work in two.started] == [1, 2, 3, 4, 5]
    assert two.measuring_at_start == [None] * 5  # none starts while another measures
    # Three starts instead of five, as both last equally long.
    starts = 5 * (made_sessions.STARTING + 1)
    assert two.time < one.time + starts - 2 * made_sessions.STARTING


def test_watch_counts_waiting_for_a_turn_as_no_cost() -> None:
    world = World(side_by_side=2, seconds=dict.fromkeys((A5.group, A6.group), 29.0))
    manager = world.manager(session(case_limit=60.0))
    assert manager.run()
    assert world.outcomes == {}
    # One waits for four cases of 29 s, longer than it may be idle.
    assert manager.schedule.costs.process(()) < made_sessions.STARTING + 5


def test_run_ends_processes_that_wait_for_a_turn_nobody_has() -> None:
    world = World(side_by_side=2)
    left = world.start(Work(9, CASES, 0))
    world.turn, world.started, world.measuring_at_start = left, [], []
    with pytest.raises(WorkerError, match="was stopped at its time limit and measured nothing"):
        world.manager(session()).run()
    assert manager.IDLE_LIMIT < world.time < manager.IDLE_LIMIT + 60


def test_step_with_a_budget_for_one_process_starts_no_second() -> None:
    world = World(side_by_side=2, seconds=dict.fromkeys((A5.group, A6.group), 100.0))
    world.manager(session(budget=100.0, case_limit=300.0)).run()
    assert len(world.started) == 1
    assert world.time <= 100.0


def test_step_interrupted_ends_all_running_processes() -> None:
    world = World(side_by_side=2, interrupt_at=9.0)
    with pytest.raises(KeyboardInterrupt):
        world.manager(session()).run()
    assert len(world.started) == len(world.files) == 2  # each was settled


def test_run_ends_a_process_that_hangs_after_its_work_and_blames_none() -> None:
    world = World(lingers=True)
    assert world.manager(session()).run()
    assert world.counts == {case.id: 2 for case in CASES}
    assert world.outcomes == {}
    ended = [text for text in world.messages if "finished but did not exit" in text]
    assert len(ended) == len(world.started) == 2
    assert world.time < 2 * (manager.END_LIMIT + 60)


def test_run_with_a_case_over_its_limit_records_it_and_continues() -> None:
    world = World(behaviour={B5.id: HANG})
    assert world.manager(session()).run()
    assert world.outcomes == {B5.id: "timed_out"}
    assert world.counts == {A5.id: 2, B5.id: 0, A6.id: 2, B6.id: 2}
    (reason,) = {reason_line(each.reason) for file in world.files for each in file.outcomes}
    assert "limit of 10 s" in reason
    assert "prepared" in reason
    assert any(B5.id in line for line in world.messages)


@pytest.mark.parametrize(("how", "outcome"), [(DIE, "crashed"), (HANG, "timed_out")])
def test_run_with_a_crash_among_interleaved_cases_finds_the_guilty_one(
    how: str, outcome: str
) -> None:
    world = World(behaviour={B5.id: f"timed {how}"})
    assert world.manager(session()).run()
    assert world.outcomes == {B5.id: outcome}  # A5, interleaved with it, is not blamed
    assert world.counts == {A5.id: 2, B5.id: 0, A6.id: 2, B6.id: 2}


@pytest.mark.parametrize("memory_seconds", [1.0, 20.0])
def test_run_with_a_budget_fits_six_processes_and_the_memory(memory_seconds: float) -> None:
    world = World(seconds=HOURS, memory_seconds=memory_seconds)
    world.manager(session(goal=Goal(), budget=800.0, case_limit=1000.0, memory=True)).run()
    assert min(world.counts.values()) >= 6
    assert world.outcomes == {}
    assert [work.memory for work in world.started] == [True, *[False] * (len(world.started) - 1)]
    assert 0.85 * 800.0 < world.time < 800.0


@pytest.mark.parametrize("slow", [1.0, 2.0, 4.0, 5.0])
@pytest.mark.parametrize("goal", [Goal(), Goal(processes=6)])
def test_run_on_a_slow_machine_measures_fewer_cases_in_six_processes(
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
    late = [line for line in world.messages if line.startswith("postponed")]
    assert [A6.group in line for line in late] == ([] if slow <= 2.0 else [True])


def test_run_with_a_worker_that_measures_nothing_raises_its_last_words() -> None:
    world = World(mute=True, words="hello\nsuch a line\n")
    with pytest.raises(WorkerError, match=r"exit code 4 and measured nothing: such a line"):
        world.manager(session()).run()
    world = World(mute=True, words=f"{reported(CANNOT_MEASURE, 'no such option')}more\n")
    with pytest.raises(WorkerError, match=r"exit code 4 and measured nothing: no such option"):
        world.manager(session()).run()


def test_run_with_a_worker_that_cannot_write_raises_the_path() -> None:
    words = reported(CANNOT_WRITE, "/a b/c cannot be written: No space")
    world = World(mute=True, words=f"{words}a framework's last words\n")
    with pytest.raises(ResultWriteError, match=r"^/a b/c cannot be written: No space$"):
        world.manager(session()).run()


@pytest.mark.parametrize("seconds", [None, "soon", -1.0, math.inf, math.nan, 9.0, 1.0])
def test_watch_with_a_nonsensical_time_uses_the_planned_one(seconds: object) -> None:
    watch = Watch(CASES, 10.0, 0.0, {A5.id: 3.0})
    ours = {"case_id": A5.id, "setup": {"timing_s": seconds}}
    watch.see({"benchmark": {"extra_info": {"lstm": ours}}}, 1.0)
    assert watch.timed == (1.0 if seconds == 1.0 else 3.0)


@pytest.mark.parametrize(
    "line", [{}, {"begun": 3}, {"begun": []}, {"benchmark": 1}, {"outcome": {"case_id": 3}}]
)
def test_watch_ignores_lines_it_does_not_understand(line: dict[str, object]) -> None:
    watch = Watch(CASES, 10.0, 0.0)
    watch.see(line, 1.0)
    assert (watch.busy, watch.done, watch.ended) == ((), set(), False)


DRIVER = """\
import sys
from pathlib import Path
from bench.session.workers import LocalExecutor, settle_all
from bench.session.manager import Manager
from bench.session.session import load

class Executor(LocalExecutor):
    def command(self, order):
        words = (str(order), str(self.folder), self.session.id)
        return [sys.executable, sys.argv[2], *words]

class Silent:
    def update(self, progress): pass
    def tell(self, text): print(text)

folder = Path(sys.argv[1])
session = load(folder)
manager = Manager(session, Executor(session, folder, {}), Silent(), lambda s: s.save(folder))
settle_all(session, folder, exclusive=True)
for file in session.files(folder):
    manager.schedule.add(file)
manager.run()
"""


WORKER = """\
import json, sys, time, uuid
from pathlib import Path
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
from bench import records
from bench.case.cases import Case
from bench.records.journal import Journal
from entries import make_entry, make_run

def step():
    # Count a step and wait until the test allows the next: it kills between two, or within one.
    steps, allowed = (Path(sys.argv[0]).with_name(name) for name in ("steps", "allowed"))
    with open(steps, "a") as file:
        file.write(".")
    while allowed.stat().st_size < steps.stat().st_size:
        time.sleep(0.001)

order, folder, session = sys.argv[1:]
identity = uuid.uuid4().hex
journal = Journal(Path(folder) / f"mine-{identity}.journal.jsonl")
journal.start(make_run(identity, session))
groups = {}
for data in json.loads(Path(order).read_text())["suite"]["cases"]:
    case = Case.from_dict(data)
    groups.setdefault(case.group, []).append(case)
for cases in groups.values():
    for case in cases:
        journal.begin([case.id])
        step()
    journal.begin([case.id for case in cases])
    step()
    for case in cases:
        journal.benchmark(make_entry(case))
        step()
journal.finish()
step()
records.journal_to_json(journal.path)
step()
journal.path.unlink()
"""


def journals_and_files(folder: Path) -> set[tuple[str, str]]:
    found = records.collect([folder])
    return {(each.run.id, each.case.id) for each in found.measurements}


def test_killing_manager_or_worker_at_any_time_loses_no_finished_case(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    cases = tuple(case(name, steps) for steps in range(2, 6) for name in ("a", "b"))
    session(cases=cases, goal=Goal(processes=2)).save(folder)
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "entries.py").write_text(
        "from datetime import UTC, datetime\nfrom bench.case.cases import Case\n"
        "from bench.records.schema import Run\n"
        + inspect.getsource(make_entry)
        + textwrap.dedent("""
            def make_run(identity, session):
                now = datetime.now(UTC)
                return Run(identity, session, "mine", 0, now, None, False, "h", "m", {}, {})
            """)
    )
    chance = random.Random(1)
    kept: set[tuple[str, str]] = set()
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, (tmp_path / "driver.py", folder, tmp_path / "worker.py"))]
    steps, allowed = tmp_path / "steps", tmp_path / "allowed"
    steps.touch()
    allowed.touch()
    kills = 0

    def comes_to(more: int) -> bool:
        wanted = steps.stat().st_size + more
        os.truncate(allowed, wanted - 1)
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
            if chance.random() < 0.5:
                os.truncate(allowed, steps.stat().st_size)
                time.sleep(chance.uniform(0.0, 0.003))
            if chance.random() < 0.5 and (worker := find_child(driver.pid)) is not None:
                os.kill(worker, signal.SIGKILL)
                comes_to(chance.randrange(0, 4))
            driver.kill()
        wait_for_no(str(tmp_path / "worker.py"))
        now = journals_and_files(folder) if any(folder.glob("mine-*")) else set()
        assert kept <= now
        kept = now
        if load(folder, "s").finished is not None:
            break  # killed between its end and its exit: nothing is left to resume
    assert driver.returncode in (0, -signal.SIGKILL)
    assert kills >= 3, "what was to be killed did not come so far"
    counts = {each.id: 0 for each in cases}
    crashed = set()
    found = records.collect([folder])
    assert not found.errors
    for each in found.measurements:
        counts[each.case.id] += 1
    crashed = {each.case.id for each in found.outcomes if each.outcome == "crashed"}
    assert kept <= {(each.run.id, each.case.id) for each in found.measurements}
    # A case whose process was killed twice is given up; nothing else is missing or repeated.
    assert len(crashed) < len(cases)
    assert all(counts[each.id] == 2 for each in cases if each.id not in crashed)
    assert all(counts[each.id] <= 2 for each in cases)
    assert not list(folder.glob("*.jsonl"))
    assert load(folder, "s").finished is not None


def find_child(pid: int) -> int | None:
    import psutil

    try:
        children = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return None
    return children[0].pid if children else None


def wait_for_no(script: str) -> None:
    """Wait until no worker is left: the kernel kills it with its manager."""
    import psutil

    end = time.monotonic() + 120
    while time.monotonic() < end:
        lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        if not any(script in line[1:2] for line in lines):
            return
        time.sleep(0.05)
    pytest.fail("a worker outlives its manager")
