"""Test that each refusal has a code next to its words."""

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import lstm_impl
from lstm_impl import (
    Availability,
    Refusal,
    RefusalReason,
    UnavailableError,
    UnsupportedError,
    cuda,
    find_refusal_code,
)
from lstm_impl.availability import Package
from lstm_impl.backends.fused_cpu import library
from lstm_impl.names import check_variant
from tests.lstm_impl.made_up_cell import LEAKY

SPEC = lstm_impl.LSTMSpec(2, 3, bidirectional=True)
"""A stream has no end at which its second direction could begin."""


def build(name: str, **options: Any) -> lstm_impl.Model:
    """Build a small network with a backend."""
    spec = lstm_impl.LSTMSpec(2, 3, **options)
    return lstm_impl.get_backend(name).build(spec, lstm_impl.LSTMWeights.random(spec, seed=0))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (lambda: lstm_impl.get_backend("no_such_loop"), Refusal.UNKNOWN_NAME),
        (lambda: lstm_impl.get_backend("while_loop+fast"), Refusal.UNKNOWN_NAME),
        (lambda: lstm_impl.get_backend("partial_unroll"), Refusal.UNKNOWN_NAME),
        (lambda: check_variant("while_loop", "int8"), Refusal.UNKNOWN_NAME),
        (
            lambda: (
                lstm_impl.get_backend("numpy")
                .build(SPEC, lstm_impl.LSTMWeights.random(SPEC, seed=0))
                .prepare(lstm_impl.Workload(1, 2, "streaming"))
            ),
            Refusal.UNSUPPORTED,
        ),
        (lambda: build("numpy_fused", dtype="float64"), Refusal.NO_DTYPE),
        (lambda: build("numpy_fused", cell=LEAKY), Refusal.NO_CELL),
    ],
)
def test_unsupported_request_raises_with_its_code(
    request_: Callable[[], object], code: Refusal
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        request_()
    assert caught.value.refusal is code
    assert pickle.loads(pickle.dumps(caught.value)).refusal is code


def test_unavailable_backend_says_why_as_a_code() -> None:
    missing = Package("no_such_module", "No such package", "pip install it")
    assert missing.availability("cpu").refusal is Refusal.NOT_INSTALLED
    assert lstm_impl.get_backend("cudnn").availability("cpu").refusal is Refusal.OTHER_DEVICE
    facts = cuda.CudaFacts(hardware=False, driver_version=None)
    check = cuda.GpuCheck("TensorFlow", "pip install it", lambda: pytest.fail("not imported"))
    assert cuda.explain(facts, check, 0).refusal is Refusal.NO_GPU
    found = library.find_compiler("no-such-compiler")
    assert isinstance(found, Availability)
    assert found.refusal is Refusal.NO_COMPILER


def test_build_on_another_device_raises_with_the_code_of_the_availability() -> None:
    spec = lstm_impl.LSTMSpec(2, 3)
    weights = lstm_impl.LSTMWeights.random(spec, seed=0)
    with pytest.raises(UnavailableError) as caught:
        lstm_impl.get_backend("cudnn").build(spec, weights, "cpu")
    assert caught.value.refusal is Refusal.OTHER_DEVICE


def test_unavailable_error_has_its_reason_without_the_backend() -> None:
    error = UnavailableError("fused_cpu: no compiler", Refusal.NO_COMPILER, reason="no compiler")
    assert (str(error), error.reason) == ("fused_cpu: no compiler", "no compiler")
    restored = pickle.loads(pickle.dumps(error))
    assert (restored.reason, restored.refusal) == ("no compiler", Refusal.NO_COMPILER)
    assert UnavailableError("no compiler").reason == "no compiler"


@pytest.mark.parametrize(
    ("name", "options", "workload", "code"),
    [
        ("onnxruntime", {}, lstm_impl.Workload(1, 2, "training"), Refusal.NO_GRADIENTS),
        ("onnxruntime", {"dtype": "bfloat16"}, None, Refusal.NO_DTYPE),
        ("block_lstm", {"dtype": "float64"}, None, Refusal.NO_DTYPE),
        ("block_lstm", {"cell": LEAKY}, None, Refusal.NO_CELL),
        ("while_loop", {"dtype": "bf32"}, None, Refusal.NO_DTYPE),
        ("litert", {}, lstm_impl.Workload(1, 2, "training"), Refusal.NO_GRADIENTS),
    ],
)
def test_backend_refuses_with_a_code(
    name: str, options: dict[str, Any], workload: lstm_impl.Workload | None, code: Refusal
) -> None:
    spec = lstm_impl.LSTMSpec(2, 3, **options)
    assert find_refusal_code(lstm_impl.get_backend(name).refusal(spec, workload)) is code


def test_reason_is_a_string_with_a_code() -> None:
    reason = lstm_impl.get_backend("numpy_fused").refusal(lstm_impl.LSTMSpec(2, 3, dtype="float64"))
    assert find_refusal_code(reason) is Refusal.NO_DTYPE
    assert reason == "it computes in float32 only, not float64"
    assert json.loads(json.dumps(reason)) == reason
    assert find_refusal_code(pickle.loads(pickle.dumps(reason))) is Refusal.NO_DTYPE


def test_plain_reason_of_another_package_is_unsupported() -> None:
    assert find_refusal_code("it is Tuesday") is Refusal.UNSUPPORTED
    assert find_refusal_code(RefusalReason("it is Tuesday")) is Refusal.UNSUPPORTED
