"""Other projects' published figures, read from ``published.csv``, each with where it stands.

They are other people's numbers on other machines, from their own files: shown as published, never
mixed with what is measured here. This module knows the table and what each source says it measured
(``published_sources.csv``); nothing of results, statistics or formatting.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.case.cases import Case

FILE = Path(__file__).with_name("published.csv")

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_EPOCH_SEQUENCES = 500  # of RETURNN's benchmark: an epoch of its training data

# What makes a whole step of each mode, in the words of the table, and how it is reported. Of a step
# that stands there in parts only all of them together are one.
_WHOLE: Mapping[str, tuple[tuple[str, ...], ...]] = {
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
    measured: mode for mode, wholes in _WHOLE.items() for parts in wholes for measured in parts
}


@dataclass(frozen=True)
class PublishedSource:
    """Who published figures: where they stand, what to know of them, suites with their shapes."""

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
    """What two times must share to stand side by side."""

    batch: int
    timesteps: int
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    mode: str

    @classmethod
    def of(cls, case: Case) -> PublishedShape | None:
        """That of a case, or None if nobody published anything like it.

        Nobody did for windows, padding or dropout, nor with the time of an optimizer in it.
        """
        spec, work = case.spec, case.workload
        if work.window or work.min_length or work.dropout or work.optimizer:
            return None
        return cls(
            work.batch,
            work.timesteps,
            spec.input_size,
            spec.hidden_size,
            spec.num_layers,
            spec.bidirectional,
            work.mode,
        )


@dataclass(frozen=True)
class Figure:
    """One published time as it stands in the table. file: in the source's repository."""

    source: PublishedSource
    file: str
    device: str
    implementation: str
    dtype: str
    shape: PublishedShape
    measured: str
    seconds: float


@dataclass(frozen=True)
class PublishedStep:
    """Seconds of one whole step, and the figures that they are made of.

    how: what was done with the figures, empty if one of them is the step.
    """

    figures: tuple[Figure, ...]
    seconds: float
    how: str

    @property
    def first(self) -> Figure:
        """A figure that says all but the time."""
        return self.figures[0]

    @property
    def measured(self) -> str:
        """What was measured, in the table's words."""
        return " + ".join(figure.measured for figure in self.figures)


def read(path: Path = FILE) -> tuple[Figure, ...]:
    """The figures of the table."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            Figure(
                SOURCES[row["source"]],
                row["file"],
                row["device"],
                row["implementation"],
                row["dtype"],
                PublishedShape(
                    int(row["batch"]),
                    int(row["timesteps"]),
                    int(row["input_size"]),
                    int(row["hidden_size"]),
                    int(row["layers"]),
                    row["bidirectional"] == "True",
                    _MODES[row["measured"]],
                ),
                row["measured"],
                float(row["value"]) * _UNITS[row["unit"]],
            )
            for row in csv.DictReader(file, strict=True)
        )


def steps(figures: Iterable[Figure]) -> tuple[PublishedStep, ...]:
    """Times of whole steps, which alone are of the same work as ours.

    What was published in parts is added up, and an epoch divided into its batches; a forward pass
    of training whose backward pass was not published is no step and left out.
    """
    groups: dict[tuple[object, ...], dict[str, Figure]] = {}
    for each in figures:
        key = (
            *(each.source.name, each.file, each.device, each.implementation, each.dtype),
            each.shape,
        )
        groups.setdefault(key, {})[each.measured] = each
    found = []
    for group in groups.values():
        mode = next(iter(group.values())).shape.mode
        for whole in _WHOLE[mode]:
            if set(whole) <= set(group):
                found.append(_step([group[part] for part in whole]))
    return tuple(found)


def _step(parts: Sequence[Figure]) -> PublishedStep:
    seconds, how = sum(part.seconds for part in parts), ""
    if len(parts) > 1:
        words = [part.measured.partition(":")[2] for part in parts]
        how = f"{', '.join(words[:-1])} and {words[-1]} added up"
    elif "epoch" in parts[0].measured:
        batch = parts[0].shape.batch
        seconds *= batch / _EPOCH_SEQUENCES
        how = f"an epoch of {_EPOCH_SEQUENCES} sequences, times {batch}/{_EPOCH_SEQUENCES}"
    return PublishedStep(tuple(parts), seconds, how)
