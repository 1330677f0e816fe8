"""Who moved when times changed: the machine, a backend, a case; and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bench.stats.change_points import LEAST, FloatArray, Movement, Scope, enough, movements
from bench.stats.comparison import Verdict
from bench.stats.intervals import Interval

BACKENDS = ("keras", "scan", "torch")


def history(
    backends: Sequence[str] = BACKENDS,
    cases: int = 4,
    sessions: int = 30,
    seed: int = 1,
    spread: float = 0.02,
    luck: float = 0.03,
) -> tuple[FloatArray, list[str]]:
    """Log times ``[cases, sessions]``: each case's level, a session's luck, and noise."""
    rng = np.random.default_rng(seed)
    names = [name for name in backends for _ in range(cases)]
    levels = rng.normal(0, 2, (len(names), 1))
    shared = luck * rng.standard_normal(sessions)
    return levels + shared + spread * rng.standard_normal((len(names), sessions)), names


def rows(names: Sequence[str], *wanted: str) -> list[int]:
    return [row for row, name in enumerate(names) if name in wanted]


def only(found: Sequence[Movement]) -> Movement:
    assert len(found) == 1, found
    return found[0]


def test_nothing_moved() -> None:
    assert movements(*history()) == []


def test_the_machine_moved() -> None:
    logs, names = history()
    logs[:, 18:] += math.log(1.2)
    found = only(movements(logs, names))
    assert (found.scope, found.before, found.at) == (Scope.ALL, 17, 18)
    assert found.rows == tuple(range(12))
    assert found.ratio.low < 1.2 < found.ratio.high
    assert found.verdict is Verdict.SLOWER


def test_a_machine_moves_not_every_case_by_as_much() -> None:
    logs, names = history()
    logs[:, 18:] += np.linspace(0.10, 0.25, 12)[:, None]
    assert movements(logs, names)[0].scope is Scope.ALL
    assert {each.at for each in movements(logs, names)} == {18}


@pytest.mark.parametrize("backends", [("keras", "scan"), BACKENDS, (*BACKENDS, "jax")])
@pytest.mark.parametrize("cases", [1, 4])
def test_a_backend_moved(backends: Sequence[str], cases: int) -> None:
    logs, names = history(backends, cases)
    here = rows(names, "scan")
    logs[here, 18:] += math.log(1.25)
    found = only(movements(logs, names))
    assert (found.scope, found.backends, found.at) == (Scope.BACKENDS, ("scan",), 18)
    assert found.rows == tuple(here)
    assert found.ratio.mid == pytest.approx(1.25, rel=0.03)


def test_most_backends_moved_and_one_stayed_so_it_was_not_the_machine() -> None:
    logs, names = history(luck=0.01)
    logs[rows(names, "keras", "scan"), 18:] += math.log(1.25)
    found = only(movements(logs, names))
    assert (found.scope, found.backends) == (Scope.BACKENDS, ("keras", "scan"))
    assert found.ratio.mid == pytest.approx(1.25, rel=0.03)


def test_a_case_moved() -> None:
    logs, names = history()
    logs[5, 18:] -= math.log(1.3)
    found = only(movements(logs, names))
    assert (found.scope, found.rows, found.backends) == (Scope.CASES, (5,), ("scan",))
    assert found.verdict is Verdict.FASTER
    assert found.ratio.mid == pytest.approx(1 / 1.3, rel=0.03)


def test_the_only_case_moved() -> None:
    logs, names = history(["keras"], 1)
    logs[0, 18:] += math.log(1.5)
    assert only(movements(logs, names)).scope is Scope.ALL


def test_the_machine_and_a_backend_moved_at_once() -> None:
    logs, names = history()
    logs[:, 18:] += math.log(1.2)
    logs[rows(names, "torch"), 18:] += math.log(1.5)
    machine, backend = movements(logs, names)
    assert (machine.scope, machine.at) == (Scope.ALL, 18)
    assert (backend.scope, backend.backends, backend.at) == (Scope.BACKENDS, ("torch",), 18)
    assert backend.ratio.mid == pytest.approx(1.5, rel=0.03)  # beside the others


def test_what_was_taken_back_says_so() -> None:
    logs, names = history(sessions=40)
    logs[rows(names, "scan"), 12:24] += math.log(1.3)
    first, second = movements(logs, names)
    assert (first.at, first.taken_back, first.verdict) == (12, 24, Verdict.SLOWER)
    assert (second.at, second.taken_back, second.verdict) == (24, None, Verdict.FASTER)


def test_a_case_that_is_missing_in_some_sessions_moves_nobody_else() -> None:
    logs, names = history()
    logs[4:8, 18:] += math.log(1.25)
    logs[0, :15] = np.nan  # measured only later
    logs[9, 20:] = np.nan  # and one no more
    logs[5, ::3] = np.nan
    found = only(movements(logs, names))
    assert (found.scope, found.backends, found.at) == (Scope.BACKENDS, ("scan",), 18)
    assert found.ratio.mid == pytest.approx(1.25, rel=0.04)


def test_what_nobody_should_act_on_is_not_told() -> None:
    logs, names = history(spread=0.001, luck=0.0)
    logs[rows(names, "scan"), 18:] += 0.01
    assert movements(logs, names) == []


def test_too_short_a_history_says_so() -> None:
    logs, names = history(sessions=LEAST - 1)
    logs[:, 5:] += 1.0
    assert not enough(logs)
    assert movements(logs, names) == []
    assert enough(history(sessions=LEAST)[0])


def test_the_order_of_the_cases_does_not_matter() -> None:
    logs, names = history()
    logs[rows(names, "scan"), 18:] += math.log(1.25)
    order = np.random.default_rng(2).permutation(len(names))
    turned = movements(logs[order], [names[row] for row in order])
    here, there = only(movements(logs, names)), only(turned)
    assert here.ratio.mid == pytest.approx(there.ratio.mid)
    assert here.at == there.at
    assert sorted(order[list(there.rows)].tolist()) == list(here.rows)


def test_a_stair_is_found_step_by_step() -> None:
    logs, names = history(sessions=60)
    for at in (20, 40):
        logs[rows(names, "scan"), at:] += math.log(1.2)
    first, second = movements(logs, names)
    assert [(each.at, each.backends) for each in (first, second)] == [
        *((20, ("scan",)), (40, ("scan",)))
    ]
    assert first.ratio.mid == pytest.approx(1.2, rel=0.03)
    assert second.ratio.mid == pytest.approx(1.2, rel=0.03)
    assert first.taken_back is None


def test_beside_a_true_change_hardly_any_false_one_is_found() -> None:
    """The median of a session moves a little when a third of its cases does."""
    extra = 0
    for seed in range(8):
        logs, names = history(seed=seed, spread=0.05)
        logs[rows(names, "scan"), 18:] += math.log(1.25)
        extra += sum(each.backends != ("scan",) for each in movements(logs, names))
    assert extra <= 1


def test_what_is_taken_out_beside_an_earlier_change_makes_none_of_its_own() -> None:
    """A level of few sessions that was given to all later ones would stand out from the rest."""
    for seed in (1, 4):
        logs, names = history(cases=10, sessions=50, seed=seed)
        logs[rows(names, "scan"), 20:] += math.log(1.2)
        logs[7, 35:] += 0.3
        logs[:, 42:] += 0.3
        found = movements(logs, names)
        assert [each.scope for each in found] == [Scope.BACKENDS, Scope.CASES, Scope.ALL]
        assert [each.at for each in found] == pytest.approx([20, 35, 42], abs=1)


def test_a_change_is_not_taken_back_by_the_lesser_part_of_its_cases() -> None:
    logs, names = history(cases=3, sessions=40)
    scan = rows(names, "scan")
    logs[scan, 12:] += math.log(1.4)
    logs[scan[0], 26:] -= math.log(1.4)
    first, *_, last = movements(logs, names)
    assert (first.rows, first.taken_back) == (tuple(scan), None)
    assert (last.rows, last.verdict) == ((scan[0],), Verdict.FASTER)


@pytest.mark.parametrize(
    ("low", "mid", "high", "verdict"),
    [
        (0.99, 1.005, 1.019, Verdict.SAME),
        (0.99, 1.005, 1.021, Verdict.SLOWER),
        (0.979, 0.99, 1.0, Verdict.FASTER),
        (1 / 1.02, 1.0, 1.02, Verdict.SAME),
    ],
)
def test_what_is_within_two_percent_for_certain_is_the_same(
    low: float, mid: float, high: float, verdict: Verdict
) -> None:
    found = Movement(Scope.ALL, 1, 2, ("keras",), (0,), Interval(low, mid, high, 0.995), 0.001)
    assert found.verdict is verdict
