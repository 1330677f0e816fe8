"""Test TensorFlow's models: tracing, windows, and the evidence of what ran."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, Workload
from lstm_impl.backends.hlo import ProfiledEvent, describe_hlo
from lstm_impl.backends.tensorflow.model import profile, summarise, timeline
from lstm_impl.model import Stream
from tests.lstm_impl.backends.built import built

pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


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
    # With so many, TensorFlow leaves ops out of its profile: they are extrapolated from fewer.
    if name == "while_loop":
        assert started(Workload(2, 200)) == short + each * 194
    # Two windows of six count twice as many as one.
    assert started(Workload(2, 12, window=6)) == 2 * short


HOST, GPU = "/host:CPU", "/device:GPU:0"


def test_summarise_counts_only_ops_of_the_host() -> None:
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


def test_summarise_counts_kernels_of_streams_once() -> None:
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


tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


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
        plane.event_metadata[event.metadata_id].name == "CpuCompiler::CompileCpuExecutable"
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
