"""Test JAX's computations of a Keras layer under any mask, and when auto takes them."""

import functools
import importlib.util
import os

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, get_backend, reference

jax = pytest.importorskip("jax", reason="this is JAX's: pip install jax")
if importlib.util.find_spec("tensorflow") is None and os.environ.get("KERAS_BACKEND") != "jax":
    pytest.skip("Keras runs on nothing in this process", allow_module_level=True)

from lstm_impl.availability import AVAILABLE, UnavailableError  # noqa: E402
from lstm_impl.backends.fused_cpu import library  # noqa: E402
from lstm_impl.cell import CELLS, Cell  # noqa: E402
from lstm_impl.keras import base, on_jax  # noqa: E402
from lstm_impl.keras.choice import LayerCall  # noqa: E402

MASKS = np.array([list(row) for row in ("11111", "11000", "00111", "01001", "00000")]) == "1"
"""Full, padded on the right, on the left, with gaps, and empty."""


SERVED = [
    (name, cell)
    for name in on_jax.NAMES
    for cell in CELLS.values()
    if not get_backend(name).cell_refusal(LSTMSpec(3, 4, cell=cell))
]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("name", "cell"), SERVED, ids=str)
def test_masked_step_keeps_state_and_has_no_output(name: str, cell: Cell, masked: bool) -> None:
    spec, rng = LSTMSpec(3, 4, dtype="float64", cell=cell), np.random.default_rng(0)
    mask, weights = MASKS if masked else np.ones_like(MASKS), LSTMWeights.random(spec)
    x = rng.standard_normal((*mask.shape, 3))
    states = tuple(rng.standard_normal((len(cell.states), len(mask), 4)))
    kernel, recurrent_kernel, *biases = weights.layers[0][0]
    bias = biases[0] if len(biases) == 1 else np.stack(biases)
    y, last = jax.jit(functools.partial(on_jax.compute, name, cell))(
        x, states, base.Weights(kernel, recurrent_kernel, bias), mask if masked else None
    )
    for row, valid in enumerate(mask):
        expected = np.zeros((5, 1, 4))
        state = cell.state_type(*(each[None, [row]] for each in states))
        if valid.any():
            own = x[row, valid][:, None]
            expected[valid], state = reference.forward(spec, weights, own, state)
        for found, right in zip((y, *last), (expected[:, 0], *state), strict=True):
            np.testing.assert_allclose(found[row], np.squeeze(right), atol=1e-6)


def test_traced_program_is_distinguished_from_a_call() -> None:
    found = []

    def seen(x: object) -> object:
        found.append(on_jax.becomes_program(x))
        return x

    seen(jax.numpy.ones(2))
    jax.jit(seen)(1.0)
    assert found == [False, True]


def test_library_that_cannot_be_made_is_logged_once_and_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> int:
        reason = "its library cannot be made: disk full"
        raise UnavailableError(f"jax_fused_cpu: {reason}", reason=reason)

    monkeypatch.setattr(library, "being_compiled", lambda binding: False)
    monkeypatch.setattr(base, "_offered", lambda binding: AVAILABLE)
    call = LayerCall("cpu", True, True, True, 1, 2, 3)
    for _ in range(2):
        reason = base.not_fused(call, "float32", library.JAX, fail)
        assert reason == "its library cannot be made: disk full"
    assert caplog.text.count("disk full; other code computes in its place") == 1
