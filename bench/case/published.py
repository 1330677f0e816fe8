"""Read the times that other projects published from ``published.csv``, each with its source.

They come from other machines. They are therefore shown as published, and never combined with what
is measured here. ``published_sources.csv`` describes the sources.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.case.cases import Case
from lstm_impl.cell import DEFAULT as DEFAULT_CELL

FILE = Path(__file__).with_name("published.csv")

_SIZES = ("batch", "timesteps", "input_size", "hidden_size", "layers")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_EPOCH_SEQUENCES = 500  # An epoch of RETURNN's benchmark has this many sequences of training data.

# The figures of the table that make up a complete step of each mode: one figure, or the sum of
# several.
_COMPLETE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "inference": (("inference:forward",),),
    "training": (
        ("train:batch",),
        ("train:forward+backward",),
        ("train:forward", "train:backward"),
        ("train:forward", "train:backward_data", "train:backward_weights"),
        ("train:epoch of 500 sequences",),
    ),
}
_MODES = {
    measured: mode for mode, steps in _COMPLETE.items() for parts in steps for measured in parts
}


@dataclass(frozen=True)
class PublishedSource:
    """A source of published times.

    where: its address. note: how it measured. suites: the names of suites that contain its shapes.
    """

    name: str
    where: str
    note: str
    suites: tuple[str, ...]


with FILE.with_name("published_sources.csv").open(encoding="utf-8", newline="") as _file:
    SOURCES: Mapping[str, PublishedSource] = {
        row["name"]: PublishedSource(
            row["name"], row["where"], row["note"], tuple(row["suites"].split())
        )
        for row in csv.DictReader(_file, strict=True)
    }


@dataclass(frozen=True, order=True)
class PublishedShape:
    """The properties that two times must share to be shown next to each other."""

    batch: int
    timesteps: int
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    mode: str

    @classmethod
    def of(cls, case: Case) -> PublishedShape | None:
        """Return the shape of a case, or None if no published time can match it.

        That is so for windows, padding, dropout or an optimizer, and for any cell but the LSTM.
        """
        spec, work = case.spec, case.workload
        if (
            spec.cell != DEFAULT_CELL
            or work.window
            or work.min_length
            or work.dropout
            or work.reset_rate
            or work.optimizer
        ):
            return None
        layers = (spec.input_size, spec.hidden_size, spec.num_layers, spec.bidirectional)
        return cls(work.batch, work.timesteps, *layers, work.mode)


@dataclass(frozen=True)
class PublishedStep:
    """A published time.

    file: the file in the source's repository that has it. measured: what was measured, in the words
    of the table. seconds: the time of one step. how: how the seconds were computed from figures of
    the table; empty if one figure is the time of a step.
    """

    source: PublishedSource
    file: str
    device: str
    implementation: str
    dtype: str
    shape: PublishedShape
    measured: str
    seconds: float
    how: str = ""


def read(path: Path = FILE) -> tuple[PublishedStep, ...]:
    """Return the figures of the table. Some of them are only parts of a step."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(map(_figure, csv.DictReader(file, strict=True)))


def _figure(row: Mapping[str, str]) -> PublishedStep:
    batch, timesteps, inputs, hidden, layers = (int(row[name]) for name in _SIZES)
    both = row["bidirectional"] == "True"
    mode = _MODES[row["measured"]]
    return PublishedStep(
        source=SOURCES[row["source"]],
        file=row["file"],
        device=row["device"],
        implementation=row["implementation"],
        dtype=row["dtype"],
        shape=PublishedShape(batch, timesteps, inputs, hidden, layers, both, mode),
        measured=row["measured"],
        seconds=float(row["value"]) * _UNITS[row["unit"]],
    )


def steps(figures: Iterable[PublishedStep]) -> tuple[PublishedStep, ...]:
    """Return the times of complete steps, which do the same work as ours.

    Parts of a step are added up, and the time of an epoch is divided by its number of batches. A
    forward pass of training without its backward pass is left out.
    """
    groups: dict[PublishedStep, dict[str, PublishedStep]] = {}
    for each in figures:
        groups.setdefault(replace(each, measured="", seconds=0.0), {})[each.measured] = each
    return tuple(
        _step([parts[name] for name in complete])
        for key, parts in groups.items()
        for complete in _COMPLETE[key.shape.mode]
        if set(complete) <= set(parts)
    )


def _step(parts: Sequence[PublishedStep]) -> PublishedStep:
    seconds, how = sum(part.seconds for part in parts), ""
    if len(parts) > 1:
        words = [part.measured.partition(":")[2] for part in parts]
        how = f"the sum of {', '.join(words[:-1])} and {words[-1]}"
    elif "epoch" in parts[0].measured:
        batch = parts[0].shape.batch
        seconds *= batch / _EPOCH_SEQUENCES
        how = f"an epoch of {_EPOCH_SEQUENCES} sequences, times {batch}/{_EPOCH_SEQUENCES}"
    measured = " + ".join(part.measured for part in parts)
    return replace(parts[0], measured=measured, seconds=seconds, how=how)
