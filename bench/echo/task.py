"""Define the echo task: read a random stream of bits, and repeat each some timesteps later.

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
"""Loss in nats of a prediction that knows nothing about the bits."""


class SettingsError(InputError):
    """A setting has an impossible value; ``field`` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True)
class EchoSettings:
    """Everything that decides a loss curve except the backend's rounding; sizes are positive.

    Parameters
    ----------
    bits : random bits of each epoch, cut into ``batch`` consecutive series.
    echo : timesteps between a bit and its repetition.
    window : timesteps that one training step back-propagates through.
    dropout : rate of inverted dropout between layers.
    seed : of weights, bits and dropout masks.
    dtype : precision of the LSTM; everything else is float64.
    reset_state : start each window from the zero state rather than from the previous window's.
    optimizer : ``adagrad`` as in the tutorial, or ``adam``.
    memory : spread the units' initial time constants over up to ``memory`` timesteps by the gate
        biases; 0 leaves the biases as ``LSTMWeights.random`` draws them.

    Raises
    ------
    SettingsError
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
            raise SettingsError("dropout", "acts between layers; ask for at least 2 layers")

    @property
    def spec(self) -> LSTMSpec:
        """The network: one input bit, ``units`` outputs."""
        return LSTMSpec(1, self.units, num_layers=self.layers, dtype=self.dtype)

    @property
    def workload(self) -> Workload:
        """The work of a backend in a training step."""
        return Workload(self.batch, self.window, "training", dropout=self.dropout)

    @property
    def timesteps(self) -> int:
        """Timesteps of each series."""
        return self.bits // self.batch

    @property
    def windows_per_epoch(self) -> int:
        """Complete windows in an epoch; like the tutorial's, a training drops the rest."""
        return self.timesteps // self.window


def check_backend(backend: Backend, device: str, settings: EchoSettings) -> None:
    """Raise UsageError with the reason if a backend cannot train this on the device."""
    if not (available := backend.availability(device)):
        raise UsageError(f"--backend {backend.name} on {device}: {available}")
    if reason := backend.refusal(settings.spec, settings.workload):
        raise UsageError(f"--backend {backend.name} cannot train this: {reason}")


def draw_series(settings: EchoSettings, rng: np.random.Generator) -> tuple[Bits, Bits]:
    """Draw one epoch's inputs and targets, each ``[timesteps, batch]`` of 0 and 1.

    As in the tutorial, the stream is shifted by ``echo`` before it is cut into series: the first
    targets of a series are the last bits of the previous series, those of the first series are 0.
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

    A target costs nothing if the network has seen its bit since its state was last zero. The first
    ``echo`` timesteps after that are unknown: the best prediction is the frequency of zeros among
    the targets that the network cannot distinguish: those of all series of a batch and, with
    ``reset_state``, of all windows.
    """
    position = np.arange(settings.window)
    start = np.arange(settings.windows_per_epoch)[:, None] * settings.window
    time = start + position  # within the epoch
    # A target from before the stream's first bit is certainly 0; any other unseen bit is 0 half of
    # the time.
    certain = np.ceil((settings.echo - time) / settings.timesteps).clip(0, settings.batch)
    zeros = guess = 0.5 + 0.5 * certain / settings.batch
    if settings.reset_state:
        guess = np.broadcast_to(zeros.mean(axis=0), zeros.shape)
    seen = position if settings.reset_state else time
    unknown = np.broadcast_to(seen < settings.echo, zeros.shape)
    cost = np.zeros(zeros.shape)
    for truth, guessed in ((zeros, guess), (1.0 - zeros, 1.0 - guess)):  # cross-entropy
        some = unknown & (truth > 0)
        cost[some] -= truth[some] * np.log(guessed[some])
    return np.asarray(cost.mean(axis=1), np.float64)
