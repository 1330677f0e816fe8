"""Run mutated graphs with the mark of the graph optimizer, with the optimizer and without it.

What the graph computes without this library's optimizer is right. A mutated graph that TensorFlow
itself cannot run is noted as such, because it is run without the optimizer first.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.attack.fuzz_bindings import Rng, Trial, WrongResultError

Note = Callable[[str], None]

FEATURES, UNITS = 3, 5
OP = "LstmImplFusedLstm"

TIMEOUT = 10_000
"""Milliseconds for a graph: a mutated loop may have no end."""

ALIKE = (
    ("Sigmoid", "Tanh", "Relu", "Neg", "Identity", "Square", "ZerosLike"),
    ("Mul", "AddV2", "Sub", "Maximum", "Add"),
    ("PartitionedCall", "StatefulPartitionedCall"),
    ("While", "StatelessWhile"),
)
"""Ops with the same inputs and attributes, of which one takes another's place."""

HOW_TO_RUN = ("config", "config_proto", "executor_type")
"""Attributes of a call that say how TensorFlow runs a function, and nothing of what it computes."""

TEXTS = (
    "",
    ":",
    "^",
    "x",
    "while",
    "x:0",
    "x:99",
    "x:-1",
    "x:99999999999999999999",
    "^x:1",
    "a:b:c",
)
INTEGERS = (-(2**63), -1, 0, 1, 2, 5, 2**31, 2**63 - 1)


def bases() -> list[Any]:
    """Return graphs of several kinds of layers, and the names of their input and output."""
    import tensorflow as tf

    kinds = (
        *((False, False, False, "lstm"), (True, False, True, "lstm")),
        *((False, True, True, "lstm"), (True, True, False, "lstm")),
        *((True, False, False, "gru"), (False, True, True, "gru_reset_before")),
    )
    spec = tf.TensorSpec([None, None, FEATURES], tf.float32)
    made = []
    for kind in kinds:
        function = tf.function(model(*kind), input_signature=[spec], autograph=False)
        concrete = function.get_concrete_function()
        (fed,), (read,) = concrete.inputs, concrete.outputs
        made.append((concrete.graph.as_graph_def(), fed.name, read.name))
    return made


def model(masked: bool, reverse: bool, batch_major: bool, cell: str) -> Callable[[Any], Any]:
    """Return a function that calls a layer of a cell with constant weights."""
    import tensorflow as tf

    from lstm_impl.cell import get_cell
    from lstm_impl.keras.layer import PortableSizes, portable_function

    own = get_cell(cell)
    sizes = PortableSizes(None, FEATURES, UNITS)
    layer = portable_function(tf.float32, reverse, batch_major, masked, sizes, cell=own)
    draw = np.random.default_rng(0).standard_normal
    columns = len(own.gates) * UNITS
    bias = (2, columns) if "recurrent_bias" in own.parameters else (columns,)
    shapes = ((FEATURES, columns), (UNITS, columns), bias)
    weights = [(draw(shape) * 0.3).astype(np.float32) for shape in shapes]

    def run(x: Any) -> Any:
        size = tf.shape(x)
        batch = size[0] if batch_major else size[1]
        state = tf.fill([1, batch, UNITS], 0.1)
        padding = tf.zeros([0], tf.int32)
        if masked:
            valid = tf.math.cos(x[:, :, 0]) > 0.0
            padding = tf.transpose(valid) if batch_major else valid
        y, h, c = layer(x, state, -state, *map(tf.constant, weights), padding)
        axes = tf.reduce_sum(y, axis=[0, 1])
        # c of a GRU is empty, and adds nothing.
        total = tf.reduce_sum(h, axis=[0, 1]) + 2.0 * tf.reduce_sum(c, axis=[0, 1])
        return tf.identity(axes + total)

    return run


def functions(graph: Any) -> list[Any]:
    return list(graph.library.function)


def marked(graph: Any) -> list[Any]:
    return [each for each in functions(graph) if "api_implements" in each.attr]


def mutate(rng: Rng, graph: Any) -> str:
    """Change one thing of a graph, and return what."""
    pools = [graph.node, *(each.node_def for each in functions(graph))]
    # Mostly in the marked function and its call, which the optimizer reads.
    ours = [each.node_def for each in marked(graph)]
    pool = ours[0] if ours and rng.random() < 0.4 else pools[int(rng.integers(len(pools)))]
    calls = [each for each in graph.node if each.op in ALIKE[2]]
    if not pool:
        return "nothing"
    node = pool[int(rng.integers(len(pool)))]
    if calls and rng.random() < 0.2:
        node = calls[0]
    kinds = (
        *(_input, _input, _op, _attribute, _attribute, _attribute, _constant, _constant),
        *(_delete, _rename, _mark, _results, _arguments, _readers, _copy, _byte),
    )
    kind = kinds[int(rng.integers(len(kinds)))]
    return f"{kind.__name__[1:]} {kind(rng, graph, pool, node)}"


def _text(rng: Rng, node: Any, pool: Any) -> str:
    if rng.random() < 0.5:
        return str(rng.choice(TEXTS))
    other = pool[int(rng.integers(len(pool)))].name
    return str(rng.choice((other, f"{other}:0", f"{other}:1", f"{other}:7", f"^{other}")))


def _input(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    kind, count = int(rng.integers(4)), len(node.input)
    if kind == 0 and count > 1:
        first, second = rng.choice(count, 2, replace=False)
        node.input[first], node.input[second] = node.input[second], node.input[first]
    elif kind == 1 and count:
        node.input[int(rng.integers(count))] = _text(rng, node, pool)
    elif kind == 2 and count:
        del node.input[int(rng.integers(count))]
    else:
        node.input.append(_text(rng, node, pool))
    return f"{node.name}: {list(node.input)}"


def _op(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    nodes = [each for each in pool if any(each.op in group for group in ALIKE)]
    node = nodes[int(rng.integers(len(nodes)))] if nodes else node
    group = next((group for group in ALIKE if node.op in group), (node.op,))
    node.op = str(rng.choice(group))
    return f"{node.name}: {node.op}"


def _attribute(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    names = sorted(set(node.attr) - set(HOW_TO_RUN))
    if not names:
        return "nothing"
    name = str(rng.choice(names))
    value = node.attr[name]
    kind = value.WhichOneof("value")
    if rng.random() < 0.15:
        del node.attr[name]
    elif kind == "b":
        value.b = not value.b
    elif kind == "i":
        value.i = int(rng.choice(INTEGERS))
    elif kind == "type":
        value.type = int(rng.choice((0, 1, 2, 3, 9, 10, 14, 20, 99, 101)))
    elif kind == "func":
        names = [each.signature.name for each in functions(graph)]
        value.func.name = str(rng.choice([*names, "", "MatMul"]))
    elif kind == "list" and value.list.type:
        if rng.random() < 0.5:
            value.list.type.append(int(rng.choice((1, 3, 10))))
        else:
            del value.list.type[-1]
    elif kind == "s":
        value.s = bytes(rng.integers(0, 256, 5, dtype=np.uint8))
    return f"{node.name}.{name} {kind}"


def _constant(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    nodes = [each for each in pool if each.op == "Const"]
    if not nodes:
        return "nothing"
    node = nodes[int(rng.integers(len(nodes)))]
    tensor = node.attr["value"].tensor
    if tensor.int_val and rng.random() < 0.7:
        tensor.int_val[0] = int(rng.choice((-1, 0, 1, 2, 3, 7, 2**31 - 1)))
    elif tensor.float_val and rng.random() < 0.7:
        tensor.float_val[0] = float(rng.choice((-1.0, 0.0, 0.5, 2.0, np.nan)))
    elif tensor.tensor_content and rng.random() < 0.7:
        changed = bytearray(tensor.tensor_content)
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
        tensor.tensor_content = bytes(changed)
    else:
        tensor.tensor_shape.dim.add().size = int(rng.choice(INTEGERS))
    return str(node.name)


def _delete(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    name, places = node.name, [place for place, each in enumerate(pool) if each.name == node.name]
    if places:
        del pool[places[0]]
    return str(name)


def _rename(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    """Use another name, everywhere in the function or only at the node."""
    old, new = node.name, str(rng.choice(("x", "h", "kernel", "while", "padding", "a/b", "")))
    node.name = new
    if rng.random() < 0.5:
        for each in pool:
            for place, read in enumerate(each.input):
                if read.lstrip("^").split(":")[0] == old:
                    each.input[place] = read.replace(old, new, 1)
    return f"{old} {new}"


def _mark(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    """Change the mark, or put it on another function."""
    each = functions(graph)[int(rng.integers(len(functions(graph))))]
    words = ("", "fused_lstm_impl:2:", "fused_lstm_impl:2:a", "fused_lstm_impl:1:--:a")
    each.attr["api_implements"].s = str(rng.choice(words)).encode()
    return str(each.signature.name)


def _results(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    """Swap, rename, add or remove results of the marked function."""
    for function in marked(graph)[:1]:
        results, kind = function.signature.output_arg, int(rng.integers(4))
        if kind == 0 and len(results) > 1:
            first, second = results[0].name, results[1].name
            ret = function.ret
            ret[first], ret[second] = ret[second], ret[first]
        elif kind == 1 and results:
            results[0].name = str(rng.choice(("identity", "identity_1", "identity_7", "")))
        elif kind == 2:
            for _ in range(int(rng.choice((1, 2)))):
                added = results.add()
                added.name, added.type = f"identity_{len(results) - 1}", 1
                function.ret[added.name] = function.ret["identity"]
                for call in graph.node:
                    if call.op in ALIKE[2]:
                        call.attr["Tout"].list.type.append(1)
        elif results:
            del results[-1]
        return f"{kind}"
    return "nothing"


def _arguments(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    """Swap two arguments of the marked function by name, or rename, add or remove one."""
    for function in marked(graph)[:1]:
        arguments, kind = function.signature.input_arg, int(rng.integers(4))
        if kind == 0 and len(arguments) > 2:
            first, second = rng.choice(len(arguments), 2, replace=False)
            one, other = arguments[first].name, arguments[second].name
            arguments[first].name, arguments[second].name = other, one
        elif kind == 1 and arguments:
            arguments[int(rng.integers(len(arguments)))].name = str(rng.choice(("x", "h", "z")))
        elif kind == 2:
            added = arguments.add()
            added.name, added.type = "more", 1
        elif arguments:
            del arguments[-1]
        return f"{kind}"
    return "nothing"


def _readers(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    """Let a node read another result of the call."""
    calls = [each.name for each in graph.node if each.op in ALIKE[2]]
    for each in graph.node:
        for place, read in enumerate(each.input):
            if calls and read.split(":")[0] == calls[0] and rng.random() < 0.5:
                number = str(rng.choice((0, 1, 2, 3, 7, -1, 2**31, 2**40)))
                each.input[place] = f"{calls[0]}:{number}"
                return f"{each.name}: {number}"
    return "nothing"


def _copy(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    pool.add().CopyFrom(node)
    if rng.random() < 0.7:
        pool[-1].name = f"{node.name}/fused_lstm/x"
    return str(node.name)


def _byte(rng: Rng, graph: Any, pool: Any, node: Any) -> str:
    """Flip a bit of the file, where a file remains."""
    data = bytearray(graph.SerializeToString())
    place = int(rng.integers(len(data)))
    data[place] ^= 1 << int(rng.integers(8))
    # What protobuf raises has no types: the file is no graph any more.
    with contextlib.suppress(Exception):
        changed = type(graph).FromString(bytes(data))
        graph.CopyFrom(changed)
    return f"{place}"


def run_marked_graphs() -> Trial:
    """Run mutated graphs in sessions, and some as a SavedModel."""
    import tensorflow as tf

    from lstm_impl.backends.fused_cpu.backend import ops

    ops()
    graphs = bases()
    clean = (
        *(tf.errors.OpError, ValueError, TypeError, KeyError, AttributeError, IndexError),
        MemoryError,  # of a graph that splits a tensor into a huge number of parts
    )

    def outcome(graph: Any, fed: str, read: str, x: Any, optimize: bool) -> tuple[Any, set[str]]:
        """Return the result, or None for an error, and the ops that ran."""
        config = tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = not optimize
        # Also graphs of under four nodes.
        config.graph_options.rewrite_options.min_graph_nodes = -1
        config.intra_op_parallelism_threads = 2
        options = tf.compat.v1.RunOptions(output_partition_graphs=True, timeout_in_ms=TIMEOUT)
        record = tf.compat.v1.RunMetadata()
        try:
            with tf.Graph().as_default() as into:
                tf.graph_util.import_graph_def(graph, name="")
                with tf.compat.v1.Session(graph=into, config=config) as session:
                    made = session.run(read, {fed: x}, options, record)
        except clean as error:
            return error, set()
        return made, {node.op for part in record.partition_graphs for node in part.node}

    def saved(graph: Any, fed: str, read: str) -> Any:
        """Return the graph as it comes back from a SavedModel."""
        folder = Path(tempfile.mkdtemp(prefix="fuzz-saved-"))
        try:
            with tf.Graph().as_default() as into:
                tf.graph_util.import_graph_def(graph, name="")
                with tf.compat.v1.Session(graph=into) as session:
                    tf.compat.v1.saved_model.simple_save(
                        session,
                        str(folder / "model"),
                        {"x": into.get_tensor_by_name(fed)},
                        {"y": into.get_tensor_by_name(read)},
                    )
            with tf.Graph().as_default() as again, tf.compat.v1.Session(graph=again) as session:
                tf.compat.v1.saved_model.load(session, ["serve"], str(folder / "model"))
                return again.as_graph_def()
        finally:
            shutil.rmtree(folder)

    def trial(rng: Rng, note: Note) -> str:
        base, fed, read = graphs[int(rng.integers(len(graphs)))]
        graph = tf.compat.v1.GraphDef()
        graph.CopyFrom(base)
        changes = [mutate(rng, graph) for _ in range(int(rng.choice((0, 1, 1, 1, 2, 3))))]
        shape = (int(rng.choice((1, 2, 4, 0))), int(rng.choice((1, 3, 0))), FEATURES)
        x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        words = f"{changes} of {list(shape)}"
        note(f"[TensorFlow alone] {words}")
        if rng.random() < 0.1:
            with contextlib.suppress(*clean):
                graph = saved(graph, fed, read)
        right, _ = outcome(graph, fed, read, x, optimize=False)
        note(words)
        found, ran = outcome(graph, fed, read, x, optimize=True)
        how = "replaced" if OP in ran else "left"
        if isinstance(right, Exception):
            if OP in ran:
                raise WrongResultError(
                    f"the op computes where TensorFlow raises {right!r}: {words}"
                )
            return f"refused, {how}"
        if isinstance(found, Exception):
            if isinstance(found, tf.errors.DeadlineExceededError):
                return "not finished"
            # Grappler itself refuses some graphs that run without it.
            if "lstm_impl" in str(found).lower() or OP in str(found):
                raise WrongResultError(f"{found!r}: {words}") from found
            return "refused, by Grappler"
        if found.shape != right.shape or not np.allclose(found, right, 1e-4, 1e-4, equal_nan=True):
            raise WrongResultError(f"{found} instead of {right}, {how}: {words}")
        return f"right, {how}"

    return trial
