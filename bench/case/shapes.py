"""The shapes of a suite's group: as tables, or as a grid of sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.case.values import SuiteError, Value
from lstm_impl.spec import MOST_LAYERS, LSTMSpec
from lstm_impl.workload import OPTIMIZERS, Workload

_SHAPE_SIZES = ("batch", "timesteps", "input_size", "hidden_size")
_SHAPE_KEYS = (
    *_SHAPE_SIZES,
    "num_layers",
    "bidirectional",
    "min_length",
    "dropout",
    "batch_major",
    "optimizer",
)

ONE_STEP = 1
"""Timesteps of a chunk of a stream whose shape names none."""

SQUARE = "hidden_size"
"""The input_size that is each layer's own width."""


@dataclass(frozen=True)
class _Entry:
    """One shape of the grid that an entry of ``shapes`` stands for; table: what the entry says."""

    where: str
    table: Mapping[str, Value]
    batch: int
    timesteps: int
    input_size: int
    hidden_size: int


@dataclass(frozen=True)
class Grid:
    """The shapes that one entry of ``shapes`` stands for: each combination of the sizes it lists.

    Its length is a product of the lists' lengths, known before any shape is made.
    ``input_size = "hidden_size"`` makes the input as wide as the layer, whichever of a grid it is.
    """

    where: str
    table: Mapping[str, Value]
    sizes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shape: Value) -> Grid:
        """The grid of an entry. Raises SuiteError for keys and sizes that no entry can have."""
        table = shape.table(_SHAPE_KEYS, [each for each in _SHAPE_SIZES if each != "timesteps"])
        batches, widths = (table[key].sizes() for key in ("batch", "hidden_size"))
        times = table["timesteps"].sizes() if "timesteps" in table else (ONE_STEP,)
        inputs: tuple[int, ...] = (0,)  # as wide as the layer
        if table["input_size"].value != SQUARE:
            inputs = table["input_size"].sizes(f'a positive integer, a list of them, or "{SQUARE}"')
        return cls(shape.where, table, (batches, times, inputs, widths))

    def __len__(self) -> int:
        return math.prod(map(len, self.sizes))

    def __iter__(self) -> Iterator[_Entry]:
        for batch, timesteps, size, hidden in itertools.product(*self.sizes):
            yield _Entry(self.where, self.table, batch, timesteps, size or hidden, hidden)


def shape_of(
    shape: _Entry,
    window: Value | None,
    dtype: str,
    mode: str,
    gradients: str,
    period: float | None = None,
) -> tuple[LSTMSpec, Workload]:
    """One shape as a spec and a workload. period: of a stream's calls."""
    table = shape.table
    if mode == "streaming":
        _check_stream(table, window)
    elif "timesteps" not in table:
        raise SuiteError(f"{table['batch'].path}: {shape.where}.timesteps is missing")
    length = table["min_length"].positive_integer() if "min_length" in table else None
    if length is not None and length > shape.timesteps:
        raise table["min_length"].error(f"at most the {shape.timesteps} timesteps")
    cut = None if window is None else window.positive_integer()
    if window is not None and cut is not None and cut > shape.timesteps:
        raise window.error(f"at most the {shape.timesteps} timesteps of {shape.where}")
    if cut is not None and length is not None:
        raise table["min_length"].error("none here: a stream cut into windows has no padding")
    dropout = 0.0
    if "dropout" in table:
        dropout = table["dropout"].number("a number from 0 to below 1", lambda rate: 0 <= rate < 1)
    optimizer = table["optimizer"].one_of(OPTIMIZERS) if "optimizer" in table else None
    if optimizer is not None and mode != "training":
        raise table["optimizer"].error(f'modes = ["training"] beside it: {mode} updates no weights')
    layers = 1
    if "num_layers" in table:
        layers = table["num_layers"].positive_integer(most=MOST_LAYERS)
    spec = LSTMSpec(
        input_size=shape.input_size,
        hidden_size=shape.hidden_size,
        num_layers=layers,
        bidirectional="bidirectional" in table and table["bidirectional"].boolean(),
        dtype=dtype,
    )
    workload = Workload(
        batch=shape.batch,
        timesteps=shape.timesteps,
        mode=mode,
        min_length=length,
        window=cut,
        dropout=dropout,
        batch_major="batch_major" in table and table["batch_major"].boolean(),
        optimizer=optimizer,
        gradients=gradients,
        period=period,
    )
    return spec, workload


def _check_stream(table: Mapping[str, Value], window: Value | None) -> None:
    """Raise SuiteError for what no stream has."""
    for key in ("min_length", "dropout", "optimizer"):
        if key in table:
            raise table[key].error("none here: the calls of a stream have none")
    if window is not None:
        raise window.error("no windows here: the chunks of a stream are its timesteps")
    if "bidirectional" in table and table["bidirectional"].boolean():
        raise table["bidirectional"].error("false here: a stream has no end to begin at")
