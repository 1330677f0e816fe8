"""Test what is specific to JAX: tracing, 64 bits, waiting, and what XLA compiled."""

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import lstm_impl
from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, get_backend, reference
from lstm_impl.backends.hlo import ProfiledEvent
from lstm_impl.backends.jax import model as jax_model
from lstm_impl.backends.jax.scan import JaxScan, scanned
from lstm_impl.call import Call, Upstream
from lstm_impl.evidence import Event
from lstm_impl.proof.comparison import measure_error
from tests.lstm_impl.backends.built import SPEC, built, needs, passes, shared

pytestmark = needs("jax_scan")


def test_trace_happens_once_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("jax_scan")
    monkeypatch.setattr(model, "_network", traced := Mock(wraps=model._network))
    step = model.prepare(Workload(2, 4))
    step.trace()
    assert traced.call_count == 1
    step.run()
    step.run()
    assert traced.call_count == 1


def test_float64_model_leaves_other_models_in_float32() -> None:
    import jax.numpy as jnp

    model = built("jax_scan", LSTMSpec(3, 5, dtype="float64"))
    y, state = model.forward(np.ones((2, 1, 3)))
    assert y.dtype == state.c.dtype == np.float64
    assert jnp.ones(1).dtype == jnp.float32


def test_function_under_jax_grad_gives_the_gradients() -> None:
    import jax

    model = shared("jax_scan")
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    zeros = np.zeros((1, 2, 5), np.float32)

    @jax.jit
    def loss(parameters: Any) -> Any:
        return model.function(parameters, x, zeros, zeros)[0].sum()

    kernel = jax.grad(loss)(model.parameters)[0]
    ones = np.ones((4, 2, 5))
    expected = reference.forward_and_gradients(SPEC, model.get_weights(), x, ones)[2]
    assert measure_error(np.asarray(kernel), expected.weights.layers[0][0].kernel) < 1e-5


def test_evidence_counts_compiled_loops_products_and_launches() -> None:
    model = shared("jax_scan")
    forward = model.evidence(Workload(2, 4))
    assert (forward["platform"], forward["loops"], forward["matrix_products"]) == ("cpu", 1, 2)
    short, long = forward["launches"], model.evidence(Workload(2, 8))["launches"]
    assert long > short
    assert (long - short) % 4 == 0  # as many kernels at each timestep
    assert model.evidence(Workload(2, 8, window=4))["launches"] == 2 * short


def test_profile_has_the_instructions_that_ran() -> None:
    found = shared("jax_scan").profile(Workload(2, 4))
    assert any("dot" in each.name or "fusion" in each.name for each in found.events)
    assert all(each.seconds >= 0 for each in found.events)


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("float32", "highest"), ("tf32", "tensorfloat32"), ("float16", None), ("float64", None)],
)
def test_products_on_a_gpu_have_the_precision_of_the_spec(
    monkeypatch: pytest.MonkeyPatch, dtype: str, precision: str | None
) -> None:
    import jax

    monkeypatch.setattr(jax_model, "gpus", lambda: jax.devices("cpu"))
    spec = LSTMSpec(3, 5, dtype=dtype)
    model = jax_model.JaxModel(JaxScan(), spec, "gpu:0", False, LSTMWeights.random(spec))
    requested: list[str | None] = []

    def network(*given: Any) -> Any:
        requested.append(jax.config.jax_default_matmul_precision)

    monkeypatch.setattr(model, "_network", network)
    model._inference(model.parameters, Call(None, ()))
    assert requested == [precision]


def test_timeline_has_kernels_by_stream_and_instructions_by_thread() -> None:
    events = jax_model.timeline(
        [
            ProfiledEvent("/device:GPU:0", "Stream #7", "gemm", 1.0, 0.5, "custom-call.3"),
            ProfiledEvent("/device:GPU:0", "XLA Ops", "gemm", 1.0, 0.5, "custom-call.3"),
            ProfiledEvent("/host:CPU", "pool 1", "anything", 2.0, 0.25, "dot.12"),
            ProfiledEvent("/host:CPU", "python", "PjitFunction(f)", 0.0, 9.0),
        ]
    )
    assert events == [
        Event("gemm", 1.0, 0.5, "/device:GPU:0 Stream #7", "custom-call.3"),
        Event("dot", 2.0, 0.25, "pool 1", "dot.12"),
    ]


Build = Callable[[LSTMSpec], jax_model.JaxModel]


@pytest.fixture
def cudnn_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> Build:
    """Return a builder of ``jax_cudnn`` in which JAX's reference replaces the call of cuDNN."""
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
def test_cudnn_buffer_is_unpacked_by_jax_to_the_weights(
    cudnn_on_a_cpu: Build, spec: LSTMSpec, workload: Workload
) -> None:
    model = cudnn_on_a_cpu(spec)
    passes(model, workload, 2)
    # The gate uses the weights that the model reports.
    given = LSTMWeights.random(spec, seed=1)
    for ours, theirs in zip(model.get_weights().arrays(), given.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_cudnn_layer_with_masks_in_a_forward_pass_raises(cudnn_on_a_cpu: Build) -> None:
    spec = LSTMSpec(3, 5, 2)
    model = cudnn_on_a_cpu(spec)
    with pytest.raises(UnsupportedError, match="draws its own dropout masks"):
        model.forward(np.ones((4, 2, 3)), masks=lstm_impl.dropout_masks(spec, 4, 2, 0.5, seed=0))
    with pytest.raises(UnsupportedError, match="draws its own dropout masks"):
        model.prepare(Workload(2, 4, mode="training", dropout=0.5))


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", False), ("tf32", True)])
def test_cudnn_layer_calls_jax_with_these_arguments(
    monkeypatch: pytest.MonkeyPatch, dtype: str, allowed: bool
) -> None:
    import jax
    from jax.experimental import rnn

    requested: list[tuple[Any, ...]] = []

    class Library:
        """Replace the one function of JAX's CUDA part that the build of a step calls."""

        @staticmethod
        def compute_rnn_workspace_reserve_space_sizes(*sizes: Any) -> tuple[int, int]:
            requested.append(sizes)
            return 16, 16

    monkeypatch.setattr(rnn, "gpu_rnn", Library)
    spec = LSTMSpec(3, 5, 2, True, dtype=dtype)
    backend = get_backend("jax_cudnn")
    assert isinstance(backend, jax_model.JaxBackend)
    model = jax_model.JaxModel(backend, spec, "cpu", False, LSTMWeights.random(spec))
    x, dy = np.ones((7, 4, 3), np.float32), np.ones((7, 4, 10), np.float32)
    state = (np.ones((4, 4, 5), np.float32),) * 2
    training = functools.partial(model._training, "all")
    step = jax.make_jaxpr(training)(model.parameters, Call(x, state), Upstream(dy, state))
    primitives = [str(equation.primitive) for equation in step.eqns]
    assert primitives.count("rnn_fwd") == primitives.count("rnn_bwd") == 1
    # input, hidden, layers, batch, timesteps, dropout, bidirectional, TF32
    assert requested == [(3, 5, 2, 4, 7, 0.0, True, allowed)]


def test_cudnn_layer_availability_says_what_it_needs() -> None:
    backend = get_backend("jax_cudnn")
    assert str(backend.availability("cpu")).startswith("cuDNN runs on NVIDIA GPUs only; ")
    assert "takes float32 only" in backend.refusal(LSTMSpec(3, 5, dtype="float16"))


def test_scan_outside_of_jit_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    monkeypatch.setattr(jax.lax, "scan", scan := Mock(wraps=jax.lax.scan))
    x, state = np.ones((23, 2, 3), np.float32), (np.zeros((2, 1), np.float32),) * 2  # only here
    weights = [np.ones(shape, np.float32) for shape in ((3, 4), (1, 4), (4,))]
    for _ in range(2):
        scanned(x, state, weights, None, False)
    assert scan.call_count == 1
