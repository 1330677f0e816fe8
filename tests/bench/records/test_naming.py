"""Names of sessions: which of them are of one run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records import naming

RUN = "20260102T030405Z-0a1b2c"
TEXTS = st.text(max_size=60)


def test_a_session_s_name_begins_with_its_time() -> None:
    name = naming.new(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert name.startswith("20260102T030405Z-")
    assert name != naming.new(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@given(TEXTS.filter(bool))
def test_the_sessions_of_all_kinds_of_machines_are_of_their_fleet_s_run(kind: str) -> None:
    run = naming.new()
    assert naming.run_of(naming.of_kind(run, kind)) == run


@pytest.mark.parametrize(
    "name",
    [RUN, f"{RUN}-", f"x{RUN}-east", f"{RUN}east", RUN.upper() + "-east", "mine-east", "", "s"],
)
def test_what_a_user_calls_a_session_joins_nothing(name: str) -> None:
    assert naming.run_of(name) == name
