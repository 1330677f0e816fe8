"""Keras's layer on JAX."""

from __future__ import annotations

import importlib.util

import pytest

from lstm_impl import LSTMSpec, Workload, get_backend
from tests.lstm_impl.backends.own_process import run_peers

# The tests without TensorFlow (`tox -e peers`) have what XLA compiles; beside it that would be made
# a second time.
COMPILED = [pytest.mark.slow] if importlib.util.find_spec("tensorflow") is not None else []


# Some of its rows of the matrix of all peers; compiling them all with XLA takes half a minute.
@pytest.mark.parametrize(
    ("selected", "least"),
    [
        pytest.param("layers or lengths or float64 or missing", 4, marks=COMPILED, id="some"),
        pytest.param("keras_jax", 14, marks=pytest.mark.slow, id="all"),
    ],
)
def test_in_its_own_process_the_layer_computes_what_the_reference_does(
    selected: str, least: int
) -> None:
    passed, said = run_peers("keras_jax", f"keras_jax and ({selected})")
    assert passed >= least, said


@pytest.mark.parametrize(
    ("name", "ran", "missing"),
    [
        ("keras_jax", "lax.scan", ""),
        ("keras_jax", "cuDNN", ""),
        ("keras_jax+loop", "lax.scan", ""),
        ("keras_jax+loop", "cuDNN", "keras_jax+loop is Keras's lax.scan, and what ran is cuDNN"),
        ("keras_jax+unroll", "unrolled steps", ""),
        ("keras_jax+unroll", "lax.scan", "unrolled steps, and what ran is lax.scan"),
    ],
)
def test_evidence_that_a_name_promises_is_missed(name: str, ran: str, missing: str) -> None:
    found = get_backend(name).missing_evidence({"implementation": ran}, "gpu:0")
    assert (missing in found) if missing else found == ""


def test_float64_is_refused_that_keras_would_compute_in_float32() -> None:
    backend = get_backend("keras_jax")
    assert "float64 in float32" in backend.refusal(LSTMSpec(3, 5, dtype="float64"))
    assert backend.refusal(LSTMSpec(3, 5, dtype="mixed_bfloat16"), Workload(2, 3, "training")) == ""
