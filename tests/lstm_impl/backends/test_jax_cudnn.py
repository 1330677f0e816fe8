"""cuDNN's LSTM called from JAX, with JAX's own reference for that layer in the call's place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, dropout_masks, get_backend
from lstm_impl.backends.jax import model as jax_model
from lstm_impl.call import Call, Upstream
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import needs

pytestmark = needs("jax_scan")  # as this one is on a GPU

Build = Callable[[LSTMSpec], jax_model.JaxModel]


@pytest.fixture
def cudnn_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds ``jax_cudnn`` with JAX's reference for the layer in the place of cuDNN's call."""
    from jax.experimental import rnn

    def plain(
        x: Any, h: Any, c: Any, weights: Any, lengths: Any, *sizes: Any
    ) -> tuple[Any, Any, Any]:
        *sizes_, dropout, bidirectional, _ = sizes
        matrices = rnn.unpack_lstm_weights(weights, *sizes_, bidirectional)
        y, h, c = rnn.lstm_ref(x, h, c, *matrices, lengths, *sizes_, dropout, bidirectional)
        return y, h, c

    monkeypatch.setattr(rnn, "lstm", plain)

    def build_there(spec: LSTMSpec) -> jax_model.JaxModel:
        backend = get_backend("jax_cudnn")
        assert isinstance(backend, jax_model.JaxBackend)
        return jax_model.JaxModel(backend, spec, "cpu", False, LSTMWeights.random(spec, seed=1))

    return build_there


@pytest.mark.parametrize(
    ("spec", "workload"),
    [
        (LSTMSpec(3, 5, 2, True), Workload(3, 4)),
        (LSTMSpec(3, 5), Workload(3, 4, "training", min_length=2)),
    ],
    ids=["two layers, both directions", "lengths and gradients"],
)
def test_the_cudnn_buffer_is_what_jax_unpacks(
    cudnn_on_a_cpu: Build, spec: LSTMSpec, workload: Workload
) -> None:
    model = cudnn_on_a_cpu(spec)
    result = gate(model, workload, seed=2)
    assert result.passed, result.describe()
    # The gate goes by the weights that the model says it has.
    given = LSTMWeights.random(spec, seed=1)
    for ours, theirs in zip(model.get_weights().arrays(), given.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_cudnn_layer_refuses_masks_even_in_a_forward_pass(cudnn_on_a_cpu: Build) -> None:
    spec = LSTMSpec(3, 5, 2)
    model = cudnn_on_a_cpu(spec)
    with pytest.raises(UnsupportedError, match="draws its own dropout masks"):
        model.forward(np.ones((4, 2, 3)), masks=dropout_masks(spec, 4, 2, 0.5, seed=0))
    with pytest.raises(UnsupportedError, match="draws its own dropout masks"):
        model.prepare(Workload(2, 4, mode="training", dropout=0.5))


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", False), ("tf32", True)])
def test_the_cudnn_call_takes_these_arguments(
    monkeypatch: pytest.MonkeyPatch, dtype: str, allowed: bool
) -> None:
    import jax
    from jax.experimental import rnn

    asked: list[tuple[Any, ...]] = []

    class Library:
        """The one question that building the step asks of the CUDA part, which is not here."""

        @staticmethod
        def compute_rnn_workspace_reserve_space_sizes(*sizes: Any) -> tuple[int, int]:
            asked.append(sizes)
            return 16, 16

    monkeypatch.setattr(rnn, "gpu_rnn", Library)
    spec = LSTMSpec(3, 5, 2, True, dtype=dtype)
    backend = get_backend("jax_cudnn")
    assert isinstance(backend, jax_model.JaxBackend)
    model = jax_model.JaxModel(backend, spec, "cpu", False, LSTMWeights.random(spec))
    x, dy = np.ones((7, 4, 3), np.float32), np.ones((7, 4, 10), np.float32)
    state = (np.ones((4, 4, 5), np.float32),) * 2
    training = functools.partial(model._training, "all")
    step = jax.make_jaxpr(training)(model.parameters, Call(x, *state), Upstream(dy, *state))
    primitives = [str(equation.primitive) for equation in step.eqns]
    assert primitives.count("rnn_fwd") == primitives.count("rnn_bwd") == 1
    # input, hidden, layers, batch, timesteps, dropout, bidirectional, TF32
    assert asked == [(3, 5, 2, 4, 7, 0.0, True, allowed)]


def test_the_cudnn_layer_says_what_it_needs() -> None:
    backend = get_backend("jax_cudnn")
    assert str(backend.availability("cpu")).startswith("cuDNN runs on NVIDIA GPUs only; ")
    assert "takes float32 only" in backend.refusal(LSTMSpec(3, 5, dtype="float16"))
