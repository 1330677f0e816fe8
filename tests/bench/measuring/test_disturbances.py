from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.machine.devices import GpuFacts
from bench.machine.disturbance import Disturbance
from bench.machine.facts import Cpu, Environment, Gpu, GpuProcess, Memory
from bench.measuring.disturbances import findings

CALM = Disturbance(1.0, 4, 0.1, (), 0, 0, {}, 1.0)

CPU = Cpu(
    name="Imaginary CPU",
    architecture="x86_64",
    cores=2,
    logical=4,
    usable=4,
    quota=None,
    virtual=False,
    governor="performance",
    turbo=False,
    clock_hz=3e9,
    clock_max_hz=3e9,
    temperature_c=40.0,
)

GPU = Gpu(
    name="Imaginary GPU",
    driver="999.1",
    cuda_version="12.4",
    compute_capability="9.0",
    clock_sm_hz=1e9,
    clock_sm_max_hz=2e9,
    clock_memory_hz=1e9,
    temperature_c=40.0,
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
    time="2026-01-01T00:00:00+00:00",
    host="imaginary",
    system="Debian",
    kernel="6",
    container=None,
    python="CPython 3.11",
    cpu=CPU,
    load=(0.1, 0.1, 0.1),
    memory=Memory(16 * 2**30, 8 * 2**30, 0, 0),
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


def with_cpu(**changes: Any) -> Environment:
    return replace(HERE, cpu=replace(CPU, **changes))


def with_gpu(**changes: Any) -> Environment:
    return replace(HERE, gpus=(replace(GPU, **changes),))


def test_a_machine_at_rest_has_nothing_to_change() -> None:
    assert codes() == []
    assert codes(with_gpu()) == []


def test_busy_processors_are_told_of_with_who_keeps_them_busy() -> None:
    busy = replace(CALM, others=1.5, culprits=("chrome (pid 7) 150%",))
    found = findings(HERE, busy, GpuFacts())
    assert [each.code for each in found] == ["busy"]
    assert "1.5 of 4 processors busy (chrome (pid 7) 150%)" in found[0].text


@pytest.mark.parametrize(
    ("here", "code"),
    [
        (with_cpu(governor="powersave"), "governor"),
        (with_cpu(turbo=True), "turbo"),
        (with_cpu(virtual=True), "virtual"),
        (with_cpu(quota=1.5), "quota"),
        (replace(HERE, variables={"OMP_NUM_THREADS": "8"}), "threads"),
        (replace(HERE, variables={"OPENBLAS_CORETYPE": "Haswell"}), "instructions"),
        (replace(HERE, variables={"ATEN_CPU_CAPABILITY": "avx2"}), "instructions"),
        (replace(HERE, variables={"CUDA_LAUNCH_BLOCKING": "1"}), "launch_blocking"),
        (replace(HERE, memory=Memory(2**34, 2**30, 0, 0)), "memory"),
        (replace(HERE, libraries={"tensorflow": "2", "tensorflow-cpu": "2"}), "tensorflows"),
        (with_gpu(processes=(GpuProcess(7, "trainer", 2**30),)), "gpu_shared"),
        (with_gpu(utilization_percent=40.0), "gpu_busy"),
        (with_gpu(throttle_reasons=("gpu_idle", "hw_thermal_slowdown")), "gpu_slowed"),
        (with_gpu(mig=True), "mig"),
        (with_gpu(persistence=False), "persistence"),
    ],
)
def test_each_thing_that_spoils_times_is_found_alone(here: Environment, code: str) -> None:
    assert codes(here) == [code]


@pytest.mark.parametrize(
    "here",
    [
        with_cpu(governor=None, turbo=None, virtual=None, usable=None, quota=None),
        with_cpu(quota=4.0),
        replace(HERE, variables={"OMP_NUM_THREADS": "4", "CUDA_LAUNCH_BLOCKING": "0"}),
        replace(HERE, memory=Memory(None, None, None, None)),
        with_gpu(processes=None, utilization_percent=None, throttle_reasons=None, persistence=None),
    ],
)
def test_what_is_not_known_or_in_order_is_no_finding(here: Environment) -> None:
    assert codes(here) == []


def test_a_quota_below_one_processor_still_asks_for_a_thread() -> None:
    (found,) = findings(with_cpu(quota=0.5), CALM, GpuFacts())
    assert "--lstm-threads 1," in found.advice


def test_processes_on_a_gpu_are_named_with_what_they_hold() -> None:
    here = with_gpu(processes=(GpuProcess(7, "trainer", 2**30), GpuProcess(8, None, None)))
    (found,) = findings(here, CALM, GpuFacts(installed=1, visible=1))
    assert "gpu:0: other processes use it" in found.text
    assert "trainer (pid 7, 1.0 GiB), a process (pid 8)" in found.text


def test_a_gpu_without_a_driver_is_found_with_what_to_install() -> None:
    (found,) = findings(HERE, CALM, GpuFacts(hardware=True))
    assert found.code == "gpu"
    assert "install NVIDIA's driver" in found.advice


def test_a_gpu_whose_state_cannot_be_read_says_what_to_install() -> None:
    here = replace(HERE, unread={"gpus": "nvidia-ml-py is not installed: pip install nvidia-ml-py"})
    (found,) = findings(here, CALM, GpuFacts(installed=1, visible=1, driver=True))
    assert found.code == "nvml"
    assert found.advice == "nvidia-ml-py is not installed: pip install nvidia-ml-py"


def test_every_finding_says_what_to_do() -> None:
    here = replace(
        with_gpu(persistence=False, mig=True, utilization_percent=50.0),
        cpu=replace(CPU, governor="powersave", turbo=True, virtual=True, quota=1.0),
    )
    found = findings(here, replace(CALM, others=3.0, swapped=5), GpuFacts(1, 1))
    assert len(found) == 9
    assert all(each.text and each.advice and "\n" not in each.text for each in found)
