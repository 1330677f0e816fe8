"""Test ``bench.run --ray``: refusals, requests to nodes, and summaries."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from rich.console import Console

from bench import case as suites
from bench import run
from bench.case.loading import Suite
from bench.cli.command_line import INTERRUPTED, format_command
from bench.machine.environment import MachineKind
from bench.session import measure as nodes
from bench.session.cluster import ClusterMember, Fleet, NodeRequest, WorkerNews
from bench.session.exit_codes import BAD_INPUT, FAILED, INCOMPLETE, MEASURED
from bench.session.manager import Manager, WorkerError
from bench.session.measure import NodePlan
from bench.session.session import Session, Work, load, load_fleet
from tests.bench.session.made_answers import Given
from tests.bench.session.made_sessions import make_entry, make_run

KIND = MachineKind("EPYC", 8, 0.0, (), "3.11", ())


def run_refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run.main(list(words)) == BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_run_on_cluster_without_ray_names_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    err = run_refused(capsys, "smoke", "--ray", "--results", str(tmp_path))
    assert "pip install 'lstm-benchmark-suite[ray]'" in err
    assert list(tmp_path.iterdir()) == []


def test_run_list_with_ray_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--ray cannot be combined with --list" in run_refused(capsys, "--list", "--ray")


def options(*words: str) -> argparse.Namespace:
    found = run._parser().parse_args(list(words))
    found.suite = found.suite or found.named
    return found


def member(name: str, kind: MachineKind, suite: Suite, label: str = "") -> ClusterMember:
    return ClusterMember(name, kind, label, suite)


def test_node_plan_gives_each_kind_a_session_with_its_own_cases(tmp_path: Path) -> None:
    plan = NodePlan(options("smoke", "--ray", "--processes", "3"), tmp_path)
    fewer = plan.suite.with_cases(plan.suite.cases[:2])
    there, _ = plan.session(member("a", KIND, fewer))
    other, _ = plan.session(member("b", KIND, plan.suite, "H100"))
    assert (there.fleet, other.fleet) == (plan.fleet, plan.fleet)
    assert (there.kind, other.kind) == (KIND.id, f"{KIND.id}-h100")
    assert there.id != other.id
    assert (len(there.cases), len(other.cases)) == (2, len(plan.suite.cases))
    for session in (there, other):
        session.save(tmp_path)
    again = NodePlan(options("--ray", "--resume", "--processes", "5"), tmp_path)
    assert again.fleet == plan.fleet
    resumed, suite = again.session(member("c", KIND, plan.suite))
    assert (resumed.id, resumed.goal.processes) == (there.id, 5)
    assert len(suite.cases) == 2
    new, _ = again.session(member("d", KIND, plan.suite, "A100"))
    assert new.id == f"{plan.fleet}-{KIND.id}-a100"


def test_node_plan_of_a_suite_file_sends_its_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'schema = 1\nname = "mine"\nbackends = ["numpy"]\ndevices = ["cpu"]\n[[groups]]\n'
        "shapes = [{ batch = 1, timesteps = 2, input_size = 1, hidden_size = 2 }]\n"
    )
    request = NodePlan(options(str(path), "--ray", "--wait"), tmp_path).request
    assert (request.suite, request.text, request.wait) == ("mine.toml", path.read_bytes(), True)
    named = NodePlan(options("smoke", "--ray"), tmp_path).request
    assert (named.suite, named.text) == ("smoke", None)


# -- the complete command, on a fake cluster


class Node:
    """An ``AgentHandle`` whose workers have finished at the first look."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self._seen = WorkerNews()

    def ask(self, method: str, *words: Any) -> Given:
        if method == "start":
            session, work = words
            self._cluster.works.append(work)
            self._seen = self._cluster.seen(session, work)
            return Given(WorkerNews())
        if method == "look" and self._cluster.interrupted_at == len(self._cluster.works):
            raise KeyboardInterrupt
        return Given(self._seen)


class FakeCluster:
    """In the place of ``ClusterMachines``: members that are there and measure at once.

    mute: whether their workers come to nothing. interrupted_at: while which process Ctrl-C comes.
    """

    def __init__(self, labels: Sequence[str] = ("",)) -> None:
        self.labels = labels
        self.works: list[Work] = []
        self.mute = False
        self.interrupted_at = -1
        self.waiting = False
        self.time = 0.0
        self._coming: list[ClusterMember] = []

    def __call__(
        self, address: str, request: NodeRequest, message: Callable[[str], None]
    ) -> FakeCluster:
        suite = suites.load(request.suite, request.choice)
        self._coming = [
            ClusterMember(f"node{number}", KIND, label, suite)
            for number, label in enumerate(self.labels)
        ]
        return self

    def sleep(self, seconds: float) -> None:
        self.time += 100.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._coming = []

    def arrived(self) -> Sequence[ClusterMember]:
        if self.interrupted_at == 0:
            raise KeyboardInterrupt
        found, self._coming = self._coming, []
        return found

    def handle(self, member: ClusterMember) -> Node:
        return Node(self)

    def retire(self, member: ClusterMember, *, for_good: bool) -> None:
        assert for_good

    def seen(self, session: Session, work: Work) -> WorkerNews:
        if self.mute:
            return WorkerNews((), "", 4, "ERROR: no such option")
        number = len(self.works)
        ran = replace(make_run(number, session.id), suite=session.suite_name).to_dict()
        lines: list[Mapping[str, object]] = [
            {"schema": 1, "run": {**ran, "finished": None, "complete": False}},
            *({"benchmark": make_entry(case)} for case in work.cases),
            {"finished": ran["finished"]},
        ]
        return WorkerNews(tuple(lines), f"{session.suite_name}-{number}.journal.jsonl", 0)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: None) -> FakeCluster:
    """Measure on this cluster, with minutes between two looks."""
    made = FakeCluster()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nodes, "ClusterMachines", made)
    fleet = partial(Fleet, now=lambda: made.time, sleep=made.sleep)
    monkeypatch.setattr(nodes, "Fleet", fleet)
    monkeypatch.setattr("bench.session.cluster.ASK_EVERY", 0.0)
    return made


def ran(*words: str) -> tuple[int, str]:
    shown = io.StringIO()
    code = nodes.run_cluster(options(*words), Console(file=shown, width=1000))
    return code, shown.getvalue()


def kept(folder: str = "results") -> dict[str, Session]:
    return {each.kind: each for each in load_fleet(Path(folder))} if Path(folder).is_dir() else {}


def test_run_cluster_measures_every_kind_and_summarizes_each(cluster: FakeCluster) -> None:
    cluster.labels = ("", "H100", "H100")
    code, printed = ran("smoke", "--ray", "a:1", "--processes", "2")
    assert code == MEASURED
    lines = printed.splitlines()
    fleet = re.fullmatch(r"suite smoke on the machines of a cluster, fleet (\S+)", lines[0])
    assert fleet is not None
    assert "EPYC, 8 processors (H100), 2 machines:" in lines
    assert lines.count("4 cases: 4 VALID") == 2
    assert "resume with: " not in printed
    assert lines[-2:] == ["results: results/smoke-*.json", f"read them: {format_command('report')}"]
    sessions = [load(Path("results"), f"{fleet[1]}-{KIND.id}{more}") for more in ("", "-h100")]
    assert all(session.finished is not None for session in sessions)
    for session in sessions:
        found = [m.case.id for f in session.files(Path("results")) for m in f.measurements]
        assert Counter(found) == dict.fromkeys((case.id for case in session.cases), 2)


def test_run_cluster_interrupted_keeps_results_to_resume(cluster: FakeCluster) -> None:
    cluster.interrupted_at = 2
    code, printed = ran("smoke", "--ray", "a:1", "--processes", "3", "--results", "here")
    assert code == INTERRUPTED
    line = r"^stopped: 4 cases measured and kept; resume with: (.*) --ray a:1 --resume (\S+)$"
    stopped = re.search(line, printed, re.M)
    assert stopped is not None
    assert stopped[1] == format_command("run", "--results", "here")
    assert "read them" not in printed
    (before,) = kept("here").values()
    assert before.finished is None
    assert before.spent > 0
    cluster.interrupted_at = -1
    code, printed = ran("--ray", "a:1", "--resume", stopped[2], "--results", "here")
    assert code == MEASURED
    assert "; 2 processes measured before" in printed  # the second one's finished cases are kept
    assert len(cluster.works) == 3


def test_run_cluster_resumed_without_a_kind_reports_it(cluster: FakeCluster) -> None:
    cluster.labels, cluster.interrupted_at = ("", "H100"), 2
    ran("smoke", "--ray", "--processes", "2")
    cluster.labels, cluster.interrupted_at = ("",), -1
    code, printed = ran("--ray", "--resume")
    assert code == INCOMPLETE
    message = f"no machine of the kind {KIND.id}-h100 arrived, so its session was not resumed"
    assert message in printed.splitlines()


def test_run_cluster_with_a_spent_budget_prints_how_to_resume(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Manager, "left", property(lambda manager: 1.0 - len(cluster.works)))
    code, printed = ran("smoke", "--ray", "a:1", "--budget", "3m")
    assert code == MEASURED  # each case was measured once
    assert re.search(
        r"^resume with: \S+ -m bench\.run --ray a:1 --resume \S+ --budget 3m$", printed, re.M
    )
    assert "the budget is spent, or no machine is left: 1 process" in printed


def test_run_cluster_with_machines_that_measure_nothing_fails(cluster: FakeCluster) -> None:
    cluster.mute = True
    code, printed = ran("smoke", "--ray", "--processes", "1")
    assert code == FAILED
    assert re.search(
        r"^error: process 1 .* measured nothing: ERROR: no such option$", printed, re.M
    )


def test_run_cluster_without_machines_raises_worker_error(cluster: FakeCluster) -> None:
    cluster.labels = ()
    with pytest.raises(WorkerError, match="no machine of the cluster could measure"):
        ran("smoke", "--ray")
    cluster.interrupted_at = 0
    with pytest.raises(KeyboardInterrupt):
        ran("smoke", "--ray")
