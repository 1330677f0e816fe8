"""What a history says: which sessions, in which order, against what, and what changed between."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bench.records.schema import Outcome, Reason
from bench.render.messages import doubt_line
from bench.stats.comparison import Verdict
from bench.stats.history import build, since
from bench.stats.rows import NothingToReportError
from bench.stats.trust import NOT_STEADY
from tests.bench.made_history import run, session, upgrade
from tests.bench.made_nodes import a_case
from tests.bench.made_results import BUSY, gather, measured, unmeasured


def test_sessions_stand_in_the_order_of_time_each_against_the_one_before() -> None:
    (machine,) = build(upgrade()).machines
    assert [(each.number, each.id) for each in machine.sessions] == [
        *((1, "slaptop1"), (2, "slaptop2"), (3, "slaptop3"))
    ]
    (line,) = machine.lines
    first, second, third = line.points
    assert first.to_before is None
    assert second.to_before is not None
    assert second.to_before.verdict is Verdict.SLOWER
    assert second.to_before.ratio.mid == pytest.approx(1.3)
    assert third.to_before is not None
    assert third.to_before.verdict is Verdict.SAME
    assert [point.time.mid for point in line.measured if point.time] == pytest.approx(
        [1.0, 1.3, 1.3]
    )


def test_what_changed_is_marked_where_it_changed_versions_first() -> None:
    (machine,) = build(upgrade()).machines
    first, second, third = machine.sessions
    assert first.changes == third.changes == ()
    assert [(each.name, each.version) for each in second.changes] == [
        ("libraries.tensorflow", True),
        ("memory.swap_total_bytes", False),
    ]


def test_a_commit_that_changed_is_marked() -> None:
    found = upgrade()
    commits = {"slaptop1": "a" * 40, "slaptop2": "a" * 40, "slaptop3": "b" * 40 + " with changes"}
    files = tuple(replace(file, commit=commits[file.run.session]) for file in found.files)
    (machine,) = build(replace(found, files=files)).machines
    changes = [[(c.name, c.before, c.after) for c in s.changes] for s in machine.sessions]
    assert changes[2] == [("commit", "a" * 10, "b" * 10 + " with changes")]
    assert "commit" not in {name for name, _, _ in changes[1]}


def test_since_a_time_are_the_sessions_that_began_then_or_later() -> None:
    """A session is one, though some of its processes came later than that time."""
    third = run(3).started
    late = measured(a_case(), 1.3, replace(run(2, 9), started=third + timedelta(hours=1)))
    found = since(gather(*upgrade().measurements, late), third)
    assert {file.run.session for file in found.files} == {"slaptop3"}
    with pytest.raises(
        NothingToReportError, match=r"--since 2026-01-05 00:00: last session 2026-01-04"
    ):
        since(upgrade(), third + timedelta(days=1))


def test_a_session_without_the_case_is_passed_over_and_its_changes_still_count() -> None:
    """The third session is compared with the first, so what changed in the second may be why."""
    other = a_case("scan")
    found = gather(
        *session(1, {a_case(): 1.0, other: 1.0}),
        *session(2, {other: 1.0}, tensorflow="2.21.0"),
        *session(3, {a_case(): 1.3, other: 1.0}, tensorflow="2.21.0"),
    )
    line = build(found).machines[0].lines[0]
    assert [point.session.number for point in line.points] == [1, 3]
    assert line.points[1].changes[0].name == "libraries.tensorflow"
    assert build(found).machines[0].sessions[2].changes == ()


def test_a_case_that_crashed_is_in_its_line_without_a_time() -> None:
    crash = Outcome(a_case(), run(2), "crashed", "out of memory", "", Path("a.json"))
    found = gather(*session(1, {a_case(): 1.0}), crash, *session(3, {a_case(): 1.0}))
    (line,) = build(found).machines[0].lines
    assert [point.outcome for point in line.points] == ["", "crashed: out of memory", ""]
    assert line.points[2].to_before is not None
    assert line.points[2].to_before.ratio.mid == pytest.approx(1.0)


def test_machines_are_never_compared_with_each_other() -> None:
    found = gather(
        measured(a_case(), 1.0, run(1)),
        measured(a_case(), 0.1, run(2, host="server")),
    )
    machines = build(found).machines
    assert [machine.name for machine in machines] == ["server", "laptop"]
    assert all(p.to_before is None for m in machines for line in m.lines for p in line.points)


def test_cases_are_chosen_and_what_fits_nothing_is_told() -> None:
    found = gather(*session(1, {a_case(): 1.0, a_case("scan"): 1.0, a_case(batch=16): 1.0}))

    def ids(pattern: str = "*") -> list[str]:
        return [line.case.id for line in build(found, pattern=pattern).machines[0].lines]

    assert len(ids()) == 3
    assert ids("*/b16-*") == [a_case(batch=16).id]
    assert ids("scan/*") == [a_case("scan").id]
    with pytest.raises(NothingToReportError, match="--case x: no case"):
        ids("x")


@pytest.mark.parametrize(("number", "invalid"), [(1, False), (2, True)])
def test_of_six_processes_of_a_session_one_that_was_disturbed_spoils_nothing_and_two_do(
    number: int, invalid: bool
) -> None:
    items = [measured(a_case(), 1.0, run(1, n), [BUSY] if n < number else []) for n in range(6)]
    (machine,) = build(gather(*items)).machines
    (point,) = machine.lines[0].points
    told = f"the cores were busy (close what runs) [in {number} of 6 runs]"
    assert tuple(map(doubt_line, point.reasons)) == ((told,) if invalid else ())


def test_one_crash_among_many_processes_spoils_nothing_and_a_failure_does() -> None:
    crashed = Outcome(a_case(), run(1, 6), "crashed", "killed by SIGSEGV", "", Path("a.json"))
    (machine,) = build(gather(*session(1, {a_case(): 1.0}), crashed)).machines
    (point,) = machine.lines[0].points
    assert point.time is not None
    assert point.reasons == ()  # one of seven, and the median over the others does not follow it
    failed = replace(crashed, outcome="failed", reason="the outputs differ")
    (machine,) = build(gather(*session(1, {a_case(): 1.0}), failed)).machines
    (reason,) = machine.lines[0].points[0].reasons
    assert doubt_line(reason) == "failed: the outputs differ [in 1 of 7 runs]"


def test_a_session_whose_time_moved_makes_its_time_and_both_its_ratios_doubtful() -> None:
    moved = Reason(NOT_STEADY, "it became slower", "wait")
    items = [measured(a_case(), 1.0, run(n), [moved] if n == 2 else []) for n in (1, 2, 3)]
    points = build(gather(*items)).machines[0].lines[0].points
    assert [[doubt.code for doubt in point.of_time] for point in points] == [[], [NOT_STEADY], []]
    told = [[doubt.code for doubt in point.of_ratio] for point in points]
    assert told == [[], [NOT_STEADY], [NOT_STEADY]]
    assert not any(point.reasons for point in points)


def test_what_was_never_measured_has_no_line_and_its_machine_no_history() -> None:
    never = unmeasured(a_case("gone"), run(1), "crashed", "out of memory")
    elsewhere = unmeasured(a_case(), run(2, host="server"), "crashed", "out of memory")
    (machine,) = build(gather(*session(1, {a_case(): 1.0}), never, elsewhere)).machines
    assert machine.name == "laptop"
    assert [line.case for line in machine.lines] == [a_case()]
