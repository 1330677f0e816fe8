"""``predict_on_batch`` of a model after ``accelerate``: Keras's results, by the graph alone."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="not installed: pip install '.[cpu]'")

import keras
import tensorflow as tf

import lstm_impl.keras

X = np.random.default_rng(0).standard_normal((4, 2, 5, 3)).astype(np.float32)
BY_KERAS = keras.Model.predict_on_batch


class Recall(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Return its input, a weight, and its input in the call before."""

    def build(self, shape: Any) -> None:
        self.weight = self.add_weight(shape=(2, 3))
        self.before = self.add_weight(shape=(2, 5, 3), trainable=False)

    def call(self, x: Any) -> Any:
        before = self.before + 0
        self.before.assign(x)
        return x, keras.ops.convert_to_tensor(self.weight), before


def made(layers: Any = ()) -> Any:
    """Return a model with outputs that have, and have not, memory of their own."""
    keras.utils.set_random_seed(0)
    x, y = 2 * (keras.Input((5, 3), batch_size=2),)
    for number in layers:
        lstm = keras.layers.LSTM(3, return_sequences=True, stateful=number == 0)
        y = (lstm, keras.layers.Bidirectional(lstm), keras.layers.Dense(4))[number](y)
    every, *state = keras.layers.LSTM(4, return_sequences=True, return_state=True)(y)
    return keras.Model(x, {"y": every, "states": (state, state[0]), "recalled": Recall()(x)})


@pytest.mark.parametrize("layers", np.random.default_rng(1).integers(3, size=(3, 3)).tolist())
def test_predict_on_batch_of_a_random_model_equals_keras(layers: list[int]) -> None:
    ours, theirs = lstm_impl.keras.accelerate(made(layers), print_fn=None), made(layers)
    lstm_impl.keras.accelerate(theirs, print_fn=None)
    for x in (*X, *X):
        found, expected = ours.predict_on_batch(x), BY_KERAS(theirs, x)
        keras.tree.assert_same_structure(found, expected)
        for one, other in zip(*map(keras.tree.flatten, (found, expected)), strict=True):
            assert np.array_equal(one, other)
            one.fill(np.nan)  # the caller's own, whatever the graph keeps


# Keras's own, when it saves weights with NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_predict_on_batch_takes_keras_way_where_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []

    def theirs(model: Any, x: Any) -> Any:
        taken.append(x)
        return BY_KERAS(model, x)

    monkeypatch.setattr(keras.Model, "predict_on_batch", theirs)
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)])
    for _ in range(2):  # the second time changes nothing
        lstm_impl.keras.accelerate(model, print_fn=None)
    call, x = model.predict_on_batch, X[0]
    first = [call(x) for _ in range(9)][-1]
    model.set_weights([2 * each for each in model.get_weights()])
    with ThreadPoolExecutor() as pool:
        second, *others = pool.map(call, [x] * 9)
    assert len(taken) == 2
    assert not np.array_equal(first, second)
    with tf.GradientTape(), tf.distribute.OneDeviceStrategy("CPU:0").scope():
        others += [call(x), call(tf.constant(x))]
    others.append(pickle.loads(pickle.dumps(model)).predict_on_batch(x))
    for eagerly in (True, False):
        model.compile(run_eagerly=eagerly)
        others += [call(x) for _ in range(4)]
    assert len(taken) == 2 + 2 + 1 + 4 + 2
    assert all(np.allclose(each, second, atol=1e-6) for each in others)
