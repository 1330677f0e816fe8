"""The sets of inputs that lie ready on a device, one for each call that is timed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMState
from lstm_impl.workload import Inputs, Workload

PLACED_BYTES = 2**27
"""Of the sets of inputs that are placed at once, but for one, which may be larger."""

MOST_PLACED = 1024
"""Sets of inputs at once. Of a block of 10 ms, only steps of less than 10 us work on some twice."""

STATES_TOO = 16
"""Timesteps under which each set has an initial state of its own. In longer sequences it enters
less than a sixteenth of the recurrence, and placing it would take as long as placing the input."""

SPREAD = 65_521
"""Places in the drawn numbers at which a set of inputs may begin: a prime, so that sets of
neighbouring numbers begin at different ones."""


class InputSets:
    """The sets of inputs that a workload's steps work on while they are timed, by number."""

    def __init__(
        self, spec: LSTMSpec, workload: Workload, seed: int = 0, given: Inputs | None = None
    ) -> None:
        self.first = given or workload.inputs(spec, seed)
        self.states_too = workload.timesteps < STATES_TOO and not workload.streaming
        self._quantize = spec.quantize
        self._seed = seed
        self._drawn: tuple[FloatArray, FloatArray] | None = None

    def __call__(self, number: int) -> Inputs:
        """The set of this number, 0 or more."""
        first = self.first
        if number == 0:
            return first
        if self._drawn is None:
            rng = np.random.default_rng([self._seed, 1])
            x = rng.standard_normal(first.x.size + SPREAD, np.float32)
            states = rng.random(2 * first.state.h.size + SPREAD, np.float32) - 0.5
            self._drawn = self._quantize(x), self._quantize(states)
        start = number * 7919 % SPREAD
        x, drawn = self._drawn[0][start:], self._drawn[1][start:]
        state, size = first.state, first.state.h.size
        if self.states_too:
            shape = state.h.shape
            h, c = drawn[:size].reshape(shape), drawn[size : 2 * size].reshape(shape)
            state = LSTMState(h, c)
        return replace(first, x=x[: first.x.size].reshape(first.x.shape), state=state)

    def room(self) -> int:
        """How many of them may be placed at once."""
        state = 2 * self.first.state.h.nbytes if self.states_too else 0
        return max(1, min(MOST_PLACED, PLACED_BYTES // (self.first.x.nbytes + state)))
