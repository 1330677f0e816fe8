"""What on the machine made one process's times doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.judging import steady
from bench.judging.trust import WIDE
from bench.machine import devices
from bench.machine.disturbance import Disturbance
from bench.measuring.series import Series, Stopped
from bench.results.advice import MORE_TIME
from bench.results.schema import Reason

BUSY = 0.1
"""Part of the machine's processors that others may keep busy. A tenth is what a desktop does at
rest; more takes away caches and, in bursts, processors."""

CLOCK_CHANGE = 0.2
"""A CPU that runs this much faster or slower at the end than at the start has left the state it was
measured in; single readings scatter by some per cent."""

HOT_SHARE = 0.01
"""Part of the time for which a GPU may be slowed down by heat."""


_QUIET = "close what else runs, or measure on a machine of its own"


def validity(
    series: Series,
    disturbance: Disturbance,
    threads: Sequence[str],
    device: str,
    period: float | None = None,
) -> Iterable[Reason]:
    """Every reason not to trust a measurement; none if it is valid. period: of a stream's calls."""
    yield from _of_samples(series)
    yield from _of_pace(series, period)
    yield from _of_machine(disturbance)
    if device == "cpu":
        yield from _of_cpu(disturbance, threads)
    else:
        yield from _of_gpu(disturbance, devices.gpu_index(device))


def _of_samples(series: Series) -> Iterable[Reason]:
    count = len(series.blocks)
    width = steady.relative_half_width(series.samples)
    if count < steady.FEWEST_SAMPLES:
        yield Reason(
            "few_samples",
            f"{count} sample{'s' if count > 1 else ''}: "
            f"a median has no 95% interval under {steady.FEWEST_SAMPLES}",
            MORE_TIME,
        )
    elif width > WIDE:
        advice = MORE_TIME if series.stopped is Stopped.TIME else _QUIET
        yield Reason(
            "wide_interval",
            f"the median's interval is ±{width:.1%}, over ±{WIDE:.0%}",
            advice,
        )
    if series.steady is False:
        yield Reason(
            "not_steady",
            "the earlier and the later half of the samples differ: no steady state",
            f"{MORE_TIME}; if it stays, {_QUIET}",
        )


def _of_pace(series: Series, period: float | None) -> Iterable[Reason]:
    """Of a stream whose calls are due faster than they are done."""
    if series.streamed is None or period is None:
        return
    service = float(np.median(series.streamed.service))
    if service > period:
        yield Reason(
            "behind",
            f"a call takes {1000 * service:.3g} ms and one is due every {1000 * period:g} ms: it "
            "falls behind for ever, and latency says how long it was measured",
            "a longer period (--period), shorter chunks, or a faster backend",
        )


def kept_busy(disturbance: Disturbance) -> str:
    """What others kept busy, and who they were; empty if it was little."""
    others, processors = disturbance.others, disturbance.processors
    if others is None or others <= BUSY * processors:
        return ""
    who = f" ({', '.join(disturbance.culprits)})" if disturbance.culprits else ""
    return f"{others:.1f} of {processors} processors busy{who}"


def _of_machine(disturbance: Disturbance) -> Iterable[Reason]:
    if busy := kept_busy(disturbance):
        yield Reason("busy", f"others kept {busy}", _QUIET)
    if disturbance.swapped:
        yield Reason(
            "swap",
            f"the machine swapped {disturbance.swapped / 1e6:.1f} MB meanwhile",
            "free some memory, or choose a smaller case",
        )


def _of_cpu(disturbance: Disturbance, threads: Sequence[str]) -> Iterable[Reason]:
    if disturbance.cpu_throttled:
        yield Reason(
            "throttled",
            f"the CPU slowed itself down {disturbance.cpu_throttled} times because of heat",
            "cool it, or use fewer threads: --lstm-threads N",
        )
    change = disturbance.clock_change
    if change is not None and abs(change - 1) > CLOCK_CHANGE:
        yield Reason(
            "clock",
            f"the CPU's clock at the end was {change:.2f} times that at the start",
            "fix the clock: cpupower frequency-set -g performance, and switch turbo off",
        )
    if threads:
        yield Reason(
            "threads",
            f"more threads than usable processors: {', '.join(threads)}",
            "set --lstm-threads to the number of processors, or fewer",
        )


def _of_gpu(disturbance: Disturbance, number: int) -> Iterable[Reason]:
    hot = disturbance.gpu_throttled.get(number, 0.0)
    if hot > HOT_SHARE * disturbance.seconds:
        yield Reason(
            "throttled",
            f"the GPU was slowed down by heat for {hot:.1f} of {disturbance.seconds:.1f} s",
            "cool it, or lower its clock: nvidia-smi -lgc",
        )
