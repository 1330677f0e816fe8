"""Record what TensorFlow really ran, by its profiler."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from lstm_impl.backends.hlo import OF_XLA, ProfiledEvent, kind_of
from lstm_impl.call import Tensor
from lstm_impl.evidence import Evidence
from lstm_impl.profile import Event

CUDNN_KERNEL = re.compile(r"cudnn|LSTM_elementWise|elemWiseRNN|persistRNN|RNN_blockPersist", re.I)
"""Names by which cuDNN's recurrent kernels show in a profile."""

EAGER = "EagerLocalExecute: "

SURE = 80
"""Runs of a graph's op that are all recorded. TensorFlow's profiler leaves out cheap ops: its
estimate of a new op's cost begins at 1e8 cycles, moves by a tenth at each run, and falls below the
limit of 8,000 after 90."""

WAIT = "SyncDevice"
"""The op that waits for a step, which is not part of it."""


def record(run: Callable[[], Tensor], synchronize: Callable[[], None]) -> list[ProfiledEvent]:
    """Return the profiler's events of one call of ``run``, which must have run before."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            run()
            synchronize()
        finally:
            tf.profiler.experimental.stop()
        return [each for path in Path(folder).rglob("*.xplane.pb") for each in _read(path)]


def profile(run: Callable[[], Tensor], synchronize: Callable[[], None]) -> Evidence:
    """Count ops and kernels of one call of ``run``, which must have run before.

    ``devices`` are the profiler's planes that ran something.
    """
    return summarise(each[:3] for each in record(run, synchronize))


def _read(path: Path) -> Iterator[ProfiledEvent]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space: Any = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    for plane in space.planes:
        of_xla = {key for key, stat in plane.stat_metadata.items() if stat.name == OF_XLA}
        for line in plane.lines:
            track = line.display_name or line.name
            # Threads of one name, such as those of a pool, differ in their number.
            track = f"{track} {line.id}" if plane.name.startswith("/host:") else track
            for event in line.events:
                yield ProfiledEvent(
                    plane.name,
                    track,
                    plane.event_metadata[event.metadata_id].name,
                    line.timestamp_ns * 1e-9 + event.offset_ps * 1e-12,
                    event.duration_ps * 1e-12,
                    _stat(plane, event, of_xla),
                )


def _stat(plane: Any, event: Any, keys: Collection[int]) -> str:
    """Return the text of the first of an event's stats with one of these keys, or an empty
    string."""
    for stat in event.stats if keys else ():
        if stat.metadata_id in keys:
            return stat.str_value or str(plane.stat_metadata[stat.ref_value].name)
    return ""


def summarise(events: Iterable[tuple[str, str, str]]) -> Evidence:
    """Count ``(plane, line, event)`` names: op types on the host, kernels on each device."""
    ops: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    devices = set()
    for plane, line, name in events:
        if plane.startswith("/device:"):
            devices.add(plane)
        if _is_kernel(plane, line):
            kernels[name] += 1
        elif kind := _op(plane, name):
            devices.add(plane)
            ops[kind] += 1
    cudnn = any(CUDNN_KERNEL.search(name) for name in kernels)
    details = {"devices": sorted(devices), "cudnn": cudnn}
    return Evidence("tensorflow profiler", ops, kernels, details)


def timeline(events: Iterable[ProfiledEvent]) -> list[Event]:
    """Return ops, XLA's instructions and kernels, each on its thread or stream."""
    found = []
    for plane, line, name, start, seconds, instruction in events:
        if _is_kernel(plane, line):
            found.append(Event(name, start, seconds, f"{plane} {line}"))
        elif kind := _op(plane, name):
            found.append(Event(kind, start, seconds, line, name))
        elif instruction:
            found.append(Event(kind_of(instruction), start, seconds, line, instruction))
    return found


def _is_kernel(plane: str, line: str) -> bool:
    # The other lines of a device repeat the kernels, grouped by op, module or step.
    return plane.startswith("/device:") and line.startswith("Stream")


def _op(plane: str, name: str) -> str:
    """Return the type of op of a host event, empty if it is something else."""
    if plane.startswith("/device:"):
        return ""
    _, colon, kind = name.rpartition(":")
    if name.startswith(EAGER):
        colon, kind = ":", name.removeprefix(EAGER)
    is_op = (
        colon and kind != WAIT and re.fullmatch(r"_?[A-Z][A-Za-z0-9_]*", kind) and "::" not in name
    )
    return kind if is_op else ""
