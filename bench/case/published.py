"""Read other projects' published times from ``published.csv``, each with its source.

They come from other machines, so they are shown as published and never mixed with what is measured
here. ``published_sources.csv`` describes the sources.
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
_EPOCH_SEQUENCES = 500  # of RETURNN's benchmark: an epoch of its training data

# What makes a complete step of each mode, by the names of the table: one figure, or all of several.
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
    """A source of published times: its place, a note, and suites with its shapes."""

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
    """What two times must share to be shown together."""

    batch: int
    timesteps: int
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    mode: str

    @classmethod
    def of(cls, case: Case) -> PublishedShape | None:
        """Return that of a case, or None with windows, padding, dropout or an optimizer.

        The published times are those of LSTMs, so that it is None for another cell too.
        """
        spec, work = case.spec, case.workload
        if (
            spec.cell != DEFAULT_CELL
            or work.window
            or work.min_length
            or work.dropout
            or work.optimizer
        ):
            return None
        layers = (spec.input_size, spec.hidden_size, spec.num_layers, spec.bidirectional)
        return cls(work.batch, work.timesteps, *layers, work.mode)


@dataclass(frozen=True)
class PublishedStep:
    """One published time. file: in the source's repository.

    measured: what was measured, by the table's names. how: how the seconds of a step were computed
    from figures of the table, empty if a figure is the step.
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
    """Return the figures of the table, parts of steps among them."""
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

    Parts are added up, and an epoch is divided by its batches. A forward pass of training without
    its backward pass is left out.
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
        how = f"{', '.join(words[:-1])} and {words[-1]} added up"
    elif "epoch" in parts[0].measured:
        batch = parts[0].shape.batch
        seconds *= batch / _EPOCH_SEQUENCES
        how = f"an epoch of {_EPOCH_SEQUENCES} sequences, times {batch}/{_EPOCH_SEQUENCES}"
    measured = " + ".join(part.measured for part in parts)
    return replace(parts[0], measured=measured, seconds=seconds, how=how)
