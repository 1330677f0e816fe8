"""Sessions that belong together because machines of one cluster measure them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from bench.running.opening import open_session
from bench.running.session import Session, SessionError, load, of_fleet
from tests.bench.running.test_manager import session


def saved(folder: Path, name: str, **changes: object) -> Session:
    found = replace(session(), id=name, **changes)  # type: ignore[arg-type]
    found.save(folder)
    return found


def test_the_sessions_of_a_fleet_are_found_by_its_name_by_one_of_theirs_and_as_the_newest(
    tmp_path: Path,
) -> None:
    saved(tmp_path, "alone", started="2026-01-01T00:00:00+00:00")
    saved(tmp_path, "old-x", fleet="old", kind="x", started="2026-01-02T00:00:00+00:00")
    x = saved(tmp_path, "new-x", fleet="new", kind="x", started="2026-01-03T00:00:00+00:00")
    y = saved(tmp_path, "new-y", fleet="new", kind="y", started="2026-01-03T00:00:00+00:00")
    assert load(tmp_path, "new-x") == x
    for name in ("new", "new-x", "new-y", ""):
        assert {each.id for each in of_fleet(tmp_path, name)} == {x.id, y.id}
    assert [each.id for each in of_fleet(tmp_path, "old")] == ["old-x"]


def test_a_session_of_one_machine_is_no_fleet_s(tmp_path: Path) -> None:
    saved(tmp_path, "alone")
    with pytest.raises(SessionError, match="without --ray"):
        of_fleet(tmp_path, "alone")
    with pytest.raises(SessionError, match="no session nobody"):
        of_fleet(tmp_path, "nobody")


def test_a_fleet_s_session_does_not_go_on_on_one_machine(tmp_path: Path) -> None:
    saved(tmp_path, "f-x", fleet="f", kind="x")
    names = [
        *("suite", "device", "backends", "mode", "seed", "threads", "seconds", "memory"),
        *("period", "deadline", "load", "budget", "case_limit", "processes", "precision"),
    ]
    options = argparse.Namespace(resume="f-x", **dict.fromkeys(names))
    with pytest.raises(SessionError, match="--ray ADDRESS --resume f, or name another"):
        open_session(options, tmp_path)
