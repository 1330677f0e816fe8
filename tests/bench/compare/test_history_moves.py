"""What changed for longer than a session: since when, what moved, and what a rule makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.cli.fail_on import parse_rule
from bench.render.compare import beyond_words
from bench.render.history import change_words, error_lines, gate_line, there, what
from bench.render.history import changes_method as method
from bench.render.history import changes_table as sheet
from bench.stats.change_points import LONGEST, Scope
from bench.stats.history import History, Machine, Moved, _between, build, judge
from tests.bench.made_history import SLOW_SCAN, nights, run, slow_scan, watched
from tests.bench.made_nodes import a_case
from tests.bench.made_results import gather, measured


def moved_on(history: History) -> tuple[Machine, tuple[Moved, ...]]:
    """The only machine of a history, and what moved there."""
    (machine,) = history.machines
    assert machine.moved is not None
    return machine, machine.moved


def test_a_backend_that_became_slower_is_named_with_since_when_and_what_was_new() -> None:
    machine, (moved,) = moved_on(slow_scan())
    assert (moved.before.number, moved.session.number) == (17, 18)
    assert moved.movement.scope is Scope.BACKENDS
    assert {each.backend for each in moved.cases} == {"scan"}
    assert moved.movement.ratio.mid == pytest.approx(1.2, rel=0.02)
    ((since, *cells),) = sheet(machine).lines
    assert since.text == "#18 2026-01-19"
    assert [cell.text for cell in cells if not cell.text.startswith("0.")] == [
        *("scan (2 cases)", "SLOWER", "tensorflow 2.20.0 → 2.21.0; 1 other")
    ]


def test_where_all_cases_moved_it_is_said_what_that_may_be() -> None:
    every = {a_case(name, batch): 1.2 for name in ("keras", "scan", "torch") for batch in (8, 16)}
    machine, (moved,) = moved_on(watched(nights(slower=every)))
    assert what(machine, moved) == "all 6 cases"
    told = "it is the machine, or something that all of them use"
    assert told in method(machine)[-1]
    assert not any(told in line for line in method(moved_on(slow_scan())[0]))


def test_a_change_of_one_device_is_nothing_to_the_other() -> None:
    here = [a_case("keras"), a_case("scan")]
    gpu = [replace(each, device="gpu:0") for each in here]
    found = watched(nights(slower=dict.fromkeys(gpu, 1.2), cases=[*here, *gpu]))
    machine, (moved,) = moved_on(found)
    assert moved.movement.scope is Scope.ALL
    assert set(moved.cases) == set(gpu)
    assert what(machine, moved) == "all 2 cases on gpu:0"


def test_of_many_versions_the_first_are_named_and_all_else_by_number() -> None:
    _, (moved,) = moved_on(slow_scan())
    version, other = moved.changes
    many = [replace(version, name=f"libraries.p{number}") for number in range(6)]
    assert there([*many, other, other]).endswith("p3 2.20.0 → 2.21.0; 2 more; 2 other")
    assert there([other]) == "no version that was recorded; 1 other"


@pytest.mark.parametrize(
    ("rule", "fails"), [("slower", True), ("slower:5%", True), ("slower:30%", False)]
)
def test_a_rule_fails_on_what_became_slower_and_stayed_so(rule: str, fails: bool) -> None:
    guard = judge(parse_rule(rule), slow_scan())
    assert bool(guard.failed) is fails
    assert (guard.judged, guard.short) == (1, 0)
    assert gate_line(guard) == (
        f"--fail-on {rule}: FAILED, SLOWER{beyond_words(guard.rule)}: scan (2 cases) since #18."
        if fails
        else f"--fail-on {rule}: passed, nothing has become SLOWER by more than 30% and stayed so."
    )


def test_what_became_faster_breaks_no_rule() -> None:
    faster = watched(nights(slower=dict.fromkeys(SLOW_SCAN, 0.8)))
    assert moved_on(faster)[1]
    assert not judge(parse_rule("slower"), faster).failed


def test_a_rule_passes_what_was_taken_back() -> None:
    found = watched(nights(slower=SLOW_SCAN, since=10, until=20))
    machine, moved = moved_on(found)
    assert [(each.session.number, each.back and each.back.number) for each in moved] == [
        *((10, 20), (20, None))
    ]
    assert not judge(parse_rule("slower"), found).failed
    assert [line[4].text for line in sheet(machine).lines] == ["SLOWER until #20", "FASTER"]


def test_too_short_a_history_says_so_and_breaks_no_rule() -> None:
    found = watched(nights(10, SLOW_SCAN, since=5))
    (machine,) = found.machines
    assert machine.moved is None
    guard = judge(parse_rule("slower"), found)
    assert (guard.failed, guard.judged, guard.short) == ((), 0, 1)
    assert "not judged, the history is too short" in gate_line(guard)
    (told,) = method(machine)
    assert "11 sessions with the same case can tell; here are at most 10" in told


def test_only_the_last_sessions_are_searched() -> None:
    found = watched(nights(LONGEST + 20, SLOW_SCAN, since=12, cases=[*SLOW_SCAN, a_case()]))
    machine, moved = moved_on(found)
    assert moved == ()
    looked, none = method(machine)
    assert f"in the last {LONGEST} sessions, and trends in all of them" in looked
    assert none == "None was found."


def test_slow_drift_breaks_the_rule_and_is_one_gradual_change() -> None:
    creeping = {a_case("scan"): 1.1, a_case("scan", 16): 1.1}
    found = watched(nights(200, creeping, gradually=True))
    machine, (moved,) = moved_on(found)
    assert moved.movement.gradual
    assert (moved.before.number, moved.session.number) == (1, 200)
    assert moved.movement.ratio.mid == pytest.approx(1.1, rel=0.01)
    guard = judge(parse_rule("slower:5%"), found)
    assert guard.failed == ((machine, moved),)
    assert "scan (2 cases) gradually from #1 to #200" in gate_line(guard)
    assert "a little in each session" in error_lines(guard)[0]
    assert not judge(parse_rule("slower:12%"), found).failed
    ((when, *_, why),) = sheet(machine).lines
    assert (when.text, why.text) == ("#1 to #200, gradually", "a little in each session")


def test_what_changed_on_the_way_between_two_sessions_of_a_case_is_told_as_one() -> None:
    """The case is not measured in the session in which TensorFlow is new."""
    items = [
        item
        for item in nights(slower=SLOW_SCAN, since=18).measurements
        if item.case.backend == "keras" or item.run.id.split("-")[0] != "rlaptop18"
    ]
    _, (moved,) = moved_on(watched(gather(*items)))
    assert (moved.before.number, moved.session.number) == (17, 19)
    assert "tensorflow 2.20.0 → 2.21.0" in [change_words(change) for change in moved.changes]


def test_a_rule_s_threshold_is_surely_passed_or_not_at_all() -> None:
    _, (moved,) = moved_on(slow_scan())
    ratio = moved.movement.ratio
    for percent, fails in ((100 * (ratio.low - 1), True), (100 * (ratio.mid - 1), False)):
        guard = judge(parse_rule(f"slower:{percent - 0.1:.4f}%"), slow_scan())
        assert bool(guard.failed) is fails


def test_changes_of_several_devices_stand_in_the_order_of_time() -> None:
    """A device with a short history does not make that of the others too short."""
    cpu = [a_case(name) for name in ("keras", "scan")]
    gpu, new = ([replace(each, device=name) for each in cpu] for name in ("gpu:0", "gpu:1"))
    found = [
        *nights(slower=dict.fromkeys(cpu, 1.3), since=20, cases=cpu).measurements,
        *nights(slower=dict.fromkeys(gpu, 1.3), since=12, cases=gpu).measurements,
        *nights(3, cases=new).measurements,
    ]
    _, moved = moved_on(watched(gather(*found)))
    assert [(each.cases[0].device, each.session.number) for each in moved] == [
        *(("gpu:0", 12), ("cpu", 20)),
    ]


def test_between_two_sessions_only_what_is_other_than_before_has_changed() -> None:
    """From what it was before the first to what it is in the last, whatever was between."""
    versions = ("2.20.0", "2.21.0", "2.22.0", "2.20.0")
    items = [measured(a_case(), 1.0, run(n, tensorflow=each)) for n, each in enumerate(versions, 1)]
    _, second, third, fourth = build(gather(*items)).machines[0].sessions
    told = [change_words(change) for change in _between([second, third]) if change.version]
    assert told == ["tensorflow 2.20.0 → 2.22.0"]
    assert _between([second, third, fourth]) == ()


def test_of_one_case_and_of_one_session_it_is_said_as_it_is() -> None:
    machine, (moved,) = moved_on(watched(nights(slower={a_case(): 1.3}, cases=[a_case()])))
    assert what(machine, moved) == "the only case"
    (once,) = watched(nights(1)).machines
    assert method(once) == []


def test_github_actions_gets_an_error_for_what_broke_the_rule() -> None:
    (line,) = error_lines(judge(parse_rule("slower"), slow_scan()))
    assert line.startswith("::error title=SLOWER since 2026-01-19::scan (2 cases): 0.8")
    assert line.endswith("; changed there: tensorflow 2.20.0 → 2.21.0; 1 other")
