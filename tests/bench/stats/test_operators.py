"""Operators by their names, and a step's shares by a profile."""

from __future__ import annotations

import pytest

from bench.stats.bound import COPIES, GATES, OVERHEAD, PRODUCTS, kind, shares
from lstm_impl import Event, Profile

NAMES = {
    PRODUCTS: (
        *("_MklMatMul", "MatMul", "_MklNativeFusedMatMul", "BlockLSTMV2", "LstmImplFusedLstm"),
        *("CudnnRNNV3", "aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "aten::lstm"),
        *("aten::mkldnn_rnn_layer", "aten::mkldnn_rnn_layer_backward", "dot", "sgemm_128x64"),
    ),
    COPIES: (
        *("Transpose", "ConcatV2", "Split", "TensorListGetItem", "TensorListStack", "Pack"),
        *("StridedSlice", "ReadVariableOp", "aten::t", "aten::cat", "aten::copy_", "aten::select"),
        *("copy", "transpose", "dynamic-slice", "concatenate", "pad", "GatherV2", "aten::clone"),
    ),
    GATES: (
        *("Sigmoid", "Tanh", "Mul", "AddV2", "AddN", "BiasAdd", "aten::sigmoid", "aten::mul"),
        *("aten::add", "fusion", "wrapped_tanh", "loop_add_fusion", "convert", "Cast", "Maximum"),
    ),
    OVERHEAD: (
        *("While", "while", "call", "conditional", "StatefulPartitionedCall"),
        *("AddmmBackward0", "torch::autograd::AccumulateGrad"),
        "autograd::engine::evaluate_function: AddmmBackward0",
    ),
}


@pytest.mark.parametrize(
    ("name", "expected"), [(n, k) for k, names in NAMES.items() for n in names]
)
def test_an_operator_s_name_says_what_it_does(name: str, expected: str) -> None:
    assert kind(name) == expected


def profile(*events: Event, steps: int = 1) -> Profile:
    return Profile("a profiler", events, steps)


def test_shares_are_of_the_step_that_nobody_watched() -> None:
    made = profile(Event("MatMul", 0.0, 0.3), Event("Tanh", 0.4, 0.1), Event("Pack", 0.6, 0.2))
    found = shares(made, 1.0)
    assert found.products == pytest.approx(0.3)
    assert found.gates == pytest.approx(0.1)
    assert found.copies == pytest.approx(0.2)
    assert found.nothing == pytest.approx(0.4)


def test_operators_side_by_side_share_the_time_that_they_cover() -> None:
    made = profile(Event("MatMul", 0.0, 0.6, "a"), Event("MatMul", 0.0, 0.6, "b"))
    assert shares(made, 1.0).products == pytest.approx(0.6)


def test_a_loop_that_covers_its_operators_does_none_of_their_work() -> None:
    made = profile(Event("While", 0.0, 1.0), Event("MatMul", 0.1, 0.2))
    found = shares(made, 1.0)
    assert found.products == pytest.approx(0.2)
    assert found.nothing == pytest.approx(0.8)


def test_a_step_that_watching_made_longer_is_no_more_than_whole() -> None:
    found = shares(profile(Event("MatMul", 0.0, 3.0), Event("Tanh", 3.0, 1.0)), 1.0)
    assert found.products == pytest.approx(0.75)
    assert found.gates == pytest.approx(0.25)
    assert found.nothing == 0.0


def test_several_steps_are_one_on_average() -> None:
    made = profile(Event("MatMul", 0.0, 0.5), Event("MatMul", 1.0, 0.5), steps=2)
    assert shares(made, 1.0).products == pytest.approx(0.5)


def test_where_nothing_ran_all_of_the_step_is_nothing() -> None:
    assert shares(profile(Event("While", 0.0, 1.0)), 1.0).nothing == 1.0


def test_of_a_step_that_takes_longer_than_what_was_seen_the_rest_is_nothing() -> None:
    found = shares(profile(Event("MatMul", 0.0, 0.5), Event("Tanh", 1.0, 0.1)), 2.0)
    assert found.products == pytest.approx(0.25)
    assert found.gates == pytest.approx(0.05)
    assert found.nothing == pytest.approx(0.7)
