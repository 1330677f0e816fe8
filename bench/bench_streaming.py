"""Streaming: one chunk of a stream a call, the state kept, and every call timed by itself."""

from collections.abc import Callable

import pytest

from bench.case.cases import Case


@pytest.mark.lstm_cases("streaming")
def test_streaming(lstm_case: Case, lstm_measure: Callable[[Case], None]) -> None:
    lstm_measure(lstm_case)
