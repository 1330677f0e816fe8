"""The unit of work that a clock may time, and what it works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lstm_impl.call import Tensor
from lstm_impl.spec import FloatArray

Results: TypeAlias = Mapping[str, FloatArray]
"""Host arrays by name, time-major: y, h, c and, of a training step, dx, dh, dc (where there are
any) and dlayer0.forward.kernel and its like."""

INPUTS = 2
"""Sets of inputs that a step works on while it is timed: with two, what is remembered of one is
wrong for the other; each more would hold its place on the device."""


def input_seed(seed: int, number: int) -> int:
    """The seed of the inputs of a step's set ``number``, from the seed of the first."""
    return seed + 7919 * number  # a prime: neighbouring seeds share no set


@dataclass(frozen=True)
class Step:
    """One unit of work, ready to be timed: nothing in it crosses between host and device.

    run: does the work once and returns what it computed (not waited for), of the last window where
        there are several: ``Outputs`` in inference, ``RawGradients`` in training. Of a stream it
        takes the next chunk.
    synchronize: returns when all work handed to the device is done.
    trace: what can be done before the first call that is not compiling, such as tracing a graph.
    use: choose the set of inputs that the next calls work on; all but the first are placed on the
        device when they are first chosen. The seed of each is ``input_seed``'s.
    results: what a call returned, on the host.
    restart: begin anew, with the weights that the model was given and a new optimizer, or with a
        stream's first chunk and state; None where calls leave nothing behind.

    Without ``use`` or ``results`` what is timed is not judged.
    """

    run: Callable[[], Tensor]
    synchronize: Callable[[], None]
    trace: Callable[[], None]
    use: Callable[[int], None] | None = None
    results: Callable[[Tensor], Results] | None = None
    restart: Callable[[], None] | None = None
