"""Test what computes a layer: a named backend, a raced one, or Keras."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from lstm_impl import UnavailableError, UnsupportedError, Workload
from lstm_impl.tuning import Decision, Raced, save

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.keras  # noqa: E402
from lstm_impl.keras import choice, tuning  # noqa: E402

BATCH, STEPS, WIDTH, UNITS = 2, 5, 3, 4
X = np.random.default_rng(0).standard_normal((BATCH, STEPS, WIDTH)).astype(np.float32)


def lstm(**arguments: Any) -> Any:
    return lstm_impl.keras.LSTM(4, **arguments)


def picked(layer: Any, training: bool = True) -> str:
    return next(  # type: ignore[no-any-return]
        choice.backend for call, choice in layer.explain().choices if call.training == training
    )


# -- a backend by name


def test_call_with_missing_backend_raises_until_changed() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("needs a machine without a GPU")
    layer = lstm(backend="cudnn")
    assert "NVIDIA" in str(layer.explain())
    with pytest.raises(UnavailableError, match="cuDNN runs on NVIDIA GPUs only"):
        layer(X)
    layer.backend = "auto"
    assert layer(X).shape == (2, 4)
    with pytest.raises(UnsupportedError, match="use_cudnn=True cannot be served"):
        lstm(use_cudnn=True)(X)


def test_obstacle_backend_of_another_package_needs_the_arrays_of_keras() -> None:
    from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
    from lstm_impl.backends.tensorflow.loops import WhileLoop

    class Own(TensorFlowBackend):
        strategy = "own"

        def layer(self, *arguments: Any) -> Any:
            return WhileLoop().layer(*arguments)

    class OwnLayout(Own):
        def pack(self, *arguments: Any) -> Any:
            raise NotImplementedError

    assert choice.obstacle(Own(), lstm()._arguments()) == ""
    assert "cells of its own" in choice.obstacle(OwnLayout(), lstm()._arguments())


def test_setting_an_unable_backend_raises_and_changes_nothing() -> None:
    layer = lstm(activation="relu")
    with pytest.raises(UnsupportedError, match="relu"):
        layer.backend = "while_loop"
    assert layer.backend == "auto"


def test_layer_on_the_cpu_of_a_gpu_machine_knows_its_device() -> None:
    layer = lstm()
    with mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU:0"]):
        assert layer._device() == "cpu"  # where an op was really placed
        with tf.Graph().as_default():
            assert layer._device() == "gpu"
            with tf.device("/CPU:0"):
                assert layer._device() == "cpu"
            with tf.device("/GPU:0"):
                assert layer._device() == "gpu"


@pytest.mark.parametrize(
    "arguments",
    [
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"recurrent_dropout": 0.4},
        {"dropout": 0.4, "recurrent_dropout": 0.2, "unroll": True},
        {"dropout": 0.4, "implementation": 1},
    ],
    ids=str,
)
def test_fallback_to_keras_equals_keras(arguments: dict[str, Any]) -> None:
    theirs = keras.layers.LSTM(4, seed=1, use_cudnn=False, **arguments)
    ours = lstm(seed=1, **arguments)
    for layer in (theirs, ours):
        layer.build(X.shape)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_array_equal(ours(X, training=True), theirs(X, training=True))


# -- what was raced


def tuned(backend: str, training: bool = True, batch: int = BATCH) -> Decision:
    """Return a decision for ``backend`` as a race would make it."""
    layer = lstm_impl.keras.LSTM(UNITS)
    layer.build((None, None, WIDTH))
    question, rule, _ = tuning.request(layer, training, choice.Sizes(batch, STEPS))
    raced = (Raced(backend, 1e-3, 1.0, 1.0, 1.0, 20), Raced(rule, 2e-3, 2.0, 1.9, 2.1, 20))
    return Decision(question, raced, rule, "2026-11-26T07:00:00+00:00", "a test")


def test_later_layer_uses_and_names_the_decision(caplog: pytest.LogCaptureFixture) -> None:
    save(tuned("scan"))
    layer = lstm_impl.keras.LSTM(UNITS)
    with caplog.at_level(logging.INFO, "lstm_impl.keras"):
        layer(X, training=True)
    assert picked(layer) == "scan"
    assert "raced" in caplog.text
    explained = str(layer.explain())
    assert "it was the fastest of 2 raced at 2 x 5 (2026-11-26T07:00:00+00:00, a test)" in explained
    assert "2.00 times as fast as the rule's fused_cpu (1.90 to 2.10)" in explained.replace(
        "block_lstm",
        "fused_cpu",  # the rule's pick without a compiler
    )
    # other sizes, and another mode, were not raced
    layer(np.zeros((64, STEPS, WIDTH), np.float32), training=True)
    layer(X, training=False)
    assert picked(layer, training=False) != "scan"


def test_decision_of_the_suite_is_used_without_a_race() -> None:
    found = tuned("scan")
    work = Workload(BATCH, STEPS, "training", gradients="all", optimizer="adam")
    taught = replace(found, question=replace(found.question, workload=work, through="model"))
    save(taught)
    layer = lstm_impl.keras.LSTM(UNITS)
    layer(X, training=True)
    assert picked(layer) == "scan"
    save(tuned("while_loop"))
    layer = lstm_impl.keras.LSTM(UNITS)
    layer(X, training=True)
    assert picked(layer) == "while_loop"


def test_called_layer_ignores_decisions_of_other_processes() -> None:
    layer = lstm_impl.keras.LSTM(UNITS)
    layer(X, training=True)
    before = picked(layer)
    save(tuned("scan"))
    layer(X, training=True)
    assert picked(layer) == before != "scan"


def test_choice_skips_what_the_arguments_exclude() -> None:
    save(tuned("scan"))
    for arguments in ({"activation": "relu"}, {"unroll": True}, {"recurrent_dropout": 0.5}):
        layer = lstm_impl.keras.LSTM(UNITS, **arguments)
        layer(X, training=True)
        assert picked(layer) != "scan"
    # Keras's loop is a fallback there, although it won a race.
    save(tuned("keras"))
    layer = lstm_impl.keras.LSTM(UNITS, activation="relu")
    assert [choice.fallback for _, choice in layer.explain().choices] == [True, True]
