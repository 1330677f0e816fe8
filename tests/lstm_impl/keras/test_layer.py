"""Test that ``lstm_impl.keras.LSTM`` equals the loop of ``keras.layers.LSTM``.

The matrix is generated: backends from the registry, behaviours as a covering array in which every
pair of values occurs with each backend. Outputs and gradients of Keras with ``use_cudnn=False`` are
the specification.
"""

import functools
import re
from collections.abc import Iterable
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest

from lstm_impl import PRECISIONS, UnsupportedError, get_backend, list_backends

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.keras  # noqa: E402
from lstm_impl.keras.choice import Arguments, obstacle  # noqa: E402
from tests.lstm_impl.backends.cudnn_emulation import emulate_cudnn  # noqa: E402
from tests.lstm_impl.keras.axes import ARGUMENTS  # noqa: E402
from tests.pairs import Row, each_value, pairwise, slow_ones_run  # noqa: E402

# Of masks that Keras 3.16, and so this layer, does not pass on.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")

BATCH, TIMESTEPS, FEATURES, UNITS = 7, 5, 3, 6

# Two steps an iteration cover all cases of ten (an iteration, the next and a rest), and are traced
# in a fraction of the time.
ALL = dict.fromkeys(re.sub("@[0-9]+", "@2", name) for name in list_backends())
SERVED = [
    name
    for name in ALL
    if not obstacle(get_backend(name), Arguments(UNITS)) and get_backend(name).availability("cpu")
]
COMPILED = [name for name in SERVED if "xla" in getattr(get_backend(name), "options", ())]
PLAIN = ["auto", *(name for name in SERVED if name not in COMPILED)]
# One of each strategy: the others differ in the place of the input's product, which the equivalence
# matrix covers. All of them are for the slow tests.
MAIN = [name for name in PLAIN if "+" not in name or name == "while_loop+hoisted"]
# The layer calls these by the same code as ``while_loop``.
ALIKE = [name for name in MAIN if name.startswith(("scan", "partial_unroll"))]

# Sequences of a batch are independent, so that each kind of mask is a row of one: full, padded on
# the right, on the left, with gaps, and empty.
MASKS: dict[str, Any] = {
    "no mask": None,
    "every mask": ["11111", "11100", "10000", "00111", "10101", "01001", "00000"],
}


def make_mask(name: str) -> npt.NDArray[np.bool_] | None:
    rows = MASKS[name]
    return None if rows is None else np.array([list(row) for row in rows]) == "1"


AXES: dict[str, list[Any]] = {
    "mask": list(MASKS),
    "called": ["eagerly", "in a graph", "in a graph of any shape"],
    **ARGUMENTS,
}
Behaviour = tuple[tuple[str, Any], ...]


def covering(**other: list[Any]) -> list[Row]:
    """Return rows in which every pair of values occurs, of these axes and of ``AXES``."""
    return pairwise({**other, **AXES, **other})


def few(backend: str, **other: list[Any]) -> list[Row]:
    """Return rows in which every value occurs, with one backend; slow tests have every pair."""
    return each_value({"backend": [backend], **AXES, **other})


def describe_row(row: Row) -> str:
    """Return a short id: what differs from the layer's defaults."""
    message = [str(row[key]) for key in ("backend", "mask", "called")]
    return "-".join(
        [*message, *(key for key in AXES if row[key] is True or (key == "dropout" and row[key]))]
    )


ROWS = [
    *covering(backend=[name for name in MAIN if name not in ALIKE]),
    # Outside a graph a loop is traced for any shape by the layer.
    *(row for name in ALIKE for row in few(name, called=["in a graph", "in a graph of any shape"])),
    # XLA takes seconds for a row; its result depends on the mask and the direction only.
    *few("while_loop+hoisted+xla"),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_row" in metafunc.fixturenames:
        rows: Iterable[Row] = ()
        if slow_ones_run(metafunc.config):  # minutes of tracing, and of compiling
            rows = [*covering(backend=PLAIN), *covering(backend=COMPILED)]
        metafunc.parametrize("any_row", rows, ids=describe_row)


def constructor(row: Row) -> dict[str, Any]:
    own = ("mask", "called", "initial_state", "backend")
    return {"units": UNITS, "seed": 3, **{k: v for k, v in row.items() if k not in own}}


def random(*shape: int, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def results(layer: Any, row: Row) -> list[npt.NDArray[Any]]:
    """Return outputs, gradients and kept state, of two calls if the layer is stateful."""
    dtype = layer.compute_dtype
    x = tf.constant(random(BATCH, TIMESTEPS, FEATURES), dtype)
    state = []
    if row["initial_state"]:
        # Of two states, or of one in a GRU.
        seeds = range(1, 1 + len(tf.nest.flatten(layer.cell.state_size)))
        state = [tf.constant(random(BATCH, UNITS, seed=seed), dtype) for seed in seeds]
    mask = make_mask(row["mask"])
    masks = [] if mask is None else [tf.constant(mask)]

    def step(x: Any, state: list[Any], masks: list[Any]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, *state])
            outputs = tf.nest.flatten(
                layer(
                    x, initial_state=state or None, mask=masks[0] if masks else None, training=True
                )
            )
            loss = sum(tf.reduce_sum(y * weights_for(y)) for y in outputs)
        sources = [x, *state, *(variable.value for variable in layer.trainable_variables)]
        return outputs, tape.gradient(
            loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    if row["called"] == "in a graph":
        step = tf.function(step, autograph=False)
    elif row["called"] == "in a graph of any shape":
        batch = BATCH if row["stateful"] else None  # Keras keeps one state a sequence
        sizes = {BATCH: batch, TIMESTEPS: None}

        def any_shape(tensor: Any) -> Any:
            return tf.TensorSpec([sizes.get(size, size) for size in tensor.shape], tensor.dtype)

        signature = tf.nest.map_structure(any_shape, [x, state, masks])
        step = tf.function(step, input_signature=signature, autograph=False)
    calls = 2 if row["stateful"] or row["dropout"] else 1
    found = [step(x, state, masks) for _ in range(calls)]
    kept = [variable.value for variable in layer.states or ()]
    return [np.asarray(tf.cast(array, tf.float64)) for array in tf.nest.flatten([found, kept])]


def weights_for(y: Any) -> Any:
    """Return a gradient for ``y`` in which no two numbers are equal."""
    ramp = tf.range(tf.size(y, tf.int32))
    return tf.reshape(tf.cast(tf.cos(tf.cast(ramp, tf.float32)), y.dtype), tf.shape(y))


def initial_weights(use_bias: bool = True, dtype: str = "float32") -> list[npt.NDArray[Any]]:
    arrays = [random(FEATURES, 4 * UNITS, seed=3), random(UNITS, 4 * UNITS, seed=4)]
    return [
        a.astype(dtype) / 2 for a in [*arrays, random(4 * UNITS, seed=5)][: 3 if use_bias else 2]
    ]


@functools.cache
def expected(behaviour: Behaviour) -> list[npt.NDArray[Any]]:
    row = dict(behaviour)
    layer = keras.layers.LSTM(use_cudnn=False, **constructor(row))
    layer.build((BATCH, TIMESTEPS, FEATURES))
    layer.set_weights(initial_weights(row["use_bias"]))
    return results(layer, {**row, "called": "eagerly"})


def build(backend: str, **arguments: Any) -> Any:
    layer = lstm_impl.keras.LSTM(backend=backend, **{"units": UNITS, **arguments})
    layer.build((BATCH, TIMESTEPS, FEATURES))
    layer.set_weights(initial_weights(layer.use_bias))
    return layer


def check(row: Row) -> None:
    backend = row["backend"]
    row = {key: value for key, value in row.items() if key != "backend"}
    layer = build(backend, **constructor(row))
    found = results(layer, row)
    wanted = expected(tuple({**row, "called": "eagerly"}.items()))
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)
    for _, choice in layer.explain().choices:
        assert choice.backend == backend or backend == "auto"


def compare(row: Row) -> None:
    """Run ``check`` in the row's kind of call."""
    if row["backend"].startswith("static_unroll") and row["called"] == "in a graph of any shape":
        with pytest.raises(UnsupportedError, match="number of timesteps when it is traced"):
            check(row)
    else:
        check(row)


@pytest.mark.parametrize("row", ROWS, ids=describe_row)
def test_layer_equals_keras(row: Row) -> None:
    compare(row)


@pytest.mark.slow
def test_layer_of_each_backend_equals_keras(any_row: Row) -> None:
    compare(any_row)


@pytest.mark.parametrize("row", covering(backend=["cudnn", "cudnn+lengths"]), ids=describe_row)
def test_layer_through_cudnn_equals_keras_without(row: Row) -> None:
    with emulate_cudnn():
        check(row)


def test_auto_on_a_gpu_uses_cudnn() -> None:
    layer = build("auto")
    x = np.zeros((BATCH, TIMESTEPS, FEATURES), np.float32)
    with emulate_cudnn(), mock.patch.object(layer, "_device", return_value="gpu"):
        layer(x)
    assert [choice.backend for _, choice in layer.explain().choices] == ["cudnn"]


# -- types


FUSED = get_backend("fused_cpu").availability("cpu")

# The types of backends have their own tests; what the layer does about types is the same for all
# backends, and is tested with ``auto``.
USUAL = [("while_loop+hoisted", "mixed_float16"), ("while_loop", "bfloat16")]
TYPED = [
    *(
        pytest.param(
            backend,
            dtype,
            marks=() if backend == "auto" or (backend, dtype) in USUAL else pytest.mark.slow,
        )
        for backend in ("auto", "while_loop+hoisted", "while_loop")
        for dtype in ("float64", "float16", "bfloat16", "mixed_float16")
    ),
    *(
        pytest.param(
            "fused_cpu", dtype, marks=pytest.mark.skipif(not FUSED, reason=f"fused_cpu: {FUSED}")
        )
        for dtype in ("bfloat16", "mixed_bfloat16")
    ),
]


@pytest.mark.parametrize(("backend", "dtype"), TYPED)
def test_layer_in_each_precision_equals_keras(backend: str, dtype: str) -> None:
    row: Row = {
        **dict.fromkeys(AXES, False),
        "mask": "every mask",
        "return_sequences": True,
        "initial_state": True,
        "dropout": 0.0,
        "use_bias": True,
    }
    # Keras cannot draw an orthogonal matrix in bfloat16
    arguments = {**constructor(row), "dtype": dtype, "recurrent_initializer": "glorot_uniform"}
    layers = [keras.layers.LSTM(use_cudnn=False, **arguments), build(backend, **arguments)]
    found = []
    for layer in layers:
        layer.build((BATCH, TIMESTEPS, FEATURES))
        layer.set_weights(initial_weights())
        found.append(results(layer, row))
    theirs, ours = layers
    assert ours.compute_dtype == theirs.compute_dtype
    assert [w.dtype for w in ours.weights] == [w.dtype for w in theirs.weights]
    assert ours(np.ones((1, 2, FEATURES))).dtype == theirs(np.ones((1, 2, FEATURES))).dtype
    for mine, wanted in zip(found[1], found[0], strict=True):
        error = np.max(np.abs(mine - wanted)) / np.max(np.abs(wanted))
        assert error <= 20 * PRECISIONS[dtype].roundoff


# -- unrolling


@pytest.mark.parametrize("backend", ["auto", "static_unroll+hoisted"])
@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("training", [True, False])
def test_unrolled_layer_equals_keras(backend: str, mask: str, training: bool) -> None:
    theirs = keras.layers.LSTM(UNITS, unroll=True, return_sequences=True)
    theirs.build((BATCH, TIMESTEPS, FEATURES))
    theirs.set_weights(initial_weights())
    ours = build(backend, unroll=True, return_sequences=True)
    x = random(BATCH, TIMESTEPS, FEATURES)
    masks = make_mask(mask)
    np.testing.assert_allclose(
        ours(x, mask=masks, training=training),
        theirs(x, mask=masks, training=training),
        rtol=1e-5,
        atol=1e-6,
    )
    ((_, choice),) = ours.explain().choices
    assert choice.backend.startswith("static_unroll")
