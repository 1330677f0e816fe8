"""Test what ``backend="auto"`` picks by rule, and by decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lstm_impl import Availability, UnsupportedError, Workload, get_backend
from lstm_impl.availability import AVAILABLE
from lstm_impl.tuning import Decision, Raced, TunedMachine, TuningRequest

pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

from lstm_impl.keras import choice as decided
from lstm_impl.keras.choice import (
    Arguments,
    LayerCall,
    can_be_compiled,
    check_auto,
    choose,
    obstacle,
    requested_backend,
    supports_jit,
)

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
    assert supports_jit(None, Arguments(4, **arguments), has_gpu=True) == (picked != "cudnn")
    assert supports_jit(None, Arguments(4, **arguments), has_gpu=False)


def test_cudnn_requested_but_unable_is_refused() -> None:
    requested = Arguments(4, use_cudnn=True)
    check_auto(requested)
    for call, reason in (
        (ON_CPU, "runs on NVIDIA GPUs only, and the layer runs on the cpu; leave it out"),
        (replace(ON_GPU, compiled=True), "XLA cannot compile its op"),
    ):
        with pytest.raises(UnsupportedError, match=f"use_cudnn=True cannot be served: .*{reason}"):
            choose(requested, call, AVAILABLE)
    wrong: dict[str, Any]
    for wrong in ({"activation": "relu"}, {"unroll": True}):
        with pytest.raises(UnsupportedError, match="use_cudnn=True cannot be served: "):
            check_auto(Arguments(4, use_cudnn=True, **wrong))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("traced", "timesteps"), [(True, None), (False, 10)], ids=["dynamic", "outside a graph"]
)
def test_auto_takes_xla_only_for_static_shapes_in_a_graph(
    training: bool, traced: bool, timesteps: int | None
) -> None:
    call = LayerCall("gpu", training, traced, False, 8, timesteps, 3)
    assert choose(Arguments(4, use_cudnn=False), call, NO_COMPILER).backend == "while_loop+hoisted"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("call", [ON_GPU, ON_CPU], ids=["gpu", "cpu"])
def test_auto_choice_can_serve_the_layer(call: LayerCall, training: bool) -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        for units in (1, 64, 1024):
            for unroll in (False, True):
                arguments = Arguments(units, unroll=unroll, compute_dtype=dtype)
                for fused in (AVAILABLE, NO_COMPILER):
                    picked = get_backend(choose(arguments, call, fused).backend)
                    assert not obstacle(picked, arguments)


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
        requested_backend(backend, Arguments(4, **arguments))
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
    assert can_be_compiled(found) == compiled
    assert supports_jit(found, PLAIN, has_gpu=False) == compiled
    # On a GPU Keras's code, and auto, may take cuDNN, unless it is forbidden or unable.
    assert supports_jit(found, PLAIN, has_gpu=True) == (compiled and backend != "keras")
    if backend == "keras":
        other: dict[str, Any]
        for keras_or_auto in (found, None):
            assert not supports_jit(keras_or_auto, PLAIN, has_gpu=True)
            for other in ({"use_cudnn": False}, {"activation": "relu"}):
                assert supports_jit(keras_or_auto, Arguments(4, **other), has_gpu=True)


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
    scan = Raced("scan", 1.0, 1.0, 1.0, 1.0, 20)
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
