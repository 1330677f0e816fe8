"""Every TensorFlow backend that is available computes what the reference computes.

The matrix is generated from the registry: a new backend is tested without being listed here.
Where the full product of options would be too long, a pairwise covering array is taken: every pair
of values that a backend computes occurs, the backend being one of the axes.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_impl import (
    LSTMSpec,
    LSTMState,
    LSTMWeights,
    UnsupportedError,
    Workload,
    get_backend,
    list_backends,
    reference,
)
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.proof import check, final_gradient, gate
from lstm_impl.proof.comparison import error
from lstm_impl.workload import GRADIENTS
from tests.pairs import Row, pairwise, slow_ones_run, spelled

tf = pytest.importorskip(
    "tensorflow", reason="these are TensorFlow's backends: pip install '.[cpu]'"
)

ALL = [name for name in list_backends() if isinstance(get_backend(name), TensorFlowBackend)]
LISTED = [name for name in ALL if get_backend(name).availability("cpu")]
ELSEWHERE = [name for name in ALL if name not in LISTED]
# Two steps an iteration have all that ten have, an iteration, the next and what is left over, and
# are traced in a fraction of the time. The slow tests take the numbers that are listed.
HERE = list(dict.fromkeys(re.sub("@[0-9]+", "@2", name) for name in LISTED))
COMPILED = [name for name in HERE if "xla" in get_backend(name).options]
PLAIN = [name for name in HERE if name not in COMPILED]
# One of each strategy, and the gradient by hand: what the covering array takes by default, the
# other variants being the same code but for where the input product stands.
MAIN = [name for name in PLAIN if name == get_backend(name).strategy or name.endswith("hoisted")]
# One of each code that puts layers and directions together, and those that are traced at once.
STACKED = ("static_unroll+hoisted", "keras", "block_lstm", "fused_cpu")

FEW = [pytest.param(name, marks=() if name in MAIN else pytest.mark.slow) for name in PLAIN]
"""What is traced anew for each takes seconds: of all but the main ones it is for the slow tests."""

# The spec, and the workloads that one model of it must do; small, because each is traced. Where a
# trace serves every number of timesteps, one timestep costs nothing beside another number.
SHAPES = {
    "tutorial": (LSTMSpec(1, 4), [Workload(5, 15, "training"), Workload(5, 1, "training")]),
    "one_sequence": (LSTMSpec(2, 13), [Workload(1, 5, "training"), Workload(1, 1, "training")]),
    "two_layers_both_directions": (
        LSTMSpec(5, 8, num_layers=2, bidirectional=True),
        [Workload(3, 4, "training")],
    ),
    # XLA compiles each number of timesteps anew.
    "input_not_hidden": (LSTMSpec(3, 7), [Workload(1, 5, "training")]),
}


UNROLLED = 3
"""Timesteps of an unrolled loop, each of which is traced: the first, the last and one between."""


def build(name: str, spec: LSTMSpec, batch_major: bool = False) -> Any:
    return get_backend(name).build(
        spec, LSTMWeights.random(spec, seed=5), "cpu", batch_major=batch_major
    )


def test_the_gate_judges_all_gradients_of_a_backend_whose_step_leaves_some_out() -> None:
    model = build("static_unroll+hoisted", LSTMSpec(3, 4))
    for gradients in ("weights", "weights+input"):
        result = gate(model, Workload(2, 3, "training", gradients=gradients))
        assert result.passed, result.describe()
        assert {"dx", "dh", "dc"} <= result.errors.keys()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_backend_that_is_not_available_says_why(name: str) -> None:
    available = get_backend(name).availability("cpu")
    assert not available
    assert len(available.reason.split()) > 4


def usual(name: str, shape: str) -> bool:
    """Whether a backend meets a shape in the usual tests: each of another code meets one.

    One sequence, layers and directions are in the rows below, too, which the main ones meet.
    """
    if name in MAIN:
        stacked = shape == "two_layers_both_directions" and name in STACKED
        return shape == "tutorial" or stacked
    if name == "while_loop+preproject+xla":  # each of the two options by itself does
        return False
    return shape == ("input_not_hidden" if name in COMPILED else "one_sequence")


def matrix() -> list[Any]:
    """Every backend on every shape; what is costly to trace or compile only in the slow tests."""
    return [
        pytest.param(
            name,
            shape,
            id=f"{name}-{shape}",
            marks=[] if usual(name, shape) else [pytest.mark.slow],
        )
        for name in HERE
        for shape in SHAPES
    ]


@pytest.mark.parametrize(("name", "shape"), matrix())
def test_equals_the_reference_forward_and_gradients(name: str, shape: str) -> None:
    spec, workloads = SHAPES[shape]
    model = build(name, spec)
    for workload in workloads:
        if not model.backend.dynamic:
            workload = replace(workload, timesteps=min(UNROLLED, workload.timesteps))
        result = gate(model, workload)
        assert result.passed, result.describe()


DTYPES = ["float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"]

AXES: dict[str, list[Any]] = {
    "dtype": DTYPES,
    # What is sooner traced first: it is taken where either would do.
    "num_layers": [1, 2],
    "bidirectional": [False, True],
    "dropout": [0.0, 0.5],
    "min_length": [None, 1],
    "batch_major": [False, True],
    "gradients": list(GRADIENTS),
    "batch": [4, 1],
    # The same ops, run one by one or traced first, which takes a second. Each of the shapes above
    # is traced.
    "called": ["eagerly", "in a graph"],
}
IN_A_GRAPH: dict[str, list[Any]] = {**AXES, "called": ["in a graph"]}

# Of each kind one: of half and of mixed precision both types are for the slow tests.
FEW_DTYPES = ["float32", "float64", "float16", "mixed_bfloat16"]


@functools.cache
def refused(name: str, dtype: str, bidirectional: bool = False) -> bool:
    return bool(get_backend(name).refusal(LSTMSpec(3, 5, 1, bidirectional, dtype)))


# Those that do not know all of these.
NARROW = [name for name in MAIN if any(refused(name, dtype) for dtype in FEW_DTYPES)]


def computed(row: Row) -> bool:
    """Whether a backend computes this, dropout has a second layer to act on, and lengths differ."""
    if row.get("dropout") and row["num_layers"] == 1:
        return False
    if row.get("batch") == 1 and row["min_length"] is not None:
        return False
    dtype, bidirectional = row.get("dtype", "float32"), row.get("bidirectional", False)
    return not refused(row["name"], dtype, bidirectional)


def computed_and_not_seen(row: Row) -> bool:
    """As ``computed``, without float32 of those that the shapes above have shown in it.

    The other types are as strict or stricter, and float32 meets what there is with the others.
    Layers and directions together are those of a few, by which all are put together.
    """
    of_shapes = row.get("dtype") == "float32" and row["name"] not in NARROW
    stacked = row.get("num_layers") == 2 and row.get("bidirectional")
    return computed(row) and not of_shapes and (row["name"] in STACKED or not stacked)


ROWS = pairwise({"name": MAIN, **AXES, "dtype": FEW_DTYPES}, computed_and_not_seen)


def check_row(row: Row) -> None:
    spec = LSTMSpec(3, 5, row["num_layers"], row["bidirectional"], row["dtype"])
    backend = get_backend(row["name"])
    assert isinstance(backend, TensorFlowBackend)
    workload = Workload(
        row["batch"],
        5 if backend.dynamic else UNROLLED,
        "training",
        min_length=row["min_length"],
        dropout=row["dropout"],
        batch_major=row["batch_major"],
        gradients=row["gradients"],
    )
    tf.config.run_functions_eagerly(row["called"] == "eagerly")
    try:
        result = gate(build(row["name"], spec, row["batch_major"]), workload)
    finally:
        tf.config.run_functions_eagerly(False)
    assert result.passed, f"{row}: {result.describe()}"


@pytest.fixture
def only_what_a_step_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients that a step leaves out are in other rows, and need no graph of their own."""
    monkeypatch.setattr(check, "_everything", lambda model, workload: ({}, {}))


@pytest.mark.usefixtures("only_what_a_step_computes")
@pytest.mark.parametrize("row", ROWS, ids=spelled)
def test_layers_directions_lengths_dropout_layout_gradients_and_precision(row: Row) -> None:
    check_row(row)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_row" in metafunc.fixturenames:
        rows = (
            pairwise({"name": LISTED, **IN_A_GRAPH}, computed)
            if slow_ones_run(metafunc.config)
            else []
        )
        metafunc.parametrize("any_row", rows, ids=spelled)


@pytest.mark.slow
@pytest.mark.usefixtures("only_what_a_step_computes")
def test_the_same_of_every_variant_compiled_ones_too(any_row: Row) -> None:
    check_row(any_row)


def test_each_backend_meets_each_feature_and_any_two_features_meet() -> None:
    axes = {"name": MAIN, **AXES, "dtype": FEW_DTYPES}
    may_be = [
        row
        for values in itertools.product(*axes.values())
        if computed_and_not_seen(row := dict(zip(axes, values, strict=True)))
    ]
    for one, other in itertools.combinations(axes, 2):
        wanted = {(row[one], row[other]) for row in may_be}
        assert {(row[one], row[other]) for row in ROWS} == wanted, (one, other)
    # What no row has is refused, or is one of the shapes above.
    met = {(row["name"], row["dtype"]) for row in ROWS}
    for name, dtype in itertools.product(MAIN, FEW_DTYPES):
        seen = (name, dtype) in met or dtype == "float32"
        assert seen != refused(name, dtype), (name, dtype)
    assert {row["dtype"] for row in ROWS} == set(FEW_DTYPES)


def test_what_a_backend_does_not_compute_is_refused_when_it_is_built() -> None:
    found = [
        (name, LSTMSpec(3, 5, 1, bidirectional, dtype))
        for name, dtype, bidirectional in itertools.product(HERE, DTYPES, [False, True])
        if refused(name, dtype, bidirectional)
    ]
    assert {"block_lstm", "static_unroll+xla"} <= {name for name, _ in found}
    for name, spec in found:
        with pytest.raises(UnsupportedError, match=name.partition("@")[0].replace("+", r"\+")):
            build(name, spec)


@pytest.mark.parametrize("name", FEW)
def test_two_windows_with_carried_state_equal_one_long_sequence(name: str) -> None:
    spec = LSTMSpec(3, 4, dtype="float32")
    model = build(name, spec)
    inputs = Workload(2, 4).inputs(spec)
    whole, last = model.forward(inputs.x, inputs.state)
    first, state = model.forward(inputs.x[:2], inputs.state)
    second, state = model.forward(inputs.x[2:], state)
    assert error(np.concatenate([first, second]), whole) < 1e-6
    assert error(state.h, last.h) < 1e-6
    assert error(state.c, last.c) < 1e-6


@pytest.mark.parametrize("name", ["while_loop", "static_unroll+hoisted", "keras", "dynamic_rnn"])
def test_the_gradient_stops_at_the_edge_of_a_window(name: str) -> None:
    spec = LSTMSpec(3, 4)
    model = build(name, spec)
    weights = model.get_weights()
    inputs = Workload(2, 6).inputs(spec)
    summed = None
    state = inputs.state
    for part in (slice(0, 3), slice(3, 6)):
        _, state, found = model.forward_and_gradients(inputs.x[part], inputs.dy[part], state)
        arrays = found.weights.arrays()
        summed = arrays if summed is None else [a + b for a, b in zip(summed, arrays, strict=True)]
    _, middle = reference.forward(spec, weights, inputs.x[:3], inputs.state)

    def judged(part: slice, at: LSTMState) -> Any:
        x, dy = inputs.x[part], inputs.dy[part]
        return reference.forward_and_gradients(spec, weights, x, dy, at)[2].weights.arrays()

    expected = [
        judged(part, at) for part, at in ((slice(0, 3), inputs.state), (slice(3, 6), middle))
    ]
    whole = judged(slice(0, 6), inputs.state)
    assert summed is not None
    for ours, one, two, untruncated in zip(summed, *expected, whole, strict=True):
        assert error(ours, one + two) < 1e-5
        assert error(ours, untruncated) > 1e-3


# -- as a function of tensors

TENSOR_FACE = [
    name
    for name in (
        "static_unroll",
        "while_loop",
        "while_loop+hoisted",
        "partial_unroll@3",
        "scan",
        "block_lstm",
        "fused_cpu",
        "keras",
        "dynamic_rnn",
    )
    if name in HERE or name == "partial_unroll@3"
]
# In a graph it is what the shapes above have traced for each, under a tape of the model's own. The
# fused ops are called by hand there, and what XLA compiles is compiled in two parts here.
TAPED = [
    *((name, False) for name in TENSOR_FACE),
    ("block_lstm", True),
    *((name, True) for name in TENSOR_FACE if name == "fused_cpu"),
    ("while_loop+xla", False),
    ("while_loop+hoisted+xla", True),
]


@pytest.mark.parametrize(
    ("name", "traced"),
    [
        pytest.param(name, traced, id=f"{name}-{'in_a_graph' if traced else 'eagerly'}")
        for name, traced in TAPED
    ],
)
def test_is_differentiable_by_the_users_tape(name: str, traced: bool) -> None:
    spec = LSTMSpec(3, 4)
    model = build(name, spec)
    inputs = Workload(2, 4).inputs(spec)  # three timesteps in one turn of a loop, and one left
    dstate = final_gradient(inputs.state)

    def gradients(x: Any, h: Any, c: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, h, c])
            y, (h_last, c_last) = model(x, (h, c))
            loss = (
                tf.reduce_sum(y * inputs.dy)
                + tf.reduce_sum(h_last * dstate.h)
                + tf.reduce_sum(c_last * dstate.c)
            )
        return tape.gradient(loss, [x, h, c, *model.variables])

    run = tf.function(gradients, autograph=False) if traced else gradients
    dx, dh, dc, *weights = run(
        *(tf.constant(array) for array in (inputs.x, inputs.state.h, inputs.state.c))
    )
    _, _, expected = reference.forward_and_gradients(
        spec, model.get_weights(), inputs.x, inputs.dy, inputs.state, dstate
    )
    assert error(dx, expected.x) < 1e-5
    assert error(dh, expected.state.h) < 1e-5
    assert error(dc, expected.state.c) < 1e-5
    found = model.backend.unpack(spec, [array.numpy() for array in weights], gradient=True)
    for ours, theirs in zip(found.arrays(), expected.weights.arrays(), strict=True):
        assert error(ours, theirs) < 1e-5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("while_loop+preproject+hoisted", "drop .preproject"),
        ("while_loop@3", "takes no number"),
        ("partial_unroll", "needs a number"),
        ("partial_unroll@0", "at least 1"),
        ("keras+hoisted", "has no option"),
        ("keras+unroll+loop", "no loop; leave one of the two out"),
        ("tf_keras+loop", "has no option"),
        ("block_lstm+xla", "has no option"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_the_reason(name: str, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        get_backend(name)


@pytest.mark.parametrize("name", ["while_loop", "keras", "block_lstm", "dynamic_rnn"])
def test_weights_can_be_replaced_and_read_back(name: str) -> None:
    spec = LSTMSpec(3, 4)
    model = build(name, spec)
    new = LSTMWeights.random(spec, seed=9)
    model.set_weights(new)
    for ours, theirs in zip(model.get_weights().arrays(), new.arrays(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert gate(model, Workload(2, 3)).passed
