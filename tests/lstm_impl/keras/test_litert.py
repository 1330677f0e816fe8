"""Test that LiteRT files of Keras models hold the fused operator and the model's function."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.lstm_impl.backends.built import needs

pytestmark = needs("litert")

keras = pytest.importorskip("keras")
layers = keras.layers

from lstm_impl import UnsupportedError  # noqa: E402
from lstm_impl.backends.others import litert, litert_fused  # noqa: E402
from lstm_impl.keras import accelerate, export_litert  # noqa: E402

RNG = np.random.default_rng(0)


def draw(*shape: int) -> Any:
    return RNG.normal(size=shape).astype("float32")


def run(content: bytes, *inputs: Any) -> list[Any]:
    interpreter = litert.open_interpreter(content, 1)
    runner = interpreter.get_signature_runner()
    found = runner(**{f"input_{number}": each for number, each in enumerate(inputs)})
    return [found[name] for name in sorted(found)]


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_each_lstm_becomes_the_operator_and_outputs_stay() -> None:
    x, z = keras.Input((6, 3)), keras.Input((None, 4))
    both = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x)
    outputs = [layers.LSTM(2, go_backwards=True)(both), layers.LSTM(3, use_bias=False)(z)]
    model = keras.Model([x, z], outputs)
    classes = [type(each) for each in model._flatten_layers()]
    lines: list[str] = []
    content = export_litert(model, batch_size=2, steps=7, print_fn=lines.append)
    assert litert.operators(content)[litert_fused.OPERATOR] == 4
    assert litert.operators(content)["WHILE"] == 0
    assert [line.partition(": ")[2] for line in lines] == 4 * [litert_fused.OPERATOR]
    inputs = draw(2, 6, 3), draw(2, 7, 4)
    for found, expected in zip(run(content, *inputs), model.predict_on_batch(inputs), strict=True):
        close(found, expected)
    assert [type(each) for each in model._flatten_layers()] == classes


def test_accelerated_model_is_converted_like_the_original() -> None:
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(5)])
    accelerate(model, print_fn=None)
    x = draw(1, 4, 3)
    content = export_litert(model, print_fn=None)
    assert litert.operators(content)[litert_fused.OPERATOR] == 1
    close(run(content, x)[0], model.predict_on_batch(x))


@pytest.mark.slow  # it converts a model of four layers twice
def test_each_gru_becomes_a_loop_with_the_reason_and_outputs_stay() -> None:
    x = keras.Input((4, 3))
    y = layers.LSTM(3, return_sequences=True, name="lstm")(x)
    y = layers.GRU(3, return_sequences=True, name="after")(y)
    y = layers.Bidirectional(layers.GRU(2, reset_after=False, return_sequences=True, name="two"))(y)
    model = keras.Model(x, layers.RNN(layers.GRUCell(2), name="cells")(y))
    batch = draw(1, 4, 3)
    expected = model.predict_on_batch(batch)
    for change in (lambda: None, lambda: accelerate(model, print_fn=None)):
        change()
        kinds = [type(each) for each in model._flatten_layers()]
        lines: list[str] = []
        content = export_litert(model, print_fn=lines.append)
        assert sorted(line.partition("because ")[2] for line in lines) == [
            *4 * ["LiteRT has no operator for a GRU"],
            "the operator computes wrong outputs in a file that also has a loop",
        ]
        assert litert.operators(content)["WHILE"] == 5
        close(run(content, batch)[0], expected)
        assert [type(each) for each in model._flatten_layers()] == kinds


class Doubled(keras.layers.LSTM):  # type: ignore[misc, name-defined]  # Keras has no types
    def inner_loop(self, *given: Any, **more: Any) -> Any:
        last, outputs, states = super().inner_loop(*given, **more)
        return 2 * last, 2 * outputs, states


def test_each_lstm_that_cannot_become_the_operator_is_a_loop_with_the_reason() -> None:
    x = keras.Input((4, 3))
    masked = layers.LSTM(5, name="masked")(layers.Masking()(x))
    y, h, c = layers.LSTM(5, return_state=True, name="state")(x)
    started = layers.LSTM(5, name="started")(x, initial_state=[h, c])
    clipped = layers.LSTM(5, activation="relu", name="relu")(x)
    of_cells = layers.RNN(layers.LSTMCell(5), name="cells")(x)
    model = keras.Model(x, [masked, y, started, clipped, of_cells, Doubled(5, name="own")(x)])
    lines: list[str] = []
    content = export_litert(model, print_fn=lines.append)
    reasons = dict(line.split(": ", 1) for line in lines)
    assert {name: reason.partition("because ")[2] for name, reason in reasons.items()} == {
        "masked": "the operator takes no mask",
        "state": "the converter replaces no layer whose final state is read",
        "started": "the operator takes no initial state",
        "relu": "the operator has the activations tanh and sigmoid",
        "cells": "it is an RNN of an LSTMCell; keras.layers.LSTM can become the operator",
        "own": "Doubled may compute something other than an LSTM",
    }
    assert litert.operators(content)[litert_fused.OPERATOR] == 0
    batch = draw(1, 4, 3)
    for found, expected in zip(run(content, batch), model.predict_on_batch(batch), strict=True):
        close(found, expected)


def test_loop_can_be_chosen() -> None:
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(5)])
    content = export_litert(model, fused=False, print_fn=None)
    assert litert.operators(content)["WHILE"] == 1


def test_cell_beyond_the_converters_limit_is_not_clipped() -> None:
    """The cell counts to 30 and back to 20; limited to 10, it would end at 0."""
    model = keras.Sequential([keras.Input((40, 1)), layers.LSTM(1)])
    kernel, recurrent_kernel, bias = model.get_weights()
    kernel[0], recurrent_kernel[0], bias[:] = [0, 0, 20, 0], 0, [20, 20, 0, 20]
    model.set_weights([kernel, recurrent_kernel, bias])
    x = np.array([1] * 30 + [-1] * 10, np.float32).reshape(1, 40, 1)
    close(run(export_litert(model, print_fn=None), x)[0], model.predict_on_batch(x))


def relative_error(content: bytes, model: Any, inputs: list[Any]) -> float:
    differences = [run(content, x)[0] - model.predict_on_batch(x) for x in inputs]
    outputs = [model.predict_on_batch(x) for x in inputs]
    return float(np.sqrt(np.mean(np.square(differences)) / np.mean(np.square(outputs))))


def test_int8_model_is_smaller_and_near_the_original() -> None:
    model = keras.Sequential([keras.Input((8, 16)), layers.LSTM(64)])
    samples = [draw(1, 8, 16) for _ in range(20)]
    lines: list[str] = []
    content = export_litert(model, precision="int8", samples=samples, print_fn=lines.append)
    assert len(content) < 0.4 * len(export_litert(model, print_fn=None))
    assert relative_error(content, model, samples) < 0.05
    assert lines[-1].startswith("int8: weights and activations, rms error ")


@pytest.mark.slow  # the converter runs the model for seconds to quantize it
def test_int8_model_with_a_loop_has_weights_in_int8_and_says_why() -> None:
    """TensorFlow's converter would end the process, when asked for activations too."""
    model = keras.Sequential([keras.Input((4, 16)), layers.Masking(), layers.LSTM(64)])
    samples = [draw(1, 4, 16) for _ in range(3)]
    lines: list[str] = []
    content = export_litert(model, precision="int8", samples=samples, print_fn=lines.append)
    assert relative_error(content, model, samples) < 0.05
    assert lines[-1].startswith("int8: weights only, rms error ")
    assert lines[-1].endswith("the converter cannot quantize the activations of a loop")


@pytest.mark.slow  # the converter runs the model for seconds to quantize it
def test_int8_model_that_the_converter_gets_wrong_has_weights_in_int8_only() -> None:
    x = keras.Input((10, 8))
    hidden = layers.LSTM(64, return_sequences=True)(x)
    model = keras.Model(x, layers.LSTM(64)(hidden))
    samples = [draw(1, 10, 8) for _ in range(10)]
    lines: list[str] = []
    content = export_litert(model, precision="int8", samples=samples, print_fn=lines.append)
    assert relative_error(content, model, samples) < 0.05, lines


def sequential(*more: Any, **options: Any) -> Any:
    return keras.Sequential([keras.Input((4, 3)), layers.LSTM(5, **options)])


@pytest.mark.parametrize(
    ("make", "given", "error", "words"),
    [
        (lambda: 3, {}, TypeError, "the model is of type int; expected a Keras 3 model"),
        (sequential, {"precision": "int4"}, ValueError, "'int4'; expected one of float32, int8"),
        (sequential, {"precision": "int8"}, ValueError, "needs samples"),
        (sequential, {"precision": "int8", "samples": []}, ValueError, "samples is empty"),
        (
            sequential,
            {"precision": "int8", "samples": [np.zeros((2, 4, 3))]},
            ValueError,
            r"a sample has the shape \(2, 4, 3\); the model's input has \(1, 4, 3\)",
        ),
        (sequential, {"batch_size": 0}, ValueError, "batch_size is 0; expected a positive number"),
        (
            lambda: sequential(dtype="mixed_float16"),
            {},
            UnsupportedError,
            "computes in float16, and LiteRT's converter takes float32",
        ),
        (
            lambda: keras.Sequential([keras.Input((None, 3)), layers.LSTM(5)]),
            {},
            ValueError,
            "say how many timesteps it gets by steps",
        ),
        (lambda: keras.Sequential([layers.LSTM(5)]), {}, ValueError, "give it a keras.Input"),
        (
            lambda: keras.Sequential([keras.Input(batch_shape=(3, 4, 2)), layers.LSTM(5)]),
            {"batch_size": 2},
            ValueError,
            "batch_size is 2; expected 3, the batch size of the input",
        ),
    ],
)
def test_wrong_use_is_refused_before_the_conversion(
    make: Callable[[], Any], given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        export_litert(make(), **given)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_random_model_is_converted_or_refused(seed: int) -> None:
    """No model ends the process, and each file computes what its model does."""
    rng = np.random.default_rng(seed)
    x = keras.Input((int(rng.integers(1, 9)), int(rng.integers(1, 9))))
    y = x
    if rng.random() < 0.2:
        y = layers.Masking()(y)
    for _ in range(rng.integers(1, 4)):
        in_both_directions = rng.random() < 0.3
        layer = layers.LSTM(
            int(rng.integers(1, 17)),
            return_sequences=True,
            use_bias=bool(rng.integers(2)),
            unroll=bool(rng.integers(2)),
            # Keras refuses both at once.
            go_backwards=not in_both_directions and bool(rng.integers(2)),
            activation=str(rng.choice(["tanh", "relu"], p=[0.8, 0.2])),
            dropout=0.2,
        )
        y = layers.Bidirectional(layer)(y) if in_both_directions else layer(y)
    model = keras.Model(x, y)
    batch = int(rng.integers(1, 5))
    inputs = draw(batch, *x.shape[1:])
    content = export_litert(model, batch, print_fn=None)
    close(run(content, inputs)[0], model.predict_on_batch(inputs))
    quantized = export_litert(model, batch, precision="int8", samples=[inputs], print_fn=None)
    assert np.isfinite(run(quantized, inputs)[0]).all()
