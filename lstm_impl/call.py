"""Describe one call of a model in a framework's own tensors: inputs, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from lstm_impl.spec import FloatArray
from lstm_impl.workload import Inputs

Tensor = Any
"""A framework's own tensor. No common type covers all frameworks."""

Tensors = Sequence[Tensor]
"""Several tensors, whose order the context defines."""

State = tuple[Tensor, Tensor]
"""The hidden state and the cell state of an LSTM."""

States = tuple[Tensor, ...]
"""The states of a cell, in the order of ``Cell.states``: (h, c) for an LSTM."""


class Call(NamedTuple):
    """Hold the arguments of a forward pass, as tensors on the device.

    Attributes
    ----------
    x
        The input ``[T, B, in]``, or ``[B, T, in]`` if the model is batch-major.
    states
        The initial states, ``[L*D, B, H]`` each, in the order of ``Cell.states``.
    lengths
        The valid timesteps of each sequence, ``[B]``, or None if all are T.
    masks
        The dropout masks between layers, ``[L-1, T, B, D*H]``, or None without dropout.
    resets, restarts
        Bool ``[T, B]``, even if x is batch-major, or None. A sequence starts over at a step that is
        True: with ``resets`` from zeros, with ``restarts`` from its own initial states. At most one
        of the two is given.
    """

    x: Tensor
    states: States
    lengths: Tensor | None = None
    masks: Tensor | None = None
    resets: Tensor | None = None
    restarts: Tensor | None = None

    @property
    def reset_to(self) -> str:
        """The state from which sequences start over, one of ``lstm_impl.workload.RESET_TO``."""
        return "zeros" if self.restarts is None else "initial_state"

    def by_name(self, states: Sequence[str]) -> dict[str, Tensor]:
        """Return the tensors that are not None by name: x, each state, and the other fields.

        ``states`` has the names of the cell's states.
        """
        names = ("x", *states, *self._fields[2:])
        tensors = (self.x, *self.states, *self[2:])
        pairs = zip(names, tensors, strict=True)
        return {name: each for name, each in pairs if each is not None}

    @classmethod
    def from_names(cls, states: Sequence[str], **tensors: Tensor) -> Call:
        """Make a call from tensors by name, as ``by_name`` returns them.

        ``states`` has the names of the cell's states, in the order of ``Cell.states``.
        """
        initial = tuple(tensors.pop(name) for name in states)
        return cls(states=initial, **tensors)

    def after(self, left: Outputs | RawGradients) -> Call:
        """Return a copy of this call that begins with the final states of another call.

        ``left`` has the results of that other call. So a window continues where the previous one
        ended.
        """
        return self._replace(states=left.states)


class Upstream(NamedTuple):
    """Hold the gradients of a loss with respect to the results of a call.

    Attributes
    ----------
    dy
        The gradient of the outputs ``[T, B, D*H]``, or ``[B, T, D*H]`` if the model is batch-major.
    dstates
        The gradient of each final state, ``[L*D, B, H]``, in the order of ``Cell.states``.
    """

    dy: Tensor
    dstates: States

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """The gradient of the outputs, followed by that of each state."""
        return (self.dy, *self.dstates)


class Request(NamedTuple):
    """Say what a step must compute.

    Attributes
    ----------
    gradients
        Which gradients to compute, one of ``lstm_impl.workload.GRADIENTS`` (``weights``,
        ``weights+input``, ``all``), or None for inference.
    call
        The inputs.
    upstream
        The gradients of the outputs and final states, or None for inference.
    optimizer
        The name of the optimizer that updates the weights in the step (``sgd`` or ``adam``), or
        None. The state of the optimizer must exist already.
    """

    gradients: str | None
    call: Call
    upstream: Upstream | None = None
    optimizer: str | None = None


class Outputs(NamedTuple):
    """Hold the results of a forward pass, which are still on the device.

    Attributes
    ----------
    y
        The outputs ``[T, B, D*H]``, or ``[B, T, D*H]`` if the model is batch-major.
    states
        The final states, ``[L*D, B, H]`` each, in the order of ``Cell.states``.
    """

    y: Tensor
    states: States

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """The outputs, followed by each state."""
        return (self.y, *self.states)

    @classmethod
    def from_flat(cls, tensors: Iterable[Tensor]) -> Outputs:
        """Make the results from the outputs and each state, in the order of ``flat``."""
        y, *states = tensors
        return cls(y, tuple(states))


class LSTMOutputs(NamedTuple):
    """Hold what a function of one LSTM layer returns.

    Attributes
    ----------
    y
        The outputs of each timestep.
    h, c
        The hidden state and the cell state after the last timestep.
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

    Attributes
    ----------
    y, states
        The outputs and the final states, as in ``Outputs``.
    dx, dstates
        The gradients of the input and of the initial states. Each is None if it was not requested.
    weights
        The gradients of the weights in the backend's own layout. ``Model._host_weights`` converts
        them to canonical weights.
    """

    y: Tensor
    states: States
    dx: Tensor | None
    dstates: States | None
    weights: Any

    @classmethod
    def of(cls, outputs: Outputs, inputs: Sequence[Tensor], weights: Any) -> RawGradients:
        """Make the results from the outputs and the computed gradients.

        Parameters
        ----------
        outputs
            The outputs and the final states.
        inputs
            The gradients that ``differentiated`` selects: none, dx, or dx followed by the gradient
            of each initial state.
        weights
            The gradients of the weights in the backend's own layout.
        """
        dx = inputs[0] if inputs else None
        return cls(*outputs, dx, tuple(inputs[1:]) or None, weights)


Results: TypeAlias = Mapping[str, FloatArray]
"""The results of a call on the host, as time-major arrays by name.

An LSTM has the names y, h and c. Names of gradients begin with d: dx, dh, dc and, for example,
``dlayer0.forward.kernel``.
"""


@dataclass(frozen=True)
class Step:
    """Hold one unit of work that is ready to be timed, with its inputs on the device.

    The timed calls can be judged only if the step has ``place`` and ``results``.

    Attributes
    ----------
    run
        Does the work once and returns the results of the last window without waiting for them:
        ``Outputs`` in inference, ``RawGradients`` in training. In a stream, it takes the next
        chunk.
    synchronize
        Waits until the device has done all work.
    trace
        Does what is possible before the first call without compiling, such as tracing a graph.
    use
        Places sets of inputs, given by their numbers in ``InputSets``, on the device. The next
        calls take them in turn.
    results
        Copies the results of a call to the host.
    restart
        Begins again with the weights that the model was given and a new optimizer, or with the
        first state of a stream. It is None if calls leave nothing behind.
    max_sets
        The number of sets of inputs that may be on the device at once.
    place_results
        Places results on the device, waits for them, and returns a function that copies them to
        the host in the same way as ``results``.
    place
        Places the given sets of inputs on the device. The next calls take them in turn.
    overwritten
        Compares a placed set, given by its position, with the given inputs, and returns the names
        of the arrays that differ.
    check_inputs
        Raises an error if the placed set of the given number has changed.
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
