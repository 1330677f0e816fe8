"""Test the layer in Keras: models, wrappers, masks, training, weights and files.

Each test does the same with ``keras.layers.LSTM`` and expects the same results.
"""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.pairs import Row, pairwise, row_id

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.keras  # noqa: E402
from lstm_impl import UnsupportedError, get_backend  # noqa: E402
from lstm_impl.backends.tensorflow.model import profile  # noqa: E402
from lstm_impl.keras.base import Weights  # noqa: E402
from tests.lstm_impl.keras.wrong_inputs import INPUTS, outcomes  # noqa: E402

# Keras's own way of reading a variable for a file
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
    # Keras 3.16 warns where it passes no mask on, and so does this layer
    pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning"),
]

_AVAILABLE = get_backend("fused_cpu").availability("cpu")
FUSED = pytest.mark.skipif(not _AVAILABLE, reason=f"fused_cpu: {_AVAILABLE}")

Array = npt.NDArray[Any]
MakeLSTM = Callable[..., Any]

RNG = np.random.default_rng(0)
# The first, the last and one between: Keras's eager loop is slow for each.
STEPS = 3
X = RNG.standard_normal((8, STEPS, 3)).astype(np.float32)
TARGET = RNG.standard_normal((8, 4)).astype(np.float32)
GAPS = RNG.random((8, STEPS)) < 0.7
TOKENS = np.array([[3, 1, 0, 0], [0, 0, 2, 5], [4, 0, 1, 0], [1, 2, 3, 4]])


def theirs(units: int = 4, **arguments: Any) -> Any:
    return keras.layers.LSTM(units, use_cudnn=False, **arguments)


def ours(units: int = 4, **arguments: Any) -> Any:
    return lstm_impl.keras.LSTM(units, **arguments)


def by(backend: str) -> MakeLSTM:
    return lambda units=4, **arguments: ours(units, backend=backend, **arguments)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed the weights, so that each run has the same."""
    keras.utils.set_random_seed(0)


def same(mine: Any, wanted: Any, rtol: float = 2e-5) -> None:
    pairs = zip(tf.nest.flatten(mine), tf.nest.flatten(wanted), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-6)


def both(make: Callable[[MakeLSTM], Any], lstm: MakeLSTM = ours) -> tuple[Any, Any]:
    """Return a model with Keras's layer and one with ours, with the same weights."""
    reference, model = make(theirs), make(lstm)
    model.set_weights(reference.get_weights())
    return model, reference


# -- called outside a graph, without a tape

UNTAPED: Row = {
    "return_sequences": [True, False],
    "return_state": [True, False],
    "go_backwards": [True, False],
    "use_bias": [True, False],
    "dtype": ["float32", "mixed_bfloat16"],
    "state": [0, 1],
}


@FUSED
@pytest.mark.parametrize("row", pairwise(UNTAPED), ids=row_id)
def test_untaped_call_equals_keras(row: Row) -> None:
    state = [tf.constant(TARGET) for _ in range(2 * row["state"])] or None
    arguments = {axis: value for axis, value in row.items() if axis != "state"}
    reference, layer = theirs(**arguments), ours(**arguments)
    for each in (reference, layer):
        each.build(X.shape)
    for _ in range(2):  # with other weights the second time
        layer.set_weights(reference.get_weights())
        for batch in (8, 2):
            given = [each[:batch] for each in state] if state else None
            wanted = reference(X[:batch], initial_state=given)
            found = layer(X[:batch], initial_state=given)
            pairs = zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True)
            for mine, keras_s in pairs:
                assert mine.dtype == keras_s.dtype
                close = 1e-6 if row["dtype"] == "float32" else 2e-2
                # The oldest bfloat16 that is supported meets no other type in NumPy.
                one, other = (tf.cast(each, tf.float32) for each in (mine, keras_s))
                np.testing.assert_allclose(one, other, atol=close)
        reference.set_weights([2 * each for each in reference.get_weights()])


@FUSED
def test_untaped_call_runs_the_fused_op_alone() -> None:
    layer, x = ours(return_sequences=True), tf.constant(X)
    layer(x)
    assert profile(lambda: layer(x), lambda: None).ops == {"LstmImplFusedLstm": 1}


@FUSED
def test_weights_of_the_compute_type_are_not_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, stateful, cast = ours(), ours(stateful=True), ours(dtype="mixed_bfloat16")
    monkeypatch.setattr(Weights, "of", None)  # which casts
    with tf.GradientTape() as tape:
        y = layer(X, training=True)
    assert None not in tape.gradient(y, layer.trainable_variables)
    layer(X, mask=tf.constant(GAPS))
    stateful(X)
    with pytest.raises(TypeError, match="not callable"), tf.GradientTape():
        cast(X)


def test_weights_of_a_stateless_scope_are_read() -> None:
    reference, layer = theirs(), ours()
    for each in (reference, layer):
        each.build(X.shape)
    doubled = [2 * each.value for each in layer.trainable_variables]
    found, _ = layer.stateless_call(
        doubled, [each.value for each in layer.non_trainable_variables], X
    )
    reference.set_weights(doubled)
    same(found, reference(X))


def test_recomputed_gradients_equal_keras() -> None:
    found = []
    for layer in both(lambda lstm: keras.Sequential([keras.Input((STEPS, 3)), lstm()])):
        again = tf.recompute_grad(layer.layers[0])
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(again(tf.constant(X)) ** 2)
        found.append(tape.gradient(loss, [each.value for each in layer.trainable_variables]))
    same(*found)


@pytest.mark.parametrize("wrong", [X[:, :0], X[:, :, :2]], ids=["no_timesteps", "features"])
def test_wrong_input_raises_as_in_keras(wrong: Array) -> None:
    for layer in (theirs(), ours()):
        layer(X)
        with pytest.raises(tf.errors.InvalidArgumentError):
            layer(wrong)


def test_integers_equal_keras() -> None:
    model, reference = both(lambda lstm: keras.Sequential([keras.Input((STEPS, 3)), lstm()]))
    integers = tf.constant(np.round(X), tf.int32)
    same(model.layers[0](integers), reference.layers[0](integers))


# -- how it is built


def test_names_shapes_and_summary_equal_keras() -> None:
    summaries = []
    for lstm in (theirs, ours):
        keras.utils.clear_session(free_memory=False)
        model = keras.Sequential(
            [keras.Input((None, 3)), lstm(4, return_sequences=True), keras.layers.Dense(2)]
        )
        lines: list[str] = []
        model.summary(print_fn=lines.append)
        paths = [(weight.path, weight.shape, weight.dtype) for weight in model.weights]
        summaries.append((lines, paths, model.output_shape))
    assert summaries[0] == summaries[1]


# -- wrappers and other layers


WRAPPED: dict[str, list[Any]] = {
    "merge_mode": ["concat", "sum", "mul", "ave", None],
    "return_sequences": [True, False],
    "masked": [True, False],
}


@pytest.mark.parametrize("row", pairwise(WRAPPED), ids=row_id)
def test_bidirectional_equals_keras(row: Row) -> None:
    def make(lstm: MakeLSTM) -> Any:
        wrapped = lstm(4, return_sequences=row["return_sequences"], return_state=True)
        layer = keras.layers.Bidirectional(wrapped, merge_mode=row["merge_mode"])
        layer.build(X.shape)
        return layer

    layer, reference = both(make, by("block_lstm"))
    mask = GAPS if row["masked"] else None
    same(layer(X, mask=mask), reference(X, mask=mask))
    for part in (layer.forward_layer, layer.backward_layer):
        # Keras's own fused path would bypass the backend silently
        assert [choice.backend for _, choice in part.explain().choices] == ["block_lstm"]


@pytest.mark.parametrize("passed_on", [None, True, False], ids=["installed", "3.15", "3.16"])
def test_masks_go_through_a_stack_as_in_keras(passed_on: bool | None) -> None:
    """Keras 3.16 passes no mask on from an LSTM; a user may tell each layer otherwise."""

    def make(lstm: MakeLSTM) -> Any:
        layers = [
            lstm(4, return_sequences=True),
            lstm(3, go_backwards=True, return_sequences=True),
            keras.layers.TimeDistributed(keras.layers.Dense(2)),
            lstm(2),
        ]
        for layer in layers:
            if passed_on is not None:
                layer.supports_masking = passed_on
        embedding = keras.layers.Embedding(6, 3, mask_zero=True)
        return keras.Sequential([keras.Input((4,), dtype="int32"), embedding, *layers])

    model, reference = both(make)
    same(model(TOKENS), reference(TOKENS))
    lstms = [layer for layer in model.layers if isinstance(layer, lstm_impl.keras.LSTM)]
    kept = lstms[0].supports_masking
    masked = [call.masked for layer in lstms for call, _ in layer.explain().choices]
    assert masked == [True, kept, kept and model.layers[-2].supports_masking]
    if passed_on is not None:
        assert kept == passed_on


def test_state_of_one_layer_initialises_another() -> None:
    def make(lstm: MakeLSTM) -> Any:
        x = keras.Input((None, 3))
        _, *state = lstm(return_state=True)(x)
        return keras.Model(x, lstm(return_sequences=True)(x, initial_state=state))

    model, reference = both(make)
    same(model(X), reference(X))


def test_stateful_layer_keeps_and_resets_its_state() -> None:
    def make(lstm: MakeLSTM) -> Any:
        return keras.Sequential([keras.Input(batch_shape=(8, STEPS, 3)), lstm(stateful=True)])

    model, reference = both(make)
    outputs = [model.predict(X, batch_size=8, verbose=0) for _ in range(2)]
    same(outputs, [reference(X) for _ in range(2)])
    assert not np.allclose(*outputs)
    model.layers[0].reset_state()
    same(model.predict(X, batch_size=8, verbose=0), outputs[0])
    # The oldest Keras leaves it to our op.
    refused = "must be the same as the batch|expected .more than 0,2,4."
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=refused):
        model.layers[0](X[:2])


# -- training


def fit(model: Any, batch_size: int = 3, **compile_arguments: Any) -> list[Array]:
    """Return losses and the weights after ``fit``; 8 series make batches of 3, 3 and 2."""
    model.compile(keras.optimizers.SGD(0.5), "mse", **compile_arguments)
    history = model.fit(X, TARGET, batch_size=batch_size, epochs=2, shuffle=False, verbose=0)
    return [np.array(history.history["loss"]), *model.get_weights()]


def sequential(lstm: MakeLSTM, **arguments: Any) -> Any:
    return keras.Sequential([keras.Input((STEPS, 3)), lstm(**arguments)])


@functools.cache
def fit_by_keras(batch_size: int) -> tuple[list[Array], list[Array]]:
    """Return the weights of ``sequential`` with Keras's layer, and the results of ``fit`` outside a
    graph, whose making would take longer than the fit.
    """
    reference = sequential(theirs)
    return reference.get_weights(), fit(reference, batch_size, run_eagerly=True)


def fits_as_keras(model: Any, batch_size: int = 3, **compile_arguments: Any) -> None:
    """Compare ``fit`` of ``sequential`` with our layer and with Keras's."""
    weights, wanted = fit_by_keras(batch_size)
    model.set_weights(weights)
    same(fit(model, batch_size, **compile_arguments), wanted)


# XLA compiles its own below.
FITTED = [("auto", "auto"), ("while_loop+hoisted", False)]


@pytest.mark.parametrize(
    ("backend", "jit_compile"),
    [
        pytest.param(backend, jit, marks=() if (backend, jit) in FITTED else pytest.mark.slow)
        for backend in ("auto", "while_loop+hoisted", "while_loop", "while_loop+hoisted+xla")
        for jit in ("auto", False, True)
    ],
)
def test_fit_equals_keras(backend: str, jit_compile: bool | str) -> None:
    model = sequential(by(backend))
    # With XLA batches have one size: it compiles each size again.
    fits_as_keras(model, 4 if jit_compile is True else 3, jit_compile=jit_compile)
    assert {call.training for call, _ in model.layers[0].explain().choices} == {True}


@pytest.mark.parametrize("training", [True, False])
def test_auto_in_an_xla_graph_picks_a_compilable_backend(training: bool) -> None:
    def make(lstm: MakeLSTM) -> Any:
        layer = lstm()
        layer.build(X.shape)
        return layer

    def jitted(layer: Any) -> Any:
        return tf.function(lambda x: layer(x, training=training), jit_compile=True, autograph=False)

    layer, reference = both(make)
    same(jitted(layer)(X), reference(X))
    assert "in a graph compiled by XLA" in str(layer.explain())
    layer.backend = "block_lstm"
    with pytest.raises(UnsupportedError, match="XLA cannot compile its op"):
        jitted(layer)(X)


def differentiate_twice(lstm: MakeLSTM) -> Any:
    layer = lstm(go_backwards=True, return_sequences=True)
    layer.build(X.shape)
    return layer


def second_gradients(layer: Any) -> Any:
    """Return second gradients of a penalty on the first, by input and weights."""
    x = tf.constant(X)
    sources = [x, *(variable.value for variable in layer.trainable_variables)]
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = layer(x, mask=GAPS, training=True)
            loss = tf.reduce_sum(y**2)
        penalty = sum(tf.reduce_sum(g**2) for g in inner.gradient(loss, sources))
    return outer.gradient(penalty, sources)


@functools.cache
def second_gradients_of_keras() -> tuple[list[Array], list[Array]]:
    """Return the weights of Keras's layer and its second gradients, computed eagerly."""
    reference = differentiate_twice(theirs)
    return reference.get_weights(), [each.numpy() for each in second_gradients(reference)]


# In a graph all backends except the loops use the same plain loop.
@pytest.mark.parametrize(
    ("backend", "in_function"),
    [
        ("block_lstm", False),
        pytest.param("fused_cpu", False, marks=FUSED),
        *(
            pytest.param(name, True, marks=[pytest.mark.slow, *([FUSED] * (name == "fused_cpu"))])
            for name in ("block_lstm", "fused_cpu", "while_loop+hoisted+xla")
        ),
        pytest.param("while_loop+hoisted", False, marks=pytest.mark.slow),
        pytest.param("while_loop+hoisted+xla", False, marks=pytest.mark.slow),
        pytest.param("while_loop+hoisted", True, marks=pytest.mark.slow),
    ],
)
def test_second_gradients_equal_keras(backend: str, in_function: bool) -> None:
    weights, wanted = second_gradients_of_keras()
    layer = differentiate_twice(by(backend))
    layer.set_weights(weights)
    step = tf.function(second_gradients, autograph=False) if in_function else second_gradients
    # Rounded twice: a loop's sums have another order than Keras's.
    same(step(layer), wanted, rtol=1e-4)


# -- weights and files


def test_weights_move_to_and_from_keras(tmp_path: Path) -> None:
    model, reference = sequential(ours), sequential(theirs)
    for source, target in itertools.permutations((model, reference)):
        source.set_weights([RNG.standard_normal(w.shape) for w in source.get_weights()])
        target.set_weights(source.get_weights())
        same(target(X), source(X))
        source.set_weights([RNG.standard_normal(w.shape) for w in source.get_weights()])
        source.save_weights(tmp_path / "all.weights.h5")
        target.load_weights(tmp_path / "all.weights.h5")
        same(target(X), source(X))


@pytest.mark.parametrize("backend", ["auto", "cudnn", "while_loop+hoisted+xla"])
def test_saved_model_is_loaded_with_its_backend(tmp_path: Path, backend: str) -> None:
    model = sequential(ours, backend=backend)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is lstm_impl.keras.LSTM
    assert loaded.layers[0].backend == backend
    for each in (model, loaded):
        each.layers[0].backend = "auto"  # cudnn is loaded, and changed, without a GPU
    same(loaded(X), model(X))


# -- what does not fit


@pytest.mark.parametrize("wrong", INPUTS)
def test_accelerated_model_answers_wrong_input_as_keras_does(wrong: str) -> None:
    def accelerate(model: Any) -> Any:
        return lstm_impl.keras.accelerate(model, print_fn=None)

    found = list(outcomes(INPUTS[wrong], accelerate))
    assert found == list(outcomes(INPUTS[wrong], lambda model: model))
