"""Keras's layer in TensorFlow, as users have it: Keras 2 beside Keras 3, and its loop by name."""

from __future__ import annotations

from typing import Any, cast

import pytest

from lstm_impl import LSTMSpec, Workload, get_backend
from lstm_impl.backends.keras import layer as keras_layer
from lstm_impl.backends.tensorflow.model import TensorFlowModel
from lstm_impl.evidence import Evidence
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built


@pytest.mark.parametrize(
    ("name", "module"), [("keras", "keras"), ("tf_keras", "tf_keras"), ("keras+loop", "keras")]
)
def test_each_keras_is_asked_for_its_own_layer(name: str, module: str) -> None:
    (layer,) = built(name)._layers
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
    model = object.__new__(keras_layer.LayerModel)
    model.backend, model.device = cast("Any", get_backend(name)), device
    assert ("fallback" in model.evidence(Workload(1, 1))) == told


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", ["keras", "keras+unroll", "tf_keras"])
@pytest.mark.parametrize("batch_major", [False, True])
def test_the_layers_compute_what_the_reference_does(name: str, batch_major: bool) -> None:
    spec = LSTMSpec(3, 5, 2, True)
    model = built(name, spec, batch_major=batch_major)
    result = gate(model, Workload(3, 4, min_length=1, batch_major=batch_major))
    assert result.passed, result.describe()
