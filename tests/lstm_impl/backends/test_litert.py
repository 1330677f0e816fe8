"""What only the LiteRT backend can get wrong: what it converts, for which shapes, who runs it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload
from lstm_impl.backends import litert
from lstm_impl.proof.comparison import error
from lstm_impl.registry import get_backend

SPEC = LSTMSpec(3, 5)


@pytest.fixture(autouse=True)
def _litert_is_here() -> None:
    available = get_backend("litert").availability("cpu")
    if not available:
        pytest.skip(f"litert: {available}")


def build(spec: LSTMSpec = SPEC, name: str = "litert") -> litert.LiteRTModel:
    model = get_backend(name).build(spec, LSTMWeights.random(spec, seed=1))
    assert isinstance(model, litert.LiteRTModel)
    return model


def test_a_model_is_converted_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    converted: list[tuple[int, ...]] = []
    convert = model.convert

    def counted(inputs: dict[str, tuple[int, ...]]) -> bytes:
        converted.append(inputs["x"])
        return convert(inputs)

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
    found = build().evidence(Workload(2, 4, min_length=2))
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
    inside = build().evidence(Workload(2, 4))
    before = build(name="litert+preproject").evidence(Workload(2, 4))
    assert before["loops"] == inside["loops"] == 1
    assert before["ops"] != inside["ops"]


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    yield
    litert._threads = None


@pytest.mark.usefixtures("_threads_restored")
def test_threads_are_those_of_the_interpreters_made_afterwards() -> None:
    asked: list[int | None] = []
    original = litert.open_interpreter

    def watched(model: bytes, threads: int | None) -> object:
        asked.append(threads)
        return original(model, threads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litert, "open_interpreter", watched)
        litert.set_threads(2)
        build().forward(np.ones((4, 2, 3)))
    assert asked == [2]


def test_a_missing_converter_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = str(get_backend("litert").availability("cpu"))
    assert words.startswith("TensorFlow, which holds LiteRT's converter, is not installed: pip ")


@pytest.mark.parametrize("name", ["x", "x:0", "serving_default_x:0", "serving_default_x"])
def test_an_input_is_known_by_whatever_name_a_converter_gives_it(name: str) -> None:
    assert litert.input_name(name) == "x"


# -- the runtime's own operator


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("spec", [SPEC, LSTMSpec(3, 5, num_layers=2, bidirectional=True)], ids=str)
def test_the_fused_operator_computes_the_network_and_carries_its_state(
    spec: LSTMSpec, batch_major: bool
) -> None:
    weights = LSTMWeights.random(spec, seed=1)
    model = get_backend("litert+fused").build(spec, weights, batch_major=batch_major)
    reference = get_backend("numpy").build(spec, weights)
    x = np.random.default_rng(0).standard_normal((7, 2, 3))
    state = expected_state = None
    # Two windows of different lengths, so two models: what one keeps must not stay in the other.
    for window in (x[:4], x[4:], x[:4]):
        given = np.swapaxes(window, 0, 1) if batch_major else window
        y, state = model.forward(given, state)
        expected, expected_state = reference.forward(window, expected_state)
        assert error(np.swapaxes(y, 0, 1) if batch_major else y, expected) < 1e-5
        assert error(state.h, expected_state.h) < 1e-5
        assert error(state.c, expected_state.c) < 1e-5


def test_the_fused_operator_is_what_ran() -> None:
    backend = get_backend("litert+fused")
    found = build(name="litert+fused").evidence(Workload(2, 4))
    assert found["fused_loop"] is True
    assert found["loops"] == 0
    assert backend.missing_evidence(found, "cpu") == ""
    assert "not in the model" in backend.missing_evidence(build().evidence(Workload(2, 4)), "cpu")


def test_what_the_fused_operator_cannot_take_is_refused() -> None:
    backend = get_backend("litert+fused")
    assert backend.refusal(SPEC, Workload(2, 4, min_length=2)) == (
        "LiteRT's fused operator takes no lengths"
    )
    with pytest.raises(UnsupportedError, match="takes no lengths"):
        build(name="litert+fused").forward(np.ones((4, 2, 3)), None, np.array([4, 2]))
    with pytest.raises(UnsupportedError, match="leave one of the two out"):
        get_backend("litert+preproject+fused")
