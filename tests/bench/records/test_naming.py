"""Names of sessions: which of them are of one run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case import loading
from bench.machine.facts import MachineKind
from bench.records import naming
from bench.session.cluster import ClusterMember

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


@given(TEXTS)
def test_any_other_session_is_a_run_of_its_own(name: str) -> None:
    assert naming.run_of(name) == name
    assert naming.run_of(naming.run_of(name)) == naming.run_of(name)


@pytest.mark.parametrize(
    "name",
    [RUN, f"{RUN}-", f"x{RUN}-east", f"{RUN}east", RUN.upper() + "-east", "mine-east", "", "s"],
)
def test_what_a_user_calls_a_session_joins_nothing(name: str) -> None:
    assert naming.run_of(name) == name


def test_kinds_as_machines_have_them_come_apart_from_the_run() -> None:
    suite = loading.load("smoke")
    for label in ("", "NVIDIA H100 80GB", "tpu_v5-lite"):
        member = ClusterMember(
            "node", MachineKind("EPYC 9654", 2, 0.0, (), "3.11.7", ()), label, suite
        )
        assert naming.run_of(naming.of_kind(RUN, member.key)) == RUN
