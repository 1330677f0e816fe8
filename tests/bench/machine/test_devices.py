from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine import devices
from bench.machine.devices import DeviceError, GpuFacts, NvmlError


def missing_nvml() -> devices.Nvml:
    raise NvmlError("nvidia-ml-py is not installed: pip install nvidia-ml-py")


def nvml_with(count: int) -> Callable[[], devices.Nvml]:
    return lambda: SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}aaa-bbb",
    )


def failing_nvml(message: str) -> Callable[[], devices.Nvml]:
    def fail() -> None:
        raise RuntimeError(message)

    return lambda: SimpleNamespace(nvmlInit=fail, nvmlShutdown=lambda: None)


def touch(root: Path, *places: str) -> Path:
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("")
    return root


def pci(root: Path, vendor: str, sort: str) -> Path:
    place = root / "sys/bus/pci/devices/0000:01:00.0"
    place.mkdir(parents=True)
    (place / "vendor").write_text(vendor + "\n")
    (place / "class").write_text(sort + "\n")
    return root


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cpu", "cpu"),
        ("CPU:0", "cpu"),
        ("gpu", "gpu:0"),
        ("GPU:3", "gpu:3"),
        (" gpu:12 ", "gpu:12"),
    ],
)
def test_a_device_has_one_spelling(text: str, name: str) -> None:
    assert devices.parse(text) == name


@pytest.mark.parametrize("text", ["", "tpu", "cuda:0", "gpu:", "gpu:-1", "gpu:01", "cpu:1", "gpu0"])
def test_what_is_no_device_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(DeviceError, match=r"expected cpu or gpu:N, such as gpu:0"):
        devices.parse(text)


def test_kind_and_index() -> None:
    assert devices.kind("gpu:3") == "gpu"
    assert devices.gpu_index("gpu:3") == 3
    assert devices.kind("cpu") == "cpu"
    with pytest.raises(DeviceError, match="'cpu' is no GPU"):
        devices.gpu_index("cpu")


def test_a_machine_without_a_gpu_has_its_cpu(tmp_path: Path) -> None:
    facts = devices.gpu_facts(tmp_path, {}, missing_nvml)
    assert facts == GpuFacts()
    assert devices.available(facts) == ["cpu"]


def test_the_driver_says_how_many_gpus_there_are(tmp_path: Path) -> None:
    facts = devices.gpu_facts(tmp_path, {}, nvml_with(2))
    assert devices.available(facts) == ["cpu", "gpu:0", "gpu:1"]
    assert facts.hidden_by is None


@pytest.mark.parametrize(
    "places",
    [
        ("dev/nvidia0", "dev/nvidia1", "dev/nvidiactl", "dev/nvidia-uvm"),
        ("proc/driver/nvidia/gpus/0000:01:00.0/x", "proc/driver/nvidia/gpus/0000:02:00.0/x"),
    ],
)
def test_without_nvml_the_drivers_files_are_counted(
    tmp_path: Path, places: tuple[str, ...]
) -> None:
    touch(tmp_path, *places)
    assert devices.gpu_facts(tmp_path, {}, missing_nvml).visible == 2


@pytest.mark.parametrize(
    ("setting", "numbers"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("0, 1", [0, 1]),
        ("1,-1,0", [1]),  # CUDA stops at what is no device
        ("7", []),
        ("GPU-1aaa", [1]),
        ("MIG-something", [None]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_does(
    setting: str | None, numbers: list[int | None]
) -> None:
    uuids = [f"GPU-{index}aaa-bbb" for index in range(3)]
    assert devices.visible_gpus(setting, 3, uuids) == numbers


def test_a_device_that_is_here_is_not_missing() -> None:
    assert devices.explain_missing("cpu", GpuFacts()) == ""
    assert devices.explain_missing("gpu:1", GpuFacts(installed=2, visible=2)) == ""


def explained(root: Path, device: str, environ: dict[str, str], load: object) -> str:
    assert callable(load)
    return devices.explain_missing(device, devices.gpu_facts(root, environ, load))


def test_hidden_gpus_are_named_with_the_variable_that_hides_them(tmp_path: Path) -> None:
    told = explained(tmp_path, "gpu:1", {"CUDA_VISIBLE_DEVICES": "0"}, nvml_with(2))
    assert told == (
        "CUDA_VISIBLE_DEVICES='0' hides it (1 of 2 GPUs left); change or unset the variable"
    )


def test_where_all_gpus_are_hidden_no_driver_is_blamed(tmp_path: Path) -> None:
    told = explained(tmp_path, "gpu:5", {"CUDA_VISIBLE_DEVICES": ""}, nvml_with(1))
    assert "CUDA_VISIBLE_DEVICES='' hides it" in told


def test_a_number_past_the_last_gpu_says_how_many_there_are(tmp_path: Path) -> None:
    assert explained(tmp_path, "gpu:4", {}, nvml_with(1)) == "this machine has 1 GPU, gpu:0"
    assert explained(tmp_path, "gpu:4", {}, nvml_with(3)).endswith("3 GPUs, gpu:0 to gpu:2")
    hiding = {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert explained(tmp_path, "gpu:4", hiding, nvml_with(3)).endswith("2 GPUs, gpu:0 to gpu:1")


@pytest.mark.parametrize("setting", ["0", "GPU-0aaa", ""])
def test_a_variable_is_not_blamed_where_there_is_no_gpu(tmp_path: Path, setting: str) -> None:
    told = explained(tmp_path, "gpu:0", {"CUDA_VISIBLE_DEVICES": setting}, missing_nvml)
    assert "no NVIDIA GPU" in told


def test_a_variable_that_names_every_gpu_hides_none(tmp_path: Path) -> None:
    facts = devices.gpu_facts(tmp_path, {"CUDA_VISIBLE_DEVICES": "0,1"}, nvml_with(2))
    assert facts.hidden_by is None


def test_a_driver_that_does_not_answer_is_quoted(tmp_path: Path) -> None:
    touch(tmp_path, "proc/driver/nvidia/version")
    told = explained(tmp_path, "gpu:0", {}, failing_nvml("Driver/library version mismatch"))
    assert "Driver/library version mismatch" in told
    assert "nvidia-smi" in told


def test_a_driver_without_gpus_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "dev/nvidiactl")
    assert "shows no GPU" in explained(tmp_path, "gpu:0", {}, nvml_with(0))


def test_a_gpu_without_a_driver_is_told(tmp_path: Path) -> None:
    pci(tmp_path, "0x10de", "0x030200")
    assert "driver is not loaded" in explained(tmp_path, "gpu:0", {}, missing_nvml)


def test_another_makers_gpu_or_nvidias_other_chips_are_no_nvidia_gpu(tmp_path: Path) -> None:
    pci(tmp_path / "a", "0x1002", "0x030000")
    pci(tmp_path / "b", "0x10de", "0x040300")  # the audio part of a graphics card
    for name in "ab":
        assert "no NVIDIA GPU" in explained(tmp_path / name, "gpu:0", {}, missing_nvml)


def test_a_container_without_a_gpu_says_how_to_hand_one_in(tmp_path: Path) -> None:
    touch(tmp_path, ".dockerenv")
    assert "--gpus all" in explained(tmp_path, "gpu:0", {}, missing_nvml)


def test_a_library_that_fails_where_there_is_no_driver_is_not_quoted(tmp_path: Path) -> None:
    told = explained(tmp_path, "gpu:0", {}, failing_nvml("NVML Shared Library Not Found"))
    assert told == (
        "this machine has no NVIDIA GPU; run the suite on one that has to add its results"
    )


@pytest.mark.parametrize(
    ("places", "environ", "name"),
    [
        ((), {}, None),
        ((".dockerenv",), {}, "docker"),
        (("run/.containerenv",), {}, "podman"),
        ((), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ((), {"APPTAINER_CONTAINER": "/x.sif"}, "apptainer"),
        ((), {"container": "systemd-nspawn"}, "systemd-nspawn"),
    ],
)
def test_containers_are_recognised(
    tmp_path: Path, places: tuple[str, ...], environ: dict[str, str], name: str | None
) -> None:
    assert devices.container(touch(tmp_path, *places), environ) == name


def test_a_container_shows_in_the_first_process_group(tmp_path: Path) -> None:
    touch(tmp_path, "proc/1/cgroup").joinpath("proc/1/cgroup").write_text("3:cpu:/docker/0123\n")
    assert devices.container(tmp_path, {}) == "docker"


def test_this_machine_can_be_asked() -> None:
    here = devices.available()
    assert here[0] == "cpu"
    assert devices.explain_missing("gpu:999")
