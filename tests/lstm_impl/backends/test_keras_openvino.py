"""Keras's layer on OpenVINO."""

from __future__ import annotations

from tests.lstm_impl.backends.own_process import run_peers


def test_in_its_own_process_the_layer_computes_what_the_reference_does() -> None:
    passed, said = run_peers("keras_openvino", "keras_openvino")
    assert passed >= 4, said
