"""Test what ``lstm_impl.spec`` says about arrays."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lstm_impl.spec import have_same_bits


@given(
    arrays.arrays(
        st.sampled_from(["float32", "float64", "float16", "int32", "bool"]),
        arrays.array_shapes(min_side=1, max_side=4),
    ),
    st.data(),
)
def test_array_has_the_bits_of_its_copy_until_one_bit_changes(array: Any, data: Any) -> None:
    copy = np.array(array)
    assert have_same_bits(array, copy)
    place = data.draw(st.integers(0, copy.nbytes - 1))
    copy.reshape(-1).view(np.uint8)[place] ^= 1
    assert not have_same_bits(array, copy)


@pytest.mark.parametrize(
    "other",
    [np.zeros((3, 2), "f"), np.zeros(6, "f"), np.zeros((2, 3), "i4"), -np.zeros((2, 3), "f")],
)
def test_array_of_another_shape_type_or_sign_of_zero_has_other_bits(other: Any) -> None:
    assert not have_same_bits(np.zeros((2, 3), np.float32), other)


def test_arrays_in_another_order_of_memory_have_the_same_bits() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert have_same_bits(array, np.asfortranarray(array))
