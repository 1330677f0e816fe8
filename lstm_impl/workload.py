"""Define the data that an LSTM is given: its sizes, its mode, and the arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lstm_impl.spec import (
    FloatArray,
    LSTMSpec,
    require_flag,
    require_one_of,
    require_positive_integer,
)
from lstm_impl.weights import LSTMState

_T = TypeVar("_T")

MODES = ("inference", "training", "streaming")

SEQUENCE_MODES = MODES[:2]
"""Modes whose step takes complete sequences. A stream has no end: a step takes a chunk of it."""

OPTIMIZERS = ("sgd", "adam")

MOST_LISTED = 1_000_000
"""Sequences up to which lengths are added; for more, by the mean, 1 in a million is off at most."""

SHORTEST_PERIOD, LONGEST_PERIOD = 1e-6, 3600.0
"""Seconds between two calls: clocks are no finer, and nobody measures for hours."""

GRADIENTS = ("weights", "weights+input", "all")
"""What a training step may differentiate. ``weights``: as a first layer's step does, and each
window of truncated back-propagation; ``weights+input``: as a layer above another does; ``all``: the
weights, the input and the initial state."""

_INPUTS_DIFFERENTIATED = dict(zip(GRADIENTS, (0, 1, 3), strict=True))


def differentiated(gradients: str, x: _T, h: _T, c: _T) -> tuple[_T, ...]:
    """Return the inputs that are differentiated besides the weights: the first 0, 1 or 3.

    gradients: one of ``GRADIENTS``.
    """
    return (x, h, c)[: _INPUTS_DIFFERENTIATED[gradients]]


@dataclass(frozen=True)
class Inputs:
    """Host arrays for one workload, time-major.

    x ``[T, B, in]``; dy ``[T, B, D*H]``, the gradient of the output; state, the initial state;
    lengths ``[B]`` or None; masks ``[L-1, T, B, D*H]`` or None, the dropout masks between layers,
    divided by the probability of keeping.
    """

    x: FloatArray
    dy: FloatArray
    state: LSTMState
    lengths: npt.NDArray[np.int32] | None
    masks: FloatArray | None

    def window(self, part: slice) -> Inputs:
        """Return the inputs of these timesteps."""
        masks = None if self.masks is None else self.masks[:, part]
        return replace(self, x=self.x[part], dy=self.dy[part], masks=masks)


@dataclass(frozen=True)
class Workload:
    """How much data one step processes, and what is done with it.

    batch, timesteps: the sizes B and T.
    mode: ``inference`` (the forward pass), ``training`` (forward and gradients), or ``streaming``
        (the forward pass of a chunk of T timesteps of an endless stream, with the state carried
        from each call to the next).
    min_length: None if every sequence is T long; else lengths are spread evenly from it to T, and
        sequences are right-padded.
    window: None if the step takes the sequence at once; else it is cut into windows of this many
        timesteps, with the state carried over and the gradient stopped between them.
    dropout: rate of inverted dropout between layers, in training.
    batch_major: whether the arrays on the device are ``[batch, time, feature]``.
    optimizer: None if the gradients are only computed; else one of ``OPTIMIZERS``, with which each
        training step, or each of its windows, updates the weights.
    gradients: what a training step, or each of its windows, differentiates, one of ``GRADIENTS``.
        Between layers the input's gradient is always computed. Inference has the default.
    period: in streaming, seconds between the times at which calls are due, as with a sensor or a
        sound card; None if each call begins when the one before is done.

    Raises ValueError for a wrong field.
    """

    batch: int
    timesteps: int
    mode: str = "inference"
    min_length: int | None = None
    window: int | None = None
    dropout: float = 0.0
    batch_major: bool = False
    optimizer: str | None = None
    gradients: str = "all"
    period: float | None = None

    def __post_init__(self) -> None:
        require_positive_integer("Workload.batch", self.batch)
        require_positive_integer("Workload.timesteps", self.timesteps)
        require_one_of("Workload.mode", self.mode, MODES)
        require_flag("Workload.batch_major", self.batch_major)
        require_one_of("Workload.gradients", self.gradients, GRADIENTS)
        for field, problem in self._problems():
            raise ValueError(f"Workload.{field} is {getattr(self, field)!r}{problem}")

    def _problems(self) -> Iterator[tuple[str, str]]:
        """Yield each wrong field and what is wrong with it."""
        for field in ("min_length", "window"):
            if (value := getattr(self, field)) is not None:
                require_positive_integer(f"Workload.{field}", value)
                if value > self.timesteps:
                    yield field, f"; expected at most the {self.timesteps} timesteps"
        if self.window is not None and self.min_length is not None:
            both = " and Workload.min_length is given too; a stream cut into windows has no padding"
            yield "window", f"{both}: leave one of them out"
        if not 0.0 <= self.dropout < 1.0:
            yield "dropout", "; expected at least 0 and less than 1"
        if self.optimizer is not None and self.optimizer not in OPTIMIZERS:
            yield "optimizer", f"; expected one of {', '.join(OPTIMIZERS)}, or None"
        but = f", but mode is {self.mode!r}; expected"
        if self.optimizer is not None and not self.training:
            yield "optimizer", f"{but} None: only training updates weights"
        if self.gradients != "all" and not self.training:
            yield "gradients", f"{but} 'all': only training computes gradients"
        period = self.period
        if period is not None and not self.streaming:
            yield "period", f"{but} None: only the calls of a stream are due at a time"
        for field, nothing in (("min_length", None), ("window", None), ("dropout", 0.0)):
            if self.streaming and getattr(self, field) != nothing:
                yield field, f"{but} {nothing}: a stream has no padding, no windows and no dropout"
        number = isinstance(period, int | float) and not isinstance(period, bool)
        if period is not None and not (number and SHORTEST_PERIOD <= period <= LONGEST_PERIOD):
            limits = f"{SHORTEST_PERIOD:g} to {LONGEST_PERIOD:g}"
            yield "period", f"; expected seconds from {limits}, or None"

    @property
    def training(self) -> bool:
        """Whether gradients are computed."""
        return self.mode == "training"

    @property
    def streaming(self) -> bool:
        """Whether a step is a chunk of a stream."""
        return self.mode == "streaming"

    def lengths(self) -> npt.NDArray[np.int32] | None:
        """Return the valid timesteps of each sequence, ``[batch]``, or None if all are T."""
        if self.min_length is None:
            return None
        return np.linspace(self.timesteps, self.min_length, self.batch).round().astype(np.int32)

    def windows(self) -> list[slice]:
        """Return the slices of time that one step takes, one after the other."""
        size = self.window or self.timesteps
        return [
            slice(start, min(start + size, self.timesteps))
            for start in range(0, self.timesteps, size)
        ]

    def first_window(self) -> Workload:
        """Return a workload of the first window only."""
        return replace(self, timesteps=self.windows()[0].stop, window=None)

    def valid_timesteps(self) -> int:
        """Return the timesteps of all sequences that are not padding."""
        if self.min_length is None:
            return self.batch * self.timesteps
        if self.batch > MOST_LISTED:
            return self.batch * (self.timesteps + self.min_length) // 2
        lengths = self.lengths()
        return 0 if lengths is None else int(lengths.sum(dtype=np.int64))

    def inputs(self, spec: LSTMSpec, seed: int = 0) -> Inputs:
        """Draw inputs, output gradients, initial state and dropout masks from one seed."""
        rng = np.random.default_rng(seed)
        shape = (self.timesteps, self.batch)
        state_shape = (spec.state_layers, self.batch, spec.hidden_size)
        x = spec.quantize(rng.standard_normal((*shape, spec.input_size)))
        dy = spec.quantize(rng.standard_normal((*shape, spec.output_size)))
        state = LSTMState(
            h=spec.quantize(rng.uniform(-0.5, 0.5, state_shape)),
            c=spec.quantize(rng.uniform(-0.5, 0.5, state_shape)),
        )
        masks = None
        if self.dropout and self.training and spec.num_layers > 1:
            masks = dropout_masks(spec, self.timesteps, self.batch, self.dropout, rng)
        return Inputs(x, dy, state, self.lengths(), masks)


def dropout_masks(
    spec: LSTMSpec, timesteps: int, batch: int, rate: float, seed: int | np.random.Generator
) -> FloatArray:
    """Draw inverted dropout masks between layers, ``[L-1, T, B, D*H]``: 0, or 1/(1-rate).

    They are an input, so that every backend and the reference drop the same units.
    """
    rng = np.random.default_rng(seed)
    shape = (spec.num_layers - 1, timesteps, batch, spec.output_size)
    return spec.quantize((rng.random(shape) >= rate) / (1.0 - rate))


PLACED_BYTES = 2**27
"""Bytes of the sets of inputs that are placed at once; a single set may be larger."""

MOST_PLACED = 1024
"""Sets of inputs at once: in a block of 10 ms only steps below 10 us use some of them twice."""

STATES_TOO = 16
"""Timesteps below which each set has its own initial state. In longer sequences that is less than a
sixteenth of the recurrence's input, and placing it would take as long as placing the input."""

SPREAD = 65_521
"""Offsets in the drawn numbers at which a set of inputs may begin: a prime, so that sets differ."""


class InputSets:
    """The sets of inputs, by number, on which a workload's steps work while they are timed."""

    def __init__(
        self, spec: LSTMSpec, workload: Workload, seed: int = 0, given: Inputs | None = None
    ) -> None:
        self.first = given or workload.inputs(spec, seed)
        self.states_too = workload.timesteps < STATES_TOO and not workload.streaming
        self._quantize = spec.quantize
        self._seed = seed
        self._drawn: tuple[FloatArray, FloatArray] | None = None

    def __call__(self, number: int) -> Inputs:
        """Return the set of this number, 0 or more."""
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

    def max_sets(self) -> int:
        """Return how many of them may be placed at once."""
        state = 2 * self.first.state.h.nbytes if self.states_too else 0
        return max(1, min(MOST_PLACED, PLACED_BYTES // (self.first.x.nbytes + state)))
