"""What TensorFlow's backends share: what is padding, turned sequences, and weights as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, get_backend
from lstm_impl.backends.tensorflow.backend import PaddingMask, TensorFlowBackend, reverse_time

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


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_what_comes_after_a_sequence_s_length_and_stays_there(reverse: bool) -> None:
    tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")
    lengths, x = np.array([3, 1, 4]), np.arange(1.0, 13.0).reshape(4, 3, 1)
    padding = PaddingMask.of(tf.constant(x), tf.constant(lengths))
    valid = np.arange(4)[:, None] < lengths
    np.testing.assert_array_equal(padding.mask[:, :, 0], valid)
    turned = reverse_time(tf.constant(x), padding).numpy()
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(turned[:length, row], x[:length, row][::-1])
        np.testing.assert_array_equal(turned[length:, row], x[length:, row])
    np.testing.assert_array_equal(reverse_time(tf.constant(x), None), x[::-1])


def test_a_strategy_without_a_layer_says_so() -> None:
    class Nothing(TensorFlowBackend):
        strategy = "nothing"

    with pytest.raises(UnsupportedError, match="nothing computes no layer of its own"):
        Nothing().layer(None, (None, None), [], None, False)


@pytest.mark.parametrize(
    ("name", "anew"),
    [("while_loop", False), ("while_loop+xla", True), ("static_unroll", True), ("keras", False)],
)
def test_who_compiles_or_unrolls_makes_each_length_anew(name: str, anew: bool) -> None:
    assert get_backend(name).each_length_anew == anew
