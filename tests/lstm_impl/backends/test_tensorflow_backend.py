"""What TensorFlow's backends share: what is padding, turned sequences, and weights as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lstm_impl import LSTMSpec, LSTMWeights, get_backend
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend

SPECS = some.builds(
    LSTMSpec, some.integers(1, 4), some.integers(1, 4), some.integers(1, 3), some.booleans()
)


# The variables of a cell are three, two, and one of all cells.
@given(SPECS, some.sampled_from(["while_loop", "block_lstm", "dynamic_rnn", "cudnn"]))
def test_weights_come_back_from_the_arrays_that_they_are_kept_in(spec: LSTMSpec, name: str) -> None:
    backend = get_backend(name)
    assert isinstance(backend, TensorFlowBackend)
    weights = LSTMWeights.random(spec, seed=1)
    back = backend.unpack(spec, backend.pack(spec, weights))
    assert [len(layer) for layer in back.layers] == [spec.num_directions] * spec.num_layers
    for ours, theirs in zip(back.arrays(), weights.arrays(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "anew"),
    [("while_loop", False), ("while_loop+xla", True), ("static_unroll", True), ("keras", False)],
)
def test_who_compiles_or_unrolls_makes_each_length_anew(name: str, anew: bool) -> None:
    assert get_backend(name).each_length_anew == anew
