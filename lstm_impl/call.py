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
"""Hidden and cell state."""


class Call(NamedTuple):
    """What a forward pass takes, on the device.

    x: the input ``[T, B, in]``, or batch-major. h, c: the initial state ``[L*D, B, H]``. lengths:
    valid timesteps of each sequence, ``[B]``, or None if all are T. masks: dropout masks between
    layers ``[L-1, T, B, D*H]``, given only when dropout is wanted.
    """

    x: Tensor
    h: Tensor
    c: Tensor
    lengths: Tensor | None = None
    masks: Tensor | None = None

    def given(self) -> dict[str, Tensor]:
        """Return the fields that are not None, by name."""
        pairs = zip(self._fields, self, strict=True)
        return {name: each for name, each in pairs if each is not None}

    def after(self, left: Outputs | RawGradients) -> Call:
        """Return this call with the final state of another one."""
        return Call(self.x, left.h, left.c, self.lengths, self.masks)


class Upstream(NamedTuple):
    """Gradients with respect to the outputs of a call: y and the final h and c."""

    dy: Tensor
    dh: Tensor
    dc: Tensor


class Request(NamedTuple):
    """What a step must compute.

    gradients: one of ``GRADIENTS``, or None in inference, which has no upstream either. optimizer:
    one that was started, if the step updates the weights too.
    """

    gradients: str | None
    call: Call
    upstream: Upstream | None = None
    optimizer: str | None = None


class Outputs(NamedTuple):
    """The outputs and the final state of a forward pass, still on the device."""

    y: Tensor
    h: Tensor
    c: Tensor


@dataclass(frozen=True)
class RawGradients:
    """A training step's results, still on the device, in the backend's own arrays.

    dx, dh, dc: None where they were not requested. weights is whatever ``Model._host_weights``
    turns into canonical weights.
    """

    y: Tensor
    h: Tensor
    c: Tensor
    dx: Tensor
    dh: Tensor
    dc: Tensor
    weights: Any

    @classmethod
    def of(cls, outputs: Outputs, inputs: Sequence[Tensor], weights: Any) -> RawGradients:
        """Make it from the gradients that ``differentiated`` selects: 0 to 3 of dx, dh and dc."""
        dx, dh, dc = (*inputs, None, None, None)[:3]
        return cls(*outputs, dx, dh, dc, weights)


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
