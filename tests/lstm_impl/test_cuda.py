"""Test the reasons why a GPU cannot be used, without a GPU."""

import ctypes
import re
from pathlib import Path
from typing import Any

import pytest

from lstm_impl import cuda
from lstm_impl.availability import Availability
from lstm_impl.cuda import CudaFacts

INSTALL = "pip install 'framework[gpu]'"
NOT_FOUND = r"CUDA libraries \(cuDNN, cuBLAS, ...\) are not found"


def explain(
    *,
    hardware: bool = True,
    driver: tuple[int, int] | None = (12, 4),
    visible: int = 0,
    index: int = 0,
    built_with: tuple[int, int] | None = (12, 5),
) -> Availability:
    build = cuda.FrameworkBuild("2.5", visible, built_with)
    framework = cuda.GpuCheck("Framework", INSTALL, lambda: build)
    return cuda.explain(CudaFacts(hardware, driver), framework, index)


@pytest.mark.parametrize(
    ("facts", "reason", "install"),
    [
        (
            {"hardware": False, "driver": None, "built_with": None},
            "no NVIDIA GPU is visible on this machine .*--gpus all",
            "",  # no package would help
        ),
        ({"built_with": None}, "a GPU is here, but Framework 2.5 is built without CUDA", INSTALL),
        ({"driver": None}, r"libcuda.so.1 cannot be loaded; install the NVIDIA driver", ""),
        ({}, NOT_FOUND, INSTALL),
        # A driver serves every toolkit of its major version.
        ({"driver": (12, 0), "built_with": (12, 9)}, NOT_FOUND, INSTALL),
        ({"driver": (13, 0), "built_with": (12, 5)}, NOT_FOUND, INSTALL),
        (
            {"driver": (11, 8), "built_with": (12, 5)},
            "driver is too old: it supports CUDA 11.8 .* needs CUDA 12.5; update the driver",
            "",
        ),
        ({"driver": (12, 9), "built_with": (13, 0)}, "supports CUDA 12.9 .* needs CUDA 13.0", ""),
        (
            {"visible": 1, "index": 1},
            "^gpu:1 does not exist: Framework 2.5 sees 1 GPU, gpu:0 to gpu:0$",
            "",
        ),
        ({"visible": 2, "index": 7}, "^gpu:7 .* sees 2 GPUs, gpu:0 to gpu:1$", ""),
    ],
)
def test_explain_of_an_unusable_gpu_has_the_reason_and_what_to_install(
    facts: dict[str, Any], reason: str, install: str
) -> None:
    found = explain(**facts)
    assert not found
    assert re.search(reason, found.reason)
    assert found.install == install


# -- the facts


@pytest.mark.parametrize(
    "place", ["dev/nvidia0", "dev/nvidiactl", "proc/driver/nvidia/version", "dev/dxg"]
)
def test_machine_facts_find_hardware_by_driver_or_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", missing_library)
    assert not cuda.machine_facts(tmp_path).hardware
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    assert cuda.machine_facts(tmp_path) == CudaFacts(hardware=True, driver_version=None)


def missing_library(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")


class Driver:
    """Stand in for libcuda.so.1 with a version and a status."""

    def __init__(self, version: int, status: int = 0) -> None:
        self.version, self.status = version, status

    def cuDriverGetVersion(self, place: Any) -> int:  # noqa: N802
        place._obj.value = self.version
        return self.status


@pytest.mark.parametrize(
    ("driver", "version"),
    [
        (Driver(12040), (12, 4)),
        (Driver(11080), (11, 8)),
        (Driver(13000), (13, 0)),
        (Driver(12040, status=3), None),
        (object(), None),  # a library other than a driver
    ],
)
def test_machine_facts_read_the_cuda_version_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: object, version: tuple[int, int] | None
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert cuda.machine_facts(tmp_path).driver_version == version


# -- names and versions


@pytest.mark.parametrize(("device", "index"), [("gpu", 0), ("gpu:0", 0), ("gpu:12", 12)])
def test_gpu_index_is_the_number(device: str, index: int) -> None:
    assert cuda.gpu_index(device) == index


@pytest.mark.parametrize("device", ["cpu", "gpu:-1", "gpu:one", "gpu:1:2", "GPU:0", "", "gpu:²"])
def test_gpu_index_of_another_name_raises(device: str) -> None:
    with pytest.raises(ValueError, match="expected cpu, gpu or gpu:N") as caught:
        cuda.gpu_index(device)
    assert repr(device) in str(caught.value)
