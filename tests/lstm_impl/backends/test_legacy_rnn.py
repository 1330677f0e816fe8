"""Test the API of 2016, and that it leaves the process unchanged."""

import logging
import os
import warnings

import numpy as np
import pytest

from lstm_impl import get_backend
from lstm_impl.backends.tensorflow.legacy_rnn import DynamicRNN, legacy_keras
from tests.lstm_impl.backends.built import needs

tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")

pytestmark = needs("dynamic_rnn")

VARIABLE = "TF_USE_LEGACY_KERAS"


@pytest.mark.parametrize("before", [None, "0", "1"])
@pytest.mark.parametrize("fails", [False, True])
def test_legacy_cells_leave_the_environment_unchanged(
    monkeypatch: pytest.MonkeyPatch, before: str | None, fails: bool
) -> None:
    if before is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, before)
    level, filters = tf.get_logger().level, list(warnings.filters)
    try:
        with legacy_keras() as cells:
            assert os.environ[VARIABLE] == "1"
            assert tf.get_logger().level == logging.ERROR
            assert cells.BasicLSTMCell.__module__.startswith("tf_keras")
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert os.environ.get(VARIABLE) == before
    assert tf.get_logger().level == level
    assert warnings.filters == filters


def test_gradient_of_the_bias_has_no_forget_bias() -> None:
    backend = get_backend("dynamic_rnn")
    assert isinstance(backend, DynamicRNN)
    arrays = np.ones((3, 4)), np.zeros(4)
    assert not np.any(backend.from_layout(arrays, gradient=True).bias)
    assert backend.from_layout(arrays, gradient=False).bias.tolist() == [0, 1, 0, 0]
