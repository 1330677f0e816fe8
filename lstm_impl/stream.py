"""Workloads placed on a model's device, and the step that works through them.

A sequence is worked through window by window (``Stream``). A stream without end is fed chunk by
chunk, one call a chunk, the state kept between calls (``Streaming``): what a user does who gets one
output for each timestep that arrives. The state that a call returned goes into the next as it is.
What the calls work on lies ready on the device, a set of inputs for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lstm_impl.call import Call, Outputs, RawGradients, Request, Tensor, Upstream
from lstm_impl.spec import Array, FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.step import Step
from lstm_impl.weights import LSTMState
from lstm_impl.workload import Inputs, Workload

if TYPE_CHECKING:
    from lstm_impl.model import Model

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
    """The sets of inputs that a workload's steps work on while they are timed, by number.

    Number 0 is ``workload.inputs(spec, seed)``, or what is given. Every other has x of its own, and
    in short sequences an initial state, cut out of numbers that are drawn once: none of it costs
    more than a copy. The gradient that flows into the outputs, lengths and masks are those of 0.
    """

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


class Stream:
    """The windows of a workload, the state carried from one to the next (see ``Model.prepare``).

    given: the inputs to work on; without, they are random, from ``seed``.
    """

    def __init__(
        self, model: Model, workload: Workload, seed: int = 0, given: Inputs | None = None
    ) -> None:
        self._model, self._workload = model, workload
        self._sets = InputSets(model.spec, workload, seed, given)
        first = self._sets.first
        self._zero = self._place(np.zeros_like(first.state.h))
        self._state = self._place(first.state.h), self._place(first.state.c)
        self._parts = workload.windows()
        windows = [first.window(part) for part in self._parts]
        lengths = self._place(first.lengths)
        self._rest = [(lengths, self._place(each.masks)) for each in windows]
        # What flows back, and with an optimizer the same with the other sign.
        signs = () if not workload.training else (1,) if workload.optimizer is None else (1, -1)
        self._upstreams = [[self._flowing(sign * each.dy) for each in windows] for sign in signs]
        self._turn = 0
        self._placed = [self._calls(first)]
        self._next = itertools.cycle(self._placed)

    def step(self) -> Step:
        """The work as a clock takes it."""
        return Step(
            self.train if self._workload.training else self.infer,
            self._model.synchronize,
            self.trace,
            self.use,
            self._model._host_results,
            None if self._workload.optimizer is None else self.restart,
            self._sets.room(),
            self._model._place_results,
        )

    def use(self, numbers: Sequence[int]) -> None:
        """Place these sets of inputs, for the next calls to work on in turn."""
        self._next = itertools.cycle(self._placed[:0])
        self._placed = []  # frees the memory of the last ones
        self._placed = [self._calls(self._sets(number)) for number in numbers]
        self._next = itertools.cycle(self._placed)

    def infer(self) -> Outputs:
        """The outputs of the last window, and the final state."""
        left: Outputs | None = None
        for call in next(self._next):
            left = self._model._infer(call if left is None else call.after(left))
        assert left is not None  # there is a window in every workload
        return left

    def train(self) -> RawGradients:
        """The outputs and gradients of the last window; with an optimizer each updates weights."""
        model, gradients = self._model, self._workload.gradients
        optimizer = self._workload.optimizer
        left: RawGradients | None = None
        pairs = zip(next(self._next), self._upstreams[self._turn], strict=True)
        for call, upstream in pairs:
            if left is not None:
                call = call.after(left)
            if optimizer is None:
                left = model._train(gradients, call, upstream)
            else:
                left = model._train_and_update(optimizer, gradients, call, upstream)
        if optimizer is not None:
            self._turn = 1 - self._turn
        assert left is not None
        return left

    def restart(self) -> None:
        """Begin anew with the weights that the model was given, and a new optimizer."""
        if self._model.given_weights is not None:
            self._model._set_weights(self._model.given_weights)
        self._model._start_optimizer(str(self._workload.optimizer))
        self._turn = 0

    def trace(self) -> None:
        """Trace what the windows need."""
        # The last window may be shorter than the rest: a graph of its own where shapes count.
        for number in dict.fromkeys((0, len(self._parts) - 1)):
            self._model._trace_ahead(self._request(number))

    def first(self) -> Request:
        """What the first window asks of the model."""
        return self._request(0)

    def _request(self, window: int) -> Request:
        workload, call = self._workload, self._placed[0][window]
        if not workload.training:
            return Request(None, call)
        return Request(workload.gradients, call, self._upstreams[0][window], workload.optimizer)

    # -- placing

    def _place(self, array: Array | None) -> Tensor | None:
        return None if array is None else self._model._to_device(array)

    def _calls(self, inputs: Inputs) -> list[Call]:
        """One for each window."""
        h, c = self._state
        if inputs.state is not self._sets.first.state and self._sets.states_too:
            h, c = self._place(inputs.state.h), self._place(inputs.state.c)
        x = (self._place(self._model._swapped(inputs.x[part])) for part in self._parts)
        return [Call(each, h, c, *rest) for each, rest in zip(x, self._rest, strict=True)]

    def _flowing(self, dy: FloatArray) -> Upstream:
        return Upstream(self._place(self._model._swapped(dy)), self._zero, self._zero)


def given_step(
    model: Model, inputs: Inputs, mode: str = "inference", gradients: str = "weights"
) -> Step:
    """The step on inputs of the caller's own, which are placed on the model's device now.

    For who measures what random inputs do not show, such as sequences whose lengths differ from
    batch to batch, or numbers so small that arithmetic on them is slow.

    mode: ``inference``, or ``training``, in which ``inputs.dy`` flows into the outputs and nothing
    into the final state. gradients: what training differentiates, one of ``GRADIENTS``.

    Raises UnsupportedError for what the backend cannot do.
    """
    timesteps, batch = inputs.x.shape[:2]
    workload = Workload(
        batch,
        timesteps,
        mode,
        min_length=None if inputs.lengths is None else int(inputs.lengths.min()),
        batch_major=model.batch_major,
        gradients=gradients if mode == "training" else "all",
    )
    if reason := model.backend.refusal(model.spec, workload):
        raise UnsupportedError(f"{model.backend.name}: {reason}")
    return replace(Stream(model, workload, given=inputs).step(), use=None)


# -- a stream without end

FIRST_CHUNKS = 16
"""Sets of inputs that a stream is fed before others are placed."""


class Streaming:
    """An endless stream through a model (see ``Model.prepare``): a set of inputs is a chunk."""

    def __init__(self, model: Model, workload: Workload, seed: int = 0) -> None:
        self._model = model
        self._sets = InputSets(model.spec, workload, seed)
        state = self._sets.first.state
        self._state = model._to_device(state.h), model._to_device(state.c)
        self._left: Outputs | None = None
        self._placed: list[Call] = []
        self.use(range(min(FIRST_CHUNKS, self._sets.room())))

    def step(self) -> Step:
        """The work as a clock takes it: one chunk a call."""
        return Step(
            self.call,
            self._model.synchronize,
            self.trace,
            self.use,
            self._model._host_results,
            self.restart,
            self._sets.room(),
            self._model._place_results,
        )

    def use(self, numbers: Sequence[int]) -> None:
        """Feed these chunks from now on, one after the other; the state stays as it is."""
        place, swapped = self._model._to_device, self._model._swapped
        self._next = itertools.cycle(self._placed[:0])
        self._placed = []
        self._placed = [
            Call(place(swapped(self._sets(number).x)), *self._state) for number in numbers
        ]
        self._next = itertools.cycle(self._placed)

    def restart(self) -> None:
        """Begin a stream anew, with the first of the chunks and the first state."""
        self._next = itertools.cycle(self._placed)
        self._left = None

    def call(self) -> Outputs:
        """The outputs of the next chunk, and the state after it."""
        chunk = next(self._next)
        self._left = self._model._stream(chunk if self._left is None else chunk.after(self._left))
        return self._left

    def trace(self) -> None:
        """Trace what a chunk needs."""
        self._model._trace_ahead(Request(None, self._placed[0]))
