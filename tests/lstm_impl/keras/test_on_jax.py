"""Test JAX's scan as the computation of a Keras layer, under any mask."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.lstm_impl.keras.masked_steps import MASKS, problem, repeated

jax = pytest.importorskip("jax", reason="this is JAX's: pip install jax")
if importlib.util.find_spec("tensorflow") is None and os.environ.get("KERAS_BACKEND") != "jax":
    pytest.skip("Keras runs on nothing in this process", allow_module_level=True)

from lstm_impl.availability import AVAILABLE, UnavailableError  # noqa: E402
from lstm_impl.backends.fused_cpu import library  # noqa: E402
from lstm_impl.keras import on_jax  # noqa: E402
from lstm_impl.keras.base import Weights, not_fused  # noqa: E402
from lstm_impl.keras.choice import LayerCall  # noqa: E402


@pytest.mark.parametrize(
    ("name", "masked", "every_step", "zero_masked"),
    [
        ("jax_scan", True, True, False),
        ("jax_scan", True, False, True),
        ("jax_scan", False, True, False),
        ("jax_scan+preproject", True, True, True),
        ("jax_scan+preproject", True, False, False),
        ("jax_scan+preproject", False, False, False),
        *[("jax_fused_cpu", *how) for how in itertools.product((False, True), repeat=3)],
    ],
)
def test_masked_step_keeps_state_and_repeats_output_or_zero(
    name: str, masked: bool, every_step: bool, zero_masked: bool
) -> None:
    given = problem(MASKS if masked else np.ones_like(MASKS))
    bias: Any = given.cell.bias
    if not masked:  # nor a bias: None means zeros
        given = replace(given, cell=replace(given.cell, bias=0 * bias))
        bias = None
    y, h, c = given.solved()
    shown = y if zero_masked else repeated(y, given.mask, before=given.h)
    compute = functools.partial(
        on_jax.compute, name, zero_masked=zero_masked, every_step=every_step
    )
    last, outputs, state = jax.jit(compute)(
        given.x,
        (given.h, given.c),
        Weights(given.cell.kernel, given.cell.recurrent_kernel, bias),
        given.mask if masked else None,
    )
    np.testing.assert_allclose(last, shown[:, -1], atol=1e-6)
    np.testing.assert_allclose(outputs, shown if every_step else shown[:, -1:], atol=1e-6)
    np.testing.assert_allclose(state[0], h, atol=1e-6)
    np.testing.assert_allclose(state[1], c, atol=1e-6)


def test_traced_program_is_distinguished_from_a_call() -> None:
    found = []

    def seen(x: object) -> object:
        found.append(on_jax.becomes_program(x))
        return x

    seen(jax.numpy.ones(2))
    jax.jit(seen)(1.0)
    assert found == [False, True]


def test_library_that_cannot_be_made_is_said_once_and_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> int:
        raise UnavailableError("jax_fused_cpu: its library cannot be made: disk full")

    monkeypatch.setattr(library, "available_to", lambda binding: AVAILABLE)
    monkeypatch.setattr(library, "being_compiled", lambda binding: False)
    call = LayerCall("cpu", True, True, True, 1, 2, 3)
    for _ in range(2):
        reason = not_fused(call, "float32", library.JAX, fail)
        assert reason == "its library cannot be made: disk full"
    assert caplog.text.count("disk full; other code computes in its place") == 1
