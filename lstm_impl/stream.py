"""A workload placed on a model's device, and the step that works through its windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lstm_impl.call import Call, Outputs, RawGradients, Request, Tensor, Upstream
from lstm_impl.spec import Array, FloatArray
from lstm_impl.state import LSTMState
from lstm_impl.step import Step, input_seed
from lstm_impl.workload import Workload

if TYPE_CHECKING:
    from lstm_impl.model import Model


class _Window(NamedTuple):
    """On the device: what a window is called with, from the initial state, and what flows back."""

    call: Call
    upstream: Upstream


class Stream:
    """The windows of a workload, the state carried from one to the next (see ``Model.prepare``)."""

    def __init__(self, model: Model, workload: Workload, seed: int = 0) -> None:
        self._model, self._workload, self._seed = model, workload, seed
        self._lengths = self._place(workload.lengths())
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
        self._given = self._sets[number]

    def infer(self) -> Outputs:
        """The outputs of the last window, and the final state."""
        left: Outputs | None = None
        for call, _ in self._given[0]:
            left = self._model._infer(call if left is None else call.after(left))
        assert left is not None  # there is a window in every workload
        return left

    def train(self) -> RawGradients:
        """The outputs and gradients of the last window; with an optimizer each updates weights."""
        model, gradients = self._model, self._workload.gradients
        optimizer = self._workload.optimizer
        left: RawGradients | None = None
        for call, upstream in self._given[self._turn]:
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
        windows = self._given[0]
        for window in {id(each): each for each in (windows[0], windows[-1])}.values():
            self._model._trace_ahead(self._request(window))

    def first(self) -> Request:
        """What the first window asks of the model."""
        return self._request(self._given[0][0])

    def _request(self, window: _Window) -> Request:
        workload = self._workload
        if not workload.training:
            return Request(None, window.call)
        return Request(workload.gradients, *window, workload.optimizer)

    # -- placing

    def _place(self, array: Array | None) -> Tensor | None:
        return None if array is None else self._model._to_device(array)

    def _placed(self, number: int) -> tuple[list[_Window], list[_Window]]:
        inputs = self._workload.inputs(self._model.spec, input_seed(self._seed, number))
        h, c = self._place(inputs.state.h), self._place(inputs.state.c)
        parts = self._workload.windows()

        def sequence(array: FloatArray) -> Tensor:
            return self._place(np.swapaxes(array, 0, 1) if self._model.batch_major else array)

        def called(part: slice) -> Call:
            masks = self._place(None if inputs.masks is None else inputs.masks[:, part])
            return Call(sequence(inputs.x[part]), h, c, self._lengths, masks)

        def flowing(dy: FloatArray) -> Upstream:
            return Upstream(sequence(dy), self._zero, self._zero)

        windows = [_Window(called(part), flowing(inputs.dy[part])) for part in parts]
        negated = [
            window._replace(upstream=flowing(-inputs.dy[part]))
            for window, part in zip(windows, parts, strict=True)
            if self._workload.optimizer is not None
        ]
        return windows, negated
