"""Test the emulation of cuDNN's op independently of the code that it tests."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest

from tests.lstm_impl.backends.cudnn_emulation import params_size

pytestmark = [
    pytest.mark.usefixtures("emulation"),
    # Of masks that Keras 3.16 does not pass on.
    pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning"),
]


def op_arguments(tf: Any, **changes: Any) -> dict[str, Any]:
    """Return the op's arguments for two sequences of three steps, two features and four units."""
    arguments = {
        "input": tf.ones([3, 2, 2]),
        "input_h": tf.zeros([1, 2, 4]),
        "input_c": tf.zeros([1, 2, 4]),
        "params": tf.fill([params_size(1, 4, 2, 1)], 0.1),
    }
    return {**arguments, **changes}


@pytest.mark.parametrize("mask", [None, [[True, True, True], [True, False, False]]])
def test_emulated_op_in_a_keras_layer_equals_its_loop(
    tf: Any, mask: list[list[bool]] | None
) -> None:
    """Keras packs its weights itself, batch-major, so that the emulated layout is Keras's too."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    if keras.backend.backend() != "tensorflow":
        pytest.skip(f"Keras computes with {keras.backend.backend()} here, which has no cuDNN op")
    x = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    layers = [
        keras.layers.LSTM(4, return_sequences=True, return_state=True, use_cudnn=use, seed=0)
        for use in (True, False)
    ]
    for layer in layers:
        layer.build(x.shape)
    layers[0].set_weights([*layers[1].get_weights()[:2], np.linspace(-1, 1, 16)])
    layers[1].set_weights(layers[0].get_weights())
    with (
        mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU:0"]),
        mock.patch.object(tf.raw_ops, "CudnnRNNV3", wraps=tf.raw_ops.CudnnRNNV3) as op,
    ):
        fused = layers[0](x, mask=None if mask is None else tf.constant(mask))
        assert op.call_count == 1
    plain = layers[1](x, mask=None if mask is None else tf.constant(mask))
    # on padding cuDNN gives zeros, Keras's loop the output before
    valid = np.ones((2, 3, 1)) if mask is None else np.array(mask)[:, :, None]
    np.testing.assert_allclose(fused[0] * valid, plain[0] * valid, atol=1e-6)
    np.testing.assert_allclose(fused[1:], plain[1:], atol=1e-6)
    assert np.all(np.asarray(fused[0])[valid[:, :, 0] == 0] == 0)


def test_emulated_op_adds_its_two_biases(tf: Any) -> None:
    params = op_arguments(tf)["params"].numpy()
    biases = params_size(1, 4, 2, 1) - 8 * 4
    in_first, in_second = params.copy(), params.copy()
    in_first[biases : biases + 16] += 0.5
    in_second[biases + 16 :] += 0.5
    y, other = (
        tf.raw_ops.CudnnRNNV2(**op_arguments(tf, params=values)).output
        for values in (in_first, in_second)
    )
    np.testing.assert_allclose(y, other, atol=1e-6)
    assert np.abs(y - tf.raw_ops.CudnnRNNV2(**op_arguments(tf)).output).max() > 0.01
