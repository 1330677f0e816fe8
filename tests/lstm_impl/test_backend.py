"""Test a backend's name, availability and refusals."""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest

import lstm_impl
from lstm_impl import LSTMSpec, LSTMWeights, Package, UnsupportedError, Workload, get_backend
from lstm_impl.backends.others.numpy_loop import NumPyLoop
from lstm_impl.workload import OPTIMIZERS
from tests.loaded import FRAMEWORKS

SPEC = LSTMSpec(3, 4)

# -- its name


def test_options_that_exclude_each_other_raise_with_the_reason() -> None:
    with pytest.raises(
        UnsupportedError, match=r"computes the input product.*leave \+preproject out"
    ):
        get_backend("while_loop+preproject+hoisted")


# -- availability by device, packages, GPU and tools, in this order


class Loaf(NumPyLoop):
    """Define a backend that needs flour, an oven (as a GPU) and a baker."""

    strategy = "loaf"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "gpu")
    elsewhere = ""
    packages = (
        Package("flour", "Flour", "pip install flour", "pip install 'flour[gpu]'"),
        Package("salt", "The salt", "pip install salt"),
    )

    def tools(self, device: str) -> lstm_impl.Availability:
        return lstm_impl.Availability(False, f"no baker for the {device}", "hire one")


class Oven(Loaf):
    strategy = "oven"
    devices = ("gpu",)


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def find_spec(name: str) -> Any:
        return object() if name in names else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_availability_names_the_first_missing_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_availability_of_a_gpu_backend_on_a_cpu_names_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch)
    missing = "Flour is not installed: pip install 'flour[gpu]'"
    assert str(Oven().availability("cpu")) == f"oven runs on gpu only; and {missing}"
    monkeypatch.setattr(Oven, "elsewhere", "ovens are hot")
    assert str(Oven().availability("cpu")) == f"ovens are hot; and {missing}"
    installed(monkeypatch, "flour", "salt")
    monkeypatch.setattr(Loaf, "tools", lambda self, device: lstm_impl.Availability(True))
    assert str(Oven().availability("cpu")) == "ovens are hot; use --device gpu:0"


def test_availability_without_frameworks_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name.partition(".")[0] in FRAMEWORKS else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    for name in lstm_impl.list_backends():
        backend = get_backend(name)
        device = "cpu" if "cpu" in backend.devices else "gpu:0"
        found = backend.availability(device)
        if backend.framework == "numpy":
            assert found, name
            continue
        assert "is not installed" in str(found), name
        assert "pip install" in found.install, name
        with pytest.raises(lstm_impl.UnavailableError, match="is not installed"):
            backend.build(SPEC, LSTMWeights.random(SPEC), device=device)


def test_availability_without_a_needed_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Particular(NumPyLoop):
        strategy = "particular"
        environment: ClassVar[Mapping[str, str]] = {"LSTM_TEST_TUNING": "0"}

    monkeypatch.delenv("LSTM_TEST_TUNING", raising=False)
    assert str(Particular().availability()) == (
        "particular needs a process of its own, with LSTM_TEST_TUNING=0: "
        "LSTM_TEST_TUNING=0 python ..."
    )
    monkeypatch.setenv("LSTM_TEST_TUNING", "0")
    assert Particular().availability()


# -- what it refuses to build


def test_build_of_a_refused_spec_raises() -> None:
    class Picky(NumPyLoop):
        def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
            return "only on Sundays" if workload is None or workload.training else ""

    with pytest.raises(UnsupportedError, match=r"^numpy: only on Sundays$"):
        Picky().build(SPEC, LSTMWeights.random(SPEC))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", lstm_impl.PRECISIONS)
def test_refusal_of_an_optimizer_gives_the_reason(
    dtype: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, spec = NumPyLoop(), replace(SPEC, dtype=dtype)
    updating = Workload(1, 1, "training", optimizer=optimizer)
    lost = "lose an optimizer's updates" in backend.refusal(spec, updating)
    assert lost == (dtype in ("float16", "bfloat16"))
    monkeypatch.setattr(NumPyLoop, "optimizers", ("lion",))
    assert backend.refusal(spec, updating) == f"it updates no weights with {optimizer}"
    for workload in (None, Workload(1, 1, "training"), Workload(1, 1)):
        assert backend.refusal(spec, workload) == ""
