"""Truncation: one stream cut into windows, the state carried from each to the next."""

from collections.abc import Callable

import pytest

from bench.case.cases import Case


@pytest.mark.lstm_cases("truncation")
def test_truncation(lstm_case: Case, lstm_measure: Callable[[Case], None]) -> None:
    lstm_measure(lstm_case)
