"""The echo task: what goes in, what should come out, and the best loss that anybody could reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.echo.settings import ALPHABET, COPY_INPUTS, EchoSettings
from lstm_impl.spec import FloatArray

Float64 = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

COIN_TOSS = float(np.log(2.0))
"""Loss, in nats, of one who knows nothing of the bits: the natural logarithm of 2."""


def draw_series(settings: EchoSettings, rng: np.random.Generator) -> tuple[Bits, Bits]:
    """One epoch's inputs and targets, each ``[timesteps, batch]`` of 0 and 1.

    As in the tutorial the echo is taken along the whole stream of bits before it is cut into
    series: the first targets of a series are the last bits of the series before it, and those of
    the first series are 0.
    """
    stream = rng.integers(0, 2, settings.bits, dtype=np.uint8)
    echoed = np.zeros_like(stream)
    echoed[settings.echo :] = stream[: settings.bits - settings.echo]
    used = settings.timesteps * settings.batch

    def cut(bits: Bits) -> Bits:
        return np.ascontiguousarray(bits[:used].reshape(settings.batch, settings.timesteps).T)

    return cut(stream), cut(echoed)


def draw_copy_series(settings: EchoSettings, rng: np.random.Generator) -> tuple[Bits, Bits]:
    """One epoch of copy memory's inputs and targets, each ``[timesteps, batch]`` of codes.

    After Arjovsky, Shah & Bengio (2016), as an endless stream: an episode shows ``symbols`` random
    symbols (1 to ``ALPHABET``), then blanks (0); ``echo`` steps after its start comes a mark
    (``ALPHABET + 1``), and from that step on the symbols are wanted in their order. The next
    episode follows at once. Each series begins at a random place within an episode, so that windows
    do not keep step with the episodes. Elsewhere the target is 0: nothing is asked there, or with
    ``settings.blanks`` a blank, as in the paper.
    """
    episodes = settings.timesteps // settings.period + 2
    shown = rng.integers(1, ALPHABET + 1, (episodes, settings.batch, settings.symbols))
    inputs = np.zeros((episodes, settings.batch, settings.period), np.uint8)
    targets = np.zeros_like(inputs)
    inputs[..., : settings.symbols] = shown
    inputs[..., settings.echo] = ALPHABET + 1
    targets[..., settings.echo :] = shown
    begin = rng.integers(0, settings.period, settings.batch)
    time = begin + np.arange(settings.timesteps)[:, None]
    place = (time // settings.period, np.arange(settings.batch), time % settings.period)
    return inputs[place], targets[place]


def draw(settings: EchoSettings, rng: np.random.Generator) -> tuple[Bits, Bits]:
    """Inputs and targets of the task that the settings name."""
    return (draw_series if settings.task == "echo" else draw_copy_series)(settings, rng)


def encode(settings: EchoSettings, inputs: Bits) -> FloatArray:
    """What the network is given for ``inputs [T, B]``, ``[T, B, input_size]``."""
    storage = settings.spec.precision.storage
    if settings.task == "echo":
        return inputs[..., None].astype(storage)
    one_hot: FloatArray = (inputs[..., None] == np.arange(COPY_INPUTS)).astype(storage)
    return one_hot


def memoryless_loss(settings: EchoSettings) -> float:
    """Nats a timestep of one who knows the episode's place but no symbol, or bit, of the past.

    A coin toss for the echo; ``symbols * ln(ALPHABET) / period`` for copy memory, the baseline of
    Arjovsky, Shah & Bengio (2016).
    """
    if settings.task == "echo":
        return COIN_TOSS
    return settings.symbols * float(np.log(ALPHABET)) / settings.period


def best_possible_loss(settings: EchoSettings) -> Float64:
    """The least expected loss of each window of an epoch, ``[windows_per_epoch]``, in nats.

    A target is known if the bit it repeats is among those that the network has seen since its
    state was last zero; it then costs nothing. Else the best prediction is the frequency of zeros
    among the targets that look alike to the network, and costs what that leaves open. The series
    of a batch look alike. With a carried state the first ``echo`` timesteps of an epoch are
    unknown. With a state reset at each window it is the first ``echo`` of every window, and the
    windows look alike too.

    In copy memory each place in an episode is equally likely at every step, and a step at which a
    symbol is wanted that was not seen costs ``ln(ALPHABET)``: to whoever knows the place, which
    the mark tells, no other step costs anything. (That is a bound which is reached where the place
    can be told: from the mark if one symbol is wanted at a time, after the first episode else.)

    A bound in expectation over the bits: chance can do better on a single window.
    """
    windows, length = settings.windows_per_epoch, settings.window
    position = np.arange(length)
    time = np.arange(windows)[:, None] * settings.step + position  # within the epoch
    seen = np.broadcast_to(position, time.shape) if settings.reset_state else time
    unknown = seen < settings.echo
    counted = np.ones(time.shape, bool)
    counted[1:, : length - settings.step] = False
    if settings.task == "copy":
        cost = unknown * memoryless_loss(settings)
    else:
        cost = _echo_cost(settings, time, unknown, counted)
    return np.asarray((cost * counted).sum(axis=1) / counted.sum(axis=1), np.float64)


def _echo_cost(settings: EchoSettings, time: Whole, unknown: Mask, counted: Mask) -> Float64:
    """Nats that the best guess of each echo costs; all arrays are ``[window, position]``."""
    # Where series b at this time has its echo from before the stream's first bit, its target is 0
    # for certain; elsewhere a bit that was not seen is 0 half the time.
    begun = np.ceil((settings.echo - time) / settings.timesteps).clip(0, settings.batch)
    zeros = 0.5 + 0.5 * begun / settings.batch
    guess = zeros
    if settings.reset_state:
        alike = (zeros * counted).sum(axis=0) / counted.sum(axis=0).clip(1)
        guess = np.broadcast_to(alike, zeros.shape)
    cost = np.zeros(time.shape)
    # What does not count may be a thing that a guess which is sure where it counts has wrong.
    paid = unknown & counted
    cost[paid] = _cross_entropy(zeros[paid], guess[paid])
    return cost


def _cross_entropy(truth: Float64, guess: Float64) -> Float64:
    """Nats that predicting ``guess`` costs where the probability is ``truth``, both of a zero."""
    result = np.zeros_like(truth)
    for p, q in ((truth, guess), (1.0 - truth, 1.0 - guess)):
        result[p > 0] -= p[p > 0] * np.log(q[p > 0])
    return result


@dataclass(frozen=True)
class Window:
    """One training step, as it went: before the weights moved.

    loss: mean cross-entropy over the counted timesteps, in nats.
    accuracy: share of the counted timesteps where the likelier bit was right. In copy memory the
        steps at which nothing is asked count as right.
    inputs, targets: bits (or copy memory's codes) ``[window, batch]``.
    ones: the predicted probability of a 1, ``[window, batch]``.
    counted: the timesteps that ``loss`` and ``accuracy`` are about.
    """

    loss: float
    accuracy: float
    inputs: Bits
    targets: Bits
    ones: Float64
    counted: slice
