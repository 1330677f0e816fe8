"""Test ``predict_on_batch`` after ``accelerate``: it has Keras's results."""

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
    if layers:
        y = keras.layers.GRU(3, return_sequences=True, reset_after=layers[0] == 0)(y)
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


# -- predict


class Journal(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Write down every call, with the outputs that a callback sees."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.last = last

    def on_predict_begin(self, logs: Any = None) -> None:
        self.seen.append(("begin", self.params["steps"]))

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("batch", batch))

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("outputs", batch, type(logs["outputs"]), np.shape(logs["outputs"])))
        if batch == self.last:
            self.model.stop_predicting = True

    def on_predict_end(self, logs: Any = None) -> None:
        self.seen.append(("end",))


def make_pair() -> tuple[Any, Any]:
    """Return an accelerated model and the same model of Keras, both without memory of calls."""
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        models.append(keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)]))
    return lstm_impl.keras.accelerate(models[0], print_fn=None), models[1]


@pytest.mark.parametrize("last", [None, 1])
def test_predict_of_arrays_equals_keras_with_its_callbacks(last: int | None) -> None:
    ours, theirs = make_pair()
    x = np.random.default_rng(2).standard_normal((10, 5, 3))
    for _ in range(5):
        journals = Journal(last), Journal(last)
        found = ours.predict(x, 4, verbose=0, callbacks=[journals[0]])
        expected = theirs.predict(x, 4, verbose=0, callbacks=[journals[1]])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert type(found) is np.ndarray
        assert found.dtype == expected.dtype
        assert journals[0].seen == journals[1].seen


def test_predict_of_known_arrays_starts_no_data_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = make_pair()
    x = np.ones((7, 5, 3), np.float32)
    first = ours.predict(x, verbose=0)
    monkeypatch.setattr(keras.Model, "predict", None)
    monkeypatch.setattr(ours.predict, "_by_keras", None)
    for count in (7, 3, 40):
        again = ours.predict(np.ones((count, 5, 3), np.float32), verbose=0)
        np.testing.assert_allclose(again, np.repeat(first[:1], count, 0), atol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda x: tf.data.Dataset.from_tensor_slices(x).batch(4), id="data set"),
        pytest.param(tf.constant, id="tensor"),
        pytest.param(lambda x: np.asfortranarray(x), id="other order"),
        pytest.param(lambda x: x[::-1], id="negative strides"),
        pytest.param(lambda x: x.astype(np.int32), id="integers"),
    ],
)
def test_predict_of_any_data_equals_keras(given: Any) -> None:
    ours, theirs = make_pair()
    x = np.random.default_rng(3).standard_normal((9, 5, 3)).astype(np.float32)
    for _ in range(4):
        found, expected = (model.predict(given(x), verbose=0) for model in (ours, theirs))
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": np.ones((9, 5, 2), np.float32)},
        {"x": np.ones((0, 5, 3), np.float32)},
        {"x": np.ones(9, np.float32)},
        {"x": None},
    ],
    ids=["features", "no sequence", "axes", "nothing"],
)
def test_predict_of_wrong_input_raises_what_keras_raises(wrong: dict[str, Any]) -> None:
    ours, theirs = make_pair()
    for model in (ours, theirs):
        for _ in range(3):
            model.predict(np.ones((9, 5, 3), np.float32), verbose=0)
    raised = []
    for model in (ours, theirs):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever Keras raises
            model.predict(verbose=0, **wrong)
        raised.append(type(caught.value))
    assert raised[0] is raised[1]


def test_predict_of_several_inputs_and_outputs_equals_keras() -> None:
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        one, two = keras.Input((5, 3), name="one"), keras.Input((2,), name="two")
        h = keras.layers.LSTM(4)(one)
        models.append(keras.Model({"one": one, "two": two}, {"h": h, "sum": [h + 1, two]}))
    lstm_impl.keras.accelerate(models[0], print_fn=None)
    rng = np.random.default_rng(4)
    x = {"one": rng.standard_normal((6, 5, 3)), "two": rng.standard_normal((6, 2))}
    for _ in range(5):
        found, expected = (model.predict(x, batch_size=4, verbose=0) for model in models)
        keras.tree.assert_same_structure(found, expected)
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected
        )


def test_decelerated_model_predicts_as_keras_does() -> None:
    ours, _ = make_pair()
    lstm_impl.keras.decelerate(ours, print_fn=None)
    assert "predict" not in vars(ours)
