"""Define the echo task: read a random stream of bits, and repeat each bit some timesteps later.

This is the task of the 2016 tutorial "Using the LSTM API in TensorFlow (3/7)". The defaults of
``EchoSettings`` are the tutorial's: repeat a bit after 3 timesteps, learn through windows of 15
timesteps, and carry the state from each window to the next.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.cli.command_line import UsageError
from bench.machine.fields import InputError
from lstm_impl import PRECISIONS, Backend, LSTMSpec, Workload

Float64 = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint8]

COIN_TOSS = float(np.log(2.0))
"""The loss of a prediction that knows nothing about the bits, in nats."""


class SettingsError(InputError):
    """A setting, named by ``field``, has an impossible value."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True)
class EchoSettings:
    """Hold everything that decides a loss curve except the rounding of the backend.

    Parameters
    ----------
    bits : int
        The number of random bits of each epoch, which are cut into ``batch`` consecutive series.
    echo : int
        The number of timesteps between a bit and its repetition.
    batch : int
        The number of parallel series.
    window : int
        The number of timesteps that one training step back-propagates through.
    units : int
        The number of units per layer.
    layers : int
        The number of stacked layers.
    dropout : float
        The rate of inverted dropout between layers.
    learning_rate : float
        The learning rate of the optimizer.
    seed : int
        The seed of weights, bits and dropout masks.
    dtype : str
        The precision of the LSTM. Everything else is float64.
    reset_state : bool
        Whether each window starts from the zero state, and not from the state in which the previous
        window ended.
    optimizer : str
        ``adagrad`` as in the tutorial, or ``adam``.
    memory : int
        The biases of the gates spread the initial time constants of the units over up to this many
        timesteps. With 0, the biases stay as ``LSTMWeights.random`` draws them.

    Raises
    ------
    SettingsError
        If a value is impossible.
    """

    bits: int = 50_000
    echo: int = 3
    batch: int = 5
    window: int = 15
    units: int = 4
    layers: int = 1
    dropout: float = 0.0
    learning_rate: float = 0.3
    seed: int = 0
    dtype: str = "float32"
    reset_state: bool = False
    optimizer: str = "adagrad"
    memory: int = 0

    def __post_init__(self) -> None:
        series = f"the timesteps of each series ({self.bits} bits in {self.batch} series)"
        rules = {
            "echo": (self.echo < self.bits, f"less than the {self.bits} bits of an epoch"),
            "batch": (self.batch <= self.bits, f"at most the {self.bits} bits of an epoch"),
            "window": (self.window <= self.timesteps, f"at most {self.timesteps}, {series}"),
            "dropout": (0.0 <= self.dropout < 1.0, "at least 0 and less than 1"),
            "learning_rate": (0.0 < self.learning_rate < np.inf, "a positive number"),
            "dtype": (self.dtype in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        }
        for field, (valid, expected) in rules.items():
            if not valid:
                raise SettingsError(field, f"is {getattr(self, field)!r}; expected {expected}")
        if self.dropout and self.layers == 1:
            raise SettingsError("dropout", "acts between layers; it needs at least 2 layers")

    @property
    def spec(self) -> LSTMSpec:
        """The network: one input bit, and ``units`` outputs."""
        return LSTMSpec(1, self.units, num_layers=self.layers, dtype=self.dtype)

    @property
    def workload(self) -> Workload:
        """The work of a backend in a training step."""
        return Workload(self.batch, self.window, "training", dropout=self.dropout)

    @property
    def timesteps(self) -> int:
        """The number of timesteps of each series."""
        return self.bits // self.batch

    @property
    def windows_per_epoch(self) -> int:
        """The number of complete windows in an epoch. As in the tutorial, the rest is not used."""
        return self.timesteps // self.window


def check_backend(backend: Backend, device: str, settings: EchoSettings) -> None:
    """Raise UsageError if a backend cannot train with these settings on the device."""
    if not (available := backend.availability(device)):
        raise UsageError(f"--backend {backend.name} on {device}: {available}")
    if reason := backend.refusal(settings.spec, settings.workload):
        raise UsageError(f"--backend {backend.name} cannot train this: {reason}")


def draw_series(settings: EchoSettings, rng: np.random.Generator) -> tuple[Bits, Bits]:
    """Draw the inputs and targets of one epoch, each ``[timesteps, batch]`` of 0 and 1.

    As in the tutorial, the stream is shifted by ``echo`` before it is cut into series. The first
    targets of a series are thus the last bits of the previous series, and those of the first series
    are 0.
    """
    stream = rng.integers(0, 2, settings.bits, dtype=np.uint8)
    echoed = np.zeros_like(stream)
    echoed[settings.echo :] = stream[: settings.bits - settings.echo]
    used = settings.timesteps * settings.batch

    def cut(bits: Bits) -> Bits:
        return np.ascontiguousarray(bits[:used].reshape(settings.batch, settings.timesteps).T)

    return cut(stream), cut(echoed)


def best_possible_loss(settings: EchoSettings) -> Float64:
    """Return the least expected loss of each window of an epoch, ``[windows_per_epoch]``, in nats.

    A target costs nothing if the network has seen its bit since its state was last zero. Targets of
    the first ``echo`` timesteps after that are unknown. The best prediction for them is the
    frequency of zeros among the targets that the network cannot distinguish, which are those of all
    series of a batch and, with ``reset_state``, of all windows.
    """
    position = np.arange(settings.window)
    start = np.arange(settings.windows_per_epoch)[:, None] * settings.window
    time = start + position  # The timestep within the epoch.
    # A target from before the first bit of the stream is certainly 0. Any other unseen bit is 0
    # half of the time.
    certain = np.ceil((settings.echo - time) / settings.timesteps).clip(0, settings.batch)
    zeros = guess = 0.5 + 0.5 * certain / settings.batch
    if settings.reset_state:
        guess = np.broadcast_to(zeros.mean(axis=0), zeros.shape)
    seen = position if settings.reset_state else time
    unknown = np.broadcast_to(seen < settings.echo, zeros.shape)
    cost = np.zeros(zeros.shape)
    for truth, guessed in ((zeros, guess), (1.0 - zeros, 1.0 - guess)):  # The cross-entropy.
        some = unknown & (truth > 0)
        cost[some] -= truth[some] * np.log(guessed[some])
    return np.asarray(cost.mean(axis=1), np.float64)
