"""What only the LiteRT backend can get wrong: what it converts, for which shapes, who runs it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from lstm_impl import Workload, get_backend
from lstm_impl.backends.others import litert
from tests.lstm_impl.backends.built import built, needs

pytestmark = needs("litert")


def test_a_model_is_converted_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("litert")
    converted: list[tuple[int, ...]] = []
    convert = model.convert

    def counted(inputs: dict[str, tuple[int, ...]]) -> bytes:
        converted.append(inputs["x"])
        return bytes(convert(inputs))

    monkeypatch.setattr(model, "convert", counted)
    for timesteps in (4, 4, 5):
        model.forward(np.ones((timesteps, 2, 3)))
    assert converted == [(4, 2, 3), (5, 2, 3)]
    step = model.prepare(Workload(3, 4))
    step.trace()
    assert converted[2:] == [(4, 3, 3)]
    step.run()
    assert len(converted) == 3


def test_evidence_says_that_the_loop_is_not_fused() -> None:
    found = built("litert").evidence(Workload(2, 4, min_length=2))
    assert found["fused_loop"] is False
    assert found["loops"] == 1
    assert found["ops"]["FULLY_CONNECTED"] == 2  # inside the loop: its subgraph is counted too


@pytest.mark.slow
def test_a_fused_loop_would_be_seen() -> None:
    """The one network that the converter fuses: legacy Keras's layer, with no state in or out."""
    if importlib.util.find_spec("tf_keras") is None:
        pytest.skip("tf-keras is not installed")
    import tensorflow as tf
    import tf_keras

    network = tf_keras.Sequential(
        [tf_keras.layers.Input((4, 3), 2), tf_keras.layers.LSTM(5, return_sequences=True)]
    )
    ops = litert.operators(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    assert set(ops) & set(litert.FUSED)
    assert "WHILE" not in ops


def test_the_option_converts_another_loop() -> None:
    inside = built("litert").evidence(Workload(2, 4))
    before = built("litert+preproject").evidence(Workload(2, 4))
    assert before["loops"] == inside["loops"] == 1
    assert before["ops"] != inside["ops"]


def test_threads_are_those_of_the_interpreters_made_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int | None] = []
    original = litert.open_interpreter

    def watched(model: bytes, threads: int | None) -> object:
        asked.append(threads)
        return original(model, threads)

    monkeypatch.setattr(litert, "open_interpreter", watched)
    monkeypatch.setattr(litert.LiteRT, "threads", None)
    get_backend("litert").use_threads(2)
    built("litert").forward(np.ones((4, 2, 3)))
    assert asked == [2]


@pytest.mark.parametrize(("fused", "missing"), [(True, False), (False, True)])
def test_a_loop_is_no_evidence_of_the_fused_operator(fused: bool, missing: bool) -> None:
    evidence = {"fused_loop": fused}
    assert bool(get_backend("litert+fused").missing_evidence(evidence, "cpu")) == missing
    assert get_backend("litert").missing_evidence(evidence, "cpu") == ""


def test_a_missing_converter_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = str(get_backend("litert").availability("cpu"))
    assert words.startswith("TensorFlow, which holds LiteRT's converter, is not installed: pip ")


@pytest.mark.parametrize("name", ["x", "x:0", "serving_default_x:0", "serving_default_x"])
def test_an_input_is_known_by_whatever_name_a_converter_gives_it(name: str) -> None:
    assert litert.input_name(name) == "x"
