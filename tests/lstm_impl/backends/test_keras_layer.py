"""Keras's layer in TensorFlow, as users have it: Keras 2 beside Keras 3, and its loop by name."""

from __future__ import annotations

from typing import Any, cast

import pytest

from lstm_impl import Workload, get_backend
from lstm_impl.backends.keras import layer as keras_layer
from lstm_impl.backends.tensorflow.model import TensorFlowModel
from lstm_impl.evidence import Evidence
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
