"""Define the data that a network is given: its sizes, its mode, and the arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from lstm_impl.spec import (
    FloatArray,
    LSTMSpec,
    require_choice,
    require_flag,
    require_positive_integer,
)
from lstm_impl.weights import LSTMState

_T = TypeVar("_T")

MODES = ("inference", "training", "streaming")
"""The modes of a workload (see ``Workload.mode``)."""

SEQUENCE_MODES = MODES[:2]
"""The modes whose step takes complete sequences. A stream has no end, so its step takes a chunk."""

OPTIMIZERS = ("sgd", "adam")
"""The optimizers that can update weights in a training step."""

MOST_LISTED = 1_000_000
"""The largest batch whose lengths are summed exactly. For a larger one the mean is used, which is
wrong by at most one in a million."""

SHORTEST_PERIOD, LONGEST_PERIOD = 1e-6, 3600.0
"""The limits of the seconds between two calls of a stream. Clocks are no finer than the first, and
nobody measures for longer than the second."""

GRADIENTS = ("weights", "weights+input", "all")
"""What a training step may differentiate.

``weights`` is what the step of a first layer needs, and each window of truncated back-propagation.
``weights+input`` is what a layer above another one needs. ``all`` means the weights, the input and
the initial state."""

RESET_TO = ("zeros", "initial_state")
"""The state from which a sequence starts over at a reset. ``initial_state`` is the state with which
the call began, and the gradient of the state after the reset flows into it."""

_INPUTS_DIFFERENTIATED = dict(zip(GRADIENTS, (0, 1, None), strict=True))


def select_differentiated(gradients: str, x: _T, *states: _T) -> tuple[_T, ...]:
    """Select the inputs that are differentiated besides the weights: none, x, or x and the states.

    ``gradients`` is one of ``GRADIENTS``.
    """
    return (x, *states)[: _INPUTS_DIFFERENTIATED[gradients]]


if not TYPE_CHECKING:  # A type checker should not find other names.

    def __getattr__(name: str) -> Callable[..., object]:
        """Return ``select_differentiated`` under its deprecated name, with a DeprecationWarning."""
        if name != "differentiated":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn(
            f"{__name__}.differentiated was renamed and will be removed in the next version; use "
            f"{__name__}.select_differentiated instead",
            DeprecationWarning,
            stacklevel=2,
        )
        return select_differentiated


@dataclass(frozen=True)
class Inputs:
    """Hold the arrays of one workload on the host, time-major.

    Attributes
    ----------
    x
        The input ``[T, B, in]``.
    dy
        The gradient of the outputs ``[T, B, D*H]``.
    state
        The initial state.
    lengths
        The valid timesteps of each sequence ``[B]``, or None if all are valid.
    masks
        The dropout masks between layers ``[L-1, T, B, D*H]``, divided by the probability of keeping
        a unit, or None.
    resets
        Bool ``[T, B]``, True where a sequence starts over before the step, or None. A reset on
        padding changes nothing.
    reset_to
        The state from which it starts over, one of ``RESET_TO``.
    """

    x: FloatArray
    dy: FloatArray
    state: LSTMState
    lengths: npt.NDArray[np.int32] | None
    masks: FloatArray | None
    resets: npt.NDArray[np.bool_] | None = None
    reset_to: str = "zeros"

    def window(self, part: slice) -> Inputs:
        """Return the inputs of these timesteps."""
        masks = None if self.masks is None else self.masks[:, part]
        resets = None if self.resets is None else self.resets[part]
        return replace(self, x=self.x[part], dy=self.dy[part], masks=masks, resets=resets)

    def without_resets(self) -> Inputs:
        """Return the same inputs as of sequences that never start over."""
        return replace(self, resets=None, reset_to="zeros")

    def sequences(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> Inputs:
        """Return the inputs of these sequences of the batch."""
        kept = np.asarray(rows)
        return Inputs(
            self.x[:, kept],
            self.dy[:, kept],
            self.state.map(lambda array: array[:, kept]),
            None if self.lengths is None else self.lengths[kept],
            None if self.masks is None else self.masks[:, :, kept],
            None if self.resets is None else self.resets[:, kept],
            self.reset_to,
        )

    def copy(self) -> Inputs:
        """Return a copy whose arrays have memory of their own."""
        return Inputs(
            self.x.copy(),
            self.dy.copy(),
            self.state.map(np.copy),
            None if self.lengths is None else self.lengths.copy(),
            None if self.masks is None else self.masks.copy(),
            None if self.resets is None else self.resets.copy(),
            self.reset_to,
        )

    @classmethod
    def joined(cls, parts: Sequence[Inputs]) -> Inputs:
        """Join the sequences of several inputs to one batch."""
        lengths = [each.lengths for each in parts if each.lengths is not None]
        masks = [each.masks for each in parts if each.masks is not None]
        resets = [each.resets for each in parts if each.resets is not None]
        return cls(
            np.concatenate([each.x for each in parts], axis=1),
            np.concatenate([each.dy for each in parts], axis=1),
            type(parts[0].state)(
                *(
                    np.concatenate(arrays, axis=1)
                    for arrays in zip(*(each.state for each in parts), strict=True)
                )
            ),
            np.concatenate(lengths) if lengths else None,
            np.concatenate(masks, axis=2) if masks else None,
            np.concatenate(resets, axis=1) if resets else None,
            parts[0].reset_to,
        )


@dataclass(frozen=True)
class Workload:
    """Describe how much data one step processes, and what it does with the data.

    Attributes
    ----------
    batch, timesteps
        The sizes B and T.
    mode
        ``inference`` is the forward pass. ``training`` is the forward pass and gradients.
        ``streaming`` is the forward pass of a chunk of T timesteps of an endless stream, whose
        state is carried from each call to the next.
    min_length
        None if every sequence has T timesteps. Otherwise the lengths are spread evenly from this
        number to T, in a random order, and sequences are right-padded.
    window
        None if the step takes the entire sequence at once. Otherwise the sequence is cut into
        windows of this many timesteps. The state is carried from window to window, and the gradient
        stops between them.
    dropout
        The rate of inverted dropout between layers in training.
    batch_major
        Whether the arrays on the device are ``[batch, time, feature]``.
    optimizer
        None if the gradients are only computed. Otherwise, one of ``OPTIMIZERS``, with which each
        training step or each of its windows updates the weights.
    gradients
        What each training step or each of its windows differentiates, one of ``GRADIENTS``. Between
        layers, the gradient of the input is always computed. Inference has the default.
    period
        In streaming, the seconds between the times at which calls are due, as with a sensor or a
        sound card. None means that each call begins when the previous one has ended.
    reset_rate
        The part of the steps at which a sequence starts over, in the middle of the call; 0 if none
        does. The number of such steps is the same for each seed, and at least one.
    reset_to
        The state from which a sequence starts over, one of ``RESET_TO``.

    Raises
    ------
    ValueError
        If a field has a wrong value. The message names the field.
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
    reset_rate: float = 0.0
    reset_to: str = "zeros"

    def __post_init__(self) -> None:
        require_positive_integer("Workload.batch", self.batch)
        require_positive_integer("Workload.timesteps", self.timesteps)
        require_choice("Workload.mode", self.mode, MODES)
        require_flag("Workload.batch_major", self.batch_major)
        require_choice("Workload.gradients", self.gradients, GRADIENTS)
        require_choice("Workload.reset_to", self.reset_to, RESET_TO)
        for field, problem in self._problems():
            raise ValueError(f"Workload.{field} is {getattr(self, field)!r}{problem}")

    def _problems(self) -> Iterator[tuple[str, str]]:
        """Yield each wrong field with the rest of the sentence that says what is wrong."""
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
        if not 0.0 <= self.reset_rate <= 1.0:
            yield "reset_rate", "; expected 0 to 1"
        if self.reset_to != "zeros" and not self.reset_rate:
            yield "reset_to", ", but reset_rate is 0; expected 'zeros' where there are no resets"
        if self.reset_to != "zeros" and self.streaming:
            # Of a chunk that is the state that the call before left, which is no beginning.
            yield "reset_to", ", but mode is 'streaming'; expected 'zeros'"
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for files. Resets are named only if there are any."""
        data = asdict(self)
        if not self.reset_rate:
            del data["reset_rate"]
        if self.reset_to == "zeros":
            del data["reset_to"]
        return data

    @property
    def training(self) -> bool:
        """Whether the step computes gradients."""
        return self.mode == "training"

    @property
    def streaming(self) -> bool:
        """Whether the step takes a chunk of a stream."""
        return self.mode == "streaming"

    def lengths(self, seed: int | np.random.Generator = 0) -> npt.NDArray[np.int32] | None:
        """Return the valid timesteps of each sequence ``[batch]``, or None if all have T.

        Every seed gives the same lengths in another order, so that all seeds take the same time.
        One length is T, and another is ``min_length``. If the batch has four sequences or more, two
        lengths are equal.
        """
        if self.min_length is None:
            return None
        spread = np.linspace(self.timesteps, self.min_length, self.batch).round().astype(np.int32)
        return np.random.default_rng(seed).permutation(_make_a_tie(spread))

    def resets(self, seed: int | np.random.Generator = 0) -> npt.NDArray[np.bool_] | None:
        """Return before which steps a sequence starts over, bool ``[T, B]``, or None if none does.

        Every seed gives as many resets, at other places, so that all take the same time.
        """
        if not self.reset_rate:
            return None
        steps = self.timesteps * self.batch
        count = max(1, round(self.reset_rate * steps))
        places = np.random.default_rng(seed).permutation(steps)[:count]
        resets = np.zeros(steps, bool)
        resets[places] = True
        return resets.reshape(self.timesteps, self.batch)

    def windows(self) -> list[slice]:
        """Return the slices of time that one step takes, one after the other."""
        size = self.window or self.timesteps
        return [
            slice(start, min(start + size, self.timesteps))
            for start in range(0, self.timesteps, size)
        ]

    def first_window(self) -> Workload:
        """Return a workload of only the first window."""
        return replace(self, timesteps=self.windows()[0].stop, window=None)

    def valid_timesteps(self) -> int:
        """Return the number of timesteps in all sequences that are not padding."""
        if self.min_length is None:
            return self.batch * self.timesteps
        if self.batch > MOST_LISTED:
            return self.batch * (self.timesteps + self.min_length) // 2
        lengths = self.lengths()
        return 0 if lengths is None else int(lengths.sum(dtype=np.int64))

    def inputs(self, spec: LSTMSpec, seed: int = 0) -> Inputs:
        """Draw x, dy, the initial state, lengths, dropout masks and resets from one seed."""
        rng = np.random.default_rng(seed)
        shape = (self.timesteps, self.batch)
        state_shape = (spec.state_layers, self.batch, spec.hidden_size)
        x = spec.quantize(rng.standard_normal((*shape, spec.input_size)))
        dy = spec.quantize(rng.standard_normal((*shape, spec.output_size)))
        drawn = (rng.uniform(-0.5, 0.5, state_shape) for _ in spec.cell.states)
        state = spec.cell.state_type(*map(spec.quantize, drawn))
        masks = None
        if self.drops_units(spec):
            masks = dropout_masks(spec, self.timesteps, self.batch, self.dropout, rng)
        return Inputs(x, dy, state, self.lengths(rng), masks, self.resets(rng), self.reset_to)

    def drops_units(self, spec: LSTMSpec) -> bool:
        """Return whether a step of this network takes dropout masks."""
        return bool(self.dropout) and self.training and spec.num_layers > 1


def _make_a_tie(spread: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Make two descending lengths equal if all differ, and keep the sum and both ends."""
    lengths = spread.copy()
    if len(lengths) < 4 or len(np.unique(lengths)) < len(lengths):
        return lengths
    if len(lengths) == 4:
        # One of the two middle lengths becomes T, and the other one becomes a second shortest
        # length.
        lengths[1:3] = lengths[0], lengths[1] + lengths[2] - lengths[0]
        return lengths
    # Among three whole numbers, two are both even or both odd, so that their mean is whole.
    pairs = ((1, 2), (2, 3), (1, 3))
    first, second = next(pair for pair in pairs if lengths[[*pair]].sum() % 2 == 0)
    lengths[[first, second]] = (lengths[first] + lengths[second]) // 2
    return lengths


def dropout_masks(
    spec: LSTMSpec, timesteps: int, batch: int, rate: float, seed: int | np.random.Generator
) -> FloatArray:
    """Draw inverted dropout masks between layers ``[L-1, T, B, D*H]`` of 0 and 1/(1-rate).

    The masks are an input of the step, so that every backend and the reference drop the same units.
    """
    rng = np.random.default_rng(seed)
    shape = (spec.num_layers - 1, timesteps, batch, spec.output_size)
    return spec.quantize((rng.random(shape) >= rate) / (1.0 - rate))


PLACED_BYTES = 2**27
"""The bytes of the sets of inputs that are placed at once. A single set may be larger."""

MOST_PLACED = 1024
"""The most sets of inputs that are placed at once. In a block of 10 ms, only steps that take less
than 10 us use some of them twice."""

DRAWN_TOGETHER = 2**17
"""How many numbers of inputs are drawn at once. Starting a random generator takes as long as
drawing some thousand numbers, and a block of small steps needs hundreds of sets."""

TABLE, GROUP = 2**16, 4
"""The number of groups of normally distributed numbers, and the size of a group.

The numbers of a set consist of groups that are each chosen by 16 random bits. Drawing each number
from the distribution would take eight times as long, which is as long as a step of a large network.
"""


class InputSets:
    """Draw independent sets of inputs, by number, on which a workload's steps work while timed.

    Each set has its own x, lengths, dropout masks and resets, and in training its own dy. It also
    has its own initial state, except in a stream, where only the first chunk begins with a given
    state. Set 0 is what ``Workload.inputs`` draws. No set can be computed from another one, so that
    a backend cannot reuse results.
    """

    def __init__(self, spec: LSTMSpec, workload: Workload, seed: int = 0) -> None:
        self.first = workload.inputs(spec, seed)
        self._spec = spec
        self._workload = workload
        self._seed = seed
        table = np.random.default_rng([seed, 1]).standard_normal((TABLE, GROUP), np.float32)
        self._table = spec.quantize(table)
        sizes = [self.first.x.size]
        sizes += [self.first.dy.size] * workload.training
        self._together = max(1, min(MOST_PLACED, DRAWN_TOGETHER // sum(sizes)))
        self._drawn: tuple[int, list[Inputs]] = -1, []

    def __call__(self, number: int) -> Inputs:
        """Return a copy of the set of this number, 0 or more."""
        if number == 0:
            return self.first.copy()
        run, place = divmod(number - 1, self._together)
        if self._drawn[0] != run:
            self._drawn = run, self._draw(np.random.default_rng([self._seed, 2, run]))
        return self._drawn[1][place].copy()

    def _draw(self, rng: np.random.Generator) -> list[Inputs]:
        """Draw the sets of consecutive numbers."""
        first, work, spec, count = self.first, self._workload, self._spec, self._together

        def normal(like: FloatArray) -> FloatArray:
            groups = -(-count * like.size // GROUP)
            bits = rng.integers(0, 2**64, -(-groups // 4), np.uint64).view(np.uint16)[:groups]
            numbers = np.take(self._table, bits, axis=0).ravel()
            return numbers[: count * like.size].reshape(count, *like.shape)

        def uniform(like: FloatArray) -> FloatArray:
            return spec.quantize(rng.random((count, *like.shape), np.float32) - np.float32(0.5))

        x = normal(first.x)
        dy = normal(first.dy) if work.training else [first.dy] * count
        states = [first.state] * count
        if not work.streaming:
            drawn = zip(*map(uniform, first.state), strict=True)
            states = [type(first.state)(*arrays) for arrays in drawn]
        masks: list[FloatArray | None] = [None] * count
        if work.drops_units(spec):
            sizes = work.timesteps, work.batch, work.dropout
            masks = [dropout_masks(spec, *sizes, rng) for _ in range(count)]
        return [
            Inputs(
                *(x[k], dy[k], states[k], work.lengths(rng), masks[k]),
                work.resets(rng),
                work.reset_to,
            )
            for k in range(count)
        ]

    def max_sets(self) -> int:
        """Return how many of the sets may be placed at once."""
        first, work = self.first, self._workload
        placed = first.x.nbytes
        if work.training:
            # A step that updates weights has the gradient of the outputs with both signs.
            placed += first.dy.nbytes * (1 if work.optimizer is None else 2)
        if not work.streaming:
            placed += sum(array.nbytes for array in first.state)
        if first.masks is not None:
            placed += first.masks.nbytes
        if first.resets is not None:
            placed += first.resets.nbytes
        return max(1, min(MOST_PLACED, PLACED_BYTES // placed))
