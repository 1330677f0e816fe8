"""Test TensorFlow's models and loops: tracing, windows, graphs, and the evidence of what ran."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, get_backend, reference
from lstm_impl.backends.hlo import ProfiledEvent, describe_hlo
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.backends.tensorflow.model import profile, summarise, timeline
from lstm_impl.model import Stream
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import measure_error
from tests.lstm_impl.backends.built import SPEC, built, passes

tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


def test_evidence_names_the_ops_that_ran_and_how_often() -> None:
    found = built("while_loop", LSTMSpec(8, 16)).evidence(Workload(4, 6))
    products = sum(count for op, count in found["ops"].items() if "MatMul" in op)
    assert products == 12  # two matrix products a step
    assert found["devices"] == ["/host:CPU"]
    assert not found["cudnn"]


@pytest.mark.parametrize("name", ["while_loop", "while_loop+xla"])
def test_evidence_counts_launches_however_often_the_step_ran(name: str) -> None:
    model = built(name)

    def started(workload: Workload) -> int:
        found = model.evidence(workload)
        assert found["launched_by"] == ("tensorflow" if name == "while_loop" else "xla")
        if name != "while_loop":
            assert found["hlo"]["loops"] == 1
            assert found["hlo"]["matrix_products"] == 2  # of the input and of the state
        return int(found["launches"])

    step = model.prepare(Workload(2, 6))
    for _ in range(50):  # after which TensorFlow takes most ops to be inexpensive
        step.run()
    step.synchronize()
    short, long = started(Workload(2, 6)), started(Workload(2, 12))
    each = (long - short) / 6
    assert each == round(each)  # as many at each timestep
    assert each >= (10 if name == "while_loop" else 2)
    # With this number of steps TensorFlow leaves ops out of its profile: they are extrapolated.
    if name == "while_loop":
        assert started(Workload(2, 200)) == short + each * 194
    # Two windows of six count twice as many as one.
    assert started(Workload(2, 12, window=6)) == 2 * short


HOST, GPU = "/host:CPU", "/device:GPU:0"


def test_summarise_counts_ops_of_the_host_and_kernels_of_streams_once() -> None:
    found = summarise(
        [
            (HOST, "pool 1", "model/lstm/MatMul_1:_MklMatMul"),
            (HOST, "pool 2", "model/lstm/MatMul:_MklMatMul"),
            (HOST, "python", "EagerLocalExecute: Tanh"),
            (HOST, "python", "EagerLocalExecute: __inference_step_12"),  # a call of a graph
            (HOST, "python", "EagerLocalExecute: SyncDevice"),  # waiting
            (HOST, "pool 1", "ThreadpoolListener::Region"),
            (HOST, "pool 1", "std::function:Call"),
            (HOST, "pool 1", "Executor: run"),
            (HOST, "pool 1", "MatMul"),
            ("/host:metadata", "", ""),
        ]
    )
    assert found["ops"] == {"_MklMatMul": 2, "Tanh": 1}
    assert found["devices"] == [HOST]
    assert (found["kernels"], found["cudnn"]) == ({}, False)
    found = summarise(
        [
            (GPU, "Stream #13(Compute)", "sgemm_32x32"),
            (GPU, "Stream #14(Compute)", "sgemm_32x32"),
            (GPU, "Stream #13(Compute)", "void LSTM_elementWise_fp<float>"),
            (GPU, "TensorFlow Ops", "a/MatMul:MatMul"),  # the same, grouped
            (GPU, "XLA Modules", "sgemm_32x32"),
            (HOST, "python", "a/MatMul:MatMul"),
        ]
    )
    assert found["kernels"] == {"sgemm_32x32": 2, "void LSTM_elementWise_fp<float>": 1}
    assert found["ops"] == {"MatMul": 1}
    assert found["devices"] == [GPU, HOST]
    assert found["cudnn"]


def test_timeline_has_ops_instructions_and_kernels_on_their_lines() -> None:
    events = timeline(
        [
            ProfiledEvent(HOST, "pool 1", "a/MatMul:MatMul", 1.0, 0.5),
            ProfiledEvent(HOST, "pool 2", "anything", 1.5, 0.25, "dot.12"),
            ProfiledEvent(HOST, "pool 2", "Executor: run", 0.0, 9.0),
            ProfiledEvent(GPU, "Stream #13", "sgemm", 2.0, 0.125),
            ProfiledEvent(GPU, "XLA Ops", "sgemm", 2.0, 0.125),
        ]
    )
    assert [(each.name, each.start, each.seconds, each.track) for each in events] == [
        ("MatMul", 1.0, 0.5, "pool 1"),
        ("dot", 1.5, 0.25, "pool 2"),
        ("sgemm", 2.0, 0.125, f"{GPU} Stream #13"),
    ]


def compilations(run: Any) -> int:
    """Return how many modules XLA compiled during ``run``, by the profiler."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        run()
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        for path in Path(folder).rglob("*.xplane.pb"):
            space.ParseFromString(path.read_bytes())
    return sum(
        # CompileCpuExecutable, and CompileLegacyCpuExecutable in TensorFlow 2.18
        plane.event_metadata[event.metadata_id].name.startswith("CpuCompiler::Compile")
        for plane in space.planes
        for line in plane.lines
        for event in line.events
    )


def test_xla_traces_and_compiles_once_for_each_shape() -> None:
    model = built("while_loop+xla")
    counts = [
        compilations(lambda timesteps=timesteps: model.forward(np.zeros((timesteps, 2, 3))))
        for timesteps in (3, 3, 6, 3)
    ]
    assert counts == [1, 0, 1, 0]
    assert model._steps.count() == 1


# The layout is independent of how a backend loops.
@pytest.mark.parametrize(
    ("name", "batch_major"),
    [
        ("while_loop", False),
        ("while_loop+hoisted", True),
        ("partial_unroll@3", False),
        ("scan", True),
        ("block_lstm", False),
        ("keras", True),
    ],
)
def test_trace_happens_again_for_another_batch_but_not_length(name: str, batch_major: bool) -> None:
    model: Any = built(name, batch_major=batch_major)
    traces = []
    for batch, timesteps in ((2, 3), (2, 8), (2, 1), (5, 3), (2, 4), (5, 9)):
        shape = (batch, timesteps, 3) if batch_major else (timesteps, batch, 3)
        model.forward(np.zeros(shape))
        traces.append(model._steps.count())
    assert traces == [1, 1, 1, 2, 2, 2]


# Products of a step in one layer: forward with x and h, backward with h (not in an unrolled graph's
# first step) and for the gradients of both kernels; each once a timestep, or once if it is outside
# the loop. The input's gradient adds as many as there are with x.
@pytest.mark.parametrize(
    ("name", "products", "more"),
    [
        ("keras", 35, 7),
        ("while_loop", 35, 7),
        ("while_loop+preproject", 23, 1),
        ("while_loop+hoisted", 17, 1),
        ("while_loop+hoisted+xla", 5, 1),
    ],
)
def test_input_gradient_not_requested_runs_no_product(name: str, products: int, more: int) -> None:
    model = built(name)
    steps = model._steps

    def made(gradients: str) -> int:
        workload = Workload(2, 7, "training", gradients=gradients)
        if model.backend.xla:
            found = describe_hlo(steps.optimized_hlo(Stream(model, workload).request()))
            assert found["loops"] == 2  # forward and backward
            assert found["fusions"] > 0
            return int(found["matrix_products"])
        step = model.prepare(workload)
        step.run()
        ops = profile(step.run, step.synchronize)["ops"]
        return sum(count for op, count in ops.items() if "MatMul" in op)

    assert made("weights") == products
    assert made("weights+input") == products + more


# -- loops over time: any number of steps, and their graphs


@pytest.mark.parametrize("name", ["partial_unroll@3", "partial_unroll@7", "scan", "while_loop"])
def test_loop_of_any_number_of_timesteps_equals_the_reference(name: str) -> None:
    """Test fewer timesteps than an iteration has, as many, and a rest of none, one and two."""
    model = built(name)
    for timesteps in (1, 2, 3, 6, 7, 8):
        x = np.random.default_rng(timesteps).standard_normal((timesteps, 2, 3))
        expected, state = reference.forward(SPEC, model.get_weights(), x)
        y, last = model.forward(x)
        assert measure_error(y, expected) < 1e-5
        assert measure_error(last.c, state.c) < 1e-5


@pytest.mark.parametrize(
    ("name", "timesteps", "outside", "inside"),
    [
        ("static_unroll", 7, 7, 0),
        *(("while_loop", timesteps, 0, 1) for timesteps in (7, None)),
        ("scan", None, 0, 1),
        # One more is for the rest after the last iteration.
        *(("partial_unroll@5", timesteps, 0, 5 + 1) for timesteps in (7, None)),
    ],
)
def test_graph_of_a_loop_has_this_many_copies_of_the_step(
    name: str, timesteps: int | None, outside: int, inside: int
) -> None:
    model = built(name)
    traced = tf.function(lambda x: model(x)[0], autograph=False)
    concrete = traced.get_concrete_function(tf.TensorSpec([timesteps, 2, 3]))
    graph = concrete.graph.as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def]
    # A step has two, of the candidate and of the cell.
    found = [sum(node.op == "Tanh" for node in each) for each in (graph.node, nodes)]
    assert found == [2 * outside, 2 * inside]


@pytest.mark.parametrize("name", ["while_loop+hoisted", "static_unroll+hoisted"])
def test_hand_written_gradient_can_be_differentiated_again(name: str) -> None:
    spec = LSTMSpec(3, 4, dtype="float64")
    inputs = Workload(2, 3).inputs(spec)
    given = [tf.constant(array) for array in (inputs.x, inputs.state.h, inputs.state.c)]

    def second(model: Any, x: Any, h: Any, c: Any) -> Any:
        with tf.GradientTape() as outer:
            outer.watch([x, h, c])
            with tf.GradientTape() as inner:
                inner.watch([x, h, c])
                y, _ = model(x, (h, c))
                loss = tf.reduce_sum(y * y)
            first = inner.gradient(loss, [x, h])
            total = tf.add_n([tf.reduce_sum(each * each) for each in first])
        return outer.gradient(total, [x, h, c, *model.variables])

    by_hand = functools.partial(second, built(name, spec))
    # By the plain ops of each step, whose gradients are TensorFlow's.
    by_tape = functools.partial(second, built("static_unroll", spec))
    for ours, theirs in zip(by_hand(*given), by_tape(*given), strict=True):
        assert measure_error(ours, theirs) < 1e-12


# XLA takes no stacks of length zero, which the loops of a gradient would need.
@pytest.mark.parametrize("timesteps", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_partial_unroll_with_xla_without_a_full_iteration_or_rest_passes(timesteps: int) -> None:
    passes(built("partial_unroll@4+xla"), Workload(2, timesteps, "training"))


def test_static_unroll_of_unknown_timesteps_raises() -> None:
    model = built("static_unroll")
    function = tf.function(
        lambda x: model(x)[0], input_signature=[tf.TensorSpec([None, 2, 3])], autograph=False
    )
    with pytest.raises(UnsupportedError, match="number of timesteps when it is traced"):
        function.get_concrete_function()


def test_static_unroll_with_xla_of_bidirectional_float64_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = LSTMSpec(3, 5, bidirectional=True, dtype="float64")
    backend = get_backend("static_unroll+xla")
    with pytest.raises(UnsupportedError, match="wrongly"):
        backend.build(spec, LSTMWeights.random(spec))
    monkeypatch.setattr(type(backend), "refusal", TensorFlowBackend.refusal)
    result = gate(built("static_unroll+xla", spec), Workload(4, 7, "inference"))
    # 2.18 and the release candidate of 2.22 compile it rightly.
    assert result.passed != tf.__version__.startswith("2.21."), "XLA compiles it otherwise now"


def test_gate_of_the_gradient_registered_for_blocklstmv2_fails() -> None:
    result = gate(built("block_lstm+registered"), Workload(2, 6, "training"))
    assert not result.passed
    assert "dx" in result.describe()
    assert result.errors["y"] <= result.bounds["y"]  # the forward pass is right
