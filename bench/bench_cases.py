"""Measure each case of a suite."""

from collections.abc import Callable

from bench.case.cases import Case


def test_case(lstm_case: Case, lstm_measure: Callable[[Case], None]) -> None:
    lstm_measure(lstm_case)
