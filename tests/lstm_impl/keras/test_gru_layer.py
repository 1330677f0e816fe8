"""Test that ``lstm_impl.keras.GRU`` equals the loop of ``keras.layers.GRU``, in both forms.

The layer shares its code with ``lstm_impl.keras.LSTM``, whose tests cover each behaviour with each
backend. The rows here cover each value of each behaviour with the backends that compute a GRU by
code of their own.
"""

import functools
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest

from lstm_impl import PRECISIONS, UnsupportedError, get_backend

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.keras  # noqa: E402
from lstm_impl.backends.tensorflow.model import profile  # noqa: E402
from lstm_impl.keras import tuning  # noqa: E402
from lstm_impl.keras.choice import Sizes  # noqa: E402
from lstm_impl.keras.layer import PortableSizes, portable_function  # noqa: E402
from tests.lstm_impl.backends.cudnn_emulation import emulate_cudnn  # noqa: E402
from tests.lstm_impl.keras.test_layer import (  # noqa: E402
    AXES,
    BATCH,
    FEATURES,
    TIMESTEPS,
    UNITS,
    constructor,
    describe_row,
    make_mask,
    random,
    results,
)
from tests.pairs import Row, each_value, pairwise  # noqa: E402

# Of masks that Keras 3.16, and so this layer, does not pass on, and Keras's own way of reading a
# variable for a file.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
]

Array = npt.NDArray[Any]
_AVAILABLE = get_backend("fused_cpu").availability("cpu")
FUSED = pytest.mark.skipif(not _AVAILABLE, reason=f"fused_cpu: {_AVAILABLE}")
X = random(BATCH, TIMESTEPS, FEATURES).astype(np.float32)
MASK = make_mask("every mask")
BY_RULE = "fused_cpu" if _AVAILABLE else "keras"
EACH_FORM = pytest.mark.parametrize("reset_after", [True, False])


def axes(backend: list[str], **other: list[Any]) -> dict[str, list[Any]]:
    return {"backend": backend, "reset_after": [True, False], **AXES, **other}


def served(row: Row) -> bool:
    """Return whether a backend can compute a row: an unrolled loop needs the number of steps."""
    return not (row.get("backend") == "static_unroll" and "any shape" in row.get("called", ""))


OURS = ["fused_cpu"] if _AVAILABLE else []
ROWS = [
    *pairwise(axes(["auto", *OURS, "while_loop+hoisted"]), served),
    *each_value(axes(["while_loop"]), served),
    *each_value(axes(["static_unroll"]), served),
    # XLA takes seconds for a row.
    *each_value(axes(["while_loop+hoisted+xla"]), served)[:1],
]


def row_name(row: Row) -> str:
    return describe_row(row) + ("" if row["reset_after"] else "-reset_before")


def initial_weights(layer: Any) -> list[Array]:
    return [random(*each.shape, seed=3 + k) / 2 for k, each in enumerate(layer.get_weights())]


def build(kind: Callable[..., Any], **arguments: Any) -> Any:
    layer = kind(**{"units": UNITS, **arguments})
    layer.build((BATCH, TIMESTEPS, FEATURES))
    layer.set_weights(initial_weights(layer))
    return layer


@functools.cache
def expected(behaviour: tuple[tuple[str, Any], ...]) -> list[Array]:
    row = dict(behaviour)
    return results(build(keras.layers.GRU, use_cudnn=False, **constructor(row)), row)


def check(row: Row) -> None:
    backend = row["backend"]
    row = {key: value for key, value in row.items() if key != "backend"}
    layer = build(lstm_impl.keras.GRU, backend=backend, **constructor(row))
    wanted = expected(tuple({**row, "called": "eagerly"}.items()))
    for ours, theirs in zip(results(layer, row), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)
    chosen = {choice.backend for _, choice in layer.explain().choices}
    assert chosen == {BY_RULE if backend == "auto" else backend}


@pytest.mark.parametrize("row", ROWS, ids=row_name)
def test_gru_equals_keras(row: Row) -> None:
    check(row)


@pytest.mark.parametrize("row", each_value(axes(["cudnn"], reset_after=[True])), ids=row_name)
def test_gru_through_cudnn_equals_keras_without(row: Row) -> None:
    with emulate_cudnn():
        check(row)


@EACH_FORM
def test_auto_on_a_gpu_uses_cudnn_for_the_form_that_cudnn_has(reset_after: bool) -> None:
    layer = build(lstm_impl.keras.GRU, reset_after=reset_after)
    with emulate_cudnn(), mock.patch.object(layer, "_device", return_value="gpu"):
        layer(X)
    ((_, choice),) = layer.explain().choices
    assert (choice.backend == "cudnn") == reset_after
    if not reset_after:
        assert "cudnn: its GRU has reset_after=True" in str(choice)


@EACH_FORM
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "mixed_bfloat16", "mixed_float16"])
def test_gru_in_each_precision_equals_keras(dtype: str, reset_after: bool) -> None:
    row: Row = dict.fromkeys(AXES, False)
    row |= {"mask": "every mask", "return_sequences": True, "use_bias": True, "dropout": 0.0}
    # Keras cannot draw an orthogonal matrix in bfloat16.
    how = {**constructor(row), "dtype": dtype, "recurrent_initializer": "glorot_uniform"}
    theirs, ours = (
        build(kind, reset_after=reset_after, **how)
        for kind in (functools.partial(keras.layers.GRU, use_cudnn=False), lstm_impl.keras.GRU)
    )
    assert ours.compute_dtype == theirs.compute_dtype
    assert [w.dtype for w in ours.weights] == [w.dtype for w in theirs.weights]
    for mine, wanted in zip(results(ours, row), results(theirs, row), strict=True):
        error = np.max(np.abs(mine - wanted)) / np.max(np.abs(wanted))
        assert error <= 20 * PRECISIONS[dtype].roundoff


@FUSED
@EACH_FORM
@pytest.mark.parametrize("return_state", [False, True])
def test_untaped_call_runs_the_fused_op_and_returns_what_keras_does(
    reset_after: bool, return_state: bool
) -> None:
    how = {"reset_after": reset_after, "return_state": return_state, "return_sequences": True}
    theirs, ours = build(keras.layers.GRU, **how), build(lstm_impl.keras.GRU, **how)
    state = [tf.constant(random(BATCH, UNITS), tf.float32)]
    found, wanted = (layer(X, initial_state=state) for layer in (ours, theirs))
    for mine, keras_s in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(mine, keras_s, atol=1e-6)
    ran = profile(lambda: ours(tf.constant(X)), lambda: None).ops
    assert ran is not None
    assert ran["LstmImplFusedLstm"] == 1
    assert "While" not in ran


# -- graphs that may be saved


@FUSED
@EACH_FORM
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_saved_gru_holds_tensorflow_alone_and_runs_by_the_op_where_loaded(
    tmp_path: Path, reset_after: bool, mask: Any
) -> None:
    from tests.lstm_impl.keras.test_portable import LOOP, OP, ran

    how = {"reset_after": reset_after, "return_sequences": True, "go_backwards": mask is None}
    theirs, ours = build(keras.layers.GRU, **how), build(lstm_impl.keras.GRU, **how)
    module = tf.Module()
    module.variables_of_layer = [each.value for each in ours.weights]
    x, masks = tf.constant(X), () if mask is None else (tf.constant(mask),)
    module.call = tf.function(
        lambda x, *masks: ours(x, mask=masks[0] if masks else None), autograph=False
    )
    module.call.get_concrete_function(x, *masks)
    tf.saved_model.save(module, str(tmp_path))
    assert OP.encode() not in (tmp_path / "saved_model.pb").read_bytes()
    loaded = tf.saved_model.load(str(tmp_path))  # which must live as long as its functions
    outputs, ops = ran(loaded.call, x, *masks)
    assert OP in ops
    assert LOOP not in ops
    np.testing.assert_allclose(outputs, theirs(x, mask=mask), atol=1e-5)


@FUSED
def test_body_of_one_form_is_not_taken_for_the_other() -> None:
    from lstm_impl.cell import get_cell
    from tests.lstm_impl.keras.test_portable import OP, ran

    outcomes = []
    weights = [
        random(*shape, seed=k)
        for k, shape in enumerate([(FEATURES, 3 * UNITS), (UNITS, 3 * UNITS), (2, 3 * UNITS)])
    ]
    x = tf.constant(X)
    state = tf.zeros([1, TIMESTEPS, UNITS])
    for name in ("gru", "gru_reset_before"):
        sizes = PortableSizes(None, FEATURES, UNITS)
        function = portable_function(tf.float32, False, False, False, sizes, cell=get_cell(name))
        arrays = weights if name == "gru" else [*weights[:2], weights[2].sum(axis=0)]
        given = [x, state, state, *(tf.constant(each, tf.float32) for each in arrays)]
        outer = tf.function(lambda *each, inner=function: inner(*each), autograph=False)
        (y, h, c), ops = ran(outer, *given, tf.zeros([0], tf.int32))
        assert OP in ops
        np.testing.assert_allclose(y[-1], h[0])
        assert c.shape == (0, TIMESTEPS, UNITS)
        outcomes.append(y.numpy())
    assert np.abs(outcomes[0] - outcomes[1]).max() > 1e-3


# -- models


def sequential(kind: Callable[..., Any], **arguments: Any) -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), kind(UNITS, **arguments)])


@EACH_FORM
@pytest.mark.parametrize("backend", ["auto", "while_loop+hoisted"])
def test_fit_of_a_gru_equals_keras(backend: str, reset_after: bool) -> None:
    found = []
    for kind in (functools.partial(lstm_impl.keras.GRU, backend=backend), keras.layers.GRU):
        model = sequential(kind, reset_after=reset_after)
        model.set_weights([random(*each.shape, seed=7) for each in model.get_weights()])
        model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=False)
        target = random(BATCH, UNITS, seed=9)
        losses = model.fit(X, target, batch_size=3, epochs=2, shuffle=False, verbose=0).history
        found.append([np.array(losses["loss"]), *model.get_weights()])
    for mine, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-5)


def test_weights_move_to_and_from_a_gru_of_keras(tmp_path: Path) -> None:
    models = [sequential(kind) for kind in (lstm_impl.keras.GRU, keras.layers.GRU)]
    for source, target in itertools.permutations(models):
        source.set_weights([random(*w.shape) for w in source.get_weights()])
        source.save_weights(tmp_path / "all.weights.h5")
        target.load_weights(tmp_path / "all.weights.h5")
        np.testing.assert_allclose(target(X), source(X), atol=1e-6)


@EACH_FORM
def test_saved_gru_is_loaded_with_its_backend_and_form(tmp_path: Path, reset_after: bool) -> None:
    model = sequential(lstm_impl.keras.GRU, backend="while_loop", reset_after=reset_after)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    (layer,) = loaded.layers
    assert type(layer) is lstm_impl.keras.GRU
    assert (layer.backend, layer.reset_after) == ("while_loop", reset_after)
    np.testing.assert_allclose(loaded(X), model(X), atol=1e-6)


def test_second_gradient_of_a_gru_equals_keras() -> None:
    def second(layer: Any) -> list[Any]:
        x = tf.constant(X[:2, :3])
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(layer(x) ** 2)
            norm = tf.reduce_sum(inner.gradient(loss, x) ** 2)
        found: list[Any] = outer.gradient(norm, [x, *(w.value for w in layer.trainable_variables)])
        return found

    wanted = second(build(keras.layers.GRU, use_cudnn=False))
    for backend in (*OURS, "while_loop"):
        found = second(build(lstm_impl.keras.GRU, backend=backend))
        for mine, keras_s in zip(found, wanted, strict=True):
            np.testing.assert_allclose(mine, keras_s, rtol=1e-3, atol=1e-4)


@EACH_FORM
def test_forward_mode_of_a_gru_equals_keras(reset_after: bool) -> None:
    found = []
    for kind in (lstm_impl.keras.GRU, keras.layers.GRU):
        layer, x = build(kind, reset_after=reset_after), tf.constant(X)
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            y = layer(x, mask=MASK)
        found.append(accumulator.jvp(y))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)


# -- races


def test_tune_races_the_backends_that_compute_a_gru() -> None:
    model = sequential(lstm_impl.keras.GRU, name="mine")
    names = ("keras", "while_loop+preproject", "block_lstm")
    (found,) = lstm_impl.keras.tune(
        model, BATCH, TIMESTEPS, modes=["inference"], candidates=names, seconds=0.3, print_fn=None
    )
    assert found.question.spec.cell.name == "gru"
    refused = found.find_result("block_lstm")
    assert refused is not None
    assert "it computes the cell lstm only, not gru" in refused.problem
    model.predict(X, batch_size=BATCH, verbose=0)
    ((_, choice),) = model.layers[0].explain().choices
    assert choice.backend == found.backend
    assert "raced" in choice.why
    # A decision for one cell is none for another.
    other = sequential(lstm_impl.keras.LSTM)
    other.layers[0]._expect(Sizes(BATCH, TIMESTEPS))
    other.predict(X, batch_size=BATCH, verbose=0)
    ((_, choice),) = other.layers[0].explain().choices
    assert "raced" not in choice.why


@EACH_FORM
def test_raced_gru_is_compared_with_keras_by_outputs_and_all_gradients(reset_after: bool) -> None:
    layer = build(lstm_impl.keras.GRU, reset_after=reset_after, return_sequences=True)
    question, _, _ = tuning.request(layer, True, Sizes(BATCH, TIMESTEPS))
    _, problems = tuning.enter(layer, question, ["while_loop+hoisted", *OURS])
    assert problems == {}
    truth = tuning.layer_results(layer, tf.constant(X))
    assert {*truth} == {"y", "dx", *tuning.PARAMETERS}
    for name in truth:
        wrong = {**truth, name: 1.01 * truth[name]}
        assert name in tuning.difference(wrong, truth, dict.fromkeys(truth, 1e-3))


# -- what does not fit


def refusal(make: Callable[[], Any]) -> str:
    with pytest.raises((UnsupportedError, ValueError)) as error:
        make()
    return str(error.value)


def test_named_backend_that_has_the_other_form_names_both_forms() -> None:
    found = refusal(lambda: lstm_impl.keras.GRU(4, reset_after=False, backend="cudnn"))
    assert re.search("its GRU has reset_after=True.*gru_reset_before", found)
    found = refusal(lambda: lstm_impl.keras.GRU(4, reset_after=False, use_cudnn=True))
    assert re.search("use_cudnn=True cannot be served: its GRU has reset_after=True", found)


def test_named_backend_of_an_lstm_names_both_cells() -> None:
    found = refusal(lambda: lstm_impl.keras.GRU(4, backend="block_lstm"))
    assert "backend='block_lstm' cannot compute this layer" in found
    assert "it computes the cell lstm only, not gru" in found


def test_weights_of_the_other_form_are_refused_with_both_shapes() -> None:
    one, other = build(lstm_impl.keras.GRU), build(lstm_impl.keras.GRU, reset_after=False)
    shapes = rf"\(2, {3 * UNITS}\).*\({3 * UNITS},\)"
    assert re.search(shapes, refusal(lambda: one.set_weights(other.get_weights())))


@pytest.mark.parametrize(("ours", "theirs"), [("GRU", "LSTM"), ("LSTM", "GRU")])
def test_configuration_of_the_other_layer_is_refused_and_names_both(ours: str, theirs: str) -> None:
    config = getattr(keras.layers, theirs)(4, name="mine").get_config()
    found = refusal(lambda: getattr(lstm_impl.keras, ours).from_config(config))
    assert found.startswith(f"lstm_impl.keras.{ours} got the configuration of the layer 'mine'")
    assert f"which is of kind {theirs}" in found
    assert getattr(lstm_impl.keras, theirs).from_config(config).units == 4


# -- the document


def test_example_of_the_document_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "keras_layer.md").read_text("utf-8")
    (example,) = re.findall(r"^## GRU$.*?^```python\n(.*?)^```", text, re.M | re.S)
    exec(compile(example, "docs/keras_layer.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count('keras.GRU is now lstm_impl.keras.GRU, backend="auto"') == 2
    assert printed.count(f"inference on cpu, outside a graph, batch x time 2x20: {BY_RULE}") == 2
