"""What only the LiteRT backend can get wrong: what it converts, for which shapes, who runs it."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_impl import LSTMSpec, UnsupportedError, Workload, get_backend
from lstm_impl.backends.others import litert
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import SPEC, built, needs

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


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("spec", [SPEC, LSTMSpec(3, 5, num_layers=2, bidirectional=True)], ids=str)
def test_the_fused_operator_computes_the_network_and_carries_its_state(
    spec: LSTMSpec, batch_major: bool
) -> None:
    model = built("litert+fused", spec, batch_major=batch_major)
    reference = get_backend("numpy").build(spec, model.get_weights())
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
    found = built("litert+fused").evidence(Workload(2, 4))
    assert found["fused_loop"] is True
    assert found["loops"] == 0
    assert backend.missing_evidence(found, "cpu") == ""
    loop = built("litert").evidence(Workload(2, 4))
    assert "not in the model" in backend.missing_evidence(loop, "cpu")


def test_what_the_fused_operator_cannot_take_is_refused() -> None:
    backend = get_backend("litert+fused")
    assert backend.refusal(SPEC, Workload(2, 4, min_length=2)) == (
        "LiteRT's fused operator takes no lengths"
    )
    with pytest.raises(UnsupportedError, match="takes no lengths"):
        built("litert+fused").forward(np.ones((4, 2, 3)), None, np.array([4, 2]))
    with pytest.raises(UnsupportedError, match="leave one of the two out"):
        get_backend("litert+preproject+fused")
