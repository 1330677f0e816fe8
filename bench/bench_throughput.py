"""Throughput: a whole sequence in one step, each backend on each shape."""

from collections.abc import Callable

import pytest

from bench.case.cases import Case


@pytest.mark.lstm_cases("throughput")
def test_throughput(lstm_case: Case, lstm_measure: Callable[[Case], None]) -> None:
    lstm_measure(lstm_case)
