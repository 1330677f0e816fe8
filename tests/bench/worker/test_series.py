"""What timing is told, and what it gives back of a step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.worker.timing import Series, Stopped

SECONDS = st.floats(1e-9, 1e6)


@given(st.integers(1, 10**6), st.lists(SECONDS, max_size=9))
def test_a_sample_is_its_block_s_time_for_one_call(calls: int, blocks: list[float]) -> None:
    rounds = tuple(range(len(blocks)))
    series = Series(calls, tuple(blocks), rounds, (), Stopped.TIME, None, 0.0)
    assert [calls * each for each in series.samples] == pytest.approx(blocks)


def test_result_files_say_in_these_words_why_there_are_no_more_samples() -> None:
    assert list(map(str, Stopped)) == ["precise", "time", "rounds"]
