"""The echo task: random bits in, the same bits ``echo`` steps later out, learned window by window.

The task of the 2016 tutorial "Using the LSTM API in TensorFlow (3/7)": its data, the softmax head,
the loss, Adagrad and the loop of truncated back-propagation, with the state carried from window to
window; and beside it, in the same loop, copy memory, where a symbol is worth keeping only now and
then, so that a far dependency needs no large memory. Only the LSTM itself is a backend's, reached
through the library's framework-neutral face; all the rest is float64 NumPy, the same for every
backend, so that two loss curves can differ by nothing but how the LSTM rounds. It knows no
framework, no terminal and no picture.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.result_writer import write_bytes
from lstm_impl import (
    PRECISIONS,
    LSTMGradients,
    LSTMSpec,
    LSTMState,
    LSTMWeights,
    Model,
    dropout_masks,
    get_backend,
)
from lstm_impl.spec import FloatArray

Float64 = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint8]

INITIAL_ACCUMULATOR = 0.1
"""TensorFlow's ``AdagradOptimizer`` starts its sums of squared gradients here, not at zero."""

OPTIMIZERS = ("adagrad", "adam")
TASKS = ("echo", "copy")

ALPHABET = 4
"""Symbols of copy memory: numbered 1 to 4 in inputs and targets; 0 is a blank, or nothing asked."""

COPY_INPUTS = ALPHABET + 2
"""Inputs of copy memory, one-hot: the blank, the symbols, and the mark that asks for them."""

COIN_TOSS = float(np.log(2.0))
"""Loss, in nats, of one who knows nothing of the bits: the natural logarithm of 2."""


class SettingsError(ValueError):
    """A setting that makes no sense; ``field`` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class DivergedError(ArithmeticError):
    """The loss or a weight is no longer a finite number."""


class CheckpointError(ValueError):
    """A file that is no checkpoint of this task, or not a whole one."""


@dataclass(frozen=True)
class EchoSettings:
    """Everything that decides the loss curve, apart from the backend's rounding.

    bits: random bits drawn for each epoch, cut into ``batch`` series that follow one another.
    echo: the target is the bit of this many steps earlier.
    batch: series that are worked on side by side.
    window: timesteps that one training step back-propagates through.
    stride: timesteps between the starts of two windows; None for the window's own length. With a
        shorter one, windows overlap, and from the second on only the newest ``stride`` steps of a
        window count in the loss, so that each bit counts once.
    units, layers: the LSTM's size.
    dropout: rate of inverted dropout between layers.
    learning_rate: of Adagrad.
    seed: of the weights, the bits and the dropout masks.
    dtype: the LSTM's precision.
    reset_state: each window starts from the zero state instead of where the one before ended.
    optimizer: "adagrad", the tutorial's, or "adam".
    task: "echo" or "copy". With "copy", ``bits`` counts steps and ``echo`` is the distance from a
        symbol to where it is wanted (``draw_copy_series``).
    symbols: how many symbols of copy memory follow one another; at most its distance.
    blanks: whether copy memory asks for a blank wherever no symbol is wanted, as the paper does,
        or for nothing there.
    memory: timesteps up to which the units' time constants are spread at the start, by the gates'
        biases (``Parameters.initial``); 0 leaves the biases as ``LSTMWeights.random`` draws them.

    Raises SettingsError where one is not what it should be.
    """

    bits: int = 50_000
    echo: int = 3
    batch: int = 5
    window: int = 15
    stride: int | None = None
    units: int = 4
    layers: int = 1
    dropout: float = 0.0
    learning_rate: float = 0.3
    seed: int = 0
    dtype: str = "float32"
    reset_state: bool = False
    optimizer: str = "adagrad"
    task: str = "echo"
    symbols: int = 1
    memory: int = 0
    blanks: bool = False

    def __post_init__(self) -> None:
        for field in ("bits", "batch", "window", "units", "layers"):
            _require_integer(field, getattr(self, field), 1)
        _require_integer("echo", self.echo, 0)
        _require_integer("seed", self.seed, 0)
        if self.echo >= self.bits:
            raise SettingsError(
                "echo", f"is {self.echo}; expected less than the {self.bits} bits of an epoch"
            )
        if self.batch > self.bits:
            raise SettingsError(
                "batch", f"is {self.batch}; expected at most the {self.bits} bits of an epoch"
            )
        if self.window > self.timesteps:
            raise SettingsError(
                "window",
                f"is {self.window}; expected at most {self.timesteps}, the timesteps of each "
                f"series ({self.bits} bits in {self.batch} series)",
            )
        if self.stride is not None:
            _require_integer("stride", self.stride, 1)
            if self.stride > self.window:
                raise SettingsError(
                    "stride",
                    f"is {self.stride}; expected at most the window, {self.window}: "
                    "a longer one would skip bits",
                )
        if not _is_number(self.dropout) or not 0.0 <= self.dropout < 1.0:
            raise SettingsError(
                "dropout", f"is {self.dropout!r}; expected at least 0 and less than 1"
            )
        if self.dropout and self.layers == 1:
            raise SettingsError(
                "dropout", "acts between layers and there is one; ask for at least 2 layers"
            )
        if not _is_number(self.learning_rate) or not 0.0 < self.learning_rate < np.inf:
            raise SettingsError(
                "learning_rate", f"is {self.learning_rate!r}; expected a positive number"
            )
        if self.dtype not in PRECISIONS:
            raise SettingsError(
                "dtype", f"is {self.dtype!r}; expected one of {', '.join(PRECISIONS)}"
            )
        for field in ("reset_state", "blanks"):
            if not isinstance(getattr(self, field), bool):
                raise SettingsError(field, f"is {getattr(self, field)!r}; expected True or False")
        for field, known in (("optimizer", OPTIMIZERS), ("task", TASKS)):
            if getattr(self, field) not in known:
                raise SettingsError(
                    field, f"is {getattr(self, field)!r}; expected {' or '.join(known)}"
                )
        _require_integer("symbols", self.symbols, 1)
        _require_integer("memory", self.memory, 0)
        if self.task == "echo" and self.symbols != 1:
            raise SettingsError("symbols", f"is {self.symbols}; only copy memory has more than 1")
        if self.task == "echo" and self.blanks:
            raise SettingsError("blanks", "are asked for in copy memory only")
        if self.task == "copy" and self.symbols > self.echo:
            raise SettingsError(
                "symbols", f"is {self.symbols}; expected at most the distance, {self.echo}"
            )

    @property
    def spec(self) -> LSTMSpec:
        """The network: one bit in, or one of copy memory's inputs; ``units`` out."""
        return LSTMSpec(
            input_size=1 if self.task == "echo" else COPY_INPUTS,
            hidden_size=self.units,
            num_layers=self.layers,
            dtype=self.dtype,
        )

    @property
    def classes(self) -> int:
        """How many things may be asked for."""
        return 2 if self.task == "echo" else ALPHABET + self.blanks

    @property
    def first_class(self) -> int:
        """The smallest target that is asked for: below it nothing is."""
        return 0 if self.task == "echo" or self.blanks else 1

    @property
    def period(self) -> int:
        """Timesteps from one episode of copy memory to the next."""
        return self.echo + self.symbols

    @property
    def timesteps(self) -> int:
        """Timesteps of each series; bits that do not fill one more step of all series are left."""
        return self.bits // self.batch

    @property
    def step(self) -> int:
        """Timesteps from the start of one window to the start of the next."""
        return self.window if self.stride is None else self.stride

    @property
    def windows_per_epoch(self) -> int:
        """Whole windows in an epoch; what is left at its end is not used, as in the tutorial."""
        return (self.timesteps - self.window) // self.step + 1

    def counted(self, window: int) -> slice:
        """The timesteps of an epoch's window number ``window`` that its loss is the mean over."""
        return slice(0 if window == 0 else self.window - self.step, self.window)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EchoSettings:
        """The settings that ``dataclasses.asdict`` gave. Raises SettingsError."""
        known = {field.name for field in fields(cls)}
        # What came later: a checkpoint from before then is of the one that there was.
        data = {"optimizer": "adagrad", "task": "echo", "symbols": 1, "memory": 0, **data}
        data = {"blanks": False, **data}
        for name in (*data, *known):
            if (name in data) != (name in known):
                raise SettingsError(name, "is missing" if name in known else "is unknown")
        return cls(**data)


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


def _draw(settings: EchoSettings, rng: np.random.Generator) -> tuple[Bits, Bits]:
    return (draw_series if settings.task == "echo" else draw_copy_series)(settings, rng)


def _encode(settings: EchoSettings, inputs: Bits) -> FloatArray:
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
    if settings.task == "copy":
        return _best_copy_loss(settings)
    windows, length = settings.windows_per_epoch, settings.window
    starts = np.arange(windows) * settings.step
    time = starts[:, None] + np.arange(length)[None, :]  # [window, position], within the epoch
    # Where series b at this time has its echo from before the stream's first bit, its target is 0
    # for certain; elsewhere a bit that was not seen is 0 half the time.
    begun = np.ceil((settings.echo - time) / settings.timesteps).clip(0, settings.batch)
    zeros = 0.5 + 0.5 * begun / settings.batch
    counted = np.ones((windows, length), bool)
    counted[1:, : length - settings.step] = False
    seen = np.broadcast_to(np.arange(length), time.shape) if settings.reset_state else time
    unknown = seen < settings.echo
    guess = zeros
    if settings.reset_state:
        guess = np.broadcast_to(
            (zeros * counted).sum(axis=0) / counted.sum(axis=0).clip(1), zeros.shape
        )
    cost = np.zeros(time.shape)
    cost[unknown] = _cross_entropy(zeros[unknown], guess[unknown])
    return np.asarray((cost * counted).sum(axis=1) / counted.sum(axis=1), np.float64)


def _best_copy_loss(settings: EchoSettings) -> Float64:
    windows, length = settings.windows_per_epoch, settings.window
    time = np.arange(windows)[:, None] * settings.step + np.arange(length)[None, :]
    seen = np.broadcast_to(np.arange(length), time.shape) if settings.reset_state else time
    unknown = (seen < settings.echo) * memoryless_loss(settings)
    counted = np.ones((windows, length), bool)
    counted[1:, : length - settings.step] = False
    return np.asarray((unknown * counted).sum(axis=1) / counted.sum(axis=1), np.float64)


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


@dataclass(frozen=True)
class Parameters:
    """What is learned: the LSTM's weights, and the head's kernel ``[H, C]`` and bias ``[C]``.

    C is the number of classes: 2 for the echo.

    Kept in float64 whatever the LSTM computes in; the model rounds its own copy.
    """

    lstm: LSTMWeights
    kernel: Float64
    bias: Float64

    @classmethod
    def initial(cls, settings: EchoSettings, rng: np.random.Generator) -> Parameters:
        """``LSTMWeights.random`` and a head drawn within ``1/sqrt(H)`` as they are, bias zero.

        With ``settings.memory`` the biases of forget and input gates are those of Tallec & Ollivier
        (2018), "Can recurrent neural networks warp time?": ln u and -ln u, u uniform between 1 and
        ``memory``, for each unit. A unit then begins as one that forgets in about u steps.

        The same numbers for every dtype, before rounding.
        """
        spec = replace(settings.spec, dtype="float64")
        limit = 1.0 / np.sqrt(settings.units)
        lstm = LSTMWeights.random(spec, seed=int(rng.integers(2**32)))
        if settings.memory:
            for cell in (cell for layer in lstm.layers for cell in layer):
                spread = np.log(rng.uniform(1.0, settings.memory, settings.units))
                cell.bias[: settings.units] = -spread
                cell.bias[settings.units : 2 * settings.units] = spread
        return cls(
            lstm,
            rng.uniform(-limit, limit, (settings.units, settings.classes)),
            np.zeros(settings.classes),
        )

    def arrays(self) -> list[Float64]:
        """The LSTM's arrays, then the head's kernel and bias."""
        return [*(np.asarray(a, np.float64) for a in self.lstm.arrays()), self.kernel, self.bias]

    @classmethod
    def from_arrays(cls, spec: LSTMSpec, arrays: list[Float64], classes: int = 2) -> Parameters:
        """What ``arrays()`` came from. Raises ValueError where a shape is wrong."""
        *lstm, kernel, bias = arrays
        if kernel.shape != (spec.output_size, classes) or bias.shape != (classes,):
            raise ValueError(
                f"the head has shapes {kernel.shape} and {bias.shape}; "
                f"expected {(spec.output_size, classes)} and ({classes},)"
            )
        return cls(LSTMWeights.from_arrays(spec, lstm), kernel, bias)


def softmax_loss(
    y: Float64, targets: Bits, kernel: Float64, bias: Float64, first: int = 0
) -> HeadResult:
    """The softmax head on LSTM outputs ``y [T, B, H]``: loss, its gradients, the predictions.

    The loss is the mean cross-entropy of ``targets [T, B]``, numbers of classes from ``first`` on,
    in nats. Where a target is below ``first`` nothing is asked, and that costs nothing.
    """
    logits = y @ kernel + bias
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(logits).sum(axis=-1))
    right = targets[..., None] == np.arange(len(bias)) + first
    asked = targets >= first
    log_right = np.where(right, logits - log_sum[..., None], 0.0).sum(axis=-1)
    probabilities = np.exp(logits - log_sum[..., None])
    dlogits = (probabilities - right) * asked[..., None]
    dlogits /= targets.size
    flat = dlogits.reshape(-1, len(bias))
    return HeadResult(
        loss=float(-log_right.mean()),
        dy=dlogits @ kernel.T,
        dkernel=y.reshape(len(flat), -1).T @ flat,
        dbias=flat.sum(axis=0),
        ones=probabilities[..., 1],
        # Of equally likely classes the first.
        accuracy=float(np.mean((probabilities.argmax(axis=-1) + first == targets) | ~asked)),
    )


@dataclass(frozen=True)
class HeadResult:
    """What ``softmax_loss`` returns: gradients as their arrays; ones ``[T, B]``, P(bit = 1).

    accuracy: share of the targets that were thought the likeliest, or not asked for.
    """

    loss: float
    accuracy: float
    dy: Float64
    dkernel: Float64
    dbias: Float64
    ones: Float64


def adagrad(
    parameters: list[Float64],
    accumulators: list[Float64],
    gradients: list[Float64],
    learning_rate: float,
) -> tuple[list[Float64], list[Float64]]:
    """New parameters and accumulators after one step of Adagrad as TensorFlow has it.

    The accumulator takes the squared gradient first; no epsilon is added, since it never is zero
    (Duchi, Hazan & Singer 2011; ``ResourceApplyAdagrad``).
    """
    sums = [a + g * g for a, g in zip(accumulators, gradients, strict=True)]
    moved = [
        p - learning_rate * g / np.sqrt(a)
        for p, g, a in zip(parameters, gradients, sums, strict=True)
    ]
    return moved, sums


def adam(
    parameters: list[Float64],
    moments: list[Float64],
    gradients: list[Float64],
    learning_rate: float,
    step: int,
) -> tuple[list[Float64], list[Float64]]:
    """New parameters and moments after step number ``step``, from 1, of Adam (Kingma & Ba 2015).

    moments: the running means of the gradients, then those of their squares. Decays 0.9 and 0.999,
    epsilon 1e-8 beside the root, as in the paper's algorithm 1.
    """
    count = len(parameters)
    first = [0.9 * m + 0.1 * g for m, g in zip(moments[:count], gradients, strict=True)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(moments[count:], gradients, strict=True)]
    one, two = 1.0 - 0.9**step, 1.0 - 0.999**step
    moved = [
        p - learning_rate * (m / one) / (np.sqrt(v / two) + 1e-8)
        for p, m, v in zip(parameters, first, second, strict=True)
    ]
    return moved, [*first, *second]


class Trainable(Protocol):
    """What a training needs of an LSTM: the part of ``lstm_impl.Model`` that it calls."""

    spec: LSTMSpec

    def set_weights(self, weights: LSTMWeights) -> None:
        """As ``Model.set_weights``."""

    def forward(
        self,
        x: npt.ArrayLike,
        state: LSTMState | None = None,
        *,
        masks: npt.ArrayLike | None = None,
    ) -> tuple[FloatArray, LSTMState]:
        """As ``Model.forward``."""

    def gradients(
        self,
        x: npt.ArrayLike,
        dy: FloatArray,
        state: LSTMState | None = None,
        *,
        masks: npt.ArrayLike | None = None,
    ) -> LSTMGradients:
        """As ``Model.gradients``."""


class Training:
    """A training of the echo task, one window a step, that can be saved and gone on with.

    model: an LSTM with ``settings.spec``, from any backend; its weights are set here.
    losses, accuracies: one entry a window done.
    last: the latest window, or None before the first.
    """

    def __init__(self, settings: EchoSettings, model: Trainable) -> None:
        if model.spec != settings.spec:
            raise ValueError(f"the model is a {model.spec}; the settings ask for {settings.spec}")
        self.settings = settings
        self.model = model
        # One source each, so that dropout does not change the bits, nor the sizes the weights.
        weights, bits, masks = np.random.SeedSequence(settings.seed).spawn(3)
        self.parameters = Parameters.initial(settings, np.random.default_rng(weights))
        arrays = self.parameters.arrays()
        if settings.optimizer == "adam":
            self._accumulators = [np.zeros_like(array) for array in (*arrays, *arrays)]
        else:
            self._accumulators = [np.full_like(array, INITIAL_ACCUMULATOR) for array in arrays]
        self._bits_rng = np.random.default_rng(bits)
        self._masks_rng = np.random.default_rng(masks)
        self._epoch_rng = self._bits_rng.bit_generator.state  # before this epoch's bits were drawn
        self._series: tuple[Bits, Bits] | None = None
        self.state = LSTMState.zeros(settings.spec, settings.batch)
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.last: Window | None = None
        model.set_weights(self.parameters.lstm)

    @property
    def windows_done(self) -> int:
        """Training steps so far."""
        return len(self.losses)

    def step(self) -> Window:
        """Train on the next window, beginning a new epoch where one is due.

        Raises DivergedError, UnsupportedError if the backend cannot do what the settings ask.
        """
        settings = self.settings
        number = self.windows_done % settings.windows_per_epoch
        if number == 0:
            self._epoch_rng = self._bits_rng.bit_generator.state
            self._series = _draw(settings, self._bits_rng)
        assert self._series is not None
        start = number * settings.step
        inputs, targets = (bits[start : start + settings.window] for bits in self._series)
        state = self.state
        if number == 0 or settings.reset_state:
            state = LSTMState.zeros(settings.spec, settings.batch)
        x = _encode(settings, inputs)
        masks = None
        if settings.dropout:
            masks = dropout_masks(
                settings.spec, settings.window, settings.batch, settings.dropout, self._masks_rng
            )
        y, following = self._forward(x, state, masks)
        counted = settings.counted(number)
        head = softmax_loss(
            y[counted],
            targets[counted],
            self.parameters.kernel,
            self.parameters.bias,
            first=settings.first_class,
        )
        if not np.isfinite(head.loss):
            raise self._diverged()
        # A mean over many steps makes each step's gradient small, down to where half precision
        # has no numbers left, and their sum makes it large; in between is room. A power of two:
        # single and double precision compute the same with it as without.
        scale = 2.0 ** round(0.5 * np.log2(targets[counted].size))
        dy = np.zeros(y.shape)
        dy[counted] = head.dy * scale
        gradients = self.model.gradients(x, dy, state, masks=masks)
        found = [*_unscaled(gradients, scale), head.dkernel, head.dbias]
        before, rate = self.parameters.arrays(), settings.learning_rate
        if settings.optimizer == "adam":
            moved, sums = adam(before, self._accumulators, found, rate, self.windows_done + 1)
        else:
            moved, sums = adagrad(before, self._accumulators, found, rate)
        if not all(np.all(np.isfinite(array)) for array in moved):
            raise self._diverged()
        ones = self._ones(y, head, counted)
        window = Window(
            loss=head.loss,
            accuracy=head.accuracy,
            inputs=inputs,
            targets=targets,
            ones=ones,
            counted=counted,
        )
        parameters = Parameters.from_arrays(settings.spec, moved, settings.classes)
        self.model.set_weights(parameters.lstm)
        self.parameters, self._accumulators, self.state = parameters, sums, following
        self.last = window
        self.accuracies.append(window.accuracy)
        self.losses.append(window.loss)
        return window

    def _diverged(self) -> DivergedError:
        return DivergedError(
            f"the training diverged at window {self.windows_done + 1}: loss or weights are no "
            "longer finite; lower the learning rate or take a wider dtype"
        )

    def _forward(
        self, x: FloatArray, state: LSTMState, masks: FloatArray | None
    ) -> tuple[Float64, LSTMState]:
        """The window's outputs, and the state from which the next window starts."""
        settings = self.settings
        parts = [slice(0, settings.window)]
        if settings.step < settings.window and not settings.reset_state:
            # The next window starts inside this one: its state is the one on the way.
            parts = [slice(0, settings.step), slice(settings.step, settings.window)]
        outputs, states = [], []
        for part in parts:
            y, state = self.model.forward(
                x[part], state, masks=None if masks is None else masks[:, part]
            )
            outputs.append(np.asarray(y, np.float64))
            states.append(state)
        return np.concatenate(outputs), states[0]

    def _ones(self, y: Float64, head: HeadResult, counted: slice) -> Float64:
        """P(bit = 1) for the whole window: the steps that do not count have been seen before."""
        before = y[: counted.start]
        if not len(before):
            return head.ones
        logits = before @ self.parameters.kernel + self.parameters.bias
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.concatenate([(shares / shares.sum(axis=-1, keepdims=True))[..., 1], head.ones])

    # -- checkpoints

    def save(self, path: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write everything that the rest of the curve depends on, atomically, as an ``.npz``.

        extra: plain data to keep with it. Raises ResultWriteError.
        """
        about = {
            "schema": CHECKPOINT_SCHEMA,
            "settings": asdict(self.settings),
            "bits_rng": self._bits_rng.bit_generator.state,
            "epoch_rng": self._epoch_rng,
            "masks_rng": self._masks_rng.bit_generator.state,
            "extra": dict(extra or {}),
        }
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "about": np.asarray(json.dumps(about)),
            "losses": np.asarray(self.losses, np.float64),
            "accuracies": np.asarray(self.accuracies, np.float64),
            "state.h": self.state.h,
            "state.c": self.state.c,
        }
        for name, saved in (
            ("parameter", self.parameters.arrays()),
            ("accumulator", self._accumulators),
        ):
            arrays.update((f"{name}.{number}", value) for number, value in enumerate(saved))
        if self.last is not None:
            for name in ("inputs", "targets", "ones"):
                arrays[f"last.{name}"] = getattr(self.last, name)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        write_bytes(path, file.getvalue())

    @classmethod
    def load(cls, checkpoint: Checkpoint, build: Callable[[EchoSettings], Trainable]) -> Training:
        """The training that was saved, with a model that ``build`` makes for its settings."""
        training = cls(checkpoint.settings, build(checkpoint.settings))
        training._restore(checkpoint)
        return training

    def _restore(self, checkpoint: Checkpoint) -> None:
        settings = self.settings
        self.parameters = checkpoint.parameters
        self._accumulators = checkpoint.accumulators
        self.state = checkpoint.state
        self.losses = checkpoint.losses.tolist()
        self.accuracies = checkpoint.accuracies.tolist()
        self._epoch_rng = checkpoint.rng["epoch_rng"]
        self._masks_rng.bit_generator.state = checkpoint.rng["masks_rng"]
        position = self.windows_done % settings.windows_per_epoch
        if position:
            self._bits_rng.bit_generator.state = self._epoch_rng
            self._series = _draw(settings, self._bits_rng)
        self._bits_rng.bit_generator.state = checkpoint.rng["bits_rng"]
        if checkpoint.last is not None:
            inputs, targets, ones = checkpoint.last
            number = (self.windows_done - 1) % settings.windows_per_epoch
            self.last = Window(
                loss=self.losses[-1],
                accuracy=self.accuracies[-1],
                inputs=inputs,
                targets=targets,
                ones=ones,
                counted=settings.counted(number),
            )
        self.model.set_weights(self.parameters.lstm)


def _unscaled(gradients: LSTMGradients, scale: float) -> list[Float64]:
    return [np.asarray(array, np.float64) / scale for array in gradients.weights.arrays()]


CHECKPOINT_SCHEMA = 1

# What NumPy and zipfile raise for files that are cut short, changed, or something else.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    SyntaxError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Checkpoint:
    """A training as ``Training.save`` wrote it, checked.

    rng: states of the random generators; last: inputs, targets and predictions of the latest
    window, or None before the first; extra: what the caller kept with it.
    """

    settings: EchoSettings
    parameters: Parameters
    accumulators: list[Float64]
    state: LSTMState
    losses: Float64
    accuracies: Float64
    rng: Mapping[str, Any]
    last: tuple[Bits, Bits, Float64] | None
    extra: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """The checkpoint in ``path``.

        Raises CheckpointError, in one line with the file and what is wrong with it.
        """
        try:
            # Opened here: given a path, NumPy leaves a file that is no archive open.
            with path.open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise CheckpointError(f"{path}: one bare array, no checkpoint of the echo task")
                arrays = {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            raise CheckpointError(f"{path}: there is no such checkpoint") from None
        except CheckpointError:
            raise
        except _UNREADABLE as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise CheckpointError(f"{path}: cannot be read as a checkpoint ({why})") from error
        try:
            return cls._parse(arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(
                f"{path}: no whole checkpoint of the echo task: {what}"
            ) from error

    @classmethod
    def _parse(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Checkpoint:
        about = json.loads(str(arrays["about"]))
        if about["schema"] != CHECKPOINT_SCHEMA:
            raise ValueError(
                f"its schema is {about['schema']!r}; this version reads {CHECKPOINT_SCHEMA}"
            )
        settings = EchoSettings.from_dict(about["settings"])
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
                raise ValueError(f"{name} holds NaN or infinity")
        spec = settings.spec
        count = len(LSTMWeights.random(spec).arrays()) + 2
        values = [np.asarray(arrays[f"parameter.{n}"], np.float64) for n in range(count)]
        sets = 2 if settings.optimizer == "adam" else 1  # of sums, one for each parameter
        totals = [np.asarray(arrays[f"accumulator.{n}"], np.float64) for n in range(sets * count)]
        parameters = Parameters.from_arrays(spec, values, settings.classes)
        for start in range(0, sets * count, count):
            # Checks the shapes: they are the parameters' own.
            Parameters.from_arrays(spec, totals[start : start + count], settings.classes)
        losses, accuracies = arrays["losses"], arrays["accuracies"]
        if losses.ndim != 1 or losses.shape != accuracies.shape:
            raise ValueError(f"losses have shape {losses.shape}, accuracies {accuracies.shape}")
        shape = (spec.state_layers, settings.batch, spec.hidden_size)
        state = LSTMState(h=arrays["state.h"], c=arrays["state.c"])
        if state.h.shape != shape or state.c.shape != shape:
            raise ValueError(f"the state's shape is {state.h.shape}; expected {shape}")
        rng = {name: about[name] for name in ("bits_rng", "epoch_rng", "masks_rng")}
        for name, saved in rng.items():
            try:
                np.random.default_rng(0).bit_generator.state = saved
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{name} is no state of a random generator") from error
        last: tuple[Bits, Bits, Float64] | None = None
        if len(losses):
            last = (arrays["last.inputs"], arrays["last.targets"], arrays["last.ones"])
            if any(array.shape != (settings.window, settings.batch) for array in last):
                raise ValueError("the last window's arrays are not [window, batch]")
        return cls(
            settings, parameters, totals, state, losses, accuracies, rng, last, about["extra"]
        )


def _require_integer(field: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingsError(field, f"is {value!r}; expected an integer of at least {least}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- how far rounding may move the curve

LINEAR_LIMIT = 0.1
"""Nats past which a deviation is too large for first-order reasoning to say anything about it."""

_PROBE = 1e-11
"""Relative size of the probing perturbations: far above float64's rounding, far below effect."""

_ELEMENTWISE = 16.0
"""Roundings, in units of roundoff, of a step's gates and states: frameworks' sigmoid and tanh are
within about 4 units in the last place (8 roundoffs), and half as much again for the products."""

_SAFETY = 4.0
"""The samples' root mean square is an estimate of a standard deviation; four of them hold it."""


def reference_curve(settings: EchoSettings, windows: int) -> Float64:
    """The first ``windows`` losses in float64 NumPy, against which every backend is held."""
    return _curve(replace(settings, dtype="float64"), windows, None)


def curve_bound(
    settings: EchoSettings,
    windows: int,
    *,
    reference: Float64 | None = None,
    samples: int = 4,
    seed: int = 0,
) -> Float64:
    """How far a backend's losses may be from ``reference_curve``, ``[windows]``, in nats.

    Infinite from the window on where no bound can be given: past ``LINEAR_LIMIT``, chaos rules.

    To first order the deviation after n windows is the sum over m of J(n)...J(m+1) r(m), where
    r(m) is what rounding adds in window m and J are the Jacobians of the training step (weights,
    accumulators, state). Each r(m) is, by backward error analysis, a relative perturbation of
    weights, states, outputs and gradients by at most ``rho`` roundoffs of the dtype:

        rho = sqrt(inputs + H + 1) + sqrt(window * batch) + elementwise roundings

    with the square roots of Higham & Mary (2019) for sums, of a gate's products and of a gradient's
    terms. No norm of J is known in advance (Adagrad's steps are large, and the product of norms
    would say nothing), so its effect is measured: ``samples`` trainings in float64, each with
    random perturbations of a known small size in all those places at every window, show by how
    much this training, on these bits, amplifies them. The bound is

        4 * rho * roundoff * A(n),   A(n) = max over m <= n of rms over samples of deviation / size

    It never falls: what a training forgets again is not counted on.

    reference: what ``reference_curve`` gave, if it is at hand already.
    """
    exact = replace(settings, dtype="float64")
    base = reference_curve(settings, windows) if reference is None else reference
    rng = np.random.default_rng(seed)
    deviations = [(_curve(exact, windows, child) - base) / _PROBE for child in rng.spawn(samples)]
    amplification = np.maximum.accumulate(np.sqrt(np.mean(np.square(deviations), axis=0)))
    inputs = max(exact.spec.layer_input_size(layer) for layer in range(exact.layers))
    rho = np.sqrt(inputs + exact.units + 1) + np.sqrt(exact.window * exact.batch) + _ELEMENTWISE
    bound = _SAFETY * rho * settings.spec.precision.roundoff * amplification
    # The loss itself is rounded too, even where nothing is amplified.
    bound += 4.0 * np.finfo(np.float64).eps
    return np.where(bound <= LINEAR_LIMIT, bound, np.inf)


def _curve(settings: EchoSettings, windows: int, noise: np.random.Generator | None) -> Float64:
    spec = settings.spec
    model = get_backend("numpy").build(spec, LSTMWeights.random(spec))
    training = Training(settings, model if noise is None else _Perturbed(model, noise))
    for _ in range(windows):
        training.step()
    return np.asarray(training.losses)


class _Perturbed:
    """A model with relative errors of size ``_PROBE`` wherever a backend rounds."""

    def __init__(self, model: Model, rng: np.random.Generator) -> None:
        self.spec = model.spec
        self._model = model
        self._rng = rng
        self._weights = model.get_weights()

    def _disturb(self, array: FloatArray) -> FloatArray:
        return array * (1.0 + _PROBE * self._rng.choice((-1.0, 1.0), np.shape(array)))

    def _disturbed(self, state: LSTMState) -> LSTMState:
        return LSTMState(h=self._disturb(state.h), c=self._disturb(state.c))

    def set_weights(self, weights: LSTMWeights) -> None:
        self._weights = weights

    def forward(
        self,
        x: npt.ArrayLike,
        state: LSTMState | None = None,
        *,
        masks: npt.ArrayLike | None = None,
    ) -> tuple[FloatArray, LSTMState]:
        self._model.set_weights(self._weights.map(self._disturb))
        y, following = self._model.forward(x, state, masks=masks)
        return self._disturb(y), self._disturbed(following)

    def gradients(
        self,
        x: npt.ArrayLike,
        dy: FloatArray,
        state: LSTMState | None = None,
        *,
        masks: npt.ArrayLike | None = None,
    ) -> LSTMGradients:
        self._model.set_weights(self._weights.map(self._disturb))
        found = self._model.gradients(x, self._disturb(dy), state, masks=masks)
        return replace(found, weights=found.weights.map(self._disturb))
