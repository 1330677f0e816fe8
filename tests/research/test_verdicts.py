"""The study of the verdicts: its tables are near the documented ones."""

from collections.abc import Callable

import pytest

from bench.render.table import TextTable
from bench.stats.intervals import ENOUGH_PROCESSES
from research import rules, verdicts
from research.rules import TRIALS
from tests.research.documented import assert_near, assert_same, beside, numbers

MADE: dict[Callable[[int], TextTable], int] = {
    verdicts.false_rates: 100,
    verdicts.unpaired_false_rates: 100,
    verdicts.bridged_false_rates: 100,
    verdicts.powers_by_noise: 100,
    verdicts.powers: 100,
    verdicts.bridged_powers: 100,
    verdicts.interleaved_false_rates: 100,
    verdicts.interleaved_powers: 100,
    verdicts.same_rates: 100,
    verdicts.stopping: 50,
    verdicts.rivals: 25,
}
"""The quick tables, with their trials."""


@pytest.mark.parametrize("make", MADE)
def test_quick_table_is_near_the_documented_one(make: Callable[[int], TextTable]) -> None:
    assert_near(make(MADE[make]), MADE[make])


def test_gate_trial_is_a_run_of_twenty_cases() -> None:
    assert_near(verdicts.gate_rates(20 * 25), 25)


def test_table_of_processes_needed_is_near_the_documented_one(
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
def test_tables_equal_the_documentation() -> None:
    for table in verdicts.tables(TRIALS).values():
        # Another version of SciPy may change a few in twenty thousand.
        assert_same(table, within=0.15)
