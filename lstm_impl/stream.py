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
    x: Tensor
    masks: Tensor | None
    upstream: Upstream


class _Placed(NamedTuple):
    """One set of inputs on the device: the initial state, and each window as it is and with the
    other sign of dy (none without an optimizer)."""

    h: Tensor
    c: Tensor
    windows: tuple[list[_Window], list[_Window]]


class Stream:
    """The windows of a workload, the state carried from one to the next (see ``Model.prepare``)."""

    def __init__(self, model: Model, workload: Workload, seed: int = 0) -> None:
        self._model, self._workload, self._seed = model, workload, seed
        self._lengths = self._place(workload.lengths())
        self._zero = self._place(LSTMState.zeros(model.spec, workload.batch).h)
        self._sets: dict[int, _Placed] = {}
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
        h, c = self._given.h, self._given.c
        for x, _, _ in self._given.windows[0]:
            outputs = Outputs(*self._model._infer(Call(x, h, c, self._lengths)))
            h, c = outputs.h, outputs.c
        return outputs

    def train(self) -> RawGradients:
        """The outputs and gradients of the last window; with an optimizer each updates weights."""
        model, gradients = self._model, self._workload.gradients
        optimizer = self._workload.optimizer
        h, c = self._given.h, self._given.c
        for x, masks, upstream in self._given.windows[self._turn]:
            call = Call(x, h, c, self._lengths, masks)
            if optimizer is None:
                raw = model._train(gradients, call, upstream)
            else:
                raw = model._train_and_update(optimizer, gradients, call, upstream)
            h, c = raw.h, raw.c
        if optimizer is not None:
            self._turn = 1 - self._turn
        return raw

    def restart(self) -> None:
        """Begin anew with the weights that the model was given, and a new optimizer."""
        if self._model.given_weights is not None:
            self._model._set_weights(self._model.given_weights)
        self._model._start_optimizer(str(self._workload.optimizer))
        self._turn = 0

    def trace(self) -> None:
        """Trace what the windows need."""
        # The last window may be shorter than the rest: a graph of its own where shapes count.
        windows = self._given.windows[0]
        for window in {id(each): each for each in (windows[0], windows[-1])}.values():
            self._model._trace_ahead(self._request(window))

    def first(self) -> Request:
        """What the first window asks of the model."""
        return self._request(self._given.windows[0][0])

    def _request(self, window: _Window) -> Request:
        call = Call(window.x, self._given.h, self._given.c, self._lengths, window.masks)
        if not self._workload.training:
            return Request(None, call)
        workload = self._workload
        return Request(workload.gradients, call, window.upstream, workload.optimizer)

    # -- placing

    def _place(self, array: Array | None) -> Tensor | None:
        return None if array is None else self._model._to_device(array)

    def _placed(self, number: int) -> _Placed:
        inputs = self._workload.inputs(self._model.spec, input_seed(self._seed, number))
        parts = self._workload.windows()

        def sequence(array: FloatArray) -> Tensor:
            return self._place(np.swapaxes(array, 0, 1) if self._model.batch_major else array)

        windows = [
            _Window(
                sequence(inputs.x[part]),
                self._place(None if inputs.masks is None else inputs.masks[:, part]),
                Upstream(sequence(inputs.dy[part]), self._zero, self._zero),
            )
            for part in parts
        ]
        negated = [
            window._replace(upstream=window.upstream._replace(dy=sequence(-inputs.dy[part])))
            for window, part in zip(windows, parts, strict=True)
            if self._workload.optimizer is not None
        ]
        h, c = self._place(inputs.state.h), self._place(inputs.state.c)
        return _Placed(h, c, (windows, negated))
