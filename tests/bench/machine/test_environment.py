"""Test reading a machine and its state, on made-up machines."""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine import disturbance, environment
from bench.machine.disturbance import Activity
from bench.machine.environment import Machine, MachineKind, machine_kind
from lstm_impl import Framework
from lstm_impl.frameworks import list_frameworks
from tests.bench.machine.made_machines import (
    FakeNvml,
    fake_psutil,
    machine,
    no_nvml,
    no_version,
    write,
)


def test_read_made_machine_gives_cpu_load_memory_and_system(tmp_path: Path) -> None:
    for core, khz in ((0, 1_000_000), (1, 3_000_000)):
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        write(tmp_path, f"{folder}/scaling_governor", "performance")
        write(tmp_path, f"{folder}/scaling_cur_freq", str(khz))
        write(tmp_path, f"{folder}/cpuinfo_max_freq", "3500000")
    write(tmp_path, "sys/devices/system/cpu/cpufreq/boost", "1")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000")
    cpu = environment.read(machine(tmp_path)).cpu
    assert cpu.name == "Imaginary CPU 9000"
    assert (cpu.cores, cpu.logical, cpu.usable, cpu.quota) == (1, 2, 1, 1.5)
    assert (cpu.governor, cpu.turbo, cpu.virtual) == ("performance", True, True)
    assert (cpu.clock_hz, cpu.clock_max_hz) == (2e9, 3.5e9)
    assert cpu.temperature_c == 54.5
    write(tmp_path, "etc/os-release", 'NAME="x"\nPRETTY_NAME="Imaginary Linux 7"')
    read = environment.read(machine(tmp_path))
    assert read.load == (0.5, 0.25, 0.125)
    assert read.memory == environment.MemorySize(8_000, 5_000, 1_000, 100)
    assert read.system == "Imaginary Linux 7"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000",
            },
            4.0,
        ),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, None),
        ({}, None),
    ],
)
def test_read_container_with_limit_gives_cpu_quota(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    for place, text in files.items():
        write(tmp_path, place, text)
    read = environment.read(machine(tmp_path))
    assert read.cpu.quota == quota


def test_read_missing_sources_gives_none_and_reason(tmp_path: Path) -> None:
    def fail(*args: object, **kwargs: object) -> object:
        raise RuntimeError("the sensor is broken")

    empty = tmp_path / "nothing"
    broken = SimpleNamespace(**dict.fromkeys(vars(fake_psutil()), fail), NoSuchProcess=ValueError)
    read = environment.read(Machine(empty, {}, no_nvml, broken, {}, no_version))
    assert read.cpu.name is None
    assert read.cpu.cores is None
    assert read.cpu.governor is None
    assert read.load is None
    assert read.memory.total_bytes is None
    assert read.memory.swap_used_bytes is None
    assert read.unread["gpus"].startswith("nvidia-ml-py is not installed")
    assert disturbance.activity(Machine(empty, {}, no_nvml, broken, {}, no_version)).busy is None


def test_read_with_driver_gives_gpus(tmp_path: Path) -> None:
    nvml = FakeNvml()
    read = environment.read(machine(tmp_path, load_nvml=lambda: nvml))
    assert [gpu.name for gpu in read.gpus] == ["Imaginary A", "Imaginary B"]
    gpu = read.gpus[0]
    assert (gpu.driver, gpu.cuda_version, gpu.compute_capability) == ("999.1", "12.4", "9.0")
    assert (gpu.clock_sm_hz, gpu.clock_sm_max_hz, gpu.clock_memory_hz) == (1.2e9, 1.98e9, 2.6e9)
    assert (gpu.temperature_c, gpu.power_w, gpu.power_limit_w) == (41.0, 70.5, 700.0)
    assert gpu.throttle_reasons == ("sw_power_cap", "hw_thermal_slowdown", "0x1000")
    assert (gpu.memory_total_bytes, gpu.memory_used_bytes) == (80_000, 500)
    assert gpu.utilization_percent == 12.0
    assert gpu.persistence is True
    assert gpu.mig is None  # this driver does not support it
    assert nvml.shut
    # They are in CUDA's order.
    environ = {"CUDA_VISIBLE_DEVICES": "1,0"}
    read = environment.read(machine(tmp_path, load_nvml=FakeNvml, environ=environ))
    assert [gpu.name for gpu in read.gpus] == ["Imaginary B", "Imaginary A"]


def test_device_name_any_device_is_named(tmp_path: Path) -> None:
    made = machine(tmp_path, load_nvml=FakeNvml)
    assert environment.device_name("cpu", made) == "Imaginary CPU 9000, 1 processors"
    write(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000")
    assert environment.device_name("cpu", made).endswith("processors, the time of 1.5")
    assert environment.device_name("gpu:1", made) == "Imaginary B"
    assert environment.device_name("gpu:7", made) == "gpu:7"
    # There is a name even if nothing can be read.
    nowhere = environment.Machine(tmp_path / "none", psutil=SimpleNamespace())
    assert environment.device_name("cpu", nowhere)


def fake_tensorflow() -> ModuleType:
    tf: Any = ModuleType("tensorflow")
    tf.__version__ = "2.99"
    tf.sysconfig = SimpleNamespace(
        get_build_info=lambda: {"is_cuda_build": True, "cuda_compute_capabilities": ["sm_90"]}
    )
    tf.config = SimpleNamespace(
        threading=SimpleNamespace(
            get_intra_op_parallelism_threads=lambda: 4, get_inter_op_parallelism_threads=lambda: 0
        ),
        experimental=SimpleNamespace(tensor_float_32_execution_enabled=lambda: True),
    )
    assert isinstance(tf, ModuleType)
    return tf


def test_read_imported_tensorflow_gives_build_and_threads(tmp_path: Path) -> None:
    read = environment.read(machine(tmp_path, modules={"tensorflow": fake_tensorflow()}), threads=3)
    assert read.tensorflow == {
        "version": "2.99",
        "build": {"is_cuda_build": True, "cuda_compute_capabilities": ["sm_90"]},
        "tf32": True,
    }
    assert read.threads == {"requested": 3, "tensorflow_intra": 4, "tensorflow_inter": 0}


def test_read_boot_id_is_only_hashed(tmp_path: Path) -> None:
    here = machine(tmp_path)
    assert environment.read(here).boot is None
    place = tmp_path / "proc/sys/kernel/random/boot_id"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("5d4b0c3e-0000-4000-8000-000000000001\n")
    first = environment.read(here).boot
    assert first == environment.read(here).boot
    assert first is not None
    assert len(first) == 12
    assert first not in place.read_text()
    place.write_text("5d4b0c3e-0000-4000-8000-000000000002\n")
    assert environment.read(here).boot != first


def test_read_this_machine_succeeds() -> None:
    read = environment.read()
    assert read.cpu.logical
    assert read.memory.total_bytes
    assert read.libraries["numpy"]
    json.dumps(read.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("environ", "requested", "settings"),
    [
        ({}, None, ()),
        ({"OMP_NUM_THREADS": "1"}, 1, ()),
        ({"OMP_NUM_THREADS": "8,2"}, None, ("OMP_NUM_THREADS=8",)),
        ({"TF_NUM_INTRAOP_THREADS": "4"}, 4, ("requested=4", "TF_NUM_INTRAOP_THREADS=4")),
        ({"TF_NUM_INTEROP_THREADS": "4"}, None, ()),
        ({"OMP_NUM_THREADS": "many"}, None, ()),
    ],
)
def test_too_many_threads_above_processors_are_listed(
    tmp_path: Path, environ: dict[str, str], requested: int | None, settings: tuple[str, ...]
) -> None:
    read = environment.read(machine(tmp_path, environ=environ), requested)
    assert environment.too_many_threads(read) == settings


def test_variables_secrets_and_paths_are_left_out() -> None:
    environ = {
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "XLA_FLAGS": "--x",
        "OMP_NUM_THREADS": "2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F",
        "CUDA_VISIBLE_DEVICES": "0",
        "NVIDIA_TF32_OVERRIDE": "0",
        "HOME": "/home/me",
        "MY_TF_THING": "no",
        "TORCH_HUB_TOKEN": "abc",
        "NVIDIA_API_KEY": "abc",
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor_me",
        "LSTM_LOCK": "/home/me/lock",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    assert environment.variables(environ) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F",
        "NVIDIA_TF32_OVERRIDE": "0",
        "OMP_NUM_THREADS": "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TORCH_HUB_TOKEN": "(hidden)",
        "XLA_FLAGS": "--x",
    }


def test_machine_id_changed_hardware_changes_it(tmp_path: Path) -> None:
    first = environment.read(machine(tmp_path))
    busy = fake_psutil(getloadavg=lambda: (9.0, 9.0, 9.0))
    assert environment.read(machine(tmp_path, psutil=busy)).machine_id == first.machine_id
    assert len(first.machine_id) == 12
    with_gpus = environment.read(machine(tmp_path, load_nvml=FakeNvml))
    assert with_gpus.machine_id != first.machine_id
    assert replace(first, host="another").machine_id != first.machine_id


ENVIRONMENT: dict[str, Any] = {
    "time": "2026-01-01T00:00:00+00:00",
    "host": "node-1",
    "python": "CPython 3.11.2",
    "cpu": {
        "name": "EPYC 9B14",
        "architecture": "x86_64",
        "logical": 8,
        "usable": 4,
        "quota": None,
        "clock_hz": 2.1e9,
        "temperature_c": 40.0,
        "governor": "performance",
    },
    "load": [0.1, 0.2, 0.3],
    "memory": {"total_bytes": 2**34, "available_bytes": 2**33},
    "gpus": [{"name": "H100", "driver": "550.54", "temperature_c": 33.0, "clock_sm_hz": 1e9}] * 2,
    "libraries": {"tensorflow": "2.21.0", "numpy": "2.2.0"},
    "variables": {"OMP_NUM_THREADS": "4"},
}


def changed(*path: str | int, to: object) -> dict[str, Any]:
    environment = copy.deepcopy(ENVIRONMENT)
    place: Any = environment
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return environment


def kind(environment: object) -> MachineKind:
    found = machine_kind(environment)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        (("host",), "node-2", True),
        (("time",), "2026-02-01T00:00:00+00:00", True),
        (("load",), [9.0, 9.0, 9.0], True),
        (("cpu", "clock_hz"), 3e9, True),
        (("cpu", "temperature_c"), 90.0, True),
        (("memory", "available_bytes"), 1, True),
        (("gpus", 0, "temperature_c"), 80.0, True),
        (("cpu", "governor"), "powersave", True),
        (("cpu", "name"), "Xeon", False),
        (("cpu", "usable"), 8, False),
        (("cpu", "quota"), 2.5, False),
        (("gpus",), [], False),
        (("gpus", 1), {"name": "H100", "driver": "560.1"}, False),
        (("python",), "CPython 3.12.1", False),
        (("libraries", "numpy"), "2.3.0", False),
        (("libraries", "torch"), "2.9.0", False),
    ],
)
def test_kind_of_only_relevant_changes_give_another_kind(
    path: Any, value: object, same: bool
) -> None:
    other = kind(changed(*path, to=value))
    assert (other == kind(ENVIRONMENT)) is (other.id == kind(ENVIRONMENT).id) is same


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(ENVIRONMENT)), PLAIN)
def test_kind_of_any_plain_data_never_raises(key: str, value: object) -> None:
    for state in (ENVIRONMENT | {key: value}, {"cpu": {"name": "x", key: value}, key: value}):
        found = machine_kind(state)
        assert found is None or (hash(found) == hash(machine_kind(state)) and len(found.id) == 8)


def test_machine_kind_unknown_counts_are_not_shown() -> None:
    assert str(kind({"cpu": {"name": "x"}})) == "x, processors not counted"
    for nothing in (0, -2, True, 1.0):
        found = kind({"cpu": {"name": "x", "usable": nothing, "logical": 3}})
        assert found.processors == 3
    assert kind(changed("cpu", "usable", to=1)).processors == 1
    for quota in (-1.0, True, float("inf"), "2", None):
        assert kind(changed("cpu", "quota", to=quota)).quota == 0.0
    assert kind(changed("cpu", "quota", to=0.5)).quota == 0.5
    assert len(kind(changed("gpus", to=[{}] * 300)).gpus) == 200


QUIET = Activity(100.0, 4, 50.0, 10.0, {}, 0, 0, {}, 3e9)


def later(**changes: Any) -> Activity:
    return replace(QUIET, time=110.0, **changes)


def test_between_others_excludes_own_processor_time() -> None:
    found = disturbance.between(QUIET, later(busy=90.0, own=35.0))
    assert found.others == pytest.approx(1.5)
    assert (found.seconds, found.processors) == (10.0, 4)


def test_between_busiest_processes_are_named() -> None:
    before = replace(QUIET, others={1: ("init", 500.0), 2: ("trainer", 100.0), 3: ("mail", 1.0)})
    after = later(others={1: ("init", 500.0), 2: ("trainer", 109.5), 4: ("new", 2.0)})
    found = disturbance.between(before, after)
    assert found.busiest == ("trainer (pid 2) 95%", "new (pid 4) 20%")


def test_between_missing_counters_give_none() -> None:
    nothing = Activity(100.0, 4, None, None, {}, None, None, {}, None)
    found = disturbance.between(nothing, later())
    assert (found.others, found.swapped, found.cpu_throttled, found.clock_change) == (None,) * 4


def test_activity_sleeping_process_is_not_counted(tmp_path: Path) -> None:
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


def test_libraries_and_variables_are_those_that_frameworks_describe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    private = Framework("abacus", distributions=("beads",), variables=r"BEADS_\w+")
    ours = list_frameworks()
    monkeypatch.setattr(environment, "list_frameworks", lambda: (*ours, private))
    for cached in (environment.libraries, environment._recorded_variables):
        cached.cache_clear()
    try:
        assert "beads" in environment.libraries()
        # The name of somebody's own package is not published with shared results.
        assert "beads" not in environment.libraries(public=True)
        assert {"torch", "numpy", "openvino"} <= set(environment.libraries(public=True))
        given = {"BEADS_HANDS": "2", "TF_XLA_FLAGS": "--x", "NPROC": "3", "HOME": "/root"}
        assert environment.variables(given) == {
            "BEADS_HANDS": "2",
            "TF_XLA_FLAGS": "--x",
            "NPROC": "3",
        }
    finally:
        for cached in (environment.libraries, environment._recorded_variables):
            cached.cache_clear()
