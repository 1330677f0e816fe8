"""Test that the tables of all studies are near the documented ones with few trials."""

from collections.abc import Callable
from types import ModuleType

import pytest

from bench.render.table import TextTable
from bench.stats.intervals import ENOUGH_PROCESSES
from research import bridges, changes, nodes, percentiles, rules, verdicts
from tests.places import ROOT
from tests.research.documented import assert_near, assert_same, beside, cells, numbers, text

QUICK: dict[Callable[[int], TextTable], int] = {
    verdicts.false_rates: 100,
    verdicts.order_rates: 100,
    verdicts.star_rates: 100,
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
    bridges.found_rates: 100,
    bridges.false_rates: 100,
    bridges.powers: 100,
    nodes.coverages: 100,
    nodes.false_rates: 100,
    nodes.powers: 100,
    nodes.named: 10,
    nodes.found: 5,
}
"""The tables that are quick to make with this number of trials."""


@pytest.mark.parametrize("make", QUICK)
def test_quick_table_is_near_the_documented_one(make: Callable[[int], TextTable]) -> None:
    assert_near(make(QUICK[make]), QUICK[make])


def test_quick_tables_of_percentiles_are_near_the_documented_ones() -> None:
    for table in percentiles.tables(5 * percentiles.CALL_SHARE).values():
        # Of five trials two remain with 20 processes and ten times as many calls.
        assert_near(table, 2)


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


def test_rates_of_shifts_in_the_short_page_are_those_of_the_study() -> None:
    page = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8").splitlines()
    shown = [line for line in page if line.startswith(("| equals, ", "| one faster by ", "| 5% "))]
    assert len(shown) >= 16
    study = {tuple(cells(line)) for line in text().splitlines() if line.startswith("|")}
    assert [line for line in shown if tuple(cells(line)) not in study] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "trials", "within"),
    [
        # Another version of SciPy may change a few in twenty thousand.
        (verdicts, rules.TRIALS, 0.15),
        (bridges, rules.TRIALS, 0.15),
        (percentiles, rules.TRIALS, 0.15),
        (nodes, nodes.TRIALS, 0.0),
        # Another processor may change one history in fifty.
        (changes, changes.TRIALS, 2.01),
    ],
)
def test_tables_equal_the_documentation(study: ModuleType, trials: int, within: float) -> None:
    for table in study.tables(trials).values():
        assert_same(table, within)
