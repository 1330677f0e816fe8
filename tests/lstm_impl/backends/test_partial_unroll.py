"""A loop in the graph, some timesteps a turn."""

from __future__ import annotations

import pytest

from lstm_impl import Workload
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built
from tests.lstm_impl.backends.layers import any_scan, both_ways, check_layer, check_scan, copies

pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


@both_ways
def test_its_layer_computes_what_the_reference_does(padded: bool, reverse: bool) -> None:
    check_layer("partial_unroll@4", padded, reverse)  # of six steps two are left over


# Fewer than one turn does, as many, no step left over, one, and two.
@any_scan
@pytest.mark.parametrize(
    ("steps", "timesteps"), [(3, 1), (3, 3), (3, 6), (3, 7), (3, 8), (1, 2), (7, 2)]
)
def test_every_step_is_done_once_whatever_is_left_over(
    steps: int, timesteps: int, reverse: bool
) -> None:
    check_scan(f"partial_unroll@{steps}", timesteps, reverse)


@pytest.mark.parametrize("timesteps", [7, None])
def test_the_graph_has_a_turn_s_steps_and_one_for_what_is_left_over(timesteps: int | None) -> None:
    assert copies("partial_unroll@5", timesteps) == (0, 5 + 1)


# XLA takes no stacks of length zero, which the loops of a gradient would have there.
@pytest.mark.parametrize("timesteps", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_xla_compiles_no_full_turn_and_nothing_left_over(timesteps: int) -> None:
    result = gate(built("partial_unroll@4+xla"), Workload(2, timesteps, "training"))
    assert result.passed, result.describe()
