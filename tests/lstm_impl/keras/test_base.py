"""Test what the layers share on all backends of Keras: configurations and explanations."""

import logging
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.keras  # noqa: E402

# Of masks that Keras 3.16, and so this layer, does not pass on.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")

X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)


def lstm(**arguments: Any) -> Any:
    return lstm_impl.keras.LSTM(4, **arguments)


@pytest.mark.parametrize(
    ("argument", "given", "name"),
    [
        ("activation", "tanh", "tanh"),
        ("activation", tf.tanh, "tanh"),
        ("activation", keras.ops.tanh, "tanh"),
        ("recurrent_activation", "sigmoid", "sigmoid"),
        ("recurrent_activation", tf.sigmoid, "sigmoid"),
        ("recurrent_activation", keras.ops.sigmoid, "sigmoid"),
        ("activation", None, "linear"),
        ("activation", tf.nn.relu, "relu"),
        ("recurrent_activation", lambda x: x, "<lambda>"),
    ],
)
def test_activation_is_recognised_by_any_of_its_names(argument: str, given: Any, name: str) -> None:
    assert getattr(lstm(**{argument: given})._arguments(), argument) == name


# -- configurations


FULL = {
    "units": 3,
    "activation": "relu",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": False,
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 5,
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "unroll": True,
    "use_cudnn": False,
    "kernel_regularizer": "l2",
    "name": "mine",
    "dtype": "float64",
    "trainable": False,
}


@pytest.mark.parametrize(
    "arguments",
    [FULL, {"units": 2, "backend": "while_loop+hoisted", "implementation": 1}],
    ids=["many arguments", "a backend"],
)
def test_get_config_makes_an_equal_layer(arguments: dict[str, Any]) -> None:
    layer = lstm_impl.keras.LSTM(**arguments)
    config = layer.get_config()
    again = lstm_impl.keras.LSTM.from_config(config)
    assert again.get_config() == config
    for name in ("backend", "use_cudnn", "units", "dropout", "seed"):
        if name in arguments:
            assert config[name] == arguments[name]
    plain = keras.layers.LSTM(**{k: v for k, v in arguments.items() if k != "backend"}).get_config()
    assert plain.keys() < config.keys()
    assert config.keys() - plain.keys() == {"backend", "use_cudnn", "implementation"}


def test_from_config_accepts_that_of_keras() -> None:
    layer = lstm_impl.keras.LSTM.from_config(keras.layers.LSTM(3, go_backwards=True).get_config())
    assert layer.go_backwards
    assert layer.backend == "auto"


# -- the message


def test_explain_before_a_call_names_the_choice() -> None:
    explanation = lstm().explain()
    assert not explanation.called
    assert {call.training for call, _ in explanation.choices} == {True, False}
    assert 'backend="auto", not called yet' in str(explanation)
    assert "because" in repr(explanation)


def test_explain_after_calls_names_each_choice() -> None:
    layer = lstm(backend="scan")
    for timesteps in (3, 5):
        layer(np.zeros((2, timesteps, 3), np.float32))
    layer(X, training=True)
    layer(X, mask=np.ones(X.shape[:2], bool))
    explanation = layer.explain()
    assert explanation.called
    ways = [(call.training, call.masked) for call, _ in explanation.choices]
    assert ways == [(False, False), (True, False), (False, True)]
    assert "training on cpu, outside a graph, batch x time 2x5: scan" in str(explanation)
    assert "requested by name" in str(explanation)


def test_auto_falling_back_to_keras_warns(caplog: pytest.LogCaptureFixture) -> None:
    layer = lstm(activation="relu", name="mine")
    with caplog.at_level(logging.WARNING, "lstm_impl.keras"):
        layer(X)
        layer(X)
    (record,) = caplog.records
    assert "layer mine" in record.message
    assert "only Keras's own loop can: the layer has activation='relu'" in record.message
    assert "activation='relu'" in str(layer.explain())
