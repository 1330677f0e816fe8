"""TensorFlow's fused op, and the gradient that is registered for it."""

from __future__ import annotations

import pytest

from lstm_impl import Workload
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built

pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


def test_the_gate_rejects_the_gradient_that_tensorflow_registers_for_blocklstmv2() -> None:
    result = gate(built("block_lstm+registered"), Workload(2, 6, "training"))
    assert not result.passed
    assert "dx" in result.describe()
    assert result.errors["y"] <= result.bounds["y"]  # the forward pass is right
