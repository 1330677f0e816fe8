"""Two environments interleaved: the order of their processes, and their files."""

import argparse
import io
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench import run as bench_run
from bench.cli.command_line import INTERRUPTED, UsageError
from bench.machine import packages
from bench.machine.packages import Python
from bench.records.schema import ResultFile
from bench.session import measure as measuring
from bench.session.measure import interleave
from bench.session.session import Goal, Session, Work, load
from bench.session.workers import Worker
from tests.bench.session.made_sessions import B5, SEGFAULT, World, session


def test_interleave_with_a_crash_on_one_side_leaves_the_other_complete() -> None:
    a, b = World(), World(behaviour={B5.id: SEGFAULT})
    interleave([side.manager(session(goal=Goal(processes=3))) for side in (a, b)])
    assert set(a.counts.values()) == {3}
    assert b.outcomes == {B5.id: "crashed"}
    assert {name for name, number in b.counts.items() if number == 0} == {B5.id}


class Executor:
    """In the place of ``LocalExecutor``: keeps the Python that it is for."""

    made: list[tuple[Session, Path, str]]
    started: list[str]
    interrupt_at: float
    side_by_side = 1

    def __init__(
        self, of: Session, folder: Path, seconds: object, lock: object, judged: object, python: str
    ) -> None:
        self.made.append((of, folder, python))
        self._world = World(interrupt_at=self.interrupt_at)
        WORLDS.setdefault(of.id, []).append(self._world)
        self.session, self.folder, self.inherit = of, folder, lock

    def start(self, work: Work) -> Worker:
        self.started.append(self.folder.name)
        return self._world.start(work)


WORLDS: dict[str, list[World]] = {}
"""The worlds of each session."""


Measure = Callable[..., Path]

TWICE = ("smoke", "--python", "old", "--python", "new", "--processes", "2")
HERE = (*TWICE, "--results", "here")


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Run two environments that do not exist."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LSTM_LOCK", str(tmp_path / "lock"))
    Executor.made = []
    Executor.started = []
    Executor.interrupt_at = math.inf
    WORLDS.clear()

    def left(of: Session, folder: Path) -> list[ResultFile]:
        return [file for world in WORLDS.get(of.id, []) for file in world.files]

    monkeypatch.setattr(Session, "files", left)

    def ask(path: Path) -> Python:
        path = path.parent.parent if path.name == "python" else path
        return Python(f"{path}/bin/python", "3.11.7", {"keras": path.name}, f"{path}/bench")

    monkeypatch.setattr(packages, "ask", ask)
    monkeypatch.setattr(measuring, "LocalExecutor", Executor)

    def call(*words: str, **changes: object) -> Path:
        options = bench_run._parser().parse_args(words or TWICE)
        options = argparse.Namespace(**{**vars(options), **changes})
        monkeypatch.setattr(measuring, "Manager", quick)
        output = io.StringIO()
        if measuring.run_environments(options, Console(file=output, width=300)) == INTERRUPTED:
            raise KeyboardInterrupt(output.getvalue())
        found = re.search(
            r"compare the environments with: .*compare environments (\S+)", output.getvalue()
        )
        assert found is not None
        return Path(found[1])

    return call


def quick(*arguments: object, **more: object) -> object:
    from bench.session.manager import Manager

    world = arguments[1]._world  # type: ignore[attr-defined]
    clock = {"now": lambda: world.time, "sleep": world.sleep}
    return Manager(*arguments, **clock, **more)  # type: ignore[arg-type,misc]


def test_run_environments_gives_each_side_a_folder_session_and_python(measure: Measure) -> None:
    folder = measure()
    assert folder.parent == Path("results/environments")
    sides = packages.load(folder)
    assert [side.label for side in sides] == ["old", "new"]
    assert [side.python.packages for side in sides] == [{"keras": "old"}, {"keras": "new"}]
    first, second = Executor.made
    assert [made[1] for made in Executor.made] == [folder / "base", folder / "new"]
    assert [made[2] for made in Executor.made] == ["old/bin/python", "new/bin/python"]
    assert first[0].id != second[0].id
    assert replace(first[0], id="") == replace(second[0], id="")
    for of, place, _ in Executor.made:
        assert load(place, of.id).finished is not None


def test_run_resume_with_a_folder_of_environments_continues_both(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not measuring.holds_environments(None)
    assert not measuring.holds_environments("s3://team/lstm")
    assert not measuring.holds_environments("here")
    measure(*HERE, "--processes", "1")
    assert measuring.holds_environments("here")
    monkeypatch.setattr(measuring, "run_environments", lambda options, console: 77)
    assert bench_run.main(["--results", "here", "--resume"]) == 77
    assert bench_run.main([*TWICE, "--ray"]) == 2


def test_run_environments_into_a_folder_with_results_is_refused(
    measure: Measure, tmp_path: Path
) -> None:
    (tmp_path / "left" / "base").mkdir(parents=True)
    (tmp_path / "left" / "base" / "quick-1.json").write_text("{}")
    with pytest.raises(UsageError, match="left already holds results; name another folder"):
        measure(results="left")


def test_run_environments_resumed_starts_with_the_side_that_is_behind(
    measure: Measure, tmp_path: Path
) -> None:
    Executor.interrupt_at = 9.0
    with pytest.raises(KeyboardInterrupt, match=r"resume with: .*run --results here --resume"):
        measure(*HERE, "--processes", "3")
    assert Executor.started
    assert len(Executor.started) < 6
    Executor.interrupt_at = math.inf
    assert measure("--results", "here", "--resume") == Path("here")
    assert sorted(Executor.started).count("new") >= 3
    first, second, *again = (made[0] for made in Executor.made)
    assert [each.id for each in again] == [first.id, second.id]
    for of in again:
        measured = [
            each.case.id for file in Session.files(of, Path()) for each in file.measurements
        ]
        assert {measured.count(case.id) for case in of.cases} == {3}


def test_run_environments_resumed_for_more_processes_keeps_the_order(measure: Measure) -> None:
    measure(*HERE, "--processes", "1")
    measure("--results", "here", "--resume", "--processes", "3")
    assert Executor.started == ["base", "new", "new", "base", "base", "new"]


def test_run_environments_resumed_with_wrong_options_is_refused(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="give --python twice"):
        measure("smoke", "--python", "old")
    with pytest.raises(UsageError, match="--budget cannot be combined with --python"):
        measure(*TWICE, "--budget", "5m")
    measure(*HERE, "--processes", "1")
    for more in (("quick",), ("--python", "old")):
        with pytest.raises(UsageError, match="cannot be combined with --resume"):
            measure(*more, "--results", "here", "--resume")

    def other(path: Path) -> Python:
        return Python(str(path), "3.11.7", {"keras": "new"}, "bench")

    monkeypatch.setattr(packages, "ask", other)
    with pytest.raises(UsageError, match=r"^the environment old has changed: keras old → new"):
        measure("--results", "here", "--resume")
