"""The rule that a comparison may fail on: what breaks it, among how many, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bench.case.cases import Case
from bench.cli.command_line import UsageError
from bench.cli.fail_on import parse_rule
from bench.stats.pairs import Gate, compare_runs, judge
from tests.bench.made_nodes import a_case
from tests.bench.made_results import replicates


def gate_of(rule: str, times: Mapping[Case, float], **options: float) -> Gate:
    base = replicates("b", dict.fromkeys(times, 1.0), **options)  # type: ignore[arg-type]
    new = replicates("n", times, **options)  # type: ignore[arg-type]
    return judge(parse_rule(rule), compare_runs(base, new).rows)


def test_the_gate_fails_for_a_slower_case_and_names_it() -> None:
    found = gate_of("slower", {a_case(batch=1): 1.3, a_case(batch=2): 1.0})
    assert [row.case for row in found.failed] == [a_case(batch=1)]
    assert found.judged == 2


def test_the_gate_says_how_many_cases_pass_only_because_they_are_unclear() -> None:
    found = gate_of("slower", {a_case(batch=1): 1.3, a_case(batch=2): 1.0}, count=2)
    assert (found.unclear, found.failed) == (2, ())


def test_a_gate_with_a_threshold_needs_the_whole_interval_beyond_it() -> None:
    assert gate_of("slower:5%", {a_case(): 1.2}).failed
    assert not gate_of("slower:5%", {a_case(): 1.06}).failed  # slower, but not surely by 5%
    assert gate_of("slower", {a_case(): 1.06}).failed
    assert not gate_of("slower", {a_case(): 0.7}).failed


def test_the_gate_is_the_stricter_the_more_cases_it_judges() -> None:
    slower = {a_case(batch=1000): 1.03}
    assert gate_of("slower", slower).failed
    many = {a_case(batch=n): 1.0 for n in range(1, 400)}
    assert not gate_of("slower", slower | many).failed


def test_what_is_slower_by_less_than_two_percent_for_certain_does_not_fail_the_plain_rule() -> None:
    assert not gate_of("slower", {a_case(): 1.01}, jitter=0.001).failed
    assert gate_of("slower:0.5%", {a_case(): 1.01}, jitter=0.001).failed


@pytest.mark.parametrize("rule", ["", "faster", "slower:", "slower:5", "slower:-5%", "slower:x%"])
def test_a_rule_of_another_form_is_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="expected slower, or slower:5%"):
        parse_rule(rule)
