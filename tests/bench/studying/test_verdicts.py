"""The study of the verdicts: its tables are those of the documentation, with few trials nearly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.judging.process_means import ENOUGH_PROCESSES
from bench.judging.verdict import Verdict
from bench.studying import rules, verdicts
from bench.studying.rules import TRIALS, rate
from bench.telling.sheet import Sheet
from tests.bench.studying.documented import assert_near, assert_same, beside, numbers

MADE: dict[Callable[[int], Sheet], int] = {
    verdicts.false_rates: 100,
    verdicts.unpaired_false_rates: 100,
    verdicts.bridged_false_rates: 100,
    verdicts.powers_by_noise: 100,
    verdicts.powers: 100,
    verdicts.bridged_powers: 100,
    verdicts.in_turn_false_rates: 100,
    verdicts.in_turn_powers: 100,
    verdicts.same_rates: 100,
    verdicts.stopping: 50,
    verdicts.rivals: 25,
}
"""Each table with as many trials as take a moment."""


@pytest.mark.parametrize("make", MADE)
def test_a_table_is_nearly_the_documentation_s(make: Callable[[int], Sheet]) -> None:
    assert_near(make(MADE[make]), MADE[make])


def test_a_trial_of_the_gate_is_a_run_of_twenty_cases() -> None:
    assert_near(verdicts.gate_rates(20 * 25), 25)


def test_the_table_of_processes_needed_is_nearly_the_documentation_s(
    soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "RIVAL_TRIALS", 200)
    for ours, theirs in beside(verdicts.needed()):
        (count,), (wanted,) = numbers(ours), numbers(theirs)
        assert ours.endswith("*") == (count < ENOUGH_PROCESSES)
        if wanted > 40:  # of a formula, as is that there is none
            assert ours == theirs
        else:
            assert abs(count - wanted) <= 1 + 0.25 * wanted, (ours, theirs)


@pytest.mark.slow
def test_the_tables_are_those_of_the_documentation() -> None:
    for sheet in verdicts.tables(TRIALS).values():
        # Another version of SciPy may turn a comparison at the edge: a few in twenty thousand.
        assert_same(sheet, within=0.15)


def test_one_stops_at_the_first_that_is_true_or_else_at_the_last() -> None:
    flags = np.array([[False, True, True], [True, False, False], [False, False, False]])
    assert verdicts._first(flags).tolist() == [1, 0, 2]


# What machines do while environments take turns


@pytest.mark.parametrize("state", verdicts.STATES)
@pytest.mark.parametrize("spread", [0.03, 0.10])
def test_equal_environments_are_called_different_in_about_one_percent(
    state: str, spread: float
) -> None:
    machine = verdicts.STATES[state]
    (paired,), _ = rules.in_turn_verdicts([0.0], spread, machine, 10, trials=4000)
    assert rate(paired, Verdict.FASTER, Verdict.SLOWER) <= 0.015


def test_turns_find_what_the_machine_s_wandering_hides_from_separate_processes() -> None:
    machine = verdicts.STATES["wandering by 10%"]
    (paired,), (apart,) = rules.in_turn_verdicts([0.05], 0.02, machine, 20, trials=1000)
    told = [rate(each, Verdict.SLOWER) for each in (paired, apart)]
    assert told[0] > told[1] + 0.2


def test_a_machine_that_slows_down_steadily_slows_neither_side_more() -> None:
    """The second of a turn is the first of the next: what is left is of two processes in twenty."""
    machine = verdicts.STATES["slower by 20% from first to last"]
    (paired,), _ = rules.in_turn_verdicts([0.0], 0.0001, machine, 10, trials=10)
    assert rate(paired, Verdict.FASTER, Verdict.SLOWER) == 0
