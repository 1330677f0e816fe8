"""Test workers on this machine."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench import records
from bench.case.cases import Case
from bench.case.loading import DEFAULT_SECONDS
from bench.cli.options import MeasurementOptions
from bench.machine.writing import lock
from bench.records.digest import with_digest
from bench.records.journal import Journal
from bench.session import workers
from bench.session.session import Work
from bench.session.workers import LocalExecutor, LocalWorker
from bench.worker.order import WorkOrder
from tests.bench.session.made_sessions import (
    A5,
    A6,
    B5,
    CASES,
    EAST,
    case,
    make_entry,
    make_run,
    session,
    write_journal,
)


def test_start_passes_all_settings_of_the_session(tmp_path: Path) -> None:
    complete = session(
        suite="/a/mine.toml",
        seed=7,
        backends=("a", "b"),
        device=("cpu", "gpu:0"),
        mode=("training",),
        period=(None, 0.01),
        threads=2,
        case_limit=45.0,
        deadline=0.0005,
        load=2,
    )
    complete = complete.with_options(budget=1.5)
    executor = LocalExecutor(complete, tmp_path, {A5.group: 3.0}, python="/b/python")
    assert executor.command(tmp_path / "o") == ["/b/python", "-m", "bench.worker", f"{tmp_path}/o"]
    path = tmp_path / "order.json"
    path.write_bytes(executor.order(Work(1, CASES, 9, 0.25, True, EAST), "o", turn=5).to_json())
    order = WorkOrder.read(path)
    assert order.options == MeasurementOptions(
        suite="/a/mine.toml",
        device=("cpu", "gpu:0"),
        backends=("a", "b"),
        mode=("training",),
        threads=2,
        seed=7,
        period=(None, 0.01),
        deadline=0.0005,
        load=2,
        budget=1.5,
        memory=True,
        case_limit=45.0,
        share=0.25,
        cases="o",
        session="s",
        order_seed=9,
        results=str(tmp_path),
        busy="force",
        turn=5,
    )
    assert order.environment == dict(EAST)
    suite = order.load_suite(path)
    assert (suite.name, set(suite.cases)) == ("mine", set(CASES))
    assert suite.seconds == {A5.group: 3.0, A6.group: DEFAULT_SECONDS}
    plain = LocalExecutor(session(), tmp_path, {}).order(Work(1, CASES, 9), "o")
    # An option that nobody chose is neither in the order nor recorded.
    assert plain.options.to_dict().keys() == {
        *("suite", "seed", "memory", "case_limit", "cases", "session", "order_seed"),
        *("results", "busy"),
    }


def test_start_sets_the_environment_of_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDE", "north")
    command = [sys.executable, "-c", "import os; print('on the', os.environ['SIDE'])"]
    monkeypatch.setattr(LocalExecutor, "command", lambda self, order: command)
    (tmp_path / ".sessions").mkdir()
    for environment, side in ((EAST, "east"), ((), "north")):
        work = Work(1, (case("east"),), 0, environment=environment)
        worker = LocalExecutor(session(), tmp_path, {}).start(work)
        assert isinstance(worker, LocalWorker)
        worker._process.wait()
        with worker._output:
            assert worker.last_output() == f"on the {side}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
def test_start_side_by_side_keeps_others_from_measuring(tmp_path: Path) -> None:
    executor = LocalExecutor(session(), tmp_path, {}, judged=tmp_path, side_by_side=2)
    with executor._turn(), executor._turn(), (tmp_path / "turn").open() as other:
        assert lock(other.fileno(), wait=False) is False
    with (tmp_path / "turn").open() as other:
        assert lock(other.fileno(), wait=False)


def crash(case: Case) -> dict[str, object]:
    return {
        "case": case.to_dict(),
        "case_id": case.id,
        "outcome": "crashed",
        "reason": "it was so",
        "advice": "",
    }


def test_settle_makes_a_result_file_with_the_outcomes(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [A5, A6])
    with path.open("a") as file:
        file.write('{"begun": ["cut off')
    file_ = workers.settle(path, [crash(B5)])
    assert file_ is not None
    assert [each.case for each in file_.measurements] == [A5, A6]
    assert [(each.case, each.outcome) for each in file_.outcomes] == [(B5, "crashed")]
    assert not file_.run.complete
    assert [each.name for each in tmp_path.iterdir()] == ["mine-1.json"]


@pytest.mark.parametrize("content", ["", '{"run": {"id": '])
def test_settle_of_a_journal_without_a_complete_line_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine-1.journal.jsonl"
    path.write_text(content)
    assert workers.settle(path) is None
    assert not path.exists()


def test_settle_keeps_a_journal_that_cannot_be_read(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [A5])
    path.write_text(path.read_text().replace("benchmark", "nonsense"))
    assert workers.settle(path) is None
    assert path.exists()


def test_settle_all_settles_journals_of_the_session_only(tmp_path: Path) -> None:
    write_journal(tmp_path, [A5], "1")
    (tmp_path / "mine-2.journal.jsonl").write_text("")
    other = write_journal(tmp_path, [A5], "3")
    other.write_text(other.read_text().replace('"session":"s"', '"session":"t"'))
    workers.settle_all(session(), tmp_path, exclusive=False)
    names = ["mine-1.json", "mine-2.journal.jsonl", "mine-3.journal.jsonl"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    workers.settle_all(session(), tmp_path, exclusive=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == [names[0], names[2]]


def test_settle_all_leaves_a_journal_whose_writer_lives(tmp_path: Path) -> None:
    path = tmp_path / "mine-1.journal.jsonl"
    with Journal(path) as journal:
        journal.start(replace(make_run(1), id="1", finished=None, complete=False))
        journal.benchmark(make_entry(A5))
        workers.settle_all(session(), tmp_path, exclusive=True)
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
        journal.benchmark(make_entry(A6))  # it continues, and nothing of it is lost
    workers.settle_all(session(), tmp_path, exclusive=True)
    (made,) = tmp_path.iterdir()
    assert [each.case for each in records.read(made).measurements] == [A5, A6]


def test_worker_ignores_the_journal_of_another_process(tmp_path: Path) -> None:
    worker = workers.LocalWorker([sys.executable, "-c", ""], session(), tmp_path)
    write_journal(tmp_path, [A5])  # of the same session, by this process
    try:
        assert worker._find_journal() is None
        assert worker.lines() == []
    finally:
        worker.kill()
    assert worker.settle([crash(B5)]) is None
    worker._output.close()
    assert [each.name for each in tmp_path.iterdir()] == ["mine-1.journal.jsonl"]


WAITING = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[LocalWorker]:
    """A worker that writes nothing itself."""
    worker = LocalWorker(WAITING, session(), tmp_path)
    try:
        yield worker
    finally:
        worker.settle([])
        worker._output.close()


def test_lines_returns_new_complete_lines(tmp_path: Path, waiting: LocalWorker) -> None:
    assert (waiting.journal, waiting.lines()) == ("", [])
    (tmp_path / "mine-0.journal.jsonl").write_text('{"run": {"session": "another"}}\n{"a": 0}\n')
    path = tmp_path / "mine-1.journal.jsonl"
    path.write_text('{"run": {"sess')  # incomplete: the run is unknown
    assert (waiting.journal, waiting.lines()) == ("", [])
    path.write_text('{"run": {"session": "s"}}\n{"a": 1}\nno JSON\n[2]\n{"a": ')
    assert waiting.lines() == [{"run": {"session": "s"}}, {"a": 1}]
    assert waiting.journal == path.name
    assert waiting.lines() == []
    with path.open("a") as file:
        file.write("3}\n")
    assert waiting.lines() == [{"a": 3}]
    with path.open("a") as file:
        file.write('{"a": 4}\n')
    path.unlink()  # converted to a file: its last line is still read
    assert waiting.lines() == [{"a": 4}]


def test_settle_finds_the_file_of_a_journal_never_seen(
    tmp_path: Path, waiting: LocalWorker
) -> None:
    journal = write_journal(tmp_path, [A5])
    file = workers.settle(journal, [crash(B5)])
    assert file is not None
    data = json.loads(file.path.read_text())
    data["lstm"]["writer"]["pid"] = waiting._process.pid  # another process's
    file.path.write_text(json.dumps(with_digest(data)))
    assert waiting.lines() == []
    made = waiting.settle([])
    assert made is not None
    assert made.path == file.path


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives lost children to a parent")
def test_kill_ends_a_daemon_of_the_worker(tmp_path: Path) -> None:
    leaving = (
        "import subprocess, sys, time\n"
        f"one = subprocess.Popen({WAITING!r}, start_new_session=True)\n"
        "print(one.pid, flush=True); time.sleep(600)"
    )
    LocalExecutor(session(), tmp_path, {})  # such children become ours
    worker = LocalWorker([sys.executable, "-I", "-S", "-c", leaving], session(), tmp_path)
    try:
        while "\n" not in worker.last_output():
            assert worker.poll() is None
            time.sleep(0.01)
        pid = int(worker.last_output())
        assert psutil.pid_exists(pid)
    finally:
        worker.kill()
    assert worker.poll() == -signal.SIGKILL
    assert not psutil.pid_exists(pid)
    worker._output.close()
