"""Reasons why a machine makes times unreliable, before and after measuring."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.machine.devices import GpuFacts
from bench.machine.disturbance import Disturbance
from bench.machine.environment import Cpu, Environment, Gpu, GpuProcess, MemorySize
from bench.render.messages import reason_line, reason_texts
from bench.worker import disturbances
from bench.worker.disturbances import findings
from bench.worker.timing import StepSeries, Stopped, StreamTimes

CALM = Disturbance(10.0, 4, 0.1, (), 0, 0, {}, 1.0)

CPU = Cpu("Imaginary CPU", "x86_64", 2, 4, 4, None, False, "performance", False, 3e9, 3e9, 40.0)

GPU = Gpu(
    *("Imaginary GPU", "999.1", "12.4", "9.0", 1e9, 2e9, 1e9, 40.0),
    throttle_reasons=("gpu_idle",),
    power_w=70.0,
    power_limit_w=700.0,
    memory_total_bytes=80 * 2**30,
    memory_used_bytes=2**29,
    utilization_percent=0.0,
    persistence=True,
    mig=False,
    processes=(),
)

HERE = Environment(
    *("2026-01-01T00:00:00+00:00", "imaginary", "Debian", "6", None, "CPython 3.11"),
    cpu=CPU,
    load=(0.1, 0.1, 0.1),
    memory=MemorySize(16 * 2**30, 8 * 2**30, 0, 0),
    gpus=(),
    libraries={"tensorflow": "2.21.0"},
    tensorflow=None,
    threads={},
    variables={},
    unread={},
)


def codes(
    here: Environment = HERE, disturbance: Disturbance = CALM, facts: GpuFacts | None = None
) -> list[str]:
    facts = facts or GpuFacts(installed=len(here.gpus), visible=len(here.gpus))
    return [each.code for each in findings(here, disturbance, facts)]


def add_cpu(**changes: Any) -> Environment:
    return replace(HERE, cpu=replace(CPU, **changes))


def add_gpu(**changes: Any) -> Environment:
    return replace(HERE, gpus=(replace(GPU, **changes),))


@pytest.mark.parametrize(
    ("here", "found"),
    [
        (add_cpu(governor="powersave"), ["governor"]),
        (add_cpu(turbo=True), ["turbo"]),
        (add_cpu(virtual=True), ["virtual"]),
        (add_cpu(quota=1.5), ["quota"]),
        (replace(HERE, variables={"OMP_NUM_THREADS": "8"}), ["threads"]),
        (replace(HERE, variables={"OPENBLAS_CORETYPE": "Haswell"}), ["instructions"]),
        (replace(HERE, variables={"ATEN_CPU_CAPABILITY": "avx2"}), ["instructions"]),
        (replace(HERE, variables={"CUDA_LAUNCH_BLOCKING": "1"}), ["launch_blocking"]),
        (replace(HERE, memory=MemorySize(2**34, 2**30, 0, 0)), ["memory"]),
        (replace(HERE, libraries={"tensorflow": "2", "tensorflow-cpu": "2"}), ["tensorflows"]),
        (add_gpu(processes=(GpuProcess(7, "trainer", 2**30),)), ["gpu_shared"]),
        (add_gpu(utilization_percent=40.0), ["gpu_busy"]),
        (add_gpu(throttle_reasons=("gpu_idle", "hw_thermal_slowdown")), ["gpu_slowed"]),
        (add_gpu(mig=True), ["mig"]),
        (add_gpu(persistence=False), ["persistence"]),
        # What is unknown or normal is no finding.
        (add_cpu(governor=None, turbo=None, virtual=None, usable=None, quota=None), []),
        (add_cpu(quota=4.0), []),
        (replace(HERE, variables={"OMP_NUM_THREADS": "4", "CUDA_LAUNCH_BLOCKING": "0"}), []),
        (replace(HERE, memory=MemorySize(None, None, None, None)), []),
        (add_gpu(processes=None, utilization_percent=None, throttle_reasons=None), []),
        (add_gpu(persistence=None), []),
        (HERE, []),
        (add_gpu(), []),
    ],
)
def test_findings_one_problem_gives_its_code(here: Environment, found: list[str]) -> None:
    assert codes(here) == found


def test_findings_gpu_processes_gives_names_and_memory() -> None:
    here = add_gpu(processes=(GpuProcess(7, "trainer", 2**30), GpuProcess(8, None, None)))
    (found,) = findings(here, CALM, GpuFacts(installed=1, visible=1))
    assert "gpu:0: other processes use it" in reason_texts(found)[0]
    assert "trainer (pid 7, 1.0 GiB), a process (pid 8)" in reason_texts(found)[0]


def test_findings_unreadable_gpu_says_what_to_install() -> None:
    here = replace(HERE, unread={"gpus": "nvidia-ml-py is not installed; pip install nvidia-ml-py"})
    (found,) = findings(here, CALM, GpuFacts(installed=1, visible=1, driver=True))
    assert found.code == "nvml"
    assert reason_texts(found)[1] == "nvidia-ml-py is not installed; pip install nvidia-ml-py"


# -- after measuring

GOOD = StepSeries(1, (0.1,) * 20, tuple(range(20)), (), Stopped.TIME, True, 1e-5)


WIDE = (0.08, 0.1, 0.12) * 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"series": replace(GOOD, blocks=(0.1,) * 5)}, ["few_samples"]),
        ({"series": replace(GOOD, blocks=WIDE)}, ["wide_interval"]),
        ({"series": replace(GOOD, steady=False)}, ["not_steady"]),
        ({"disturbance": replace(CALM, others=0.5)}, ["busy"]),
        ({"disturbance": replace(CALM, swapped=4096)}, ["swap"]),
        ({"disturbance": replace(CALM, cpu_throttled=1)}, ["throttled"]),
        ({"disturbance": replace(CALM, clock_change=0.7)}, ["clock"]),
        ({"disturbance": replace(CALM, clock_change=1.3)}, ["clock"]),
        ({"threads": ("OMP_NUM_THREADS=64",)}, ["threads"]),
        ({"disturbance": replace(CALM, gpu_throttled={1: 0.2}), "device": "gpu:1"}, ["throttled"]),
        # What is unknown, or irrelevant on a CPU, is no reason.
        ({}, []),
        ({"series": replace(GOOD, steady=None)}, []),
        ({"disturbance": Disturbance(10.0, 4, None, (), None, None, {}, None)}, []),
        ({"disturbance": replace(CALM, others=0.3)}, []),
        ({"disturbance": replace(CALM, clock_change=0.9)}, []),
        ({"disturbance": replace(CALM, gpu_throttled={0: 9.0})}, []),
    ],
)
def test_validity_each_disturbance_gives_its_code(change: dict[str, Any], code: list[str]) -> None:
    standing: dict[str, Any] = {"series": GOOD, "disturbance": CALM, "threads": (), "device": "cpu"}
    found = disturbances.validity(*(standing | change).values())
    assert [each.code for each in found] == code


def test_reasons_all_have_advice() -> None:
    bad = Disturbance(10.0, 4, 3.0, ("mail (pid 3) 90%",), 1, 1, {}, 2.0)
    series = replace(GOOD, blocks=WIDE, steady=False)
    reasons = list(disturbances.validity(series, bad, ("x=9",), "cpu"))
    assert len(reasons) == 7
    assert all(reason_line(each) and reason_texts(each)[1] for each in reasons)
    assert "mail (pid 3) 90%" in " ".join(reason_line(each) for each in reasons)


@pytest.mark.parametrize(
    ("service", "period", "code"),
    [(0.012, 0.01, ["behind"]), (0.01, 0.01, []), (0.012, None, []), (None, 0.01, [])],
)
def test_validity_calls_longer_than_the_period_gives_behind(
    service: float | None, period: float | None, code: list[str]
) -> None:
    """A rare slow call is no reason: the median counts."""
    streamed = None
    if service is not None:
        calls = np.array([service] * 11 + [1.0] * 10)
        streamed = StreamTimes(calls, calls)
    found = list(disturbances.validity(replace(GOOD, streamed=streamed), CALM, (), "cpu", period))
    assert [each.code for each in found] == code
    assert all(
        "a call takes 12 ms, but one is due every 10 ms" in reason_line(each) for each in found
    )
