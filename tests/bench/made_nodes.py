"""Make results of several machines."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from bench.case.cases import Case
from bench.records.schema import Measurement, Run
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_reasons import recorded
from tests.bench.made_results import a_run, gather, measured

START = datetime(2025, 1, 1, tzinfo=UTC)
CPU = "Test CPU"
WILD = {"a": 0.0, "b": 0.6, "c": -0.5, "d": 0.3, "e": -0.2, "f": 0.1}
"""Offsets of nodes that differ far more than the change to be found."""


def a_case(backend: str = "keras", batch: int = 8, device: str = "cpu") -> Case:
    return Case(backend, LSTMSpec(4, 8), Workload(batch, 10), device)


def on(
    host: str,
    number: int,
    *,
    session: str = "s",
    cpu: str = CPU,
    hours: float = 0.0,
    suite: str = "mine",
) -> Run:
    """Return a process on a machine with this processor, started ``hours`` after the first."""
    started = START + timedelta(hours=hours)
    return a_run(
        number,
        host,
        suite,
        id=f"{session}-{host}-{number}",
        session=session,
        machine_id=f"id of {host}",
        environment={"before": {"cpu": {"name": cpu, "usable": 2}} if cpu else {}},
        started=started,
        finished=started,
    )


def fleet(
    luck: Mapping[str, float],
    times: Mapping[Case, float],
    *,
    processes: int | Sequence[int] = 6,
    spread: float = 0.01,
    own: float = 0.002,
    moved: Mapping[tuple[str, str], float] | None = None,
    session: str = "s",
    seed: int = 1,
    invalid: Sequence[str] = (),
) -> list[Measurement]:
    """Return measurements of cases on several machines.

    luck: by host, the log by which it is slower. times: seconds of each case. spread: standard
    deviation between processes, shared by their cases. own: of each case in addition. moved: by
    host and backend, an additional log. invalid: hosts whose processes were all disturbed.
    """
    rng = np.random.default_rng(seed)
    found = []
    for place, (host, slower) in enumerate(luck.items()):
        count = processes if isinstance(processes, int) else processes[place]
        reasons = [recorded("busy", "the cores were busy", "close what runs")] * (host in invalid)
        for number in range(count):
            run = on(host, number, session=session)
            process = slower + spread * rng.standard_normal()
            for case, seconds in times.items():
                more = (moved or {}).get((host, case.backend), 0.0)
                log = process + more + own * rng.standard_normal()
                found.append(measured(case, seconds * float(np.exp(log)), run, reasons))
    return found


results = gather
