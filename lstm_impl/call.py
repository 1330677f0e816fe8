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
    """What a forward pass takes, on the device.

    x: the input ``[T, B, in]``, or batch-major. states: the initial states, ``[L*D, B, H]`` each.
    lengths: valid timesteps of each sequence, ``[B]``, or None if all are T. masks: dropout masks
    between layers ``[L-1, T, B, D*H]``, given only when dropout is wanted.
    """

    x: Tensor
    states: States
    lengths: Tensor | None = None
    masks: Tensor | None = None

    def by_name(self, states: Sequence[str]) -> dict[str, Tensor]:
        """Return the tensors that are not None by name: x, each state, lengths, masks.

        states: the names of the cell's states.
        """
        named = {"x": self.x, **dict(zip(states, self.states, strict=True))}
        rest = {"lengths": self.lengths, "masks": self.masks}
        return named | {name: each for name, each in rest.items() if each is not None}

    @classmethod
    def from_names(cls, states: Sequence[str], **tensors: Tensor) -> Call:
        """Return the call that ``by_name`` gave."""
        initial = tuple(tensors.pop(name) for name in states)
        return cls(states=initial, **tensors)

    def after(self, left: Outputs | RawGradients) -> Call:
        """Return this call with the final states of another one."""
        return self._replace(states=left.states)


class Upstream(NamedTuple):
    """Gradients with respect to the outputs of a call: y, and the final states in a tuple."""

    dy: Tensor
    dstates: States

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """The gradients of y and of each state, one after the other."""
        return (self.dy, *self.dstates)


class Request(NamedTuple):
    """What a step must compute.

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
    """The outputs and the final states of a forward pass, still on the device."""

    y: Tensor
    states: States

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """The outputs and each state, one after the other."""
        return (self.y, *self.states)

    @classmethod
    def from_flat(cls, tensors: Iterable[Tensor]) -> Outputs:
        """Return the outputs from y and the states, one after the other."""
        y, *states = tensors
        return cls(y, tuple(states))


class LSTMOutputs(NamedTuple):
    """What the functions of one LSTM layer return: y, and the final hidden and cell state."""

    y: Tensor
    h: Tensor
    c: Tensor


@dataclass(frozen=True)
class RawGradients:
    """A training step's results, still on the device, in the backend's own arrays.

    dx, dstates: None where they were not requested. weights is whatever ``Model._host_weights``
    turns into canonical weights.
    """

    y: Tensor
    states: States
    dx: Tensor | None
    dstates: States | None
    weights: Any

    @classmethod
    def of(cls, outputs: Outputs, inputs: Sequence[Tensor], weights: Any) -> RawGradients:
        """Make it from the gradients that ``differentiated`` selects: none, dx, or all of them."""
        dx = inputs[0] if inputs else None
        return cls(*outputs, dx, tuple(inputs[1:]) or None, weights)


Results: TypeAlias = Mapping[str, FloatArray]
"""Host arrays by name, time-major: y, h, c; gradients dx, dh, dc, dlayer0.forward.kernel ..."""


@dataclass(frozen=True)
class Step:
    """One unit of work, ready to be timed: nothing in it moves between host and device.

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
