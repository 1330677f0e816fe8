"""Make the results that the page is tested with, in Chromium and in Firefox."""

import functools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.case.cases import Case
from bench.machine.reasons import Reason
from bench.records.schema import Measurement, Outcome, Run
from bench.verdicts.sections import Report, build
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench import made_results
from tests.bench.made_reasons import recorded

BUSY = recorded("busy", "the machine was busy", "close other programs")


def a_run(number: int = 1, host: str = "machine") -> Run:
    at = datetime(2025, 1, 31, 12, tzinfo=UTC) + timedelta(minutes=number)
    environment = {"before": {"cpu": {"name": f"CPU of {host}", "cores": 2}}}
    changes = {"machine_id": f"id of {host}", "started": at, "environment": environment}
    return made_results.a_run(number, host, "quick", **changes)


def measured(case: Case, seconds: float, run: Run, reasons: tuple[Reason, ...] = ()) -> Measurement:
    return replace(
        made_results.measured(case, seconds, run, reasons),
        setup={"build_s": 0.5, "trace_s": 0.25, "first_call_s": 1 + seconds, "compile_s": 1.0},
        memory={"peak_bytes": 1e8 * seconds},
        roofs={
            "operations": 1e9,
            "bytes": 1e7,
            "matmul_per_s": 4e11,
            "bandwidth_per_s": 4e9,
            "of_matmul": 1 / 400 / seconds,
            "of_bandwidth": 1 / 400 / seconds,
            "of_chain": 0.001 / seconds,
        },
    )


SPEEDS = {"keras": 2.0, "static_unroll": 1.0, "while_loop": 3.0}
BATCHES, UNITS, MODES, WINDOWS = (8, 32, 128), (64, 256), ("inference", "training"), (5, 20)


@functools.cache
def store(
    batches: tuple[int, ...] = BATCHES, sizes: tuple[int, ...] = UNITS, processes: int = 6
) -> Report:
    """Two devices, two modes, several shapes, windows, an invalid and a refused one.

    A step takes a millisecond a sequence for the fastest; training takes twice as long.
    """
    items: list[Measurement | Outcome] = []
    for number in range(1, 1 + processes):
        run = a_run(number)
        for backend, slower in SPEEDS.items():
            for batch in batches:
                for units in sizes:
                    for mode in MODES:
                        work = Workload(batch, 100, mode)
                        seconds = 1e-3 * slower * batch * (1 + (mode == "training"))
                        busy = (backend, batch) == ("while_loop", batches[-1])
                        problem = (BUSY,) if busy else ()
                        case = Case(backend, LSTMSpec(units, units), work)
                        items.append(measured(case, seconds * (1 + 1e-3 * number), run, problem))
                        if backend == "keras":
                            items.append(measured(case.on("gpu:0"), seconds / 10, run))
            for window in WINDOWS:
                work = Workload(32, 480, "training", window=window)
                case = Case(backend, LSTMSpec(64, 64), work)
                items.append(measured(case, 0.1 * slower * (1 + 1 / window), run))
        refused = Case("onnxruntime", LSTMSpec(64, 64), Workload(8, 100, "training"))
        reason = "computes no gradients"
        items.append(Outcome(refused, run, "refused", recorded("", reason, ""), Path("a.json")))
    return build(made_results.gather(*items))
