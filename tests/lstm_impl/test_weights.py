"""Test how canonical weights are drawn, checked, listed and rebuilt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights

SPEC = LSTMSpec(3, 5, num_layers=2, bidirectional=True)


def test_random_weights_depend_on_the_seed_only() -> None:
    first, again, other = (LSTMWeights.random(SPEC, seed).arrays() for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.any(a == c)


def test_random_weights_distinguish_gates_biases_and_transposes() -> None:
    """Whatever a backend mixes up must change its outputs."""
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


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_check_of_an_array_not_finite_raises_with_the_name(bad: float) -> None:
    arrays = [array.copy() for array in LSTMWeights.random(SPEC).arrays()]
    arrays[5][3] = bad
    with pytest.raises(ValueError, match=r"weights.layers\[0\]\[1\].bias holds NaN or infinity"):
        LSTMWeights.from_arrays(SPEC, arrays).check(SPEC)


def test_check_of_other_layers_or_directions_raises() -> None:
    weights = LSTMWeights.random(SPEC)
    with pytest.raises(ValueError, match="weights have 2 layers; the spec has 3"):
        weights.check(replace(SPEC, num_layers=3))
    with pytest.raises(ValueError, match=r"weights.layers\[0\] has 2 directions; the spec has 1"):
        weights.check(replace(SPEC, bidirectional=False))
