"""One roof: the products that wait for one another, by hand, and what is above a roof."""

from __future__ import annotations

import pytest

from bench.records.schema import Figures
from bench.worker.roofs import (
    WELL_ABOVE,
    chain,
    doubts,
    precisions,
)
from lstm_impl import LSTMSpec, Workload

SPEC, WORK = LSTMSpec(8, 16), Workload(2, 10)
FORWARD, BACKWARD = (2, 16, 64), (2, 64, 16)


def test_the_chain_is_one_product_a_timestep_and_one_more_backward() -> None:
    assert chain(SPEC, WORK) == {FORWARD: 10}
    assert chain(SPEC, Workload(2, 10, "training")) == {FORWARD: 10, BACKWARD: 10}


def test_layers_follow_one_another_a_timestep_behind_and_directions_side_by_side() -> None:
    assert chain(LSTMSpec(8, 16, num_layers=3), WORK) == {FORWARD: 12}
    assert chain(LSTMSpec(8, 16, bidirectional=True), WORK) == {FORWARD: 10}
    # A layer over two directions waits for both ends of the one below.
    assert chain(LSTMSpec(8, 16, num_layers=3, bidirectional=True), WORK) == {FORWARD: 30}


def test_windows_follow_one_another() -> None:
    work = Workload(2, 10, "training", window=4)
    assert chain(SPEC, work) == {FORWARD: 10, BACKWARD: 10}
    assert chain(LSTMSpec(8, 16, num_layers=2), work)[FORWARD] == 5 + 5 + 3


def test_sequences_that_have_ended_take_no_part_in_the_chain() -> None:
    assert chain(SPEC, Workload(2, 10, min_length=2)) == {FORWARD: 10 * 12 / 20}


@pytest.mark.parametrize(
    ("dtype", "device", "expected"),
    [
        ("float32", "cpu", ("float32",)),
        ("tf32", "cpu", ("float32",)),
        ("float64", "gpu:0", ("float64",)),
        ("mixed_bfloat16", "cpu", ("bfloat16", "float32")),
        ("mixed_float16", "gpu:0", ("float16",)),
        ("float32", "gpu:0", ("float32",)),
        ("tf32", "gpu:0", ("tf32", "float32")),
    ],
)
def test_a_roof_is_that_of_the_precisions_a_case_may_be_computed_in(
    dtype: str, device: str, expected: tuple[str, ...]
) -> None:
    assert precisions(LSTMSpec(8, 16, dtype=dtype), device) == expected


# -- above a roof

FIGURES: Figures = {
    "of_matmul": 1.0,
    "of_bandwidth": 1.0,
    "of_chain": 1.0,
    "matmul_by": "a library, float32, 64 x 64",
    "bandwidth_by": "a copy",
    "bytes": 3.0 * 2**20,
    "array_bytes": 1.0 * 2**20,
}


def told(**more: float | str) -> list[str]:
    """What is doubted of a case with these figures."""
    return [each.text for each in doubts({**FIGURES, **more})]


def test_a_doubt_says_whose_roof_it_is_and_what_to_do() -> None:
    (doubt,) = doubts({**FIGURES, "of_matmul": 2.0})
    assert doubt.code == "above_roof"
    assert "200% of the matrix-product rate" in doubt.text
    assert "a library, float32, 64 x 64" in doubt.text
    assert "quiet machine" in doubt.advice


def test_what_is_a_little_above_a_roof_is_not_doubted_nor_what_has_none() -> None:
    assert told(of_matmul=WELL_ABOVE) == []
    assert len(told(of_matmul=WELL_ABOVE + 0.01)) == 1
    assert doubts({}) == []


def test_more_bandwidth_than_memory_has_is_doubted_of_data_that_no_cache_holds() -> None:
    (text,) = told(of_bandwidth=2.0)
    assert "200% of the memory bandwidth" in text
    assert "a copy" in text
    assert told(of_bandwidth=50.0, bytes=1.0 * 2**20) == []
