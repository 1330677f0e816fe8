"""Read and write the results of the measurement: one record for each process of each model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from bench.machine.fields import Field, file_error
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import write_bytes
from bench.schema.decoding import decode
from bench.schema.types import Amount, Name, PositiveCount, Seconds

RESULTS = Path(__file__).with_name("results.json")
"""The results from which the page is made."""

SCHEMA = 1
"""The version of the file."""


@dataclass
class WayRecord:
    """Hold what one process found for one way.

    Attributes
    ----------
    error
        The largest difference from the first way, relative to the largest value. None if the way
        could not be made.
    problem
        Why the way was not timed, or empty.
    from_float64, before_from_float64
        How far the way and the model as it is differ from the results in float64. None unless
        ``error`` is beyond the tolerance.
    wall, processor
        The seconds of one call in each round: the time that passed, and the processor time.
    """

    error: Amount | None = None
    problem: str = ""
    from_float64: Amount | None = None
    before_from_float64: Amount | None = None
    wall: list[Seconds] = field(default_factory=list)
    processor: list[Annotated[float, Meta(ge=0.0)]] = field(default_factory=list)


@dataclass
class CaseRecord:
    """Hold the ways of one case and one part of a model."""

    case: Name
    part: Name
    ways: dict[str, WayRecord]


@dataclass
class NetworkRecord:
    """Hold what one process found for one model."""

    network: Name
    started: str
    cases: list[CaseRecord]


@dataclass
class MachineRecord:
    """Hold what is known of the machine."""

    cpu: Name
    processors: PositiveCount
    threads: PositiveCount
    python: str
    libraries: dict[str, str]


@dataclass
class Results:
    """Hold the results of all processes.

    Attributes
    ----------
    schema
        The version of the file.
    machine
        The machine that measured. All processes have the same.
    processes
        The records of the processes in the order in which they were measured.
    unavailable
        Why a package could not be downloaded, by its name.
    """

    schema: PositiveCount
    machine: MachineRecord
    processes: list[NetworkRecord] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)

    def list_processes(self, network: str) -> list[NetworkRecord]:
        """Return the records of a model."""
        return [each for each in self.processes if each.network == network]

    def list_ways(self, network: str, case: str, part: str, way: str) -> list[WayRecord]:
        """Return the records of a way of a case of a model, from all processes that tried it."""
        return [
            each.ways[way]
            for process in self.list_processes(network)
            for each in process.cases
            if (each.case, each.part) == (case, part) and way in each.ways
        ]


def read(path: Path) -> Results:
    """Read a file of results.

    Raises
    ------
    ResultError
        If the file is missing, or if it does not hold such results.
    """
    root = Field(path, "", parse_json(path, regular_bytes(path)))
    found = decode(root, Results)
    if found.schema != SCHEMA:
        raise root["schema"].error(f"{SCHEMA}, which this version knows")
    for process in found.processes:
        for case in process.cases:
            for name, way in case.ways.items():
                if len(way.wall) != len(way.processor):
                    where = f"{process.network}, {case.case}, {case.part}, {name}"
                    raise file_error(path, f"{where}: has not as many wall times as CPU times")
    return found


def decode_process(text: str) -> NetworkRecord:
    """Return the record that a process printed."""
    return decode(Field(Path("the process's output"), "", json.loads(text)), NetworkRecord)


def write(path: Path, results: Results) -> None:
    """Write a file of results."""
    write_bytes(path, (json.dumps(asdict(results), ensure_ascii=False) + "\n").encode())
