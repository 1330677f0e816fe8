"""Test graphs that may be saved: TensorFlow's ops in them, run by the fused op where it is loaded.

Values must equal those of Keras's layer. What ran is read from the graph after its optimization.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402
from tensorflow.python.eager import context  # noqa: E402

import lstm_impl.keras  # noqa: E402
from lstm_impl.keras.layer import PORTABLE  # noqa: E402
from tests.lstm_impl.backends.built import needs  # noqa: E402
from tests.lstm_impl.keras.test_layer import FEATURES, UNITS, random  # noqa: E402

pytestmark = [
    needs("fused_cpu"),
    # Of masks that Keras 3.16, and so this layer, does not pass on.
    pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning"),
]

X = tf.constant(random(4, 7, FEATURES), tf.float32)
MASK = tf.constant(np.random.default_rng(0).random((4, 7)) > 0.4)
OP = "LstmImplFusedLstm"
LOOP = "TensorListReserve"  # an op of each loop over time


def ran(function: Callable[..., Any], *arguments: Any) -> tuple[Any, set[str]]:
    """Return what a function returns, and the ops of the graphs that ran."""
    current = context.context()
    current.enable_run_metadata()
    current.export_run_metadata()  # of what ran before
    outputs = function(*arguments)
    graphs = current.export_run_metadata().partition_graphs
    current.disable_run_metadata()
    functions = [function for graph in graphs for function in graph.library.function]
    nodes = [*(graph.node for graph in graphs), *(each.node_def for each in functions)]
    return outputs, {node.op for part in nodes for node in part}


def pair(**arguments: Any) -> tuple[Any, Any]:
    """Return a layer of this library and Keras's with the same weights."""
    ours, theirs = (kind(UNITS, **arguments) for kind in (lstm_impl.keras.LSTM, keras.layers.LSTM))
    ours(X), theirs(X)
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def close(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    for own, expected in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(
            tf.cast(own, tf.float32), tf.cast(expected, tf.float32), atol=tolerance
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"return_sequences": True, "go_backwards": True},
        {"return_state": True},
        {"dtype": "mixed_bfloat16"},
        {"zero_output_for_mask": True, "return_sequences": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_inference_in_a_graph_runs_by_the_fused_op(arguments: dict[str, Any], mask: Any) -> None:
    ours, theirs = pair(**arguments)
    function = tf.function(lambda x: ours(x, mask=mask), autograph=False)
    assert OP not in str(function.get_concrete_function(X).graph.as_graph_def())
    outputs, ops = ran(function, X)
    assert OP in ops
    assert LOOP not in ops
    close(outputs, theirs(X, mask=mask), 0.02 if arguments.get("dtype") else 1e-5)


def in_while_loop(layer: Any, x: Any) -> Any:
    def body(i: Any, total: Any) -> Any:
        return i + 1, total + layer(x * tf.cast(i, tf.float32))

    return tf.while_loop(lambda i, _: i < 2, body, (0, tf.zeros([4, UNITS])))[1]


def in_cond(layer: Any, x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) < 1e9, lambda: layer(x), lambda: layer(2 * x))


def in_nested_functions(layer: Any, x: Any) -> Any:
    return tf.function(lambda x: layer(x), autograph=False)(x) + 1


def twice(layer: Any, x: Any) -> Any:
    return layer(x) + layer(x[:, ::-1])


def of_constants(layer: Any, x: Any) -> Any:
    return layer(tf.ones([2, 3, FEATURES])) + tf.reduce_sum(x)


@pytest.mark.parametrize(
    "called", [in_while_loop, in_cond, in_nested_functions, twice, of_constants]
)
def test_calls_within_a_graph_run_by_the_fused_op(called: Any) -> None:
    ours, theirs = pair()
    outputs, ops = ran(tf.function(lambda x: called(ours, x), autograph=False), X)
    assert OP in ops
    assert LOOP not in ops
    close(outputs, called(theirs, X))


def gradients(function: Callable[[Any], Any]) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(X)
        loss = tf.reduce_sum(function(X) ** 2)
    return tape.gradient(loss, X)


def test_gradient_of_the_graph_is_computed_by_tensorflow() -> None:
    ours, theirs = pair()
    gradient, ops = ran(gradients, tf.function(lambda x: ours(x), autograph=False))
    assert OP not in ops
    close(gradient, gradients(theirs))


def test_graph_compiled_by_xla_is_computed_by_tensorflow() -> None:
    ours, theirs = pair()
    function = tf.function(lambda x: ours(x), autograph=False, jit_compile=True)
    outputs, ops = ran(function, X)
    assert OP not in ops
    close(outputs, theirs(X))


def test_saved_graph_runs_by_the_fused_op_where_loaded(tmp_path: Path) -> None:
    ours, theirs = pair()
    model = keras.Sequential([keras.Input((None, FEATURES)), ours])
    model.export(tmp_path / "model", verbose=False)
    assert OP.encode() not in (tmp_path / "model" / "saved_model.pb").read_bytes()
    loaded = tf.saved_model.load(tmp_path / "model")
    outputs, ops = ran(loaded.serve, X)
    assert OP in ops
    close(outputs, theirs(X))


def marked(arguments: str, results: Callable[..., Any]) -> Any:
    """Return a function with the mark, which is not a layer's."""
    names: dict[str, Any] = {"results": results}
    exec(f"def function({arguments}): return results({arguments})", names)
    mark = {"api_implements": f"{PORTABLE}--:test"}
    return tf.function(names["function"], autograph=False, experimental_attributes=mark)


@pytest.mark.parametrize(
    ("arguments", "count", "made"),
    [
        ("x, h, c, kernel, recurrent_kernel, bias, other", 7, 3),
        ("x, h, c, kernel, recurrent_kernel, bias", 6, 3),
        ("x", 1, 1),
        ("x, h, c, kernel, recurrent_kernel, bias, padding", 7, 4),
    ],
)
def test_marked_function_of_other_arguments_or_results_is_left(
    arguments: str, count: int, made: int
) -> None:
    function = marked(arguments, lambda *given: tuple(each + 1 for each in given[:made]))
    outer = tf.function(lambda *given: function(*(2 * each for each in given)), autograph=False)
    outputs, ops = ran(outer, *[X] * count)
    assert OP not in ops
    close(outputs, (2 * X + 1,) * made)
