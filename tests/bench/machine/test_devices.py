from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine import devices
from bench.machine.devices import DeviceError
from bench.render.messages import reason_texts
from tests.bench.machine.made_machines import no_nvml, write

PCI = "sys/bus/pci/devices/0000:01:00.0"


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
def test_parse_any_spelling_gives_one_name(text: str, name: str) -> None:
    assert devices.parse(text) == name


@pytest.mark.parametrize("text", ["", "tpu", "cuda:0", "gpu:", "gpu:-1", "gpu:01", "cpu:1", "gpu0"])
def test_parse_invalid_name_raises_with_expected_form(text: str) -> None:
    with pytest.raises(DeviceError, match=r"expected cpu or gpu:N, such as gpu:0"):
        devices.parse(text)


@pytest.mark.parametrize(
    "places",
    [
        ("dev/nvidia0", "dev/nvidia1", "dev/nvidiactl", "dev/nvidia-uvm"),
        ("proc/driver/nvidia/gpus/0000:01:00.0/x", "proc/driver/nvidia/gpus/0000:02:00.0/x"),
    ],
)
def test_gpu_facts_without_nvml_counts_driver_files(
    tmp_path: Path, places: tuple[str, ...]
) -> None:
    for place in places:
        write(tmp_path, place, "")
    assert devices.gpu_facts(tmp_path, {}, no_nvml).visible == 2


@pytest.mark.parametrize(
    ("setting", "numbers"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("0, 1", [0, 1]),
        ("1,-1,0", [1]),  # CUDA stops at an invalid entry
        ("7", []),
        ("GPU-1aaa", [1]),
        ("MIG-something", [None]),
    ],
)
def test_visible_gpus_any_setting_matches_cuda(
    setting: str | None, numbers: list[int | None]
) -> None:
    uuids = [f"GPU-{index}aaa-bbb" for index in range(3)]
    assert devices.visible_gpus(setting, 3, uuids) == numbers


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
def test_container_any_marker_is_recognised(
    tmp_path: Path, places: tuple[str, ...], environ: dict[str, str], name: str | None
) -> None:
    for place in places:
        write(tmp_path, place, "")
    assert devices.container(tmp_path, environ) == name


NONE = "this machine has no NVIDIA GPU"


@pytest.mark.parametrize(
    ("device", "setting", "load", "files", "reason"),
    [
        ("cpu", "", no_nvml, {}, ""),
        ("gpu:1", None, nvml_with(2), {}, ""),
        ("gpu:1", "0,1", nvml_with(2), {}, ""),
        ("gpu:1", "0", nvml_with(2), {}, "CUDA_VISIBLE_DEVICES='0' hides it (1 of 2 GPUs left)"),
        ("gpu:5", "", nvml_with(1), {}, "CUDA_VISIBLE_DEVICES='' hides it"),
        ("gpu:4", None, nvml_with(1), {}, "this machine has 1 GPU, gpu:0"),
        ("gpu:4", "0,1", nvml_with(3), {}, "this machine has 2 GPUs, gpu:0 to gpu:1"),
        ("gpu:0", "GPU-0aaa", no_nvml, {}, NONE),  # the variable hides nothing
        (
            *("gpu:0", None, failing_nvml("Driver/library version mismatch")),
            *(
                {"proc/driver/nvidia/version": ""},
                "NVIDIA's driver does not answer: Driver/library version mismatch",
            ),
        ),
        ("gpu:0", None, failing_nvml("NVML Shared Library Not Found"), {}, NONE),
        ("gpu:0", None, nvml_with(0), {"dev/nvidiactl": ""}, "NVIDIA's driver is loaded but shows"),
        (
            *("gpu:0", None, no_nvml, {f"{PCI}/vendor": "0x10de", f"{PCI}/class": "0x030200"}),
            "this machine has an NVIDIA GPU, but its driver is not loaded",
        ),
        (
            *("gpu:0", None, no_nvml, {f"{PCI}/vendor": "0x1002", f"{PCI}/class": "0x030000"}),
            NONE,  # another manufacturer's
        ),
        (
            *("gpu:0", None, no_nvml, {f"{PCI}/vendor": "0x10de", f"{PCI}/class": "0x040300"}),
            NONE,  # the audio part of a graphics card
        ),
        (
            "gpu:0",
            None,
            no_nvml,
            {".dockerenv": ""},
            "this container has no access to an NVIDIA GPU",
        ),
        (
            *("gpu:0", None, no_nvml, {"proc/1/cgroup": "3:cpu:/docker/0123"}),
            "this container has no access to an NVIDIA GPU",
        ),
    ],
)
def test_explain_missing_any_cause_gives_reason_and_advice(
    tmp_path: Path,
    device: str,
    setting: str | None,
    load: Callable[[], devices.Nvml],
    files: dict[str, str],
    reason: str,
) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    environ = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}
    found = devices.explain_missing(device, devices.gpu_facts(tmp_path, environ, load))
    text = "" if found is None else reason_texts(found)[0]
    assert text.removeprefix(f"no {device}: ").startswith(reason)
    assert bool(found) == bool(reason)
