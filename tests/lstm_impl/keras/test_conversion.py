"""Test models whose LSTMs and GRUs ``lstm_impl.keras.accelerate`` has replaced."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", reason="Keras is not installed: pip install '.[cpu]'")

import keras

import lstm_impl.keras
from lstm_impl import UnsupportedError

# Keras's own, when it saves weights with NumPy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

X = np.random.default_rng(0).standard_normal((6, 4, 5, 3)).astype(np.float32)
Y = X[:, 0, 0, :2]


class OwnLSTM(keras.layers.LSTM):  # type: ignore[misc]  # Keras has no types
    """Represent a user's subclass, which could compute anything."""


class Block(keras.layers.Layer):  # type: ignore[misc]
    """Hold an LSTM as an attribute of a layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inside = keras.layers.LSTM(3, return_sequences=True, name="inside")

    def build(self, shape: Any) -> None:
        self.inside.build(shape)

    def call(self, x: Any) -> Any:
        return self.inside(x)


def made() -> Any:
    """Return a model with LSTMs and GRUs in every place where a model can have one."""
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.Input((5, 3)),
            Block(),
            keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True, name="two")),
            keras.layers.GRU(3, return_sequences=True, name="gru"),
            keras.layers.RNN(keras.layers.LSTMCell(3), name="of_cell"),
        ],
        name="encoder",
    )
    model = keras.Sequential(
        [
            keras.Input((4, 5, 3)),
            keras.layers.TimeDistributed(encoder),
            keras.layers.RNN(keras.layers.GRUCell(3), return_sequences=True, name="of_gru_cell"),
            keras.layers.LSTM(4, dropout=0.0, name="last"),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


OURS = (lstm_impl.keras.LSTM, lstm_impl.keras.GRU)


def recurrent(model: Any) -> list[Any]:
    return [each for each in model._flatten_layers() if hasattr(each, "cell")]


def test_accelerate_model_with_wrappers_replaces_every_lstm_and_gru() -> None:
    model, lines = made(), list[str]()
    before = model.weights
    assert lstm_impl.keras.accelerate(model, print_fn=lines.append) is model
    layers = recurrent(model)
    assert len(layers) == 7
    assert all(isinstance(each, OURS) for each in layers)
    assert all(new is old for new, old in zip(model.weights, before, strict=True))
    assert len(lines) == 7
    for name, count in (("LSTM", 5), ("GRU", 2)):
        end = f'is now lstm_impl.keras.{name}, backend="auto"'
        found = [line for line in lines if line.endswith(end)]
        assert len(found) == count
        assert sum("keras.RNN is now" in line for line in found) == 1


def test_accelerate_trained_model_continues_as_keras_does() -> None:
    models, x = [], X[:, 0]
    for accelerated in (True, False):
        keras.utils.set_random_seed(0)
        twice = keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True))
        between = keras.layers.GRU(2, return_sequences=True)
        model = keras.Sequential([keras.Input((5, 3)), twice, between, keras.layers.LSTM(2)])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.train_on_batch(x, Y)
        if accelerated:
            lstm_impl.keras.accelerate(model, print_fn=None)
        models.append(model)
    ours, theirs = models
    np.testing.assert_allclose(
        ours.predict_on_batch(x), theirs.predict_on_batch(x), rtol=1e-4, atol=1e-5
    )
    losses = [[model.train_on_batch(x, Y) for _ in range(3)] for model in models]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_accelerated_model_is_saved_as_a_model_of_keras(tmp_path: Path) -> None:
    model = lstm_impl.keras.accelerate(made(), print_fn=None)
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(
        tmp_path / "model.keras", custom_objects={"Block": Block}, safe_mode=True
    )
    assert {type(each) for each in recurrent(loaded)} == {keras.layers.LSTM, keras.layers.GRU}
    np.testing.assert_allclose(
        loaded.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6
    )


LOAD = """
import sys, keras, numpy as np
x, expected = np.load(sys.argv[2]), np.load(sys.argv[3])
model = keras.saving.load_model(sys.argv[1])
names = [type(each).__name__ for each in model.layers]
assert names == ["LSTM", "GRU", "GRU", "LSTM"], names
assert {type(each).__module__.split(".")[0] for each in model.layers} == {"keras"}
assert [each.reset_after for each in model.layers[1:3]] == [False, True]
np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=1e-4, atol=1e-5)
assert not [name for name in sys.modules if name.startswith("lstm_impl")]
"""


def test_file_of_an_accelerated_model_loads_without_this_library(tmp_path: Path) -> None:
    cell = keras.layers.RNN(keras.layers.LSTMCell(2))
    first = keras.layers.LSTM(3, return_sequences=True, use_cudnn=False)
    second = keras.layers.GRU(2, return_sequences=True, reset_after=False)
    third = keras.layers.RNN(keras.layers.GRUCell(2), return_sequences=True)
    model = keras.Sequential([keras.Input((5, 3)), first, second, third, cell])
    lstm_impl.keras.accelerate(model, print_fn=None)
    paths = [str(tmp_path / name) for name in ("model.keras", "x.npy", "expected.npy")]
    model.save(paths[0])
    np.save(paths[1], X[:, 0])
    np.save(paths[2], model.predict_on_batch(X[:, 0]))
    done = subprocess.run([sys.executable, "-c", LOAD, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_layer_of_this_package_is_saved_with_its_backend(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((5, 3)), lstm_impl.keras.LSTM(2, backend="keras")])
    model.save(tmp_path / "model.keras")
    (layer,) = recurrent(keras.saving.load_model(tmp_path / "model.keras"))
    assert type(layer) is lstm_impl.keras.LSTM
    assert layer.backend == "keras"


def test_decelerate_makes_every_lstm_and_gru_one_of_keras_again() -> None:
    model, lines, x = made(), list[str](), X
    model.predict_on_batch(x)  # Keras adds attributes in the first call
    kinds = [type(each) for each in recurrent(model)]
    attributes = [{*vars(each)} for each in recurrent(model)]
    supported = [each.supports_jit for each in recurrent(model)]
    before = model.weights
    lstm_impl.keras.accelerate(model, print_fn=None)
    expected = model.predict_on_batch(x)
    assert lstm_impl.keras.decelerate(model, lines.append) is model
    assert [type(each) for each in recurrent(model)] == kinds
    assert [{*vars(each)} for each in recurrent(model)] == attributes
    assert [each.supports_jit for each in recurrent(model)] == supported
    assert all(new is old for new, old in zip(model.weights, before, strict=True))
    assert len(lines) == 7
    for name in ("LSTM", "GRU"):
        end = f"lstm_impl.keras.{name} is now keras.layers.RNN"
        assert sum(line.endswith(end) for line in lines) == 1
    assert "predict_on_batch" not in vars(model)
    np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=1e-4, atol=1e-5)
    lstm_impl.keras.accelerate(model, print_fn=None)
    assert all(isinstance(each, OURS) for each in recurrent(model))


def test_decelerate_takes_a_layer_of_this_package() -> None:
    for ours, theirs in zip(OURS, (keras.layers.LSTM, keras.layers.GRU), strict=True):
        layer = ours(2)
        lstm_impl.keras.decelerate(layer, print_fn=None)
        assert type(layer) is theirs
        assert layer.supports_jit == theirs(2).supports_jit
        assert "backend" not in layer.get_config()
    with pytest.raises(TypeError, match="the model is of type str; expected a Keras 3"):
        lstm_impl.keras.decelerate("model.keras")


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: OwnLSTM(3), "its class may compute something else"),
        (
            lambda: keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.LSTMCell(3)]),
            "its cell is a StackedRNNCells",
        ),
        (
            lambda: keras.layers.RNN([keras.layers.GRUCell(3), keras.layers.LSTMCell(3)]),
            "its cell is a StackedRNNCells, not an LSTMCell or a GRUCell",
        ),
        (lambda: keras.layers.LSTM(3, activation="relu"), "activation='relu'"),
        (lambda: keras.layers.GRU(3, activation="relu"), "activation='relu'"),
    ],
)
def test_accelerate_unservable_layer_keeps_it_and_says_why(layer: Any, reason: str) -> None:
    model = keras.Sequential([keras.Input((5, 3)), layer()])
    kept, lines = type(model.layers[0]), list[str]()
    named = {"tensorflow": "while_loop", "jax": "jax_scan", "torch": "torch"}
    lstm_impl.keras.accelerate(model, named[keras.config.backend()], lines.append)
    assert type(model.layers[0]) is kept
    assert len(lines) == 1
    assert "is kept: " in lines[0]
    assert reason in lines[0]
    model(X[:, 0])


def test_accelerate_prints_that_a_model_has_no_lstm_and_no_gru() -> None:
    lines: list[str] = []
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.SimpleRNN(3)], name="simple")
    lstm_impl.keras.accelerate(model, print_fn=lines.append)
    assert lines == ["simple: it has no LSTM and no GRU"]


def test_accelerate_bad_argument_raises_and_changes_nothing() -> None:
    model = made()
    with pytest.raises(UnsupportedError, match="fused_cpuu"):
        lstm_impl.keras.accelerate(model, backend="fused_cpuu")
    assert not any(isinstance(each, OURS) for each in recurrent(model))
    with pytest.raises(TypeError, match="the model is of type str; expected a Keras 3"):
        lstm_impl.keras.accelerate("model.keras")


def test_accelerate_backend_of_one_cell_keeps_layers_of_the_other_and_says_why() -> None:
    if keras.config.backend() != "tensorflow":
        pytest.skip("only on TensorFlow a backend computes an LSTM and no GRU")
    lines: list[str] = []
    layers = [keras.layers.LSTM(2, return_sequences=True), keras.layers.GRU(2)]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    lstm_impl.keras.accelerate(model, "block_lstm", lines.append)
    assert isinstance(model.layers[0], lstm_impl.keras.LSTM)
    assert type(model.layers[1]) is keras.layers.GRU
    assert "it computes the cell lstm only, not gru" in lines[1]
