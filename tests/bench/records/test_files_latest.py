"""Test the newest run, which commands show by default, and names of sessions."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.records.files import latest, new_session_name, run_name, session_of_kind
from bench.records.schema import Measurement
from tests.bench.made_nodes import a_case, on
from tests.bench.made_results import gather, measured, save

RUN = "20260102T030405Z-0a1b2c"
BEFORE = "20260101T030405Z-3d4e5f"

# The processor of each kind of machine, and the seconds of keras and while_loop there.
KINDS = {"east": ("East CPU", 1e-3, 2e-3), "west": ("West CPU", 3e-3, 1e-3)}


def make_kind(kind: str, run: str = RUN, hours: float = 0.0) -> list[Measurement]:
    """Return measurements of two machines of a kind in a fleet's run; kinds start an hour apart."""
    cpu, *seconds = KINDS[kind]
    hours += list(KINDS).index(kind)
    session = session_of_kind(run, kind)
    return [
        measured(a_case(backend), each * (1 + 0.004 * number), during)
        for host in (f"{kind}-1", f"{kind}-2")
        for number in range(6)
        for during in [on(host, number, session=session, cpu=cpu, hours=hours)]
        for backend, each in zip(("keras", "while_loop"), seconds, strict=True)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder with a fleet's run, and an older one with one of its kinds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    there = tmp_path / "results"
    save(there, gather(*make_kind("east"), *make_kind("west"), *make_kind("east", BEFORE, -24)))
    return there


Main = Callable[[list[str]], int]


def said(main: Main, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


def test_latest_fleet_gives_all_kinds_of_machines(folder: Path) -> None:
    found = latest(folder)
    assert len(found) == 24
    assert all(path.name.startswith(RUN) for path in found)


def test_latest_resumed_kind_includes_its_run(folder: Path) -> None:
    """The last start of a process decides which run is the newest."""
    later = [*make_kind("west", BEFORE, 48)]
    save(folder, gather(*later))
    found = [path.name for path in latest(folder)]
    assert {name[: len(BEFORE)] for name in found} == {BEFORE}
    assert len(found) == 24  # including the other kind's, which are the oldest


def test_latest_single_machine_session_is_own_run(folder: Path) -> None:
    """Two commands on two machines are two runs, even with their files in one folder."""
    for number, (kind, name) in enumerate((("east", "a"), ("west", "b"))):
        cpu = KINDS[kind][0]
        during = on(kind, 0, session=f"2026010{3 + number}T000000Z-00000{name}", cpu=cpu, hours=99)
        save(folder, gather(measured(a_case("keras"), 1e-3, during)))
    assert len(latest(folder)) == 1


def test_report_without_paths_separates_kinds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(report.main, ["--format", "markdown"], capsys)
    named = said(report.main, [*map(str, latest(folder)), "--format", "markdown"], capsys)
    assert out == named
    both = out.split("\n## ")
    assert len(both) == 2
    for section, host, winner, times in (
        (both[0], "west-1", "while\\_loop", "3.00 times as fast as keras"),
        (both[1], "east-1", "keras", ""),
    ):
        assert host in section
        decision = next(line for line in section.splitlines() if line.startswith("- **cpu"))
        assert f": {winner.replace(chr(92), '')} is" in decision.replace("\\", "")
        assert times in decision
    # Two machines of a kind are nodes in its table.
    assert "2 nodes (east-1 and east-2)" in both[1]
    assert "24 processes" not in out


TEXTS = st.text(max_size=60)


def test_new_session_name_begins_with_time() -> None:
    name = new_session_name(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert name.startswith("20260102T030405Z-")
    assert name != new_session_name(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@given(TEXTS.filter(bool))
def test_run_of_session_of_kind_gives_run(kind: str) -> None:
    run = new_session_name()
    assert run_name(session_of_kind(run, kind)) == run


@pytest.mark.parametrize(
    "name",
    [RUN, f"{RUN}-", f"x{RUN}-east", f"{RUN}east", RUN.upper() + "-east", "mine-east", "", "s"],
)
def test_run_of_user_chosen_name_gives_itself(name: str) -> None:
    assert run_name(name) == name
