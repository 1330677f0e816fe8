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
from lstm_impl.backends.fused_cpu.backend import ops as load_ops  # noqa: E402
from lstm_impl.cell import LSTM  # noqa: E402
from lstm_impl.keras.layer import PORTABLE, by_tensorflow, portable_function  # noqa: E402
from tests.lstm_impl.backends.built import needs  # noqa: E402
from tests.lstm_impl.keras.test_layer import FEATURES, UNITS, random  # noqa: E402
from tools import portable  # noqa: E402

pytestmark = [
    needs("fused_cpu"),
    # Of masks that Keras 3.16, and so this layer, does not pass on.
    pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning"),
]

X = tf.constant(random(4, 7, FEATURES), tf.float32)
MASK = tf.constant(np.random.default_rng(0).random((4, 7)) > 0.4)
OP = "LstmImplFusedLstm"
LOOP = "TensorListReserve"  # an op of each loop over time


@pytest.fixture(autouse=True, scope="module")
def loaded_library() -> None:
    """Load the ops and the optimizer, which calls of a layer load otherwise."""
    load_ops()


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


def casts_of_weights(function: Any, x: Any) -> list[Any]:
    """Return the types that the optimized graph of a function casts its variables to."""
    current = context.context()
    current.enable_run_metadata()
    current.export_run_metadata()  # of what ran before
    function(x)
    graphs = current.export_run_metadata().partition_graphs
    current.disable_run_metadata()
    nodes = [node for graph in graphs for node in graph.node]
    read = {node.name for node in nodes if node.op == "ReadVariableOp"}
    return [node.attr["DstT"].type for node in nodes if node.op == "Cast" and read & {*node.input}]


def test_mixed_inference_in_a_graph_casts_no_weight() -> None:
    ours, theirs = pair(dtype="mixed_bfloat16")
    function = tf.function(lambda x: ours(x), autograph=False)
    outputs, ops = ran(function, X)
    assert OP in ops
    assert casts_of_weights(function, X) == []
    close(outputs, theirs(X), 0.02)


def test_gradient_of_weights_through_a_mixed_graph_is_float32() -> None:
    ours, theirs = pair(dtype="mixed_bfloat16")
    found = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            y = tf.function(lambda x, layer=layer: layer(x), autograph=False)(X)
        found.append(tape.gradient(y, layer.trainable_variables))
    assert [each.dtype for each in found[0]] == 3 * [tf.float32]
    close(found[0], found[1], 0.2)


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


@pytest.mark.slow  # traces loops for seconds
def test_forward_mode_through_a_saved_graph_is_that_of_keras(tmp_path: Path) -> None:
    ours, theirs = pair()
    model = keras.Sequential([keras.Input((None, FEATURES)), ours])
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    found = []
    for layer in (loaded.serve, theirs):
        with tf.autodiff.ForwardAccumulator(X, tf.ones_like(X)) as accumulator:
            y = layer(X)
        found.append(accumulator.jvp(y))
    assert np.abs(found[1]).max() > 0.01
    close(*found)


# -- the optimizer trusts no mark


INPUTS = ("x", "h", "c", "kernel", "recurrent_kernel", "bias", "padding")
SHAPES = ((1, 7, UNITS),) * 2 + ((FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,))
GIVEN = (
    *(X, *(tf.constant(random(*shape), tf.float32) for shape in SHAPES)),
    tf.zeros([0], tf.int32),
)
"""Right arguments of a layer that is time-major and has no mask."""


def marked(body: Callable[..., Any], mark: str = f"{PORTABLE}test") -> Any:
    """Return a function with the mark and another body."""
    return tf.function(body, autograph=False, experimental_attributes={"api_implements": mark})


plain: Callable[..., Any] = by_tensorflow


def layers_body(*given: Any) -> tuple[Any, Any, Any]:
    made: tuple[Any, Any, Any] = plain(*given, False, False)
    return made


def called(function: Any, given: Any = GIVEN) -> tuple[Any, set[str]]:
    """Call a marked function in a graph, with and without variables among its arguments."""
    outer = tf.function(lambda *each: function(*each), autograph=False)
    return ran(outer, *given)


def from_file(function: Any, folder: Path, given: Any = GIVEN) -> tuple[Any, set[str]]:
    """Call a marked function that comes from a SavedModel."""
    module = tf.Module()
    module.call = tf.function(
        lambda *each: function(*each),
        input_signature=[tf.TensorSpec(each.shape, each.dtype) for each in given],
        autograph=False,
    )
    tf.saved_model.save(module, str(folder))
    return ran(tf.saved_model.load(str(folder)).call, *given)


def test_marked_body_of_a_layer_is_replaced_also_from_a_file(tmp_path: Path) -> None:
    function = portable_function(tf.float32, reverse=False, batch_major=False, masked=False)
    expected = layers_body(*GIVEN)
    for outputs, ops in (called(function), from_file(function, tmp_path / "model")):
        assert OP in ops
        close(outputs, expected)


def first_three(*given: Any) -> Any:
    return given[:3]


def doubled(*given: Any) -> Any:
    y, h, c = layers_body(*given)
    return 2.0 * y, h, c


def other_state(*given: Any) -> Any:
    y, h, c = layers_body(*given)
    return y, c, h


def swapped_gates(x: Any, h: Any, c: Any, kernel: Any, *rest: Any) -> Any:
    return layers_body(x, h, c, tf.roll(kernel, UNITS, axis=1), *rest)


def more_results(*given: Any) -> Any:
    y, h, c = layers_body(*given)
    return y, h, c, y, h


def patched(equations: Callable[..., Any]) -> Callable[..., Any]:
    """Return the layer's body where a timestep computes something else."""

    def body(*given: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LSTM, "equations", equations)
            return layers_body(*given)

    return body


def other_activation(cell: Any, ops: Any, projected: Any, recurrence: Any, states: Any) -> Any:
    h, c = states
    i, f, g, o = ops.split(projected + recurrence(h), 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.sigmoid(c), c


def clipped_cell(cell: Any, ops: Any, projected: Any, recurrence: Any, states: Any) -> Any:
    h, c = states
    i, f, g, o = ops.split(projected + recurrence(h), 4)
    c = tf.minimum(ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g), 0.25)
    return ops.sigmoid(o) * ops.tanh(c), c


def gates_in_another_order(
    cell: Any, ops: Any, projected: Any, recurrence: Any, states: Any
) -> Any:
    h, c = states
    f, i, g, o = ops.split(projected + recurrence(h), 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


BODIES: dict[str, Callable[..., Any]] = {
    "y doubled": doubled,
    "states swapped": other_state,
    "gates rolled": swapped_gates,
    "five results": more_results,
    "another activation": patched(other_activation),
    "another constant": patched(clipped_cell),
    "another order of gates": patched(gates_in_another_order),
    "read backwards": lambda *given: plain(*given, True, False),
}


@pytest.mark.parametrize("name", [*BODIES, "x returned"])
def test_model_with_the_mark_and_another_body_computes_its_body(name: str, tmp_path: Path) -> None:
    body: Callable[..., Any] = BODIES.get(name, first_three)
    if name == "read backwards":  # it is a layer's, which the op replaces by another one's
        function: Any = portable_function(tf.float32, True, batch_major=False, masked=False)
    else:
        names = ", ".join(INPUTS)
        scope: dict[str, Any] = {"body": body}
        exec(f"def named({names}): return body({names})", scope)
        function = marked(scope["named"])
    expected = body(*GIVEN)
    for outputs, ops in (called(function), from_file(function, tmp_path / "model")):
        assert (OP in ops) == (name == "read backwards")
        close(outputs, expected)


def test_lengths_that_the_body_does_not_read_are_not_read_by_the_op() -> None:
    def lengths(graph: Any, call: Any, function: Any) -> None:
        for node in graph.node:
            if node.name == call.input[6]:
                tensor = node.attr["value"].tensor
                tensor.CopyFrom(tf.make_tensor_proto(np.full(7, 1, np.int32)))

    graph = change_graph(lengths)
    expected, _ = run(graph, optimized=False)
    found, ops = run(graph)
    assert OP in ops
    close(found, expected)


def test_model_that_was_exported_with_the_first_mark_is_left() -> None:
    function = marked(layers_body, "fused_lstm_impl:1:--:test")
    outputs, ops = called(function)
    assert OP not in ops
    close(outputs, layers_body(*GIVEN))


@pytest.mark.parametrize("count", [1, 6])
def test_marked_function_of_other_arguments_is_left(count: int) -> None:
    scope: dict[str, Any] = {}
    names = ", ".join(INPUTS[:count])
    exec(f"def named({names}): return {names},", scope)
    outputs, ops = called(marked(scope["named"]), GIVEN[:count])
    assert OP not in ops
    close(outputs, GIVEN[:count])


def change_graph(change: Callable[[Any, Any, Any], None]) -> tuple[Any, str, str]:
    """Return the graph of a call of a layer, changed, as a program that reads files may get it."""
    layer = portable_function(tf.float32, reverse=False, batch_major=False, masked=False)
    others = [each.numpy() for each in GIVEN[1:]]  # constants of the graph

    def total(x: Any) -> Any:
        return tf.reduce_sum(layer(x, *map(tf.constant, others))[0], [0, 1])

    outer = tf.function(total, autograph=False)
    concrete = outer.get_concrete_function(GIVEN[0])
    graph = concrete.graph.as_graph_def()
    (call,) = (node for node in graph.node if node.op.endswith("PartitionedCall"))
    (function,) = (each for each in graph.library.function if "api_implements" in each.attr)
    change(graph, call, function)
    return graph, concrete.inputs[0].name, concrete.outputs[0].name


def run(changed: tuple[Any, str, str], optimized: bool = True) -> tuple[Any, set[str]]:
    graph, fed, read = changed
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimized
    config.graph_options.rewrite_options.min_graph_nodes = -1
    metadata = tf.compat.v1.RunMetadata()
    options = tf.compat.v1.RunOptions(output_partition_graphs=True)
    with tf.Graph().as_default() as into:
        tf.graph_util.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=into, config=config) as session:
            found = session.run(read, {fed: GIVEN[0].numpy()}, options, metadata)
    return found, {node.op for part in metadata.partition_graphs for node in part.node}


def five_results(graph: Any, call: Any, function: Any) -> None:
    for number in (3, 4):
        function.signature.output_arg.add(name=f"identity_{number}", type=1)
        function.ret[f"identity_{number}"] = function.ret["identity"]
        call.attr["Tout"].list.type.append(1)


def body_without_a_node(graph: Any, call: Any, function: Any) -> None:
    del function.node_def[0]


def nodes_in_another_order(graph: Any, call: Any, function: Any) -> None:
    nodes = list(function.node_def)
    del function.node_def[:]
    for node in reversed(nodes):
        function.node_def.add().CopyFrom(node)


def other_names(graph: Any, call: Any, function: Any) -> None:
    names = {node.name: f"other/name_{k}" for k, node in enumerate(function.node_def)}
    for node in function.node_def:
        node.name = names[node.name]
        for place, text in enumerate(node.input):
            name, *rest = text.removeprefix("^").split(":")
            if name in names:
                mark = "^" if text.startswith("^") else ""
                node.input[place] = mark + ":".join([names[name], *rest])
    # A list, because a map of protocol buffers may skip entries when it changes during a loop.
    for result, text in list(function.ret.items()):
        name, *rest = text.split(":")
        function.ret[result] = ":".join([names.get(name, name), *rest])


def other_op(graph: Any, call: Any, function: Any) -> None:
    """Change the activation in the function of the loop's body, which the marked function calls."""
    for called in graph.library.function:
        for node in called.node_def:
            node.op = "Sigmoid" if node.op == "Tanh" else node.op


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        (lambda graph, call, function: None, True),
        (nodes_in_another_order, True),
        (other_names, True),
        # TensorFlow removes results that nothing reads.
        (five_results, True),
        (other_op, False),
    ],
)
def test_graph_whose_function_was_changed_computes_what_it_says(
    change: Any, replaced: bool
) -> None:
    graph = change_graph(change)
    expected, _ = run(graph, optimized=False)
    found, ops = run(graph)
    assert (OP in ops) == replaced
    close(found, expected)


def test_graph_whose_function_lacks_a_node_is_an_error_and_not_the_end() -> None:
    with pytest.raises((ValueError, tf.errors.OpError)):
        run(change_graph(body_without_a_node))


@pytest.mark.parametrize("masked", [False, True])
def test_layer_without_steps_is_computed_as_tensorflow_does(masked: bool) -> None:
    padding = tf.zeros([0, 7], tf.bool) if masked else GIVEN[-1]
    given = (tf.zeros([0, 7, FEATURES]), *GIVEN[1:-1], padding)
    layer = portable_function(tf.float32, reverse=False, batch_major=False, masked=masked)
    outcomes: list[Any] = []
    for plugins in (False, True):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not plugins})
        try:
            outcomes.append([each.numpy() for each in called(layer, given)[0]])
        except tf.errors.OpError as error:
            outcomes.append(type(error))
        finally:
            tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    assert isinstance(outcomes[0], list) == isinstance(outcomes[1], list), outcomes
    close(outcomes[0], outcomes[1])


@pytest.mark.slow  # it traces each function of each cell twice
def test_digests_are_those_of_the_installed_tensorflow() -> None:
    known = set(portable.read_known_bodies())
    assert set(portable.trace_bodies()) <= known
    assert set(portable.trace_bodies(batch=9, inputs=20, units=16)) <= known


def test_digest_is_the_sha256_of_its_bytes() -> None:
    """The digests of two functions without nodes can be computed by hand."""
    import hashlib

    graph = tf.compat.v1.GraphDef()
    function = graph.library.function.add()
    function.signature.name = "plain"
    function.signature.input_arg.add(name="x", type=1)
    function.signature.output_arg.add(name="identity", type=1)
    function.ret["identity"] = "x"

    def sha256(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    argument = sha256("argument 1:x of 1")
    expected = sha256(sha256(f"result {argument} of 1"))
    assert portable.compute_digests(graph, "plain") == {"identity": expected}
    with pytest.raises(ValueError, match="no such function"):
        portable.compute_digests(graph, "other")
