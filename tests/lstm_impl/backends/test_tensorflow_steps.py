"""When a step is traced, and when XLA compiles it; what is in it, and how it updates weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_impl import Workload
from lstm_impl.backends.hlo import describe_hlo
from lstm_impl.backends.tensorflow import evidence as tensorflow_evidence
from lstm_impl.model import Stream
from tests.lstm_impl.backends.built import built

tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


def compilations(run: Any) -> int:
    """How many modules XLA compiled while ``run`` ran, by the profiler."""
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


def test_xla_traces_once_and_compiles_once_for_each_shape() -> None:
    model = built("while_loop+xla")
    counts = [
        compilations(lambda timesteps=timesteps: model.forward(np.zeros((timesteps, 2, 3))))
        for timesteps in (3, 3, 6, 3)
    ]
    assert counts == [1, 0, 1, 0]
    assert model.trace_count() == 1


# The layout is one matter, how a backend loops another.
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
def test_another_number_of_timesteps_is_not_traced_again_and_another_batch_is(
    name: str, batch_major: bool
) -> None:
    model: Any = built(name, batch_major=batch_major)
    traces = []
    for batch, timesteps in ((2, 3), (2, 8), (2, 1), (5, 3), (2, 4), (5, 9)):
        shape = (batch, timesteps, 3) if batch_major else (timesteps, batch, 3)
        model.forward(np.zeros(shape))
        traces.append(model.trace_count())
    assert traces == [1, 1, 1, 2, 2, 2]


# Products of a step in one layer: forward those of x and h, backward that of h (not in an unrolled
# graph's first step) and those for the gradients of both kernels; each once a timestep, or once
# where it is taken out of the loop. With the input's gradient there are as many more as of x.
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
def test_no_product_is_made_for_an_input_whose_gradient_is_not_asked_for(
    name: str, products: int, more: int
) -> None:
    model = built(name)
    steps = model._steps

    def made(gradients: str) -> int:
        workload = Workload(2, 7, "training", gradients=gradients)
        if model.backend.xla:
            found = describe_hlo(steps.optimized_hlo(Stream(model, workload).first()))
            assert found["loops"] == 2  # forward and backward
            assert found["fusions"] > 0
            return int(found["matrix_products"])
        step = model.prepare(workload)
        step.run()
        ops = tensorflow_evidence.profile(step.run, step.synchronize)["ops"]
        return sum(count for op, count in ops.items() if "MatMul" in op)

    assert made("weights") == products
    assert made("weights+input") == products + more
