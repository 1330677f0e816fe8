"""Workloads placed on a model's device, and the step that works through them.

A sequence is worked through window by window (``Stream``). A stream without end is fed chunk by
chunk, one call a chunk, the state kept between calls (``Streaming``): what a user does who gets one
output for each timestep that arrives. The chunks lie ready on the device in a ring, and are fed
round and round as a real stream's would come in; the state that a call returned goes into the next
as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lstm_impl.call import Call, Outputs, RawGradients, Request, Tensor, Upstream
from lstm_impl.spec import Array, FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.step import Step, input_seed
from lstm_impl.weights import LSTMState
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


class _Window(NamedTuple):
    """On the device: what a window is called with, from the initial state, and what flows back."""

    call: Call
    upstream: Upstream


class Stream:
    """The windows of a workload, the state carried from one to the next (see ``Model.prepare``).

    given: the inputs to work on; without, they are random, from ``seed``.
    """

    def __init__(
        self, model: Model, workload: Workload, seed: int = 0, given: Inputs | None = None
    ) -> None:
        self._model, self._workload, self._seed, self._given = model, workload, seed, given
        self._zero = self._place(LSTMState.zeros(model.spec, workload.batch).h)
        # Of each set of inputs the windows as they are, and with the other sign of dy (none without
        # an optimizer).
        self._sets: dict[int, tuple[list[_Window], list[_Window]]] = {}
        self._turn = 0
        self.use(0)

    def step(self) -> Step:
        """The work as a clock takes it."""
        return Step(
            self.train if self._workload.training else self.infer,
            self._model.synchronize,
            self.trace,
            self.use,
            self._model._host_results,
            None if self._workload.optimizer is None else self.restart,
        )

    def use(self, number: int) -> None:
        """Work on this set of inputs from now on."""
        if number not in self._sets:
            self._sets[number] = self._placed(number)
        self._windows = self._sets[number]

    def infer(self) -> Outputs:
        """The outputs of the last window, and the final state."""
        left: Outputs | None = None
        for call, _ in self._windows[0]:
            left = self._model._infer(call if left is None else call.after(left))
        assert left is not None  # there is a window in every workload
        return left

    def train(self) -> RawGradients:
        """The outputs and gradients of the last window; with an optimizer each updates weights."""
        model, gradients = self._model, self._workload.gradients
        optimizer = self._workload.optimizer
        left: RawGradients | None = None
        for call, upstream in self._windows[self._turn]:
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
        windows = self._windows[0]
        for window in {id(each): each for each in (windows[0], windows[-1])}.values():
            self._model._trace_ahead(self._request(window))

    def first(self) -> Request:
        """What the first window asks of the model."""
        return self._request(self._windows[0][0])

    def _request(self, window: _Window) -> Request:
        workload = self._workload
        if not workload.training:
            return Request(None, window.call)
        return Request(workload.gradients, *window, workload.optimizer)

    # -- placing

    def _place(self, array: Array | None) -> Tensor | None:
        return None if array is None else self._model._to_device(array)

    def _placed(self, number: int) -> tuple[list[_Window], list[_Window]]:
        model, parts = self._model, self._workload.windows()
        inputs = self._given or self._workload.inputs(model.spec, input_seed(self._seed, number))
        h, c = self._place(inputs.state.h), self._place(inputs.state.c)
        lengths = self._place(inputs.lengths)

        def called(window: Inputs) -> Call:
            x = self._place(model._swapped(window.x))
            return Call(x, h, c, lengths, self._place(window.masks))

        def flowing(dy: FloatArray) -> Upstream:
            return Upstream(self._place(model._swapped(dy)), self._zero, self._zero)

        given = [inputs.window(part) for part in parts]
        windows = [_Window(called(each), flowing(each.dy)) for each in given]
        negated = [
            window._replace(upstream=flowing(-each.dy))
            for window, each in zip(windows, given, strict=True)
            if self._workload.optimizer is not None
        ]
        return windows, negated


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
        place, swapped = self._model._to_device, self._model._swapped
        inputs = ring_inputs(self._model.spec, self._workload, self._seed, number)
        h, c = place(inputs.state.h), place(inputs.state.c)
        chunks = np.split(inputs.x, len(inputs.x) // self._workload.timesteps)
        return [Call(place(swapped(x)), h, c) for x in chunks]
