"""TensorFlow's fused op, and the gradient that is registered for it."""

from __future__ import annotations

import pytest

from lstm_impl import LSTMSpec, Workload, get_backend
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built

pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


def test_the_gate_rejects_the_gradient_that_tensorflow_registers_for_blocklstmv2() -> None:
    result = gate(built("block_lstm+registered"), Workload(2, 6, "training"))
    assert not result.passed
    assert "dx" in result.describe()
    assert result.errors["y"] <= result.bounds["y"]  # the forward pass is right


@pytest.mark.usefixtures("eagerly")
def test_the_gradient_that_is_called_by_hand_passes() -> None:
    result = gate(built("block_lstm"), Workload(3, 6, "training", min_length=2))
    assert result.passed, result.describe()


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "mixed_bfloat16"])
def test_types_that_the_op_has_no_kernels_for_are_refused(dtype: str) -> None:
    backend = get_backend("block_lstm")
    assert "float32 and float16 kernels only" in backend.refusal(LSTMSpec(3, 5, dtype=dtype))
    for known in ("float32", "float16", "mixed_float16", "tf32"):
        assert backend.refusal(LSTMSpec(3, 5, dtype=known)) == ""
