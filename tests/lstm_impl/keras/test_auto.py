"""What computes the layer: a named backend or an error, what auto picks, and the words."""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

import lstm_impl
from lstm_impl import Availability, UnavailableError, UnsupportedError
from lstm_impl.availability import AVAILABLE

pytest.importorskip("keras", reason="the layer is Keras's: pip install '.[cpu]'")
tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.keras  # noqa: E402
from lstm_impl.keras.auto import choose  # noqa: E402
from lstm_impl.keras.choice import Arguments, LayerCall, supports_jit  # noqa: E402

X = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)


def lstm(**arguments: Any) -> Any:
    return lstm_impl.keras.LSTM(4, **arguments)


# -- a named backend is used, or raises with the reason


@pytest.mark.parametrize(
    ("backend", "arguments", "reason"),
    [
        ("while_lop", {}, "did you mean while_loop"),
        ("while_loop+fast", {}, "has no option +fast"),
        ("numpy", {}, "it computes with numpy"),
        ("keras+unroll", {}, "unroll=True"),
        ("keras+xla", {}, "jit_compile=True"),
        ("dynamic_rnn", {}, "cells of its own"),
        ("block_lstm+registered", {}, "wrong, on purpose"),
        ("block_lstm", {"dtype": "float64"}, "float32 and float16 kernels only"),
        ("while_loop", {"activation": "relu"}, "activation='relu'"),
        ("while_loop", {"activation": None}, "activation='linear'"),
        ("while_loop", {"recurrent_activation": "hard_sigmoid"}, "'hard_sigmoid'"),
        ("while_loop", {"recurrent_dropout": 0.1}, "recurrent_dropout=0.1"),
        ("while_loop", {"dropout": 0.1, "implementation": 1}, "implementation=1"),
        ("while_loop", {"unroll": True}, "unroll=True"),
        ("while_loop", {"use_cudnn": True}, "use_cudnn=True"),
        ("cudnn", {"use_cudnn": False}, "use_cudnn=False"),
        ("cudnn", {"activation": "relu"}, "activation='relu'"),
        ("cudnn", {"unroll": True}, "unroll=True"),
        ("auto", {"use_cudnn": True, "activation": "relu"}, "activation='relu'"),
    ],
)
def test_a_backend_that_cannot_serve_the_arguments_raises_with_the_reason(
    backend: str, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        lstm(backend=backend, **arguments)
    assert reason in str(caught.value)


def test_a_backend_that_is_not_on_this_machine_raises_when_called_and_can_be_changed() -> None:
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


def test_setting_a_backend_that_cannot_serve_raises_and_changes_nothing() -> None:
    layer = lstm(activation="relu")
    with pytest.raises(UnsupportedError, match="relu"):
        layer.backend = "while_loop"
    assert layer.backend == "auto"


def test_a_named_backend_is_spelled_canonically() -> None:
    assert lstm(backend="while_loop+xla+hoisted").backend == "while_loop+hoisted+xla"


def test_what_was_changed_after_a_backend_was_named_is_refused_too() -> None:
    layer = lstm(backend="while_loop")
    layer.unroll = True
    with pytest.raises(UnsupportedError, match="unroll=True"):
        layer(X)


def test_an_xla_backend_is_compiled_forward_and_backward() -> None:
    layer = lstm(backend="while_loop+hoisted+xla")
    layer.build(X.shape)

    @tf.function(autograph=False)
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x))
        return tape.gradient(loss, layer.trainable_variables[0].value)

    library = step.get_concrete_function(tf.constant(X)).graph.as_graph_def().library.function
    compiled = [f.signature.name for f in library if f.attr["_XlaMustCompile"].b]
    assert sum("forward" in name for name in compiled) == 1
    assert sum("backward" in name for name in compiled) == 1


def test_outside_a_graph_other_shapes_are_not_traced_again() -> None:
    layer = lstm(backend="while_loop+hoisted")
    for batch, timesteps in ((2, 3), (1, 4), (3, 2)):
        layer(np.zeros((batch, timesteps, 3), np.float32))
    (core,) = layer._memory.cores.values()
    (function,) = core._functions.values()
    assert function.experimental_get_tracing_count() == 1


# -- what auto picks

NO_COMPILER = Availability(False, "there is no compiler: apt-get install g++")
ON_GPU = LayerCall("gpu", True, True, False, 8, 5, 3)
ON_CPU = LayerCall("cpu", True, True, False, 8, 5, 3)


@pytest.mark.parametrize(
    ("arguments", "picked"),
    [
        ({}, "cudnn"),
        ({"compute_dtype": "float16"}, "cudnn"),
        ({"use_cudnn": True}, "cudnn"),
        ({"dropout": 0.5}, "cudnn"),
        ({"compute_dtype": "bfloat16"}, "cudnn"),
        ({"use_cudnn": False}, "while_loop+hoisted+xla"),
        ({"unroll": True}, "static_unroll+hoisted"),
        ({"activation": "relu"}, "keras"),
        ({"recurrent_dropout": 0.5}, "keras"),
    ],
)
def test_on_a_gpu_auto_takes_cudnn_for_what_cudnn_can_do(
    arguments: dict[str, Any], picked: str
) -> None:
    choice = choose(Arguments(4, **arguments), ON_GPU, AVAILABLE)
    assert choice.backend == picked
    if picked not in ("cudnn", "keras"):
        assert choice.passed_over[0].startswith("cudnn: ")
    assert choice.fallback == (picked == "keras")
    assert supports_jit(None, Arguments(4, **arguments), has_gpu=True) == (picked != "cudnn")
    assert supports_jit(None, Arguments(4, **arguments), has_gpu=False)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("batch", "hidden"), [(1, 16), (1, 256), (32, 128), (64, 512)])
@pytest.mark.parametrize(
    ("traced", "timesteps"), [(True, None), (False, 10)], ids=["dynamic", "outside a graph"]
)
def test_auto_takes_xla_only_for_static_shapes_in_a_graph(
    device: str, training: bool, batch: int, hidden: int, traced: bool, timesteps: int | None
) -> None:
    arguments = Arguments(hidden, use_cudnn=False)
    call = LayerCall(device, training, traced, False, batch, timesteps, hidden)
    choice = choose(arguments, call, NO_COMPILER)
    assert "xla" not in choice.backend


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("call", [ON_GPU, ON_CPU], ids=["gpu", "cpu"])
def test_whatever_auto_picks_can_serve_the_layer(call: LayerCall, training: bool) -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        for units in (1, 64, 1024):
            for unroll in (False, True):
                arguments = Arguments(units, unroll=unroll, compute_dtype=dtype)
                for fused in (AVAILABLE, NO_COMPILER):
                    picked = lstm_impl.get_backend(choose(arguments, call, fused).backend)
                    assert not lstm_impl.keras.choice.obstacle(picked, arguments)


@pytest.mark.parametrize(
    ("training", "batch", "hidden", "picked"),
    [
        (True, 32, 32, "block_lstm"),
        (True, 1, 256, "while_loop+hoisted+xla"),
        (True, 64, 512, "while_loop+hoisted"),
        (True, 128, 128, "keras"),
        (True, None, 64, "block_lstm"),
        (True, None, 256, "while_loop+hoisted"),
        (False, 32, 32, "while_loop+xla"),
        (False, None, 32, "block_lstm"),
        (False, 4, 512, "partial_unroll@5+preproject"),
        (False, 8, 512, "keras"),
        (False, None, 512, "partial_unroll@5+preproject"),
        (False, 64, 512, "keras"),
        (False, 32, 128, "keras"),
        (False, 4, 256, "partial_unroll@5+preproject"),
        (False, 16, 256, "keras"),
        (False, 32, 256, "keras"),
        (False, 1, 4096, "partial_unroll@5+preproject"),
        (False, None, 5000, "keras"),
    ],
)
def test_on_a_cpu_without_a_compiler_auto_takes_what_was_measured_to_be_fastest(
    training: bool, batch: int | None, hidden: int, picked: str
) -> None:
    call = LayerCall("cpu", training, True, False, batch, 50, hidden)
    choice = choose(Arguments(hidden), call, NO_COMPILER)
    assert choice.backend == picked
    assert not choice.fallback


@pytest.mark.parametrize(
    ("call", "dtype", "picked"),
    [
        (ON_CPU, "float32", True),
        (replace(ON_CPU, batch=None, timesteps=None), "float32", True),
        (replace(ON_CPU, training=False, traced=False), "float32", True),
        # a graph for inference may be saved, and be loaded where this library is not
        (replace(ON_CPU, training=False), "float32", False),
        (replace(ON_CPU, compiled=True), "float32", False),
        (ON_CPU, "float16", False),
        (ON_CPU, "bfloat16", False),  # it can, and was not timed there
        (ON_GPU, "float32", False),
    ],
)
def test_on_a_cpu_with_a_compiler_auto_takes_the_fused_op(
    call: LayerCall, dtype: str, picked: bool
) -> None:
    arguments = Arguments(64, compute_dtype=dtype)
    choice = choose(arguments, call, AVAILABLE)
    assert (choice.backend == "fused_cpu") == picked
    without = choose(arguments, call, NO_COMPILER)
    assert without.backend != "fused_cpu"
    if picked:
        assert without.passed_over[0] == f"fused_cpu: {NO_COMPILER}"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("hidden", [16, 64, 256, 512])
def test_a_batch_that_is_known_late_takes_what_it_would_take_if_it_were_known(
    training: bool, hidden: int
) -> None:
    def chosen(batch: int | None, timesteps: int | None = None) -> lstm_impl.keras.choice.Choice:
        call = LayerCall("cpu", training, True, False, batch, timesteps, hidden)
        return choose(Arguments(hidden), call, NO_COMPILER)

    late = chosen(None)
    limit = late.most_sequences
    assert limit is not None
    # Nothing here beats Keras's loop for more, or a larger batch has no small products any more.
    assert chosen(limit).backend == late.backend
    assert chosen(limit + 1).backend != late.backend
    assert chosen(limit).most_sequences is None
    explained = lstm_impl.keras.choice.Explanation(
        "auto", ((LayerCall("cpu", training, True, False, None, None, hidden), late),), True
    )
    assert f"for batches of up to {limit:,}; for larger ones" in str(explained)


def test_with_dropout_a_batch_that_is_known_late_makes_no_branch() -> None:
    call = LayerCall("cpu", True, True, False, None, 50, 64)
    assert choose(Arguments(64, dropout=0.5), call, NO_COMPILER).most_sequences is None


def test_a_layer_on_the_cpu_of_a_machine_with_a_gpu_is_known_to_be_there() -> None:
    layer = lstm()
    with mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU:0"]):
        assert layer._device() == "cpu"  # where an op was really placed just now
        with tf.Graph().as_default():
            assert layer._device() == "gpu"
            with tf.device("/CPU:0"):
                assert layer._device() == "cpu"
            with tf.device("/GPU:0"):
                assert layer._device() == "gpu"


# -- the words


def test_it_explains_what_it_would_pick_before_it_is_called() -> None:
    explanation = lstm().explain()
    assert not explanation.called
    assert {call.training for call, _ in explanation.choices} == {True, False}
    assert 'backend="auto", not called yet' in str(explanation)
    assert "because" in repr(explanation)


def test_it_explains_what_it_picked_for_each_way_of_calling() -> None:
    layer = lstm(backend="scan")
    for timesteps in (3, 5):
        layer(np.zeros((2, timesteps, 3), np.float32))
    layer(X, training=True)
    explanation = layer.explain()
    assert explanation.called
    assert len(explanation.choices) == 2
    assert "training on cpu, outside a graph, batch x time 2x5: scan" in str(explanation)
    assert "asked for by name" in str(explanation)


def test_auto_says_that_it_falls_back_to_keras(caplog: pytest.LogCaptureFixture) -> None:
    layer = lstm(activation="relu", name="mine")
    with caplog.at_level(logging.WARNING, "lstm_impl.keras"):
        layer(X)
        layer(X)
    (record,) = caplog.records
    assert "layer mine" in record.message
    assert "only Keras's own loop can: the layer has activation='relu'" in record.message
    assert "activation='relu'" in str(layer.explain())


def test_auto_says_what_it_picked_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lstm_impl.keras"):
        lstm()(X)
    (record,) = caplog.records
    assert record.levelno == logging.INFO


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
def test_what_only_keras_computes_is_what_keras_computes(arguments: dict[str, Any]) -> None:
    theirs = keras.layers.LSTM(4, seed=1, use_cudnn=False, **arguments)
    ours = lstm(seed=1, **arguments)
    for layer in (theirs, ours):
        layer.build(X.shape)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_array_equal(ours(X, training=True), theirs(X, training=True))


# -- what must be there


def test_keras_on_another_backend_is_refused_in_words() -> None:
    words = "computes with TensorFlow, JAX or PyTorch and Keras runs on 'numpy' here"
    with (
        mock.patch.object(keras.config, "backend", return_value="numpy"),
        pytest.raises(ImportError, match=words),
    ):
        importlib.reload(lstm_impl.keras)
