"""What is learned and how: the settings of the echo task and of its copy task, checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bench.cli.command_line import UsageError
from bench.machine.fields import InputError
from bench.records.maps import TASKS
from lstm_impl import PRECISIONS, Backend, LSTMSpec, Workload

OPTIMIZERS = ("adagrad", "adam")

ALPHABET = 4
"""Symbols of copy memory: numbered 1 to 4 in inputs and targets; 0 is a blank, or nothing asked."""

COPY_INPUTS = ALPHABET + 2
"""Inputs of copy memory, one-hot: the blank, the symbols, and the mark that asks for them."""

STRIDE = (
    "timesteps from one window's start to the next; fewer than the window make windows overlap "
    "(the window)"
)
"""What the setting of this name is, for ``--help``."""


class SettingsError(InputError):
    """A setting that makes no sense; ``field`` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


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
        for field in ("bits", "batch", "window", "units", "layers", "symbols"):
            _require_integer(field, getattr(self, field), 1)
        for field in ("echo", "seed", "memory"):
            _require_integer(field, getattr(self, field), 0)
        if self.stride is not None:
            _require_integer("stride", self.stride, 1)
        for field, fits, expected in self._rules():
            if not fits:
                raise SettingsError(field, f"is {getattr(self, field)!r}; expected {expected}")
        if self.dropout and self.layers == 1:
            raise SettingsError(
                "dropout", "acts between layers and there is one; ask for at least 2 layers"
            )
        if self.task == "echo" and self.symbols != 1:
            raise SettingsError("symbols", f"is {self.symbols}; only copy memory has more than 1")
        if self.task == "echo" and self.blanks:
            raise SettingsError("blanks", "are asked for in copy memory only")

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        """Of each field whether it is what it should be, and what that is."""
        yield "echo", self.echo < self.bits, f"less than the {self.bits} bits of an epoch"
        yield "batch", self.batch <= self.bits, f"at most the {self.bits} bits of an epoch"
        series = f"the timesteps of each series ({self.bits} bits in {self.batch} series)"
        yield "window", self.window <= self.timesteps, f"at most {self.timesteps}, {series}"
        skips = self.stride is not None and self.stride > self.window
        yield (
            "stride",
            not skips,
            f"at most the window, {self.window}: a longer one would skip bits",
        )
        part = _is_number(self.dropout) and 0.0 <= self.dropout < 1.0
        yield "dropout", part, "at least 0 and less than 1"
        positive = _is_number(self.learning_rate) and 0.0 < self.learning_rate < np.inf
        yield "learning_rate", positive, "a positive number"
        yield "dtype", self.dtype in PRECISIONS, f"one of {', '.join(PRECISIONS)}"
        yield "reset_state", isinstance(self.reset_state, bool), "True or False"
        yield "blanks", isinstance(self.blanks, bool), "True or False"
        yield "optimizer", self.optimizer in OPTIMIZERS, " or ".join(OPTIMIZERS)
        yield "task", self.task in TASKS, " or ".join(TASKS)
        if self.task == "copy":
            yield "symbols", self.symbols <= self.echo, f"at most the distance, {self.echo}"

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
    def workload(self) -> Workload:
        """What a backend has to do in a training step."""
        return Workload(self.batch, self.window, "training", dropout=self.dropout)

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
        # What came later: a checkpoint from before then is of the one that there was.
        later = {"optimizer": "adagrad", "task": "echo", "symbols": 1, "memory": 0, "blanks": False}
        data = {**later, **data}
        check_names(data, [field.name for field in fields(cls)])
        return cls(**data)


def check_names(data: Mapping[str, object], known: Collection[str]) -> None:
    """Raise SettingsError for a field that is missing, and for one that is not known."""
    for name in (*data, *known):
        if (name in data) != (name in known):
            raise SettingsError(name, "is missing" if name in known else "is unknown")


def check_backend(backend: Backend, device: str, settings: EchoSettings) -> None:
    """Raise UsageError, with the reason, if a backend cannot train this on the device."""
    available = backend.availability(device)
    if not available:
        raise UsageError(f"--backend {backend.name} on {device}: {available}")
    if reason := backend.refusal(settings.spec, settings.workload):
        raise UsageError(f"--backend {backend.name} cannot train this: {reason}")


def _require_integer(field: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingsError(field, f"is {value!r}; expected an integer of at least {least}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
