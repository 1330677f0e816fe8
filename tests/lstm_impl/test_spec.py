"""Test a network's checks and sizes, and rounding to each precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lstm_impl import PRECISIONS, LSTMSpec
from lstm_impl.spec import round_to_bfloat16

sizes = st.integers(1, 40)


@pytest.mark.parametrize("field", ["input_size", "hidden_size", "num_layers"])
@pytest.mark.parametrize("value", [0, -3, 2.0, "4", None, True])
def test_size_that_is_no_positive_integer_raises_with_its_name(field: str, value: Any) -> None:
    fields: dict[str, Any] = {"input_size": 2, "hidden_size": 3, field: value}
    with pytest.raises(ValueError, match=f"LSTMSpec.{field} is .*; expected a positive integer"):
        LSTMSpec(**fields)


@pytest.mark.parametrize(
    ("field", "most"), [("input_size", 2**31 - 1), ("hidden_size", 2**31 - 1), ("num_layers", 1000)]
)
def test_size_beyond_32_bits_raises_with_its_name(field: str, most: int) -> None:
    sizes: dict[str, Any] = {"input_size": 3, "hidden_size": 4}
    assert getattr(LSTMSpec(**{**sizes, field: most}), field) == most
    with pytest.raises(
        ValueError, match=f"LSTMSpec.{field} is {most + 1}; expected at most {most}"
    ):
        LSTMSpec(**{**sizes, field: most + 1})


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        *(("bidirectional", value, "expected True or False") for value in (1, "yes", None)),
        ("dtype", "float8", r"'float8'.*float64, float32, tf32, float16, bfloat16"),
    ],
)
def test_wrong_flag_or_dtype_raises_with_its_name(field: str, value: Any, says: str) -> None:
    fields: dict[str, Any] = {field: value}
    with pytest.raises(ValueError, match=rf"LSTMSpec.{field} is .*{says}"):
        LSTMSpec(2, 3, **fields)


def test_sizes_of_two_bidirectional_layers_are_these() -> None:
    spec = LSTMSpec(3, 5, num_layers=2, bidirectional=True)
    assert (spec.num_directions, spec.output_size, spec.state_layers) == (2, 10, 4)
    assert [spec.layer_input_size(layer) for layer in range(2)] == [3, 10]
    # each of two directions: four gates of five units with inputs, recurrent inputs and a bias
    assert spec.parameter_count == 2 * 4 * 5 * (3 + 5 + 1) + 2 * 4 * 5 * (10 + 5 + 1)


# -- precision


def test_roundoff_is_half_the_spacing_at_one() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes comes with TensorFlow and JAX")
    factors = {"tf32": "float16", "bf32": "bfloat16"}  # as many bits of mantissa
    for dtype, precision in PRECISIONS.items():
        epsilon = float(ml_dtypes.finfo(factors.get(dtype, precision.compute)).eps)
        assert precision.roundoff == epsilon / 2, dtype


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_quantize_twice_equals_once(dtype: str) -> None:
    spec = LSTMSpec(1, 1, dtype=dtype)
    values = np.random.default_rng(0).standard_normal(1000) * 100
    once = spec.quantize(values)
    assert once.dtype == spec.precision.storage
    np.testing.assert_array_equal(spec.quantize(once), once)
    unit = {"float64": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}.get(dtype, 2.0**-24)
    assert np.all(np.abs(once - values) <= unit * np.abs(values))


single = st.floats(width=32, allow_subnormal=True)


@given(arrays(np.float32, array_shapes(max_dims=3, min_side=0), elements=single))
def test_round_to_bfloat16_equals_ml_dtypes(values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes comes with TensorFlow and JAX")
    with np.errstate(invalid="ignore"):  # NaN to NaN
        expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(round_to_bfloat16(values), expected)
