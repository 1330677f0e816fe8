"""Keras's layer on PyTorch."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from lstm_impl import Evidence, LSTMSpec, Workload, get_backend
from lstm_impl.backends.keras.on_torch import KerasTorchModel
from lstm_impl.backends.torch import model as torch_model
from lstm_impl.backends.torch.model import TorchModel
from tests.lstm_impl.backends.own_process import run_peers


def test_in_its_own_process_the_layer_computes_what_the_reference_does() -> None:
    passed, said = run_peers("keras_torch", "keras_torch")
    assert passed >= 4, said


@pytest.mark.parametrize(
    ("name", "ran", "missing"),
    [
        ("keras_torch", "cuDNN", ""),
        ("keras_torch", "a Python loop", ""),
        ("keras_torch+loop", "a Python loop", ""),
        ("keras_torch+loop", "cuDNN", "keras_torch+loop is Keras's loop, and what ran is cuDNN"),
    ],
)
def test_evidence_that_a_name_promises_is_missed(name: str, ran: str, missing: str) -> None:
    found = get_backend(name).missing_evidence({"implementation": ran}, "gpu:0")
    assert (missing in found) if missing else found == ""


def test_float64_is_refused_where_there_is_a_mask() -> None:
    backend, spec = get_backend("keras_torch"), LSTMSpec(3, 5, dtype="float64")
    assert "where there is a mask" in backend.refusal(spec, Workload(2, 3, min_length=1))
    assert backend.refusal(spec, Workload(2, 3)) == ""


@pytest.mark.parametrize(
    ("name", "op", "fallback"),
    [
        ("keras_torch", "aten::_cudnn_rnn", False),
        ("keras_torch", "aten::mm", True),
        ("keras_torch+loop", "aten::mm", False),
    ],
)
def test_a_loop_in_python_is_told_as_a_fallback_where_nobody_asked_for_it(
    name: str, op: str, fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = Counter({op: 1, "aten::matmul": 8})
    monkeypatch.setattr(torch_model, "counted", lambda events: Evidence("made up", ops))
    monkeypatch.setattr(TorchModel, "_recorded", lambda self, workload: [])
    model = object.__new__(KerasTorchModel)
    model.backend, model.device = cast("Any", get_backend(name)), "cpu"
    found = model.evidence(Workload(2, 4))
    assert (found["products"], found["steps"]) == (8, 4)
    assert ("fallback" in found) == fallback
