"""Keras's layer on PyTorch."""

from __future__ import annotations

import pytest

from lstm_impl import get_backend
from tests.lstm_impl.backends.own_process import run_peers


def test_in_its_own_process_the_layer_computes_what_the_reference_does() -> None:
    passed, said = run_peers("keras_torch", "keras_torch")
    assert passed >= 4, said


@pytest.mark.parametrize(
    ("name", "ran", "missing"),
    [
        ("keras_torch", "cuDNN", ""),
        ("keras_torch", "a Python loop", ""),
        ("keras_torch+loop", "a Python loop", ""),
        ("keras_torch+loop", "cuDNN", "keras_torch+loop is Keras's loop, and what ran is cuDNN"),
    ],
)
def test_evidence_that_a_name_promises_is_missed(name: str, ran: str, missing: str) -> None:
    found = get_backend(name).missing_evidence({"implementation": ran}, "gpu:0")
    assert (missing in found) if missing else found == ""
