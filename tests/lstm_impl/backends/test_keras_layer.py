"""Keras as users have it: Keras 2 beside Keras 3, its loop by name, and Keras 3 on each backend."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend
from lstm_impl.backends import keras_environment, keras_layer
from lstm_impl.backends.numpy_loop import NumPyLoop
from lstm_impl.backends.tensorflow_model import TensorFlowModel
from lstm_impl.evidence import Evidence


@pytest.mark.parametrize(
    ("name", "module"), [("keras", "keras"), ("tf_keras", "tf_keras"), ("keras+loop", "keras")]
)
def test_each_keras_is_asked_for_its_own_layer(name: str, module: str) -> None:
    backend = get_backend(name)
    if not (available := backend.availability("cpu")):
        pytest.skip(f"{name}: {available}")
    spec = LSTMSpec(2, 3)
    model: Any = backend.build(spec, LSTMWeights.random(spec))
    (layer,) = model._layers
    assert type(layer).__module__.partition(".")[0] == module
    assert type(layer).__name__ == "LSTM"


@pytest.mark.parametrize("name", ["keras+loop", "keras+unroll", "keras+xla", "keras+loop+xla"])
def test_where_the_name_says_loop_the_layer_is_told_so_and_cudnn_is_a_failure(name: str) -> None:
    backend = get_backend(name)
    assert isinstance(backend, keras_layer.Keras)
    assert backend.arguments()["use_cudnn"] is False
    assert backend.missing_evidence({"cudnn": False}, "gpu:0") == ""
    assert "cuDNN's kernels ran" in backend.missing_evidence({"cudnn": True}, "gpu:0")


def test_without_an_option_keras_chooses_as_it_does_for_its_users() -> None:
    backend = get_backend("keras")
    assert isinstance(backend, keras_layer.Keras)
    assert "use_cudnn" not in backend.arguments()
    assert backend.missing_evidence({"cudnn": True}, "gpu:0") == ""


# -- Keras's other backends, each in a process of its own

ELSEWHERE = ("keras_jax", "keras_torch", "keras_openvino")


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process that has not imported Keras, with an empty home."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_keras_takes_the_variable_before_its_file_before_tensorflow(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keras_environment.keras_backend() == "tensorflow"
    (at_home / "keras.json").write_text('{"backend": "torch"}')
    assert keras_environment.keras_backend() == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert keras_environment.keras_backend() == "jax"


@pytest.mark.parametrize("text", ["{", "[]", '{"backend": 3}', "\udcff"])
def test_a_broken_configuration_of_keras_is_none(at_home: Path, text: str) -> None:
    (at_home / "keras.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert keras_environment.keras_backend() == "tensorflow"


def test_once_imported_it_is_keras_that_says_what_it_has(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = types.SimpleNamespace(backend=lambda: "openvino")
    monkeypatch.setitem(sys.modules, "keras", cast("Any", types.SimpleNamespace(config=config)))
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # too late
    assert keras_environment.keras_backend() == "openvino"


@pytest.mark.parametrize("name", ["keras", *ELSEWHERE])
def test_a_process_whose_keras_has_another_backend_is_told_in_one_line_how_to_get_one(
    name: str, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend(name)
    wanted = backend.environment["KERAS_BACKEND"]
    assert isinstance(backend, keras_environment.KerasThree)
    monkeypatch.setenv("KERAS_BACKEND", wanted)
    assert backend.process()
    other = "jax" if wanted != "jax" else "torch"
    monkeypatch.setenv("KERAS_BACKEND", other)
    assert str(backend.process()) == (
        "Keras chooses its backend when it is imported, and in this process that is "
        f"{other}; {name} needs a process with {wanted}: KERAS_BACKEND={wanted} python ..."
    )
    monkeypatch.setenv("KERAS_BACKEND", "thaeno")
    assert str(backend.process()) == (
        "KERAS_BACKEND is 'thaeno', which is no backend of Keras: "
        f"KERAS_BACKEND={wanted} python ..."
    )


def test_any_backend_may_need_variables_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
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


# The tests without TensorFlow (`tox -e peers`) have what XLA compiles; beside it that would be made
# a second time.
COMPILED = [pytest.mark.slow] if importlib.util.find_spec("tensorflow") is not None else []


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=COMPILED if each == "keras_jax" else ()) for each in ELSEWHERE],
)
def test_in_its_own_process_the_layer_computes_what_the_reference_does(name: str) -> None:
    # Its rows of the matrix of all peers; compiling them all with XLA takes half a minute.
    few = " and (layers or lengths or float64 or missing)" if name == "keras_jax" else ""
    passed, said = run_peers(name, f"{name}{few}")
    assert passed >= 4, said


@pytest.mark.slow
def test_the_same_of_all_that_jax_compiles() -> None:
    passed, said = run_peers("keras_jax", "keras_jax")
    assert passed >= 14, said


def run_peers(name: str, selected: str) -> tuple[int, str]:
    """How many of a backend's tests passed in a process with its environment, and all it said."""
    backend = get_backend(name)
    for package in backend.packages:
        if not (installed := package.availability("cpu")):
            pytest.skip(f"{name}: {installed}")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(str(Path(__file__).with_name("test_all_peers.py")), "-k", selected),
        ],
        env={**os.environ, **backend.environment},
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert " skipped" not in said, said
    found = re.search(r"(\d+) passed", said)
    return int(found[1]) if found else 0, said


# -- what is said of what ran


@pytest.mark.parametrize(
    ("name", "ran", "missing"),
    [
        ("keras_jax", "lax.scan", ""),
        ("keras_jax", "cuDNN", ""),
        ("keras_jax+loop", "lax.scan", ""),
        ("keras_jax+loop", "cuDNN", "keras_jax+loop is Keras's lax.scan, and what ran is cuDNN"),
        ("keras_jax+unroll", "unrolled steps", ""),
        ("keras_jax+unroll", "lax.scan", "unrolled steps, and what ran is lax.scan"),
        ("keras_torch", "cuDNN", ""),
        ("keras_torch", "a Python loop", ""),
        ("keras_torch+loop", "cuDNN", "keras_torch+loop is Keras's loop, and what ran is cuDNN"),
    ],
)
def test_evidence_that_a_name_promises_is_missed(name: str, ran: str, missing: str) -> None:
    found = get_backend(name).missing_evidence({"implementation": ran}, "gpu:0")
    assert (missing in found) if missing else found == ""


@pytest.mark.parametrize(
    ("name", "device", "cudnn", "told"),
    [
        ("keras", "cpu", False, False),
        ("keras", "gpu:0", True, False),
        ("keras", "gpu:0", False, True),
        ("tf_keras", "gpu:0", False, True),
        ("keras+loop", "gpu:0", False, False),
    ],
)
def test_on_a_gpu_keras_without_cudnn_is_told_as_a_fallback(
    name: str, device: str, cudnn: bool, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Evidence("made up", details={"cudnn": cudnn})
    monkeypatch.setattr(TensorFlowModel, "evidence", lambda self, workload: found)
    model = object.__new__(keras_layer.KerasModel)
    model.backend, model.device = cast("Any", get_backend(name)), device
    assert ("fallback" in model.evidence(Workload(1, 1))) == told
