"""The unit of work that a clock may time, and what it works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lstm_impl.call import Tensor
from lstm_impl.spec import FloatArray

Results: TypeAlias = Mapping[str, FloatArray]
"""Host arrays by name, time-major: y, h, c and, of a training step, dx, dh, dc (where there are
any) and dlayer0.forward.kernel and its like."""


@dataclass(frozen=True)
class Step:
    """One unit of work, ready to be timed: nothing in it crosses between host and device.

    run: does the work once and returns what it computed (not waited for), of the last window where
        there are several: ``Outputs`` in inference, ``RawGradients`` in training. Of a stream it
        takes the next chunk.
    synchronize: returns when all work handed to the device is done.
    trace: what can be done before the first call that is not compiling, such as tracing a graph.
    use: place sets of inputs on the device, by their numbers in ``InputSets``: the next calls work
        on one after the other, and then on the first again.
    results: what a call returned, on the host.
    restart: begin again, with the weights that the model was given and a new optimizer, or with a
        stream's first state; None where calls leave nothing behind.
    room: how many sets of inputs may be placed at once.
    place_results: places such arrays on the device, waits for them, and returns what copies them to
        the host: as ``results`` does with what a finished call has left.

    Without ``use`` or ``results`` what is timed is not judged.
    """

    run: Callable[[], Tensor]
    synchronize: Callable[[], None]
    trace: Callable[[], None]
    use: Callable[[Sequence[int]], None] | None = None
    results: Callable[[Tensor], Results] | None = None
    restart: Callable[[], None] | None = None
    room: int = 1
    place_results: Callable[[Results], Callable[[], object]] | None = None
