"""Test the agent on a node, and the stub that starts it."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.case.loading import SuiteChoice
from bench.session import stub
from bench.session.cluster import ClusterMember, NodeAgent, NodeRequest, RemoteExecutor
from bench.session.manager import Manager
from bench.session.session import Goal
from bench.session.stub import Stub, fingerprint
from tests import quick_pytest
from tests.bench.made_suites import small_suite
from tests.bench.session.made_answers import Given, make_found_session
from tests.bench.session.made_sessions import World

# The agent


SUITE = small_suite().encode()


class Here:
    """An ``AgentHandle`` whose agent is in this process."""

    def __init__(self, agent: NodeAgent) -> None:
        self.agent = agent

    def ask(self, method: str, *words: Any) -> Given:
        made: Callable[..., Any] = getattr(self.agent, method)
        return Given(made(*words))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LSTM_LOCK", str(tmp_path / "lock"))
    for name, value in quick_pytest.USED.items():
        monkeypatch.setenv(name, value)
    with NodeAgent() as made:
        yield made


def ready(
    agent: NodeAgent, text: bytes = SUITE, **changes: Any
) -> tuple[str, ClusterMember | None]:
    return agent.ready(replace(NodeRequest("mine.toml", text, SuiteChoice()), **changes))


def test_node_agent_returns_the_files_of_a_session(tmp_path: Path, agent: NodeAgent) -> None:
    problem, facts = ready(agent)
    assert (problem, facts is None) == ("", False)
    assert facts is not None
    session = replace(
        make_found_session().with_options(suite="elsewhere/mine.toml"),
        cases=facts.suite.cases,
        goal=Goal(processes=2),
        fleet="f",
        kind="k",
    )
    folder, world = tmp_path / "results", World()
    executor = RemoteExecutor(Here(agent), session, folder)
    manager = Manager(session, executor, world, lambda changed: None)
    assert manager.run()
    files = records.collect([folder]).files
    assert len(files) == 2
    assert {len(each.measurements) for each in files} == {len(facts.suite.cases)}
    assert all(path.suffix == ".json" for path in folder.iterdir())
    scratch = agent._folder
    assert not list(scratch.glob("s/mine-*"))  # the node keeps no files
    agent.close()
    assert not scratch.exists()


def test_node_agent_during_another_run_says_so(tmp_path: Path, agent: NodeAgent) -> None:
    assert ready(agent)[0] == ""
    with NodeAgent() as second:
        problem, facts = ready(second)
        assert "another run measures on this machine" in problem
        assert facts is None
        assert ready(second, force=True)[0] == ""


def test_node_agent_ready_with_a_bad_suite_returns_the_reason(agent: NodeAgent) -> None:
    problem, _ = ready(agent, b"nonsense")
    assert "not a suite" in problem


def test_forget_what_ray_set_keeps_the_variables_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.session import cluster as module

    start = tmp_path / "environ"
    start.write_bytes(b"A=1\0OMP_NUM_THREADS=3\0")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    module._forget_what_ray_set(start)
    assert os.environ["OMP_NUM_THREADS"] == "8"  # the node's own
    start.write_bytes(b"A=1\0")
    module._forget_what_ray_set(start)
    assert "OMP_NUM_THREADS" not in os.environ


# The stub


REQUEST = pickle.dumps(NodeRequest("smoke", None, SuiteChoice()))


def test_fingerprint_changes_with_file_names_and_contents_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "PACKAGES", ("made_up_package",))
    monkeypatch.syspath_prepend(tmp_path)
    assert fingerprint() == {"made_up_package": ""}
    folder = tmp_path / "made_up_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("x = 1\n")
    (folder / "suite.toml").write_text("a")
    first = fingerprint()
    assert len(first["made_up_package"]) == 12
    (folder / "notes.txt").write_text("of no account")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert fingerprint() == first
    (folder / "suite.toml").write_text("b")
    second = fingerprint()
    assert second != first
    (folder / "suite.toml").rename(folder / "other.toml")
    assert fingerprint() not in (first, second)


def test_stub_with_another_copy_answers_before_any_import() -> None:
    problem, facts = Stub().ready({"bench": "x", "lstm_impl": "y"}, b"no pickle of any kind")
    assert problem.startswith("another version of the suite is installed there (bench ")
    assert facts is None


def test_stub_runs_with_the_standard_library_alone() -> None:
    source = Path(stub.__file__).read_text()
    code = f"exec({source!r})\nprint(Stub().ready({{'bench': 'x', 'lstm_impl': 'y'}}, b'')[0])"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "the suite is not installed there: the package bench is missing\n"
