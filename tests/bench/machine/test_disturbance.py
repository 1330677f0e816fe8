"""What went on beside a measurement."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.machine import disturbance
from bench.machine.disturbance import Activity
from tests.bench.machine.made_machines import FakeNvml, fake_psutil, machine, write

QUIET = Activity(100.0, 4, 50.0, 10.0, {}, 0, 0, {}, 3e9)


def later(**changes: Any) -> Activity:
    return replace(QUIET, time=110.0, **changes)


def test_processors_that_others_kept_busy_are_those_that_we_did_not() -> None:
    found = disturbance.between(QUIET, later(busy=90.0, own=35.0))
    assert found.others == pytest.approx(1.5)
    assert (found.seconds, found.processors) == (10.0, 4)


def test_over_a_moment_nothing_is_said_of_others() -> None:
    after = replace(QUIET, time=100.2, busy=51.0)
    assert disturbance.between(QUIET, after).others is None


def test_the_busiest_others_are_named() -> None:
    before = replace(QUIET, others={1: ("init", 500.0), 2: ("trainer", 100.0), 3: ("mail", 1.0)})
    after = later(others={1: ("init", 500.0), 2: ("trainer", 109.5), 4: ("new", 2.0)})
    found = disturbance.between(before, after)
    assert found.culprits == ("trainer (pid 2) 95%", "new (pid 4) 20%")


def test_swapping_heat_and_clock_are_differences() -> None:
    before = replace(QUIET, swapped=4096, cpu_throttled=7, gpu_throttled={0: 1.0})
    after = later(swapped=8192, cpu_throttled=9, gpu_throttled={0: 1.5, 1: 3.0}, clock_hz=1.5e9)
    found = disturbance.between(before, after)
    assert (found.swapped, found.cpu_throttled) == (4096, 2)
    assert found.gpu_throttled == {0: 0.5}
    assert found.clock_change == 0.5


def test_what_was_not_counted_is_not_told() -> None:
    nothing = Activity(100.0, 4, None, None, {}, None, None, {}, None)
    found = disturbance.between(nothing, later())
    assert (found.others, found.swapped, found.cpu_throttled, found.clock_change) == (None,) * 4


def test_activity_counts_work_and_not_waiting(tmp_path: Path) -> None:
    def process(pid: int, name: str, user: float, system: float) -> SimpleNamespace:
        return SimpleNamespace(info={"pid": pid, "name": name, "cpu_times": (user, system, 99.0)})

    running = [process(os.getpid(), "us", 3, 1), process(9, "other", 5.0, 0.5)]
    nvml = FakeNvml()
    nvml.throttled = 2_000_000_000
    write(tmp_path, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3")
    write(tmp_path, "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "4")
    now = disturbance.activity(
        machine(
            tmp_path,
            psutil=fake_psutil(process_iter=lambda names: iter(running)),
            load_nvml=lambda: nvml,
        )
    )
    assert now.busy == 14.0  # neither idle, nor waiting for a disk, nor guests counted twice
    assert now.own == 5.0  # finished children too
    assert now.others == {9: ("other", 5.5)}
    assert now.swapped == 4096 + 8192
    assert now.cpu_throttled == 7
    assert now.gpu_throttled == {0: 2.0, 1: 2.0}
    assert now.clock_hz == 2.5e9


def test_a_machine_that_cannot_count_has_a_processor_all_the_same(tmp_path: Path) -> None:
    few = SimpleNamespace(user=3.0, system=1.0, idle=9.0)  # as a system without the others has it
    uncounted = fake_psutil(cpu_count=lambda logical: None, cpu_times=lambda: few)
    now = disturbance.activity(machine(tmp_path, psutil=uncounted))
    assert (now.processors, now.busy) == (1, 4.0)
    assert disturbance.activity(machine(tmp_path)).processors == 2
