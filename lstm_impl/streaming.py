"""A stream that is fed to a model chunk by chunk: one call a chunk, the state kept between calls.

What a user does who gets one output for each timestep that arrives. The chunks lie ready on the
device in a ring, and are fed round and round as a real stream's would come in; the state that a
call returned goes into the next as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lstm_impl.call import Call, Outputs, Request
from lstm_impl.spec import LSTMSpec
from lstm_impl.step import Step, input_seed
from lstm_impl.workload import Inputs, Workload

if TYPE_CHECKING:
    from lstm_impl.model import Model

FEWEST_CHUNKS = 16
"""Of a ring: twice what is judged in one go, so that nothing judged was fed before."""

MOST_CHUNKS = 64
"""Of a ring. Chunks of one timestep are kilobytes: so many are no longer all in the first cache, as
those of a real stream are not."""

RING_BYTES = 2**26
"""That a ring of more than ``FEWEST_CHUNKS`` may take: long chunks of wide inputs are no small
thing to keep, and one of them is past any cache."""


def ring_chunks(spec: LSTMSpec, workload: Workload) -> int:
    """How many chunks a ring has."""
    size = 4 * workload.batch * workload.timesteps * (spec.input_size + spec.output_size)
    return max(FEWEST_CHUNKS, min(MOST_CHUNKS, RING_BYTES // size))


def ring_inputs(spec: LSTMSpec, workload: Workload, seed: int, number: int = 0) -> Inputs:
    """What is in ring ``number``, chunk after chunk as one sequence, and the state to begin with.

    seed: of ``Model.prepare``.
    """
    whole = replace(workload, timesteps=ring_chunks(spec, workload) * workload.timesteps)
    return whole.inputs(spec, input_seed(seed, number))


class Streaming:
    """An endless stream through a model (see ``Model.prepare``)."""

    def __init__(self, model: Model, workload: Workload, seed: int = 0) -> None:
        self._model, self._workload, self._seed = model, workload, seed
        self._rings: dict[int, list[Call]] = {}
        self._left: Outputs | None = None
        self.use(0)

    def step(self) -> Step:
        """The work as a clock takes it: one chunk a call."""
        return Step(
            self.call,
            self._model.synchronize,
            self.trace,
            self.use,
            self._model._host_results,
            self.restart,
        )

    def use(self, number: int) -> None:
        """Feed this ring from now on, from its first chunk; the state stays as it is."""
        if number not in self._rings:
            self._rings[number] = self._placed(number)
        self._number = number
        self._chunks: Iterator[Call] = itertools.cycle(self._rings[number])

    def restart(self) -> None:
        """Begin a stream anew: with the ring's first chunk, and the state that goes with it."""
        self.use(self._number)
        self._left = None

    def call(self) -> Outputs:
        """The outputs of the next chunk, and the state after it."""
        chunk = next(self._chunks)
        self._left = self._model._stream(chunk if self._left is None else chunk.after(self._left))
        return self._left

    def trace(self) -> None:
        """Trace what a chunk needs."""
        self._model._trace_ahead(Request(None, self._rings[self._number][0]))

    def _placed(self, number: int) -> list[Call]:
        model, length = self._model, self._workload.timesteps
        inputs = ring_inputs(model.spec, self._workload, self._seed, number)
        h, c = model._to_device(inputs.state.h), model._to_device(inputs.state.c)
        chunks = np.split(inputs.x, len(inputs.x) // length)
        return [
            Call(model._to_device(np.swapaxes(x, 0, 1) if model.batch_major else x), h, c)
            for x in chunks
        ]
