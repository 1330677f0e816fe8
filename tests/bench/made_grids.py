"""Make results of a grid of batch × hidden size on two devices."""

from collections.abc import Mapping

from bench.case.cases import Case
from bench.records.schema import Measurement
from bench.verdicts import pairs as devices
from bench.verdicts.pairs import Map
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_results import gather, measured, run

Times = Mapping[tuple[int, int], tuple[float, float]]
"""Seconds on the CPU and on the GPU, by batch and hidden size."""

STEPS: Times = {
    (1, 32): (1.0, 3.0),
    (1, 128): (2.0, 3.0),
    (1, 512): (9.0, 3.0),
    (8, 32): (2.0, 3.0),
    (8, 128): (9.0, 3.0),
    (64, 32): (9.0, 3.0),
}


def a_case(
    device: str, batch: int, hidden: int, *, backend: str = "keras", features: int = 4
) -> Case:
    return Case(backend, LSTMSpec(features, hidden), Workload(batch, 10), device)


def grid(times: Times, *, backend: str = "keras", processes: int = 6) -> list[Measurement]:
    return [
        measured(a_case(device, *place, backend=backend), seconds, run(f"r{process}"))
        for process in range(processes)
        for place, both in times.items()
        for device, seconds in zip(("cpu", "gpu:0"), both, strict=True)
    ]


def maps(*items: Measurement) -> tuple[Map, ...]:
    return devices.compare_devices(gather(*items)).maps
