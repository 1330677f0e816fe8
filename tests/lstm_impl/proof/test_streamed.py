"""Test that the gate passes right streams and fails wrong ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Model, Workload
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs
from lstm_impl.proof import gate
from tests.lstm_impl.rounded_model import RoundedModel

SPEC = LSTMSpec(3, 5)
WEIGHTS = LSTMWeights.random(SPEC, seed=2)
STREAM = Workload(2, 1, "streaming")


def model(kind: type[NumPyModel]) -> Model:
    return kind(NumPyLoop(), SPEC, "cpu", False, WEIGHTS)


@pytest.mark.parametrize("dtype", ["float32", "tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("timesteps", [1, 4])
def test_gate_of_a_rounded_stream_passes(dtype: str, timesteps: int) -> None:
    spec = LSTMSpec(5, 8, num_layers=2, dtype=dtype)
    right = RoundedModel(spec, LSTMWeights.random(spec, seed=3))
    result = gate(right, replace(STREAM, timesteps=timesteps))
    assert result.passed, result.describe()
    assert {"y", "streamed y", "streamed h", "streamed c"} <= set(result.errors)


class StateNotKept(NumPyModel):
    """A model that begins each call with a zero state, as a stateless layer does."""

    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(h=0 * call.h, c=0 * call.c))


class CellNotKept(NumPyModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(c=0 * call.c))


class StateKeptOfTheBeginning(NumPyModel):
    _begun: tuple[object, object] | None = None

    def _stream(self, call: Call) -> Outputs:
        self._begun = self._begun or (call.h, call.c)
        return self._infer(call._replace(h=self._begun[0], c=self._begun[1]))


class StateOfAnotherSequence(NumPyModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(h=call.h[:, ::-1], c=call.c[:, ::-1]))


class StateInFewerDigits(NumPyModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(h=np.float16(call.h), c=np.float16(call.c)))


class EveryOtherChunk(NumPyModel):
    _last: Outputs | None = None

    def _stream(self, call: Call) -> Outputs:
        if self._last is not None:
            last, self._last = self._last, None
            return last
        self._last = self._infer(call)
        return self._last


WRONG = (
    StateNotKept,
    CellNotKept,
    StateKeptOfTheBeginning,
    StateOfAnotherSequence,
    StateInFewerDigits,
    EveryOtherChunk,
)


@pytest.mark.parametrize("wrong", WRONG)
def test_gate_of_a_stream_that_is_right_for_one_call_only_fails(wrong: type[NumPyModel]) -> None:
    assert gate(model(wrong), replace(STREAM, mode="inference")).passed
    result = gate(model(wrong), STREAM)
    assert not result.passed
    assert "fed chunk by chunk" in result.describe()
