"""Test that each refusal has a code, next to the words for people."""

import pickle
from collections.abc import Callable

import pytest

import lstm_impl
from lstm_impl import Availability, Refusal, UnavailableError, UnsupportedError, cuda
from lstm_impl.availability import Package
from lstm_impl.backends.fused_cpu import library
from lstm_impl.names import check_variant

SPEC = lstm_impl.LSTMSpec(2, 3, bidirectional=True)
"""A stream has no end at which its second direction could begin."""


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
