"""Test what computes a layer: a named backend, ``auto``'s pick by rule or by races, or Keras."""

import itertools
import logging
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from lstm_impl import Availability, UnavailableError, UnsupportedError, Workload, get_backend
from lstm_impl.availability import AVAILABLE
from lstm_impl.tuning import Decision, RacedBackend, TunedMachine, TuningRequest, save

tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.keras  # noqa: E402
from lstm_impl.keras import choice as decided  # noqa: E402
from lstm_impl.keras import tuning  # noqa: E402
from lstm_impl.keras.choice import Arguments, LayerCall, choose, obstacle  # noqa: E402

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
def test_auto_on_a_gpu_takes_cudnn_if_able(arguments: dict[str, Any], picked: str) -> None:
    choice = choose(Arguments(4, **arguments), ON_GPU, AVAILABLE)
    assert choice.backend == picked
    if picked not in ("cudnn", "keras"):
        assert choice.passed_over[0].startswith("cudnn: ")
    assert choice.fallback == (picked == "keras")
    assert decided.supports_jit(None, Arguments(4, **arguments), has_gpu=True) == (
        picked != "cudnn"
    )
    assert decided.supports_jit(None, Arguments(4, **arguments), has_gpu=False)


def test_cudnn_requested_but_unable_is_refused() -> None:
    requested = Arguments(4, use_cudnn=True)
    decided.check_auto(requested)
    for call, reason in (
        (ON_CPU, "runs on NVIDIA GPUs only, and the layer runs on the cpu; leave it out"),
        (replace(ON_GPU, compiled=True), "XLA cannot compile its op"),
    ):
        with pytest.raises(UnsupportedError, match=f"use_cudnn=True cannot be served: .*{reason}"):
            choose(requested, call, AVAILABLE)
    wrong: dict[str, Any]
    for wrong in ({"activation": "relu"}, {"unroll": True}):
        with pytest.raises(UnsupportedError, match="use_cudnn=True cannot be served: "):
            decided.check_auto(Arguments(4, use_cudnn=True, **wrong))


@pytest.mark.parametrize("changed", [{"timesteps": None}, {"traced": False}], ids=str)
def test_auto_takes_xla_only_for_static_shapes_in_a_graph(changed: dict[str, Any]) -> None:
    for training in (True, False):
        call = replace(ON_GPU, training=training, **changed)
        picked = choose(Arguments(4, use_cudnn=False), call, NO_COMPILER)
        assert picked.backend == "while_loop+hoisted"


@pytest.mark.parametrize("call", [ON_GPU, ON_CPU], ids=["gpu", "cpu"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_auto_choice_can_serve_the_layer(call: LayerCall, dtype: str) -> None:
    axes = (True, False), (1, 64, 1024), (False, True), (AVAILABLE, NO_COMPILER)
    for training, units, unroll, fused in itertools.product(*axes):
        arguments = Arguments(units, unroll=unroll, compute_dtype=dtype)
        picked = choose(arguments, replace(call, training=training), fused)
        assert not obstacle(get_backend(picked.backend), arguments)


@pytest.mark.parametrize(
    ("call", "dtype", "picked"),
    [
        (ON_CPU, "float32", True),
        (replace(ON_CPU, batch=None, timesteps=None), "float32", True),
        (replace(ON_CPU, training=False, traced=False), "float32", True),
        # a graph for inference may be saved, and loaded without this library: see test_portable
        (replace(ON_CPU, training=False), "float32", True),
        (replace(ON_CPU, compiled=True), "float32", False),
        (ON_CPU, "float16", False),
        (ON_CPU, "bfloat16", True),
        (replace(ON_CPU, training=False, keras_step=True), "float32", True),
        (ON_GPU, "float32", False),
    ],
)
def test_auto_on_a_cpu_with_compiler_takes_fused_cpu(
    call: LayerCall, dtype: str, picked: bool
) -> None:
    arguments = Arguments(64, compute_dtype=dtype)
    choice = choose(arguments, call, AVAILABLE)
    assert (choice.backend == "fused_cpu") == picked
    without = choose(arguments, call, NO_COMPILER)
    if picked:
        assert without.backend == "keras"
        assert not without.fallback
        assert without.passed_over == (f"fused_cpu: {NO_COMPILER}",)


PLAIN = Arguments(4)


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
        ("block_lstm", {"compute_dtype": "float64"}, "float32 and float16 kernels only"),
        ("while_loop", {"activation": "relu"}, "activation='relu'"),
        ("while_loop", {"activation": "linear"}, "activation='linear'"),
        ("while_loop", {"recurrent_activation": "hard_sigmoid"}, "'hard_sigmoid'"),
        ("while_loop", {"recurrent_dropout": 0.1}, "recurrent_dropout=0.1"),
        ("while_loop", {"dropout": 0.1, "implementation": 1}, "implementation=1"),
        ("while_loop", {"unroll": True}, "unroll=True"),
        ("while_loop", {"use_cudnn": True}, "use_cudnn=True"),
        ("cudnn", {"use_cudnn": False}, "use_cudnn=False"),
        ("cudnn", {"activation": "relu"}, "activation='relu'"),
        ("cudnn", {"unroll": True}, "unroll=True"),
    ],
)
def test_backend_unable_to_serve_arguments_raises_the_reason(
    backend: str, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        decided.requested_backend(backend, Arguments(4, **arguments))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("backend", "compiled"),
    [
        ("while_loop", True),
        ("while_loop+hoisted+xla", True),
        ("keras", True),
        ("block_lstm", False),
        ("fused_cpu", False),
        ("cudnn", False),
    ],
)
def test_jit_compile_is_allowed_if_xla_has_the_ops(backend: str, compiled: bool) -> None:
    found = get_backend(backend)
    assert decided.can_be_compiled(found) == compiled
    assert decided.supports_jit(found, PLAIN, has_gpu=False) == compiled
    # On a GPU Keras's code, and auto, may take cuDNN, unless it is forbidden or unable.
    assert decided.supports_jit(found, PLAIN, has_gpu=True) == (compiled and backend != "keras")
    if backend == "keras":
        other: dict[str, Any]
        for keras_or_auto in (found, None):
            assert not decided.supports_jit(keras_or_auto, PLAIN, has_gpu=True)
            for other in ({"use_cudnn": False}, {"activation": "relu"}):
                assert decided.supports_jit(keras_or_auto, Arguments(4, **other), has_gpu=True)


BATCH, STEPS, WIDTH, UNITS = 2, 5, 3, 4
SMALL_CALL = LayerCall("cpu", True, True, False, BATCH, STEPS, WIDTH)
RATE = 0.5
WORKS = [(masked, rate) for masked in (False, True) for rate in (0.0, RATE)]


def tuning_request(masked: bool, rate: float, training: bool = True) -> TuningRequest:
    call = LayerCall("cpu", training, True, False, BATCH, STEPS, WIDTH, masked)
    found = decided.request(Arguments(UNITS, dropout=rate), call, TunedMachine("here", {}), None)
    assert found is not None
    return found


def test_explain_unknown_sizes_are_those_of_tune() -> None:
    arguments, machine = Arguments(UNITS), TunedMachine("here", {})
    call = replace(SMALL_CALL, batch=None, timesteps=None)
    assert decided.request(arguments, call, machine, None) is None
    found = decided.request(arguments, call, machine, decided.Sizes(BATCH, STEPS))
    assert isinstance(found, TuningRequest)
    assert (found.workload.batch, found.workload.timesteps) == (BATCH, STEPS)
    known = replace(call, batch=7, timesteps=9)
    found = decided.request(arguments, known, machine, decided.Sizes(BATCH, STEPS))
    assert found is not None
    assert (found.workload.batch, found.workload.timesteps) == (7, 9)


@pytest.mark.parametrize(("masked", "rate"), WORKS)
@pytest.mark.parametrize("through", ["keras", "model"])
def test_decision_applies_to_equal_mask_and_dropout_only(
    masked: bool, rate: float, through: str
) -> None:
    question = replace(tuning_request(masked, rate), through=through)
    scan = RacedBackend("scan", 1.0, 1.0, 1.0, 1.0, 20)
    found = Decision(question, (scan,), "", "2026-11-26", "a test")
    for other in WORKS:
        taken = decided.decision(tuning_request(*other), [found])
        # a model has its dropout between layers
        wanted = other == (masked, rate) and not (rate and through == "model")
        assert (taken is not None) == wanted, other


def test_call_has_the_dtype_and_gradients_of_the_layer() -> None:
    found = tuning_request(True, 0.0)
    assert (found.through, found.workload.gradients) == ("keras", "weights+input")
    assert found.workload.min_length == 1  # of any lengths
    assert tuning_request(False, 0.0, training=False).workload == Workload(BATCH, STEPS)
    machine = TunedMachine("here", {})
    sizes = decided.Sizes(BATCH, 9, min_length=9)
    masked = decided.request(Arguments(UNITS), replace(SMALL_CALL, masked=True), machine, sizes)
    assert masked is not None
    assert masked.workload.min_length == STEPS  # no longer than the call's own sequences
    unknown = Arguments(UNITS, compute_dtype="int8")
    assert decided.request(unknown, SMALL_CALL, machine, None) is None


# -- in layers

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

    assert decided.obstacle(Own(), lstm()._arguments()) == ""
    assert "cells of its own" in decided.obstacle(OwnLayout(), lstm()._arguments())


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
    question, rule, _ = tuning.request(layer, training, decided.Sizes(batch, STEPS))
    raced = (
        RacedBackend(backend, 1e-3, 1.0, 1.0, 1.0, 20),
        RacedBackend(rule, 2e-3, 2.0, 1.9, 2.1, 20),
    )
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
