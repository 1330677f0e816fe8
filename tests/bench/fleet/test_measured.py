"""What ``bench.run --ray`` refuses before it speaks with anybody, and what it asks nodes for."""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

import pytest

from bench import run
from bench.fleet import cluster
from bench.fleet.cluster import _check
from bench.fleet.loop import Member
from bench.fleet.measured import Plan
from bench.machine.kinds import Kind
from bench.running.session import SessionError
from bench.running.summary import BAD_INPUT
from bench.suites.loading import Suite
from bench.telling.command_line import UsageError

KIND = Kind("EPYC", 8, 0.0, (), "3.11", ())


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run.main(list(words)) == BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_without_ray_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    err = told(capsys, "smoke", "--ray", "--results", str(tmp_path))
    assert "pip install 'lstm-benchmark-suite[ray]'" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["smoke", "host", "host:", ":6379", "host:0", "host:99999", "host:x", "ray://x", " "]
)
def test_what_is_no_address_is_told_in_a_line(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a cluster: expected HOST:PORT"):
        _check(address)


def test_where_nobody_listens_it_does_not_wait() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:"):
        _check(f"127.0.0.1:{port}")
    with pytest.raises(UsageError, match=r"no Ray cluster answers at ray://127\.0\.0\.1:"):
        _check(f"ray://127.0.0.1:{port}")


def test_where_a_firewall_swallows_all_the_wait_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def swallowed(place: object, seconds: float) -> None:
        assert seconds == cluster.ANSWER_WITHIN
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", swallowed)
    with pytest.raises(UsageError, match=r"answers at 10\.0\.0\.1:6379: timed out"):
        _check("10.0.0.1:6379")


def test_a_list_of_suites_is_measured_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--ray measures, and --list does not" in told(capsys, "--list", "--ray")


def options(*words: str) -> argparse.Namespace:
    found = run._parser().parse_args(list(words))
    found.suite = found.suite or found.named
    return found


def member(name: str, kind: Kind, suite: Suite, label: str = "") -> Member:
    return Member(name, kind, label, suite)


def test_each_kind_of_machine_has_a_session_of_the_fleet_with_its_own_cases(tmp_path: Path) -> None:
    plan = Plan(options("smoke", "--ray", "--processes", "3"), tmp_path)
    fewer = plan.suite.only(plan.suite.cases[:2])
    there, _ = plan.session(member("a", KIND, fewer))
    other, _ = plan.session(member("b", KIND, plan.suite, "H100"))
    assert (there.fleet, other.fleet) == (plan.fleet, plan.fleet)
    assert (there.kind, other.kind) == (KIND.id, f"{KIND.id}-h100")
    assert there.id != other.id
    assert (len(there.cases), len(other.cases)) == (2, len(plan.suite.cases))
    for session in (there, other):
        session.save(tmp_path)
    again = Plan(options("--ray", "--resume", "--processes", "5"), tmp_path)
    assert again.fleet == plan.fleet
    resumed, suite = again.session(member("c", KIND, plan.suite))
    assert (resumed.id, resumed.goal.processes) == (there.id, 5)
    assert len(suite.cases) == 2
    new, _ = again.session(member("d", KIND, plan.suite, "A100"))
    assert new.id == f"{plan.fleet}-{KIND.id}-a100"


def test_a_suite_of_one_s_own_travels_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'schema = 1\nname = "mine"\nbackends = ["numpy"]\ndevices = ["cpu"]\n[[groups]]\n'
        "shapes = [{ batch = 1, timesteps = 2, input_size = 1, hidden_size = 2 }]\n"
    )
    asked = Plan(options(str(path), "--ray", "--wait"), tmp_path).asked
    assert (asked.suite, asked.text, asked.wait) == ("mine.toml", path.read_bytes(), True)
    named = Plan(options("smoke", "--ray"), tmp_path).asked
    assert (named.suite, named.text) == ("smoke", None)


def test_only_a_fleet_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="no unfinished session"):
        Plan(options("--ray", "--resume"), tmp_path)
    with pytest.raises(UsageError, match="SUITE does not go with --resume"):
        Plan(options("smoke", "--ray", "--resume"), tmp_path)


def test_labels_make_kinds_and_harmless_names() -> None:
    suite = Suite("s", "", Path("s.toml"), (), {})
    assert member("a", KIND, suite).key == KIND.id
    hostile = member("a", KIND, suite, "../A 100\n" * 9)
    assert set(hostile.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(f"20260101T000000Z-abcdef-{hostile.key}") <= 80
    assert str(member("a", KIND, suite, "A100")) == "EPYC, 8 processors (A100)"
