"""Test weights in other libraries' layouts, by round trips and by those libraries."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_impl import LayerWeights, LSTMSpec, LSTMWeights, layouts

DEEP = LSTMSpec(3, 5, num_layers=2, bidirectional=True)

specs = st.builds(
    LSTMSpec,
    input_size=st.integers(1, 6),
    hidden_size=st.integers(1, 6),
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
)


def assert_equal(ours: LSTMWeights, theirs: LSTMWeights) -> None:
    for name, a, b in zip(theirs.names(), ours.arrays(), theirs.arrays(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert a.dtype == b.dtype


# -- cuDNN


@given(specs)
def test_cudnn_unpack_inverts_cudnn_pack(spec: LSTMSpec) -> None:
    weights = LSTMWeights.random(spec)
    buffer = layouts.cudnn_pack(spec, weights)
    assert buffer.dtype == spec.precision.storage
    assert_equal(layouts.cudnn_unpack(spec, buffer), weights)


def test_cudnn_pack_of_one_layer_equals_a_manual_buffer() -> None:
    """Input matrices, recurrent ones, input biases, recurrent ones; gates i, f, g, o in each."""
    kernel = np.array([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    recurrent_kernel = np.array([[10.0, 20, 30, 40]])
    bias = np.array([0.1, 0.2, 0.3, 0.4])
    weights = LSTMWeights(((LayerWeights(kernel, recurrent_kernel, bias),),))
    buffer = layouts.cudnn_pack(LSTMSpec(2, 1, dtype="float64"), weights)
    matrices = [1, 5, 2, 6, 3, 7, 4, 8, 10, 20, 30, 40]
    assert buffer.tolist() == [*matrices, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4]


def test_cudnn_unpack_returns_the_sum_or_second_of_two_biases() -> None:
    spec = LSTMSpec(2, 3)
    matrices, _ = layouts.cudnn_sizes(spec)
    buffer = layouts.cudnn_pack(spec, LSTMWeights.random(spec))
    second = buffer[matrices + 12 :].copy()
    buffer[matrices : matrices + 12] = 7.0
    assert_bias = np.testing.assert_array_equal
    assert_bias(layouts.cudnn_unpack(spec, buffer).layers[0][0].bias, second + 7)
    assert_bias(layouts.cudnn_unpack(spec, buffer, "second").layers[0][0].bias, second)


# -- the 2016 cell


@given(specs, st.sampled_from([0.0, 1.0, 0.5]))
def test_from_basic_cell_inverts_basic_cell(spec: LSTMSpec, forget_bias: float) -> None:
    cell = LSTMWeights.random(spec).layers[0][0]
    given_cell = LayerWeights(*(array.copy() for array in cell))
    back = layouts.from_basic_cell(*layouts.basic_cell(cell, forget_bias), forget_bias)
    for a, b, untouched in zip(back, cell, given_cell, strict=True):
        np.testing.assert_allclose(a, b, atol=4 * spec.precision.roundoff)
        np.testing.assert_array_equal(b, untouched)  # the caller's arrays are unchanged
        assert a.dtype == b.dtype


# -- ONNX


def test_onnx_layer_has_gates_i_o_f_c_and_two_biases() -> None:
    layer = LSTMWeights.random(DEEP).layers[1]
    w, r, b = layouts.onnx_layer(layer)
    assert w.shape == (2, 20, 10)
    assert r.shape == (2, 20, 5)
    assert b.shape == (2, 40)
    for direction, cell in enumerate(layer):
        for place, gate in enumerate((0, 3, 1, 2)):  # of our i, f, g, o
            there, here = slice(5 * place, 5 * place + 5), slice(5 * gate, 5 * gate + 5)
            np.testing.assert_array_equal(w[direction, there], cell.kernel[:, here].T)
            np.testing.assert_array_equal(r[direction, there], cell.recurrent_kernel[:, here].T)
            np.testing.assert_array_equal(b[direction, there], cell.bias[here])
        np.testing.assert_array_equal(b[direction, 20:], 0)
