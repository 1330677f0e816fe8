"""Describe one call of a model in a framework's own tensors: inputs, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from lstm_impl.spec import FloatArray
from lstm_impl.workload import Inputs

Tensor = Any  # a framework's own tensor; no one type covers all frameworks
Tensors = Sequence[Tensor]
State = tuple[Tensor, Tensor]
"""Hidden and cell state of an LSTM."""

States = tuple[Tensor, ...]
"""The states of a cell, in the order of ``Cell.states``: (h, c) for an LSTM."""


class Call(NamedTuple):
    """Hold the arguments of a forward pass, as tensors on the device.

    x: the input ``[T, B, in]``, or batch-major. states: the initial states, ``[L*D, B, H]`` each.
    lengths: valid timesteps of each sequence, ``[B]``, or None if all are T. masks: dropout masks
    between layers ``[L-1, T, B, D*H]``, given only when dropout is wanted. resets, restarts: bool
    ``[T, B]``, also where x is batch-major, or None. A sequence starts over at a step that is True:
    from zeros (resets), or from its own initial states (restarts). At most one of the two is given.
    """

    x: Tensor
    states: States
    lengths: Tensor | None = None
    masks: Tensor | None = None
    resets: Tensor | None = None
    restarts: Tensor | None = None

    @property
    def starts_over(self) -> bool:
        """Whether resets or restarts are given."""
        return self.resets is not None or self.restarts is not None

    def by_name(self, states: Sequence[str]) -> dict[str, Tensor]:
        """Return the tensors that are not None by name: x, each state, and the fields after those.

        states: the names of the cell's states.
        """
        named = {"x": self.x, **dict(zip(states, self.states, strict=True))}
        rest = {name: getattr(self, name) for name in self._fields[2:]}
        return named | {name: each for name, each in rest.items() if each is not None}

    @classmethod
    def from_names(cls, states: Sequence[str], **tensors: Tensor) -> Call:
        """Make a call from the tensors that ``by_name`` returned.

        states: the names of the cell's states, in the order of ``Cell.states``.
        """
        initial = tuple(tensors.pop(name) for name in states)
        return cls(states=initial, **tensors)

    def after(self, left: Outputs | RawGradients) -> Call:
        """Return a copy of this call whose initial states are the final states of another call.

        left: the results of that other call. A window continues where the previous one ended.
        """
        return self._replace(states=left.states)


class Upstream(NamedTuple):
    """Hold the gradients of a loss with respect to the results of a call.

    dy: of the outputs, ``[T, B, D*H]``, or batch-major. dstates: of each final state,
    ``[L*D, B, H]``, in the order of ``Cell.states``.
    """

    dy: Tensor
    dstates: States

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """The gradients of y and of each state, one after the other."""
        return (self.dy, *self.dstates)


class Request(NamedTuple):
    """Say what a step must compute.

    gradients: which gradients, one of ``lstm_impl.workload.GRADIENTS`` (``weights``,
        ``weights+input``, ``all``), or None for inference.
    call: the inputs.
    upstream: the gradients of the outputs and final states, or None for inference.
    optimizer: the name of the optimizer that updates the weights in the step (``sgd`` or ``adam``),
        or None. Its state must have been created before.
    """

    gradients: str | None
    call: Call
    upstream: Upstream | None = None
    optimizer: str | None = None


class Outputs(NamedTuple):
    """Hold the results of a forward pass, which are still on the device.

    y: the outputs, ``[T, B, D*H]``, or batch-major. states: the final states, ``[L*D, B, H]``
    each, in the order of ``Cell.states``.
    """

    y: Tensor
    states: States

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """The outputs and each state, one after the other."""
        return (self.y, *self.states)

    @classmethod
    def from_flat(cls, tensors: Iterable[Tensor]) -> Outputs:
        """Make the results from y and each state, in the order of ``flat``."""
        y, *states = tensors
        return cls(y, tuple(states))


class LSTMOutputs(NamedTuple):
    """Hold what a function of one LSTM layer returns.

    y: the outputs, one for each timestep. h, c: the hidden and the cell state after the last one.
    """

    y: Tensor
    h: Tensor
    c: Tensor


class GRUOutputs(NamedTuple):
    """Hold what a function of one GRU layer returns.

    y: the outputs, one for each timestep. h: the hidden state after the last one.
    """

    y: Tensor
    h: Tensor


@dataclass(frozen=True)
class RawGradients:
    """Hold the results of a training step, which are still on the device.

    y, states: as in ``Outputs``. dx, dstates: the gradients of the input and of the initial states,
    None where they were not requested. weights: the gradients of the weights in the backend's own
    layout, which ``Model._host_weights`` converts to canonical weights.
    """

    y: Tensor
    states: States
    dx: Tensor | None
    dstates: States | None
    weights: Any

    @classmethod
    def of(cls, outputs: Outputs, inputs: Sequence[Tensor], weights: Any) -> RawGradients:
        """Make the results from the outputs and the computed gradients.

        inputs: the gradients that ``differentiated`` selects: none, dx, or dx and then the gradient
        of each initial state. weights: the gradients of the weights in the backend's layout.
        """
        dx = inputs[0] if inputs else None
        return cls(*outputs, dx, tuple(inputs[1:]) or None, weights)


Results: TypeAlias = Mapping[str, FloatArray]
"""Results of a call on the host, as time-major arrays by name.

The names are y, h and c, and for gradients dx, dh, dc and such as ``dlayer0.forward.kernel``.
"""


@dataclass(frozen=True)
class Step:
    """Do one unit of work that is ready to be timed: its inputs are already on the device.

    run: does the work once and returns the results of the last window, without waiting for them:
        ``Outputs`` in inference, ``RawGradients`` in training. Of a stream it takes the next chunk.
    synchronize: waits until all work handed to the device is done.
    trace: does what can be done before the first call besides compiling, such as tracing a graph.
    place: places sets of inputs on the device; the next calls take them in turn.
    use: the same, by the sets' numbers in ``InputSets``.
    overwritten: names the arrays of one of the placed sets, by its position, that differ from these
        inputs now.
    check_inputs: raises an error if the placed set of this number is no longer what it was.
    results: returns a call's results on the host.
    restart: begins again with the model's given weights and a new optimizer, or with a stream's
        first state; None if calls leave nothing behind.
    max_sets: how many sets of inputs may be placed at once.
    place_results: places such arrays on the device, waits for them, and returns a function that
        copies them to the host, as ``results`` does after a call.

    Without ``place`` or ``results`` the timed calls are not judged.
    """

    run: Callable[[], Tensor]
    synchronize: Callable[[], None]
    trace: Callable[[], None]
    use: Callable[[Sequence[int]], None] | None = None
    results: Callable[[Tensor], Results] | None = None
    restart: Callable[[], None] | None = None
    max_sets: int = 1
    place_results: Callable[[Results], Callable[[], object]] | None = None
    place: Callable[[Iterable[Inputs]], None] | None = None
    overwritten: Callable[[Inputs, int], Sequence[str]] | None = None
    check_inputs: Callable[[int], None] | None = None
