"""Test Keras's layer on JAX, PyTorch and OpenVINO, each in its own process."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from lstm_impl import Evidence, LSTMSpec, Workload, get_backend
from lstm_impl.backends.keras.elsewhere import KerasTorchModel
from lstm_impl.backends.torch import model as torch_model
from lstm_impl.backends.torch.model import TorchModel
from tests.lstm_impl.backends.own_process import run_tests

# The tests without TensorFlow (`tox -e peers`) include what XLA compiles; here it would be compiled
# a second time.
COMPILED = [pytest.mark.slow] if importlib.util.find_spec("tensorflow") is not None else []


@pytest.mark.parametrize(
    ("name", "selected", "least"),
    [
        ("keras_openvino", "keras_openvino", 4),
        ("keras_torch", "keras_torch", 4),
        # Some of its rows of the matrix; compiling all takes half a minute.
        pytest.param(
            "keras_jax",
            "keras_jax and (timed and float32 or float64 or missing or get_weights)",
            4,
            marks=COMPILED,
            id="keras_jax-some",
        ),
        pytest.param("keras_jax", "keras_jax", 9, marks=pytest.mark.slow, id="keras_jax-all"),
    ],
)
def test_keras_backend_in_its_own_process_equals_the_reference(
    name: str, selected: str, least: int
) -> None:
    backend, contract = get_backend(name), str(Path(__file__).with_name("test_contract.py"))
    passed, said = run_tests(backend.packages, backend.environment, contract, "-k", selected)
    assert passed >= least, said
    assert " skipped" not in said, said


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
        ("keras_torch+loop", "a Python loop", ""),
        ("keras_torch+loop", "cuDNN", "keras_torch+loop is Keras's loop, and what ran is cuDNN"),
    ],
)
def test_missing_evidence_of_another_implementation_names_it(
    name: str, ran: str, missing: str
) -> None:
    found = get_backend(name).missing_evidence({"implementation": ran}, "gpu:0")
    assert (missing in found) if missing else found == ""


def test_refusal_of_float64_on_torch_is_for_masks_only() -> None:
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
def test_evidence_of_a_python_loop_is_a_fallback_unless_requested(
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
