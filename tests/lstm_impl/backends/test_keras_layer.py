"""Test Keras's layers in TensorFlow: Keras 2 and Keras 3, and the loop by option."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, cast

import pytest

from lstm_impl import Workload, get_backend
from lstm_impl.backends.keras import cells as keras_environment
from lstm_impl.backends.keras import layer as keras_layer
from lstm_impl.backends.tensorflow.model import TensorFlowModel
from lstm_impl.evidence import Evidence
from tests.lstm_impl.backends.built import built


@pytest.mark.parametrize(
    ("name", "module"), [("keras", "keras"), ("tf_keras", "tf_keras"), ("keras+loop", "keras")]
)
def test_keras_and_tf_keras_make_their_own_layers(name: str, module: str) -> None:
    (layer,) = built(name)._layers
    assert type(layer).__module__.partition(".")[0] == module
    assert type(layer).__name__ == "LSTM"


@pytest.mark.parametrize("name", ["keras+loop", "keras+unroll", "keras+xla", "keras+loop+xla"])
def test_option_loop_sets_use_cudnn_to_false(name: str) -> None:
    backend = get_backend(name)
    assert isinstance(backend, keras_layer.Keras)
    assert backend.arguments()["use_cudnn"] is False
    assert backend.missing_evidence({"cudnn": False}, "gpu:0") == ""
    assert "cuDNN's kernels ran" in backend.missing_evidence({"cudnn": True}, "gpu:0")


@pytest.mark.parametrize(
    ("name", "device", "cudnn", "fallback"),
    [
        ("keras", "cpu", False, False),
        ("keras", "gpu:0", True, False),
        ("keras", "gpu:0", False, True),
        ("tf_keras", "gpu:0", False, True),
        ("keras+loop", "gpu:0", False, False),
    ],
)
def test_evidence_on_a_gpu_without_cudnn_is_a_fallback(
    name: str, device: str, cudnn: bool, fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Evidence("made up", details={"cudnn": cudnn})
    monkeypatch.setattr(TensorFlowModel, "evidence", lambda self, workload: found)
    model = object.__new__(keras_layer.LayerModel)
    model.backend, model.device = cast("Any", get_backend(name)), device
    assert ("fallback" in model.evidence(Workload(1, 1))) == fallback


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Simulate a process that has not imported Keras, with an empty home directory."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_keras_backend_prefers_variable_then_file_then_tensorflow(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keras_environment.keras_backend() == "tensorflow"
    (at_home / "keras.json").write_text('{"backend": "torch"}')
    assert keras_environment.keras_backend() == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert keras_environment.keras_backend() == "jax"


@pytest.mark.parametrize("text", ["{", "[]", '{"backend": 3}', "\udcff"])
def test_keras_backend_with_a_broken_file_is_tensorflow(at_home: Path, text: str) -> None:
    (at_home / "keras.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert keras_environment.keras_backend() == "tensorflow"


def test_keras_backend_after_import_is_that_of_keras(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = types.SimpleNamespace(backend=lambda: "openvino")
    monkeypatch.setitem(sys.modules, "keras", cast("Any", types.SimpleNamespace(config=config)))
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # too late
    assert keras_environment.keras_backend() == "openvino"


@pytest.mark.parametrize("name", ["keras", "keras_jax", "keras_torch", "keras_openvino"])
def test_availability_with_another_keras_backend_says_how_to_get_it(
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
        "KERAS_BACKEND is 'thaeno', which is not a backend of Keras: "
        f"KERAS_BACKEND={wanted} python ..."
    )
