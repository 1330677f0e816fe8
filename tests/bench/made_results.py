"""Results that were never measured: what the tests of comparing build their files from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.results.schema import Measurement, Outcome, Reason, ResultFile, Results, Run
from bench.suites.cases import Case


def a_run(number: int, host: str = "laptop", suite: str = "mine") -> Run:
    """One process of a session."""
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    return Run(
        id=f"r{number}",
        session="s",
        suite=suite,
        seed=number,
        started=moment,
        finished=moment,
        complete=True,
        host=host,
        machine_id="m",
        options={},
        environment={"before": {}, "after": {}},
    )


def measured(of: Case, seconds: float, during: Run, reasons: Sequence[Reason] = ()) -> Measurement:
    samples = seconds * np.exp(0.002 * np.linspace(-1, 1, 11))
    return Measurement(
        case=of,
        run=during,
        samples=samples,
        rounds=np.arange(11),
        warmup=(),
        calls=1,
        setup={},
        gate={},
        evidence={},
        memory=None,
        roofs=None,
        energy=None,
        steady=True,
        valid=not reasons,
        reasons=tuple(reasons),
        path=Path("a.json"),
    )


def gather(*items: Measurement | Outcome) -> Results:
    """Results with a file for each run."""
    runs = {item.run.id: item.run for item in items}
    files = [
        ResultFile(
            Path(f"{name}.json"),
            found,
            tuple(i for i in items if isinstance(i, Measurement) and i.run.id == name),
            tuple(i for i in items if isinstance(i, Outcome) and i.run.id == name),
            (),
        )
        for name, found in runs.items()
    ]
    return Results(tuple(files), (), ())
