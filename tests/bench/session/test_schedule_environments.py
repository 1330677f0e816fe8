"""Test the schedule of backends that need different environments."""

from collections import Counter

import pytest

from bench.records.schema import ResultFile
from bench.session.schedule import Schedule
from bench.session.session import Environment, Goal, Lot, Need, Work, environments, lots, needs_of
from tests.bench.session.made_sessions import EAST, WEST, case, file_of, needs


def schedule(*backends: str, processes: int | None = 2) -> Schedule:
    goal = Goal(0.02) if processes is None else Goal(processes=processes)
    return Schedule([case(name) for name in backends], goal, 0, needs=needs)


def measured(work: Work) -> ResultFile:
    return file_of(work.number, dict.fromkeys(work.cases, 1.0))


def test_next_alternates_between_environments() -> None:
    plan = schedule("moonlight", "east", "west")
    found = []
    while work := plan.next():
        found.append(work)
        plan.add(measured(work))
    assert len(found) == 4
    for pair in (found[:2], found[2:]):  # each round has one of each
        assert {work.environment for work in pair} == {EAST, WEST}
    for work in found:
        backends = {case.backend for case in work.cases}
        assert backends == {"moonlight", "east" if work.environment == EAST else "west"}
    counts = Counter(case.backend for work in found for case in work.cases)
    assert counts == {"moonlight": 4, "east": 2, "west": 2}
    assert plan.finished


def test_shared_reference_neither_extends_nor_ends_a_session() -> None:
    plan = schedule("moonlight", "east", "west", processes=None)
    numbers = Counter[Environment]()
    while work := plan.next():
        numbers[work.environment] += 1
        # The reference's medians differ; at home it needs more processes, elsewhere it does not.
        slow = 1.0 + 0.5 * (work.number % 3)
        times = {each: slow if each.backend == "moonlight" else 1.0 for each in work.cases}
        plan.add(file_of(work.number, times))
        if numbers[WEST] == 9:
            break
    assert numbers == {WEST: 9, EAST: 6}


@pytest.mark.parametrize("outcome", ["failed", "not_measured", "crashed"])
def test_shared_reference_that_fails_elsewhere_is_kept_at_home(outcome: str) -> None:
    plan = schedule("moonlight", "plain", "east", "west")
    found = []
    while work := plan.next():
        found.append(work)
        bad = {
            each: outcome
            for each in work.cases
            if each.backend == "moonlight" and work.environment == EAST
        }
        good = [each for each in work.cases if each not in bad]
        plan.add(file_of(work.number, dict.fromkeys(good, 1.0), bad))
    east = [{each.backend for each in work.cases} for work in found if work.environment == EAST]
    west = [{each.backend for each in work.cases} for work in found if work.environment == WEST]
    assert east == [{"moonlight", "plain", "east"}, {"plain", "east"}]
    assert west == [{"moonlight", "west"}] * 2
    assert not plan.outcomes


def names(found: Lot) -> tuple[Environment, list[str], list[str]]:
    backends = [case.backend for case in found.cases]
    return found.environment, backends, [case.backend for case in found.references]


def test_environments_place_free_backends_with_their_framework() -> None:
    cases = [case(name) for name in ("moonlight", "plain", "east", "west")]
    west, east = lots(cases, needs)
    assert names(west) == (WEST, ["moonlight", "west"], [])
    assert names(east) == (EAST, ["plain", "east"], ["moonlight", "plain"])


def test_environments_that_change_results_keep_other_backends_out() -> None:
    """Neither at home nor as a reference: they would be measured under a wrong name."""
    cases = [case(name) for name in ("moonlight", "eclipse", "plain")]
    others, isolated = lots(cases, needs)
    assert names(others) == ((), ["moonlight", "plain"], [])
    assert names(isolated) == ((("SIDE", "dark"),), ["eclipse"], ["plain"])
    alone = lots([case("moonlight"), case("eclipse")], needs)
    assert [names(lot)[1:] for lot in alone] == [(["moonlight"], []), (["eclipse"], [])]


def test_environments_of_keras_backends_follow_their_frameworks() -> None:
    found = environments(["torch", "keras", "while_loop", "keras_torch", "numpy", "keras_jax"])
    backend = {name: dict(environment)["KERAS_BACKEND"] for name, environment in found.items()}
    assert backend == {
        **dict.fromkeys(("keras", "while_loop", "numpy"), "tensorflow"),
        **dict.fromkeys(("torch", "keras_torch"), "torch"),
        "keras_jax": "jax",
    }
    assert needs_of("no_such_backend") == Need()
