"""Write and read the work order of a worker process, and the errors that a worker reports.

A work order is one JSON object. It holds everything that ``python -m bench.worker`` needs:

- ``options``: the chosen ``MeasurementOptions``, by their names;
- ``environment``: the variables that the process must have, with their values;
- ``suite``: the name of the suite, its cases, and the measuring time of each group in seconds.
  Without it, the worker reads the suite that ``options.suite`` names.

The worker reads its order before it imports NumPy, because the order may set the number of threads.
This module therefore imports neither NumPy nor anything that needs NumPy.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import MeasurementOptions
from bench.machine.fields import Field, file_error
from bench.machine.reading import parse_json, regular_bytes

if TYPE_CHECKING:
    from bench.case.loading import Suite

SCHEMA = 1

CANNOT_WRITE, CANNOT_MEASURE = "cannot_write", "cannot_measure"
"""The kinds of errors that end a worker: results cannot be written, or nothing can be measured."""

_ERROR = "worker_error"
"""The key of the kind in the line that reports an error."""


@dataclass(frozen=True)
class SuitePart:
    """The part of a suite that a worker measures.

    cases: as ``Case.to_dict`` returns them. seconds: the measuring time of each case, by
    ``Case.group``.
    """

    name: str
    cases: Sequence[Mapping[str, Any]]
    seconds: Mapping[str, float]

    @classmethod
    def from_field(cls, data: Field) -> SuitePart:
        """Return the part of a suite in a work order. Raise ResultError."""
        seconds = data["seconds"]
        return cls(
            data["name"].label(),
            [item.mapping() for item in data["cases"].items()],
            {group: seconds[group].number(0.0) for group in seconds.mapping()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"name": self.name, "cases": list(self.cases), "seconds": dict(self.seconds)}


@dataclass(frozen=True)
class WorkOrder:
    """What one worker process measures, and how.

    part: None means the suite that ``options.suite`` names.
    """

    options: MeasurementOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    part: SuitePart | None = None

    @classmethod
    def read(cls, path: Path) -> WorkOrder:
        """Read a work order from a file. Raise a ResultError that names the file and the field."""
        try:
            data = Field(path, "", parse_json(path, regular_bytes(path)))
            if data["schema"].integer(1) > SCHEMA:
                raise data["schema"].error(f"at most {SCHEMA}, which this version knows")
            variables = data["environment"]
            names = variables.mapping() if variables.given else {}
            return cls(
                MeasurementOptions.from_field(data["options"]),
                {name: variables[name].text() for name in names},
                SuitePart.from_field(data["suite"]) if data["suite"].given else None,
            )
        except RecursionError:
            raise file_error(path, "is nested too deeply to be a work order") from None

    def to_json(self) -> bytes:
        """Return the content of the order's file."""
        order = {
            "schema": SCHEMA,
            "options": self.options.to_dict(),
            "environment": dict(self.environment),
            "suite": None if self.part is None else self.part.to_dict(),
        }
        return json.dumps(order).encode()

    def load_suite(self, path: Path) -> Suite:
        """Return the suite with the cases of the order.

        path: the file of the order, for errors. Raises SuiteError and ResultError.
        """
        # Importing these at the top would import NumPy, which must wait until threads are set.
        from bench.case.cases import Case
        from bench.case.loading import Suite
        from bench.worker.recorder import load_suite

        part = self.part
        if part is None:
            return load_suite(self.options, Path.cwd())
        cases = []
        for number, data in enumerate(part.cases):
            try:
                cases.append(Case.from_dict(data))
            except ValueError as error:
                raise file_error(path, str(error), f"suite.cases[{number}]") from None
        named = Path(self.options.suite or part.name)
        return Suite(part.name, "", named, (), part.seconds).with_cases(cases)


# -- errors that end a worker


def report_error(kind: str, error: object) -> None:
    """Print why the worker ends, in a line that ``reported_error`` finds."""
    print(json.dumps({_ERROR: kind, "message": str(error)}), flush=True)


def reported_error(output: str) -> tuple[str, str] | None:
    """Return the kind and the message of the last error that a worker reported in its output.

    Backends and frameworks print into the same output, so all other lines are ignored.
    """
    for line in reversed(output.splitlines()):
        if not line.startswith(f'{{"{_ERROR}": '):
            continue
        with contextlib.suppress(ValueError, KeyError):
            found = json.loads(line)
            return str(found[_ERROR]), str(found["message"])
    return None
