"""A loop in the graph, one timestep a turn."""

from __future__ import annotations

import pytest

from tests.lstm_impl.backends.layers import any_scan, both_ways, check_layer, check_scan, copies

pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


@both_ways
def test_its_layer_computes_what_the_reference_does(padded: bool, reverse: bool) -> None:
    check_layer("while_loop", padded, reverse)


@any_scan
@pytest.mark.parametrize("timesteps", [1, 2, 5])
def test_it_loops_over_any_sequences_in_either_direction(timesteps: int, reverse: bool) -> None:
    check_scan("while_loop", timesteps, reverse)


@pytest.mark.parametrize("timesteps", [7, None])
def test_the_graph_has_one_step_whatever_the_number_of_timesteps(timesteps: int | None) -> None:
    assert copies("while_loop", timesteps) == (0, 1)
