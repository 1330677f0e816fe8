"""What TensorFlow really ran: the profiler's record of one step, and what XLA compiled.

Op types come with how often they ran (``_MklMatMul`` is oneDNN's matrix product on a CPU); on a
GPU the kernels' names come from CUPTI through the same profiler.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lstm_impl.call import Tensor
from lstm_impl.evidence import Evidence

CUDNN_KERNEL = re.compile(r"cudnn|LSTM_elementWise|elemWiseRNN|persistRNN|RNN_blockPersist", re.I)
"""Names by which cuDNN's recurrent kernels show in a profile."""

EAGER = "EagerLocalExecute: "


def profile(run: Callable[[], Tensor], synchronize: Callable[[], None]) -> Evidence:
    """Ops and kernels of one call of ``run``, which must have been called before.

    ``devices`` are the profiler's planes that ran something.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            run()
            synchronize()
        finally:
            tf.profiler.experimental.stop()
        planes = [plane for path in Path(folder).rglob("*.xplane.pb") for plane in _planes(path)]
    return summarise(
        (plane.name, line.name, plane.event_metadata[event.metadata_id].name)
        for plane in planes
        for line in plane.lines
        for event in line.events
    )


def _planes(path: Path) -> Iterable[Any]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    planes: Iterable[Any] = space.planes
    return planes


def summarise(events: Iterable[tuple[str, str, str]]) -> Evidence:
    """Counts from ``(plane, line, event)`` names: op types on the host, kernels on each device."""
    ops: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    devices = set()
    for plane, line, name in events:
        if plane.startswith("/device:"):
            devices.add(plane)
            # the other lines repeat the kernels, grouped by op, module or step
            if line.startswith("Stream"):
                kernels[name] += 1
            continue
        # An op that ran in a graph is "its/name:Type"; the runtime's own events have spaces or two
        # colons. Outside a graph one is "EagerLocalExecute: Type", and so is a call of a graph,
        # whose name begins with two underscores.
        _, colon, kind = name.rpartition(":")
        if name.startswith(EAGER):
            colon, kind = ":", name.removeprefix(EAGER)
        if colon and re.fullmatch(r"_?[A-Z][A-Za-z0-9_]*", kind) and "::" not in name:
            devices.add(plane)
            ops[kind] += 1
    cudnn = any(CUDNN_KERNEL.search(name) for name in kernels)
    details = {"devices": sorted(devices), "cudnn": cudnn}
    return Evidence("tensorflow profiler", ops, kernels, details)
