"""What ``backend="auto"`` picks for a call that nobody has raced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lstm_impl import Availability, UnsupportedError, get_backend
from lstm_impl.availability import AVAILABLE

pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

from lstm_impl.keras.choice import (
    Arguments,
    Choice,
    LayerCall,
    check_auto,
    choose,
    obstacle,
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


def test_cudnn_that_was_asked_for_and_cannot_be_had_is_refused() -> None:
    asked = Arguments(4, use_cudnn=True)
    check_auto(asked)
    for call, reason in (
        (ON_CPU, "runs on NVIDIA GPUs only, and the layer runs on the cpu; leave it out"),
        (replace(ON_GPU, compiled=True), "XLA cannot compile its op"),
    ):
        with pytest.raises(UnsupportedError, match=f"use_cudnn=True cannot be served: .*{reason}"):
            choose(asked, call, AVAILABLE)
    wrong: dict[str, Any]
    for wrong in ({"activation": "relu"}, {"unroll": True}):
        with pytest.raises(UnsupportedError, match="use_cudnn=True cannot be served: "):
            check_auto(Arguments(4, use_cudnn=True, **wrong))


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
                    picked = get_backend(choose(arguments, call, fused).backend)
                    assert not obstacle(picked, arguments)


@pytest.mark.parametrize(
    ("training", "batch", "hidden", "picked"),
    [
        (True, 32, 32, "block_lstm"),
        (True, 1, 256, "while_loop+hoisted+xla"),
        (True, 4, 256, "while_loop+hoisted+xla"),
        (True, 16, 256, "while_loop+hoisted"),
        (True, 64, 512, "while_loop+hoisted"),
        (True, 128, 128, "keras"),
        (True, None, 64, "block_lstm"),
        (True, None, 256, "while_loop+hoisted"),
        (False, 32, 32, "while_loop+xla"),
        (False, None, 32, "partial_unroll@5+preproject"),
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
    def chosen(batch: int | None, timesteps: int | None = None) -> Choice:
        call = LayerCall("cpu", training, True, False, batch, timesteps, hidden)
        return choose(Arguments(hidden), call, NO_COMPILER)

    late = chosen(None)
    limit = late.most_sequences
    assert limit is not None
    # Nothing here beats Keras's loop for more, or a larger batch has no small products any more.
    assert chosen(limit).backend == late.backend
    assert chosen(limit + 1).backend != late.backend
    assert chosen(limit).most_sequences is None
