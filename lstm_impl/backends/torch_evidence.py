"""What PyTorch really ran, by its profiler."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from lstm_impl.call import Tensor
from lstm_impl.evidence import Evidence
from lstm_impl.profile import Event

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
"""Operators whose multiplications and additions are those of matrix products. Those of oneDNN's and
cuDNN's LSTMs are not told."""

FRAMES = "ProfilerStep"
"""The profiler's own events."""


def record(run: Callable[[], Tensor], synchronize: Callable[[], None], gpu: bool) -> list[Any]:
    """The profiler's events (``FunctionEvent``) of one call of ``run``."""
    # The profiler's library would print a line on stderr at its start and end.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities, with_flops=True) as recorded:
        run()
        synchronize()
    return [each for each in recorded.events() or () if not each.name.startswith(FRAMES)]


def counted(events: Iterable[Any]) -> Evidence:
    """What ran how often; launches are the operators that no other one called, operations those of
    ``PRODUCTS``.
    """
    ops: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    launches, operations = 0, 0.0
    for event in events:
        name = str(event.name)
        if _on_gpu(event):
            kernels[name] += 1
            continue
        ops[name] += 1
        launches += event.cpu_parent is None
        operations += float(event.flops or 0) if name in PRODUCTS else 0.0
    return Evidence(
        "torch profiler",
        ops,
        kernels,
        launches=launches,
        launched_by="python",
        operations=operations or None,
    )


def timeline(events: Iterable[Any]) -> list[Event]:
    """Each on its thread, or on the GPU that ran it."""
    found = []
    for event in events:
        track = f"GPU {event.device_index}" if _on_gpu(event) else f"thread {event.thread}"
        span = event.time_range  # in microseconds
        found.append(
            Event(str(event.name), span.start * 1e-6, (span.end - span.start) * 1e-6, track)
        )
    return found


def _on_gpu(event: Any) -> bool:
    return "CUDA" in str(getattr(event, "device_type", ""))
