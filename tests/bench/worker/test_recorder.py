import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.case.cases import Case
from bench.case.loading import Suite
from bench.cli.options import MeasurementOptions
from bench.machine.writing import ResultWriteError, Writer, unfinished_name
from bench.render.messages import reason_line
from bench.worker import recorder
from bench.worker.group import Bench, Measured, Result, Unmeasured
from bench.worker.recorder import Recorder
from bench.worker.timing import StepSeries, Stopped, TimingPlan
from lstm_impl import LSTMSpec, Workload
from lstm_impl.proof import GateResult
from tests.bench.made_reasons import recorded

CASES = [
    Case(backend, LSTMSpec(1, 4), Workload(2, steps, "training"))
    for steps in (6, 7)
    for backend in ("a", "b")
]
SUITE = Suite("mine", "", Path("mine.toml"), tuple(CASES), {case.group: 3.0 for case in CASES})
SERIES = StepSeries(2, (0.2, 0.4), (0, 1), (0.3,), Stopped.TIME, None, 1e-5)
TIME = Measured(SERIES, {"first_call_s": 0.1}, GateResult(True, "judge", {}, {}), {})
MISSING = Unmeasured("not_measured", recorded("", "it is not here", "buy one"))


class Measurer:
    """Replaces ``measure_group``: returns given results and logs the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[list[str], TimingPlan, int]] = []
        self.answers: dict[str, Result | BaseException] = {}

    def __call__(
        self, cases: Sequence[Case], plan: TimingPlan, seed: int, bench: Bench
    ) -> dict[str, Result]:
        self.requests.append(([case.id for case in cases], plan, seed))
        found: dict[str, Result] = {}
        for case in cases:
            answer = self.answers.get(case.backend, TIME)
            if isinstance(answer, BaseException):
                raise answer
            found[case.id] = answer
        return found


@pytest.fixture
def measurer(monkeypatch: pytest.MonkeyPatch) -> Measurer:
    stand_in = Measurer()
    monkeypatch.setattr(recorder, "measure_group", stand_in)
    return stand_in


def started(folder: Path, cases: Sequence[Case] = CASES, **chosen: Any) -> Recorder:
    found = Recorder(SUITE, MeasurementOptions(**chosen), folder / "results", hides_output=False)
    found.select(cases)
    found.start()
    return found


def test_recorder_selected_cases_begin_with_replicas(tmp_path: Path, measurer: Measurer) -> None:
    plain = CASES[0]
    replicas = replace(plain, backend="keras:replicas")
    found = started(tmp_path, [plain, replicas])
    assert found.selected == [replicas, plain]


def test_recorder_first_request_measures_the_complete_group(
    tmp_path: Path, measurer: Measurer
) -> None:
    found = started(tmp_path, [*CASES[:3], CASES[1]])
    assert found.selected == CASES[:3]
    for case in CASES[:3]:
        found.measure(case)
    groups = [ids for ids, _, _ in measurer.requests]
    assert groups == [[case.id for case in CASES[:2]], [CASES[2].id]]
    path = found.finish()
    assert path is not None
    run = records.read(path).run
    assert path.name == f"mine-{run.started:%Y%m%dT%H%M%SZ}-{run.id[:8]}.json"
    assert run.session == run.id
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_recorder_plan_has_the_options(tmp_path: Path, measurer: Measurer) -> None:
    assert (
        Recorder(SUITE, MeasurementOptions(), tmp_path, hides_output=False)
        .plan(CASES[0].group)
        .seconds
        == 3.0
    )
    found = started(tmp_path, budget=9.0, precision=0.02, seed=4)
    found.measure(CASES[0])
    found.measure(CASES[2])
    plans = [plan for _, plan, _ in measurer.requests]
    assert {(plan.seconds, plan.precision) for plan in plans} == {(9.0, 0.02)}
    assert [seed for _, _, seed in measurer.requests] == [4, 4]
    assert plans[0].seed != plans[1].seed
    assert found.plan(CASES[0].group) == plans[0]
    assert (
        Recorder(SUITE, MeasurementOptions(seed=5), tmp_path, hides_output=False).plan(
            CASES[0].group
        )
        != plans[0]
    )


def test_recorder_start_removes_unfinished_files_of_killed_runs(
    tmp_path: Path, measurer: Measurer
) -> None:
    mine = unfinished_name("b.json")
    pid, started_at, _ = Writer.this_process().token.split("-", 2)
    ended = mine.replace(f"{pid}-{started_at}", f"{pid}-{int(started_at) + 1}")
    (tmp_path / "results").mkdir()
    for name in (mine, ended):
        (tmp_path / "results" / name).touch()
    started(tmp_path)
    assert [each.name for each in tmp_path.rglob("*.tmp")] == [mine]


def test_recorder_error_of_the_suite_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("in the suite")

    monkeypatch.setattr(recorder, "measure_group", fail)
    found = started(tmp_path)
    for case in CASES[:2]:
        result = found.result(case)
        assert isinstance(result, Unmeasured)
        assert result.outcome == "failed"
        assert reason_line(result.reason) == "ZeroDivisionError in the suite itself: in the suite"


def test_recorder_unwritable_file_keeps_the_journal(
    tmp_path: Path, measurer: Measurer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> Path:
        raise ResultWriteError("the disk is full")

    found = started(tmp_path)
    found.measure(CASES[0])
    monkeypatch.setattr(records, "journal_to_json", full)
    with pytest.raises(ResultWriteError, match="the disk is full"):
        found.finish()
    (path,) = (tmp_path / "results").iterdir()
    assert len(records.read(path).measurements) == 1


# -- the turn to measure

TAKES = """
import sys
from pathlib import Path
from bench.worker.recorder import take_turn
print("waits", flush=True)
take_turn(int(sys.argv[1]))
print("measures", Path(sys.argv[2]).exists(), flush=True)
sys.stdin.read()
"""


def locked(path: Path, how: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, how)
    return descriptor


def test_take_turn_waits_until_others_have_started_or_ended(tmp_path: Path) -> None:
    path, started = tmp_path / "turn", tmp_path / "started"
    other, own = (locked(path, fcntl.LOCK_SH) for _ in range(2))
    command = [sys.executable, "-c", TAKES, str(own), str(started)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(own,)
    ) as process:
        try:
            os.close(own)
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "waits\n"
            started.touch()
            fcntl.flock(other, fcntl.LOCK_UN)
            assert process.stdout.readline() == "measures True\n"
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)  # no other starts meanwhile
        finally:
            process.kill()
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock ends with the process
    os.close(other)
