"""The collectives' part of a profiler's record, from made-up events."""

from __future__ import annotations

import pytest

from bench.studies.data_parallel import MARK, collectives
from lstm_impl.backends.hlo import ProfiledEvent

HOST, GPU = "/host:CPU", "/device:GPU:0"


def op(kind: str, start: float, seconds: float, line: str = "pool 1") -> ProfiledEvent:
    return ProfiledEvent(HOST, line, f"step/{kind}:{kind}", start, seconds)


MARKED = ProfiledEvent(HOST, "python 1", MARK, 10.0, 8.0)


def test_only_what_lies_in_the_marked_steps_counts_and_no_time_twice() -> None:
    whole, within = collectives(
        [
            MARKED,
            op("CollectiveReduceV2", 5.0, 6.0),  # from before: a barrier, until 11
            op("CollectiveReduceV2", 12.0, 2.0),
            op("CollectiveReduceV2", 13.0, 2.0, "pool 2"),  # at the same time on another thread
            op("MatMul", 10.0, 8.0),
            op("CollectiveReduceV2", 17.5, 9.0),
        ]
    )
    assert whole == pytest.approx(8.0)
    assert within == pytest.approx(1.0 + 3.0 + 0.5)


def test_kernels_of_nccl_are_collectives_too() -> None:
    kernel = ProfiledEvent(GPU, "Stream #20", "ncclDevKernel_AllReduce_Sum_f32_RING_LL", 11.0, 1.0)
    other = ProfiledEvent(GPU, "Stream #20", "LSTM_elementWise_fp", 12.0, 1.0)
    assert collectives([MARKED, kernel, other])[1] == pytest.approx(1.0)


def test_a_record_without_the_mark_says_nothing() -> None:
    assert collectives([op("CollectiveReduceV2", 1.0, 1.0)]) == (0.0, 0.0)
    assert collectives([]) == (0.0, 0.0)


def test_a_mark_with_its_arguments_is_one() -> None:
    with_arguments = MARKED._replace(name=f"{MARK}#id=3#")
    assert collectives([with_arguments])[0] == pytest.approx(8.0)
