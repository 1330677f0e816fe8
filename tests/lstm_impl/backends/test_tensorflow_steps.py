"""When a step is traced, and when XLA compiles it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
