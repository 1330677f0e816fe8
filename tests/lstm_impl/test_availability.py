"""The one check of whether a backend can run: device, packages, GPU, tools, in this order."""

from __future__ import annotations

import importlib.util
from typing import Any, ClassVar

import pytest

from lstm_impl import Availability, Package, cuda
from lstm_impl.backends.numpy_loop import NumPyLoop
from lstm_impl.cuda import CudaFacts, Framework, View


class Loaf(NumPyLoop):
    """A backend that needs flour, an oven (a GPU, as it were) and a baker."""

    strategy = "loaf"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "gpu")
    elsewhere = ""
    packages = (
        Package("flour", "Flour", "pip install flour", "pip install 'flour[gpu]'"),
        Package("salt", "The salt", "pip install salt"),
    )

    def tools(self, device: str) -> Availability:
        return Availability(False, f"no baker for the {device}", "hire one")


class Oven(Loaf):
    strategy = "oven"
    devices = ("gpu",)


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def find_spec(name: str) -> Any:
        return object() if name in names else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_the_first_thing_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loaf = Loaf()
    installed(monkeypatch)
    assert str(loaf.availability("tpu:0")) == "loaf runs on cpu and gpu only"
    assert str(loaf.availability("cpu")) == "Flour is not installed: pip install flour"
    assert str(loaf.availability("gpu:0")) == "Flour is not installed: pip install 'flour[gpu]'"
    installed(monkeypatch, "flour")
    assert str(loaf.availability("gpu:0")) == "The salt is not installed: pip install salt"
    installed(monkeypatch, "flour", "salt")
    assert "expected cpu, gpu or gpu:N" in str(loaf.availability("gpu:x"))
    assert "expected cpu, gpu or gpu:N" in str(loaf.availability("cpu:0"))
    assert str(loaf.availability("gpu:0")) == "no baker for the gpu:0: hire one"


def test_all_that_is_needed_being_there_it_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loaf, "tools", lambda self, device: Availability(True))
    installed(monkeypatch, "flour", "salt")
    assert Loaf().availability("cpu")
    assert Loaf().availability("gpu:3")


def test_on_a_cpu_a_backend_for_gpus_says_whether_a_gpu_would_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch)
    missing = "Flour is not installed: pip install 'flour[gpu]'"
    assert str(Oven().availability("cpu")) == f"oven runs on gpu only; and {missing}"
    monkeypatch.setattr(Oven, "elsewhere", "ovens are hot")
    assert str(Oven().availability("cpu")) == f"ovens are hot; and {missing}"
    installed(monkeypatch, "flour", "salt")
    monkeypatch.setattr(Loaf, "tools", lambda self, device: Availability(True))
    assert str(Oven().availability("cpu")) == "ovens are hot; use --device gpu:0"


@pytest.mark.parametrize("hardware", [True, False])
def test_a_framework_is_asked_for_gpus_only_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, hardware: bool
) -> None:
    asked = []

    def look() -> View:
        asked.append("asked")
        return View("1.0", 1, (12, 4))

    monkeypatch.setattr(Loaf, "tools", lambda self, device: Availability(True))
    monkeypatch.setattr(Loaf, "gpu", Framework("Flour", "pip install it", look))
    monkeypatch.setattr(cuda, "machine_facts", lambda: CudaFacts(hardware, (12, 8)))
    installed(monkeypatch, "flour", "salt")
    assert Loaf().availability("cpu")
    assert asked == []
    assert bool(Loaf().availability("gpu:0")) == hardware
    assert asked == ["asked"] * hardware
    if hardware:
        assert "gpu:1 does not exist: Flour 1.0 sees 1 GPU" in str(Loaf().availability("gpu:1"))
