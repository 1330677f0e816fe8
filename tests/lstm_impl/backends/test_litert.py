"""Test what is specific to LiteRT: conversion, shapes and threads."""

from unittest.mock import Mock

import numpy as np
import pytest

from lstm_impl import LSTMSpec, UnsupportedError, Workload, get_backend
from lstm_impl.backends.others import litert, litert_fused
from tests.lstm_impl.backends.built import built, needs

pytestmark = needs("litert")


def test_model_is_converted_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("litert")
    monkeypatch.setattr(model, "convert", converted := Mock(wraps=model.convert))
    for timesteps in (4, 4, 5):
        model.forward(np.ones((timesteps, 2, 3)))
    step = model.prepare(Workload(3, 4))
    step.trace()
    shapes = [call.args[0]["x"] for call in converted.call_args_list]
    assert shapes == [(4, 2, 3), (5, 2, 3), (4, 3, 3)]
    step.run()
    assert converted.call_count == 3


def test_evidence_counts_the_operators_inside_the_loop_too() -> None:
    found = built("litert").evidence(Workload(2, 4, min_length=2))
    assert (found["loops"], found["ops"]["FULLY_CONNECTED"]) == (1, 2)


def test_use_threads_applies_to_later_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[int | None] = []
    original = litert.open_interpreter

    def watched(model: bytes, threads: int | None) -> object:
        requested.append(threads)
        return original(model, threads)

    monkeypatch.setattr(litert, "open_interpreter", watched)
    monkeypatch.setattr(litert.LiteRT, "threads", None)
    get_backend("litert").use_threads(2)
    built("litert").forward(np.ones((4, 2, 3)))
    assert requested == [2]


def test_fused_network_is_one_operator_for_each_layer_and_direction() -> None:
    spec = LSTMSpec(3, 4, num_layers=2, bidirectional=True)
    found = built("litert+fused", spec).evidence(Workload(2, 4))
    assert (found["loops"], found["ops"][litert_fused.OPERATOR]) == (0, 4)
    backend = get_backend("litert+fused")
    assert backend.missing_evidence(found, "cpu") == ""
    of_a_loop = built("litert").evidence(Workload(2, 4))
    assert "fused operator is not in the model" in backend.missing_evidence(of_a_loop, "cpu")


def test_fused_network_refuses_lengths_and_its_other_option() -> None:
    backend = get_backend("litert+fused")
    assert "takes no lengths" in backend.refusal(LSTMSpec(3, 4), Workload(2, 4, min_length=2))
    with pytest.raises(UnsupportedError, match="takes no lengths"):
        built("litert+fused").forward(np.ones((4, 2, 3)), None, np.array([4, 2]))
    with pytest.raises(UnsupportedError, match=r"leave \+preproject or \+fused out"):
        get_backend("litert+preproject+fused")
