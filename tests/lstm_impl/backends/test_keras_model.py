"""Test a Keras model by each call that users make: its results, and the weights it leaves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend, reference
from lstm_impl.backends.keras.model import PATHS, CalledModel
from lstm_impl.cell import GRU
from lstm_impl.optimizer import LEARNING_RATE
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import SPEC, built, passes

INFER = Workload(2, 4)
TRAIN = Workload(2, 4, "training", optimizer="sgd", gradients="weights")


def named(path: str, strategy: str = "keras_model") -> str:
    return f"{strategy}+{path}" if path else strategy


def called(path: str) -> CalledModel:
    backend = get_backend(named(path))
    assert isinstance(backend, CalledModel)
    return backend


# -- what is refused, without a framework


@pytest.mark.parametrize("path", PATHS)
def test_refusal_of_the_other_mode_gives_the_reason(path: str) -> None:
    backend = called(path)
    assert bool(backend.refusal(SPEC, INFER)) == (not PATHS[path].infers)
    assert bool(backend.refusal(SPEC, TRAIN)) == (not PATHS[path].trains)
    for workload in (INFER, TRAIN):
        if reason := backend.refusal(SPEC, workload):
            assert backend.path.written in reason


@pytest.mark.parametrize(
    ("spec", "workload", "message"),
    [
        (replace(SPEC, num_layers=2), INFER, "one layer in one direction"),
        (replace(SPEC, bidirectional=True), INFER, "one layer in one direction"),
        (replace(SPEC, dtype="float64"), INFER, "of float32 or mixed_bfloat16, not float64"),
        (SPEC, replace(INFER, min_length=2), "takes no lengths"),
        (SPEC, replace(TRAIN, optimizer=None), "name an optimizer, sgd"),
        (SPEC, replace(TRAIN, optimizer="adam"), "no weights with adam"),
        (SPEC, replace(TRAIN, gradients="all"), "the weights alone"),
        (SPEC, replace(TRAIN, window=2), "no state for the next window"),
    ],
)
def test_refusal_of_unsupported_workloads_gives_the_reason(
    spec: LSTMSpec, workload: Workload, message: str
) -> None:
    assert message in called("").refusal(spec, workload)


def test_refusal_of_an_export_in_mixed_precision_gives_the_reason() -> None:
    mixed = replace(SPEC, dtype="mixed_bfloat16")
    assert called("train_on_batch").refusal(mixed, TRAIN) == ""
    assert "exported in float32" in called("signature").refusal(mixed, INFER)


@pytest.mark.parametrize("path", ["litert", "onnx"])
def test_availability_of_an_exported_model_on_a_gpu_gives_the_reason(path: str) -> None:
    assert "on the CPU" in str(called(path).availability("gpu:0"))


@pytest.mark.parametrize("path", ["", pytest.param("fit", marks=pytest.mark.slow)])
def test_lstm_impl_model_equals_the_reference(path: str) -> None:
    model = built(named(path, "lstm_impl_model"), batch_major=True)
    workload = replace(INFER if PATHS[path].infers else TRAIN, batch_major=True)
    passes(model, workload, 3)
    assert model.evidence(workload)["computed_by"]


def test_state_is_carried_from_window_to_window() -> None:
    passes(built("keras_model+predict_on_batch"), Workload(2, 7, window=3), 3)


# -- the gate stops what is wrong


def test_gate_of_a_call_with_another_update_or_none_fails() -> None:
    model = built("keras_model")
    step = model._train_call
    model._train_call = lambda inputs, upstream: None
    result = gate(model, TRAIN, seed=3)
    assert not result.passed
    assert result.errors["update"] > result.bounds["update"]
    model._train_call = lambda inputs, upstream: step(
        inputs, {**upstream, "c_n": 0.0 * upstream["c_n"]}
    )
    assert not gate(model, TRAIN, seed=3).passed


def test_set_weights_makes_the_export_again() -> None:
    model = built("keras_model+litert")
    x = np.ones((4, 2, 3), np.float32)
    before, _ = model.forward(x)
    model.set_weights(LSTMWeights.random(SPEC, seed=2))
    assert np.max(np.abs(model.forward(x)[0] - before)) > 0.05


def test_second_training_step_returns_its_own_results() -> None:
    model = built("keras_model")
    inputs = TRAIN.inputs(SPEC, seed=3)
    for _ in range(2):
        before = model.get_weights()
        y, _, gradients = model.forward_and_gradients(
            inputs.x, inputs.dy, inputs.state, optimizer="sgd", of="weights"
        )
        expected, _ = reference.forward(SPEC, before, inputs.x, inputs.state)
        np.testing.assert_allclose(y, expected, atol=1e-6)
        for old, new, gradient in zip(
            before.arrays(), model.get_weights().arrays(), gradients.weights.arrays(), strict=True
        ):
            np.testing.assert_allclose(new - old, -LEARNING_RATE * gradient, atol=2e-7)


def few(purpose: str) -> list[Any]:
    """Leave out rows that take seconds to trace, compile or save, unless slow tests run."""
    slow = ("fit", "signature", "predict")
    return [
        pytest.param(each, marks=pytest.mark.slow if each in slow else ())
        for each, path in PATHS.items()
        if getattr(path, purpose)
    ]


@pytest.mark.parametrize("path", few("infers"))
def test_inference_by_each_call_equals_the_reference(path: str) -> None:
    passes(built(f"keras_model+{path}" if path else "keras_model"), INFER, 3)


@pytest.mark.parametrize("strategy", ["keras_model", "lstm_impl_model"])
def test_training_in_mixed_precision_passes_the_gate(strategy: str) -> None:
    mixed = replace(SPEC, dtype="mixed_bfloat16")
    passes(built(f"{strategy}+train_on_batch", mixed), TRAIN, 3)


@pytest.mark.parametrize("path", few("trains"))
def test_training_by_each_call_leaves_the_weights_of_the_reference(path: str) -> None:
    result = passes(built(f"keras_model+{path}" if path else "keras_model"), TRAIN, 3)
    assert "update" in result.errors


# -- a GRU


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("keras_model+function", INFER),
        ("keras_model+predict_on_batch", INFER),
        ("keras_model+onnx", INFER),
        ("keras_model+litert", INFER),
        ("keras_model+train_on_batch", TRAIN),
        ("lstm_impl_model+train_on_batch", TRAIN),
        ("lstm_impl_model", INFER),
    ],
)
@pytest.mark.parametrize("cell", [GRU(), GRU(reset_after=False)], ids=str)
def test_gru_by_each_kind_of_call_equals_the_reference(
    name: str, workload: Workload, cell: GRU
) -> None:
    model = built(name, replace(SPEC, cell=cell))
    result = passes(model, workload, 3)
    assert "c" not in result.errors
    if name.startswith("lstm_impl_model"):
        assert model.evidence(workload)["computed_by"]
