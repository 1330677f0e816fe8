"""What a machine is and what state it is in, read from machines that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench.machine import disturbance, environment, facts
from bench.machine.facts import Machine
from tests.bench.machine.made_machines import (
    FakeNvml,
    fake_psutil,
    machine,
    no_nvml,
    no_version,
    write,
)


def test_the_cpu_is_read_from_the_machines_files(tmp_path: Path) -> None:
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
def test_the_cpu_quota_of_a_container(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    for place, text in files.items():
        write(tmp_path, place, text)
    read = environment.read(machine(tmp_path))
    assert read.cpu.quota == quota
    assert "cpu.quota" not in read.unread


def test_load_memory_and_system(tmp_path: Path) -> None:
    write(tmp_path, "etc/os-release", 'NAME="x"\nPRETTY_NAME="Imaginary Linux 7"')
    read = environment.read(machine(tmp_path))
    assert read.load == (0.5, 0.25, 0.125)
    assert read.memory == facts.MemorySize(8_000, 5_000, 1_000, 100)
    assert read.system == "Imaginary Linux 7"


def test_what_cannot_be_read_is_none_with_its_reason(tmp_path: Path) -> None:
    def fail(*args: object, **kwargs: object) -> object:
        raise RuntimeError("the sensor is broken")

    empty = tmp_path / "nothing"
    broken = SimpleNamespace(**dict.fromkeys(vars(fake_psutil()), fail), NoSuchProcess=ValueError)
    read = environment.read(Machine(empty, {}, no_nvml, broken, {}, no_version))
    assert read.cpu.name is None
    assert "cpuinfo" in read.unread["cpu.name"]
    assert read.cpu.cores is None
    assert read.unread["cpu.cores"] == "the sensor is broken"
    assert read.cpu.governor is None
    assert "scaling_governor" in read.unread["cpu.governor"]
    assert read.load is None
    assert read.memory.total_bytes is None
    assert read.memory.swap_used_bytes is None
    assert read.unread["gpus"].startswith("nvidia-ml-py is not installed")
    assert disturbance.activity(Machine(empty, {}, no_nvml, broken, {}, no_version)).busy is None


def test_gpus_are_read_through_the_driver(tmp_path: Path) -> None:
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
    assert gpu.mig is None  # this driver does not support the question
    assert read.unread["gpus[0].mig"] == "Not Supported"
    assert nvml.shut


def test_this_process_is_no_other_process_on_the_gpu(tmp_path: Path) -> None:
    read = environment.read(machine(tmp_path, load_nvml=FakeNvml))
    assert read.gpus[0].processes == (facts.GpuProcess(77, "/usr/bin/trainer", 300),)


def test_gpus_are_in_the_order_in_which_cuda_shows_them(tmp_path: Path) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "1,0"}
    read = environment.read(machine(tmp_path, load_nvml=FakeNvml, environ=environ))
    assert [gpu.name for gpu in read.gpus] == ["Imaginary B", "Imaginary A"]


def test_a_device_has_a_name_that_tells_machines_apart(tmp_path: Path) -> None:
    asked = machine(tmp_path, load_nvml=FakeNvml)
    assert environment.device_name("cpu", asked) == "Imaginary CPU 9000, 1 processors"
    write(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000")
    assert environment.device_name("cpu", asked).endswith("processors, the time of 1.5")
    assert environment.device_name("gpu:1", asked) == "Imaginary B"
    assert environment.device_name("gpu:7", asked) == "gpu:7"
    # Where nothing can be read there is a name all the same.
    nowhere = facts.Machine(tmp_path / "none", psutil=SimpleNamespace())
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


def test_an_imported_tensorflow_is_asked_for_its_build_and_threads(tmp_path: Path) -> None:
    read = environment.read(machine(tmp_path, modules={"tensorflow": fake_tensorflow()}), threads=3)
    assert read.tensorflow == {
        "version": "2.99",
        "build": {"is_cuda_build": True, "cuda_compute_capabilities": ["sm_90"]},
        "tf32": True,
    }
    assert read.threads == {"requested": 3, "tensorflow_intra": 4, "tensorflow_inter": 0}


def test_a_half_imported_tensorflow_does_no_harm(tmp_path: Path) -> None:
    read = environment.read(machine(tmp_path, modules={"tensorflow": ModuleType("tensorflow")}))
    assert read.tensorflow == {"version": None, "build": None, "tf32": None}
    assert read.threads["tensorflow_intra"] is None
    assert "tensorflow.build" in read.unread


def test_a_record_is_plain_data(tmp_path: Path) -> None:
    modules = {"tensorflow": fake_tensorflow()}
    read = environment.read(machine(tmp_path, load_nvml=FakeNvml, modules=modules))
    data = json.loads(json.dumps(read.to_dict(), allow_nan=False))
    assert data["cpu"]["name"] == "Imaginary CPU 9000"
    assert data["gpus"][1]["name"] == "Imaginary B"


def test_the_start_of_the_kernel_has_a_name_that_does_not_tell_its_number(tmp_path: Path) -> None:
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


def test_this_machine_can_be_read() -> None:
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
def test_more_threads_than_usable_processors_are_found(
    tmp_path: Path, environ: dict[str, str], requested: int | None, settings: tuple[str, ...]
) -> None:
    read = environment.read(machine(tmp_path, environ=environ), requested)
    assert environment.too_many_threads(read) == settings
