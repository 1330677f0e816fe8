"""What binds a case, from known roofs and profiles."""

import pytest

from bench.stats import bound
from bench.stats.operators import NOTHING, OVERHEAD, kind, profiled_bound, shares
from lstm_impl import Event, Profile

TENSORFLOW = {"of_launch": "a loop of TensorFlow's"}
PYTHON = {"of_launch": "operators of PyTorch called from Python"}
LOW = {"of_matmul": 0.1, "of_chain": 0.2, "of_bandwidth": 0.01, "of_launch": 0.1}


def parts(products: float, copies: float, gates: float, nothing: float) -> dict[str, float]:
    return {bound.PRODUCTS: products, bound.COPIES: copies, bound.GATES: gates, NOTHING: nothing}


@pytest.mark.parametrize(
    ("name", "owners", "kind"),
    [
        ("of_launch", TENSORFLOW, bound.LAUNCHES),
        ("of_launch", PYTHON, bound.HOST),
        ("of_launch", {}, bound.LAUNCHES),
        ("of_chain", TENSORFLOW, bound.CHAIN),
        ("of_matmul", TENSORFLOW, bound.PRODUCTS),
        ("of_bandwidth", TENSORFLOW, bound.MEMORY),
    ],
)
def test_bound_is_the_part_of_more_than_half(name: str, owners: dict[str, str], kind: str) -> None:
    found = bound.bound({**LOW, name: 0.7}, owners)
    assert (found.kind, found.share) == (kind, 0.7)
    assert bound.bound({**LOW, name: 0.5}, owners).kind == bound.NOT_KNOWN
    assert bound.bound({**LOW, name: 0.5}, owners).of == kind


def test_bound_part_under_half_decides_nothing() -> None:
    found = bound.bound(LOW, TENSORFLOW)
    assert (found.kind, found.of, found.share) == (bound.NOT_KNOWN, bound.CHAIN, 0.2)
    assert bound.bound({}, {}) == bound.Bound(bound.NOT_KNOWN)


def test_bound_of_two_parts_above_half_is_the_larger() -> None:
    assert (
        bound.bound({**LOW, "of_chain": 0.6, "of_launch": 0.8}, TENSORFLOW).kind == bound.LAUNCHES
    )
    assert bound.bound({**LOW, "of_chain": 0.8, "of_launch": 0.6}, TENSORFLOW).kind == bound.CHAIN


def test_bound_above_a_roof_is_that_roof() -> None:
    assert bound.bound({**LOW, "of_chain": 1.4}, {}).share == 1.4


def test_bound_of_idle_processors_is_waiting() -> None:
    found = bound.bound({**LOW, "processors_busy": 0.2}, TENSORFLOW)
    assert found.kind == bound.WAITING
    assert found.share == pytest.approx(0.8)
    assert bound.bound({**LOW, "processors_busy": 0.9}, TENSORFLOW).kind == bound.NOT_KNOWN
    # Two busy processors are no negative waiting.
    assert bound.WAITING not in bound.bound({**LOW, "processors_busy": 1.9}, TENSORFLOW).parts


def test_bound_counts_repeated_products() -> None:
    figures = {**LOW, "of_matmul": 0.3, "operations": 1e6}
    found = bound.bound({**figures, "operations_ran": 2e6}, TENSORFLOW)
    assert (found.kind, found.share, found.times) == (bound.PRODUCTS, 0.6, 2.0)
    # Some more than needed are those of padding or of unneeded gradients.
    some = {**figures, "of_matmul": 0.4, "operations_ran": 1.4e6}
    assert bound.bound(some, TENSORFLOW).kind == bound.NOT_KNOWN
    # A profiler that counts too few shows no excess.
    assert bound.bound({**figures, "operations_ran": 10.0}, TENSORFLOW).times == 1.0


def test_bound_is_padding_if_only_it_reaches_the_roof() -> None:
    figures = {**LOW, "of_chain": 0.4}
    found = bound.bound(figures, {}, valid=0.6)
    assert (found.kind, found.of) == (bound.PADDING, bound.CHAIN)
    assert found.share == pytest.approx(0.4)
    assert bound.bound({**LOW, "of_chain": 0.48}, {}, valid=0.9).kind == bound.NOT_KNOWN
    # It is bound by the chain without padding, too.
    assert bound.bound({**LOW, "of_chain": 0.6}, {}, valid=0.5).kind == bound.CHAIN
    # The parts are small even with padding.
    assert (
        bound.bound({**LOW, "of_chain": 0.1, "of_matmul": 0.1}, {}, valid=0.5).kind
        == bound.NOT_KNOWN
    )


@pytest.mark.parametrize(
    ("shares", "kind"),
    [
        (parts(0.1, 0.7, 0.1, 0.1), bound.COPIES),
        (parts(0.1, 0.1, 0.7, 0.1), bound.GATES),
        (parts(0.1, 0.1, 0.1, 0.7), bound.LAUNCHES),
        (parts(0.7, 0.1, 0.1, 0.1), bound.PRODUCTS),
    ],
)
def test_bound_from_a_profile_shows_parts_without_roof(shares: dict[str, float], kind: str) -> None:
    found = profiled_bound(LOW, TENSORFLOW, 1.0, shares)
    assert (found.kind, found.profiled) == (kind, True)
    assert found.share == pytest.approx(0.7)


def test_bound_from_a_profile_of_small_parts_uses_roofs() -> None:
    even = parts(0.25, 0.25, 0.25, 0.25)
    assert profiled_bound(LOW, TENSORFLOW, 1.0, even).kind == bound.NOT_KNOWN
    found = profiled_bound({**LOW, "of_launch": 0.6}, TENSORFLOW, 1.0, even)
    assert (found.kind, found.profiled) == (bound.LAUNCHES, False)


def test_bound_products_of_a_profile_may_be_the_chain() -> None:
    products = parts(0.9, 0.0, 0.05, 0.05)
    assert profiled_bound({**LOW, "of_chain": 0.7}, {}, 1.0, products).kind == bound.CHAIN
    assert (
        profiled_bound({**LOW, "of_chain": 0.6, "of_matmul": 0.8}, {}, 1.0, products).kind
        == bound.PRODUCTS
    )


def test_bound_of_an_empty_profile_is_waiting_if_idle() -> None:
    nothing = parts(0.05, 0.0, 0.0, 0.95)
    figures = {**LOW, "processors_busy": 0.1}
    assert profiled_bound(figures, TENSORFLOW, 1.0, nothing).kind == bound.WAITING
    assert profiled_bound({**LOW, "processors_busy": 1.0}, PYTHON, 1.0, nothing).kind == bound.HOST


NAMES = {
    bound.PRODUCTS: (
        *("_MklMatMul", "MatMul", "_MklNativeFusedMatMul", "BlockLSTMV2", "LstmImplFusedLstm"),
        *("CudnnRNNV3", "aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "aten::lstm"),
        *("aten::mkldnn_rnn_layer", "aten::mkldnn_rnn_layer_backward", "dot", "sgemm_128x64"),
    ),
    bound.COPIES: (
        *("Transpose", "ConcatV2", "Split", "TensorListGetItem", "TensorListStack", "Pack"),
        *("StridedSlice", "ReadVariableOp", "aten::t", "aten::cat", "aten::copy_", "aten::select"),
        *("copy", "transpose", "dynamic-slice", "concatenate", "pad", "GatherV2", "aten::clone"),
    ),
    bound.GATES: (
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
def test_kind_follows_from_the_operator_name(name: str, expected: str) -> None:
    assert kind(name) == expected


def profile(*events: Event, steps: int = 1) -> Profile:
    return Profile("a profiler", events, steps)


def test_shares_are_parts_of_the_unprofiled_step() -> None:
    made = profile(Event("MatMul", 0.0, 0.3), Event("Tanh", 0.4, 0.1), Event("Pack", 0.6, 0.2))
    found = shares(made, 1.0)
    assert found[bound.PRODUCTS] == pytest.approx(0.3)
    assert found[bound.GATES] == pytest.approx(0.1)
    assert found[bound.COPIES] == pytest.approx(0.2)
    assert found[NOTHING] == pytest.approx(0.4)


def test_shares_of_a_covering_loop_exclude_its_operators() -> None:
    made = profile(Event("While", 0.0, 1.0), Event("MatMul", 0.1, 0.2))
    found = shares(made, 1.0)
    assert found[bound.PRODUCTS] == pytest.approx(0.2)
    assert found[NOTHING] == pytest.approx(0.8)


def test_shares_of_a_slowed_step_add_up_to_at_most_one() -> None:
    found = shares(profile(Event("MatMul", 0.0, 3.0), Event("Tanh", 3.0, 1.0)), 1.0)
    assert found[bound.PRODUCTS] == pytest.approx(0.75)
    assert found[bound.GATES] == pytest.approx(0.25)
    assert found[NOTHING] == 0.0


def test_shares_of_an_empty_profile_are_zero() -> None:
    assert shares(profile(Event("While", 0.0, 1.0)), 1.0)[NOTHING] == 1.0
