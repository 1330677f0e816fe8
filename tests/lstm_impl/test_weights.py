"""Test canonical weights: drawing, checks, and the layouts of other libraries."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_impl import LayerWeights, LSTMSpec, LSTMWeights, layouts

SPEC = LSTMSpec(3, 5, num_layers=2, bidirectional=True)


def test_random_weights_depend_on_the_seed_only() -> None:
    first, again, other = (LSTMWeights.random(SPEC, seed).arrays() for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.any(a == c)


def test_random_weights_distinguish_gates_biases_and_transposes() -> None:
    """A backend that mixes anything up must have other outputs."""
    square = LSTMSpec(4, 4)
    for cell in LSTMWeights.random(square).layers[0]:
        for array in (cell.kernel, cell.recurrent_kernel, cell.bias[None]):
            gates = np.split(array, 4, axis=-1)
            for k in range(4):
                assert np.all(gates[k] != 0)
                for other in range(k):
                    assert not np.any(gates[k] == gates[other])
        for gate in np.split(cell.kernel, 4, axis=-1):
            assert not np.array_equal(gate, gate.T)
        assert not np.any(cell.kernel == cell.recurrent_kernel)


def test_random_raises_only_the_forget_bias_by_one() -> None:
    spec = LSTMSpec(3, 16)
    limit = 1 / 4
    cell = LSTMWeights.random(spec, seed=3).layers[0][0]
    i, f, g, o = np.split(cell.bias, 4)
    assert np.all(np.abs(f - 1) <= limit)
    for array in (i, g, o, cell.kernel, cell.recurrent_kernel):
        assert np.abs(array).max() <= limit
        assert np.abs(array).max() > limit / 2


def test_names_have_layer_direction_and_array() -> None:
    weights = LSTMWeights.random(SPEC)
    names = weights.names()
    assert len(names) == len(weights.arrays()) == len(set(names)) == 12
    assert names[:3] == [
        "layer0.forward.kernel",
        "layer0.forward.recurrent_kernel",
        "layer0.forward.bias",
    ]
    assert names[-1] == "layer1.backward.bias"
    by_name = dict(zip(names, weights.arrays(), strict=True))
    assert by_name["layer1.backward.kernel"] is weights.layers[1][1].kernel
    assert by_name["layer0.backward.recurrent_kernel"] is weights.layers[0][1].recurrent_kernel


# -- wrong weights


@pytest.mark.parametrize(
    ("index", "where", "expected"),
    [
        (0, r"weights.layers\[0\]\[0\].kernel", r"\(3, 20\)"),
        (4, r"weights.layers\[0\]\[1\].recurrent_kernel", r"\(5, 20\)"),
        (6, r"weights.layers\[1\]\[0\].kernel", r"\(10, 20\)"),
        (11, r"weights.layers\[1\]\[1\].bias", r"\(20,\)"),
    ],
)
def test_check_of_a_wrong_shape_raises_with_the_name(index: int, where: str, expected: str) -> None:
    arrays = LSTMWeights.random(SPEC).arrays()
    arrays[index] = np.zeros((7, 7), np.float32)
    with pytest.raises(ValueError, match=rf"{where} has shape \(7, 7\); expected {expected}"):
        LSTMWeights.from_arrays(SPEC, arrays)


def test_check_of_numbers_not_finite_or_other_layers_raises() -> None:
    weights = LSTMWeights.random(SPEC)
    for bad in (np.nan, np.inf):
        arrays = [array.copy() for array in weights.arrays()]
        arrays[5][3] = bad
        with pytest.raises(ValueError, match=r"weights.layers\[0\]\[1\].bias has NaN or inf"):
            LSTMWeights.from_arrays(SPEC, arrays).check(SPEC)
    with pytest.raises(ValueError, match="weights have 2 layers; expected 3 as in the spec"):
        weights.check(replace(SPEC, num_layers=3))
    with pytest.raises(
        ValueError, match=r"weights.layers\[0\] has 2 directions; expected 1 as in the spec"
    ):
        weights.check(replace(SPEC, bidirectional=False))


# -- layouts of other libraries

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
    """Input and recurrent matrices come before input and recurrent biases; gates are i, f, g, o."""
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
    layer = LSTMWeights.random(SPEC).layers[1]
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


def test_old_name_of_labelled_arrays_warns_and_returns_the_same_arrays() -> None:
    weights = LSTMWeights.random(LSTMSpec(2, 3), seed=0)
    with pytest.warns(DeprecationWarning, match=r"call LSTMWeights\.label_arrays instead"):
        found = weights.named("d")
    assert found.keys() == {f"d{name}" for name in weights.names()}
    assert all(found[f"d{name}"] is each for name, each in weights.label_arrays().items())
