"""Which backends can compute a Keras layer, and the words in which a choice is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lstm_impl import UnsupportedError, get_backend

pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

from lstm_impl.keras.choice import (
    Arguments,
    Choice,
    Explanation,
    LayerCall,
    can_be_compiled,
    named,
    supports_jit,
)

PLAIN = Arguments(4)
CALL = LayerCall("cpu", True, True, False, 8, 5, 3)


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
def test_a_backend_that_cannot_serve_the_arguments_raises_with_the_reason(
    backend: str, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        named(backend, Arguments(4, **arguments))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("backend", "arguments"),
    [
        ("keras", {"activation": "relu", "recurrent_dropout": 0.1, "unroll": True}),
        ("while_loop", {"dropout": 0.1, "use_cudnn": False, "compute_dtype": "float64"}),
        ("while_loop", {"implementation": 1}),  # without dropout it is all the same
        ("while_loop", {"compute_dtype": "int8"}),  # what no backend knows is Keras's to refuse
        ("static_unroll+hoisted", {"unroll": True}),
        ("cudnn", {"use_cudnn": True, "dropout": 0.1}),
        ("fused_cpu", {}),
    ],
)
def test_a_backend_that_can_serve_them_is_found(backend: str, arguments: dict[str, Any]) -> None:
    assert named(backend, Arguments(4, **arguments)).name == backend


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
def test_a_model_may_be_compiled_where_xla_knows_the_layer_s_ops(
    backend: str, compiled: bool
) -> None:
    found = get_backend(backend)
    assert can_be_compiled(found) == compiled
    assert supports_jit(found, PLAIN, has_gpu=False) == compiled
    # On a GPU Keras's own code, and auto, may take cuDNN, unless it is forbidden or cannot serve.
    assert supports_jit(found, PLAIN, has_gpu=True) == (compiled and backend != "keras")
    if backend == "keras":
        other: dict[str, Any]
        for keras_or_auto in (found, None):
            assert not supports_jit(keras_or_auto, PLAIN, has_gpu=True)
            for other in ({"use_cudnn": False}, {"activation": "relu"}):
                assert supports_jit(keras_or_auto, Arguments(4, **other), has_gpu=True)


def test_an_explanation_has_each_call_its_choice_and_what_was_passed_over() -> None:
    late = Choice("block_lstm", "it is best", ("fused_cpu: no compiler",), most_sequences=4000)
    found = Explanation("auto", ((CALL, late),), called=False, notes=("a note",))
    assert str(found).splitlines() == [
        'backend="auto", not called yet',
        f"  {CALL}: block_lstm",
        "    because it is best",
        "    for batches of up to 4,000; for larger ones, when they come, the graph takes Keras's "
        "own loop",
        "    not fused_cpu: no compiler",
        "  a note",
    ]
    assert repr(found) == str(found)
    assert str(replace(found, called=True)).splitlines()[0] == 'backend="auto"'
    assert str(late) == "block_lstm: it is best; fused_cpu: no compiler"
