"""Test reading and writing sessions."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.session.session import Session, SessionError, load, load_fleet, load_newest
from tests.bench.session.made_sessions import session


def test_load_returns_the_session_that_was_saved(tmp_path: Path) -> None:
    written = session(backends=("a", "b"), budget=3.5, threads=2, seed=2**64 - 1, memory=True)
    written.save(tmp_path)
    assert load(tmp_path) == written
    assert load(tmp_path, "s") == written
    made(tmp_path, id="b", seed=2**64)
    with pytest.raises(SessionError, match="seed is 18446744073709551616; expected"):
        load(tmp_path, "b")


def test_load_of_streams_keeps_period_deadline_and_load(tmp_path: Path) -> None:
    written = session(period=(None, 0.01), deadline=0.0005, load=2)
    written.save(tmp_path)
    assert load(tmp_path) == written
    (path,) = (tmp_path / ".sessions").iterdir()
    data = json.loads(path.read_text())
    for key in ("periods", "deadline", "load"):
        del data[key]
    path.write_text(json.dumps(data))
    # An older file has none of these fields.
    assert load(tmp_path) == session(started=written.started, load=None)


def test_load_without_a_name_returns_the_newest_unfinished(tmp_path: Path) -> None:
    for name, day in (("a", 1), ("b", 3), ("c", 2)):
        session(id=name, started=datetime(2025, 1, day, tzinfo=UTC).isoformat()).save(tmp_path)
    session(id="d", started=datetime(2025, 1, 4, tzinfo=UTC).isoformat()).ended(1.0).save(tmp_path)
    assert load(tmp_path).id == "b"
    assert load(tmp_path, "d").finished is not None


@pytest.mark.parametrize("name", ["nonsense", "../s", "a/b", "\x1b[2J"])
def test_load_of_an_unknown_session_names_the_known_ones(tmp_path: Path, name: str) -> None:
    session().save(tmp_path)
    with pytest.raises(SessionError, match=r"no session .*there are s$"):
        load(tmp_path, name)


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
def test_load_of_a_damaged_session_names_the_field(
    tmp_path: Path, change: dict[str, object]
) -> None:
    session().save(tmp_path)
    (path,) = (tmp_path / ".sessions").iterdir()
    data = json.loads(path.read_text())
    if "precision" in change:  # unreachable without a budget
        change = {"goal": change | {"processes": None}, "budget": None}
    path.write_text(json.dumps(data | change))
    with pytest.raises(SessionError, match=next(iter(change)).removesuffix("s")):
        load(tmp_path, "s")
    # Without a name, the reason why one cannot be read is given.
    with pytest.raises(SessionError, match=rf"no unfinished session in .*; .*{path.name}"):
        load(tmp_path)
    path.write_text("{")
    with pytest.raises(SessionError, match="is cut off or not JSON"):
        load(tmp_path, "s")


def made(folder: Path, **changes: object) -> Session:
    found = session(**changes)
    found.save(folder)
    return found


def test_of_fleet_finds_sessions_by_fleet_member_or_newest(tmp_path: Path) -> None:
    made(tmp_path, id="alone", started="2026-01-01T00:00:00+00:00")
    made(tmp_path, id="old-x", fleet="old", kind="x", started="2026-01-02T00:00:00+00:00")
    x = made(tmp_path, id="new-x", fleet="new", kind="x", started="2026-01-03T00:00:00+00:00")
    y = made(tmp_path, id="new-y", fleet="new", kind="y", started="2026-01-03T00:00:00+00:00")
    assert load(tmp_path, "new-x") == x
    for name in ("new", "new-x", "new-y", ""):
        assert {each.id for each in load_fleet(tmp_path, name)} == {x.id, y.id}
    assert [each.id for each in load_fleet(tmp_path, "old")] == ["old-x"]


def test_of_fleet_with_a_session_of_one_machine_is_refused(tmp_path: Path) -> None:
    made(tmp_path, id="alone")
    with pytest.raises(SessionError, match="without --ray"):
        load_fleet(tmp_path, "alone")
    with pytest.raises(SessionError, match="no session nobody"):
        load_fleet(tmp_path, "nobody")


def test_load_of_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".sessions").mkdir()
    os.mkfifo(tmp_path / ".sessions" / "s.session.json")
    with pytest.raises(SessionError, match=r"s\.session\.json is not a regular file"):
        load(tmp_path)


def test_newest_returns_the_last_begun_finished_or_not(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="there is no session in "):
        load_newest(tmp_path)
    made(tmp_path, id="b", started="2026-01-02T00:00:00+00:00")
    made(
        tmp_path, id="a", started="2026-01-03T00:00:00+00:00", finished="2026-01-03T01:00:00+00:00"
    )
    made(tmp_path, id="c", started="2026-01-01T00:00:00+00:00")
    assert load_newest(tmp_path).id == "a"
    for path in (tmp_path / ".sessions").iterdir():
        path.write_text("{")
    with pytest.raises(SessionError, match=r"c\.session\.json is cut off or not JSON"):
        load_newest(tmp_path)
