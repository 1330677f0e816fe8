"""What only a JAX backend can get wrong: retracing, 64 bits, waiting, and what XLA compiled."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstm_impl import (
    LSTMSpec,
    LSTMWeights,
    UnsupportedError,
    Workload,
    cuda,
    dropout_masks,
    reference,
)
from lstm_impl.backends import jax_evidence, jax_model
from lstm_impl.backends.hlo import describe_hlo
from lstm_impl.call import Call, Upstream
from lstm_impl.cuda import CudaFacts
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import error
from lstm_impl.registry import get_backend

SPEC = LSTMSpec(3, 5)


@pytest.fixture(autouse=True)
def _jax_is_here() -> None:
    available = get_backend("jax_scan").availability("cpu")
    if not available:
        pytest.skip(f"jax_scan: {available}")


def build(spec: LSTMSpec = SPEC, name: str = "jax_scan") -> jax_model.JaxModel:
    model = get_backend(name).build(spec, LSTMWeights.random(spec, seed=1))
    assert isinstance(model, jax_model.JaxModel)
    return model


@functools.cache
def shared() -> jax_model.JaxModel:
    """For tests that change nothing of a model: what was compiled for one serves the others."""
    return build()


def test_tracing_is_done_once_and_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    traced: list[str] = []
    function = model.function

    def counted(*arguments: Any) -> Any:
        traced.append("once")
        return function(*arguments)

    monkeypatch.setattr(model, "function", counted)
    step = model.prepare(Workload(2, 4))
    step.trace()
    assert len(traced) == 1
    step.run()
    step.run()
    assert len(traced) == 1


def test_float64_does_not_leak_into_what_others_compute() -> None:
    import jax.numpy as jnp

    model = build(LSTMSpec(3, 5, dtype="float64"))
    y, state = model.forward(np.ones((2, 1, 3)))
    assert y.dtype == state.c.dtype == np.float64
    assert jnp.ones(1).dtype == jnp.float32


def test_the_function_can_be_differentiated_by_the_user() -> None:
    import jax

    model = shared()
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    zeros = np.zeros((1, 2, 5), np.float32)

    @jax.jit
    def loss(parameters: Any) -> Any:
        return model.function(parameters, x, zeros, zeros)[0].sum()

    kernel = jax.grad(loss)(model.parameters)[0]
    ones = np.ones((4, 2, 5))
    expected = reference.forward_and_gradients(SPEC, model.get_weights(), x, ones)[2]
    assert error(np.asarray(kernel), expected.weights.layers[0][0].kernel) < 1e-5


def test_the_callers_array_is_not_shared_with_the_device() -> None:
    model = build()
    # JAX uses the caller's memory where it begins at a multiple of 64 bytes.
    memory = np.zeros(4096 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    array = memory[start : start + 4096].view(np.float32)
    placed = model._to_device(array)
    array += 1
    assert not np.asarray(placed).any()


def test_waiting_waits_for_the_last_step() -> None:
    model = build(LSTMSpec(64, 128))
    step = model.prepare(Workload(32, 50, mode="training"))
    step.synchronize()  # nothing has been run: nothing to wait for
    step.run()
    raw = step.run()
    step.synchronize()
    assert all(array.is_ready() for array in (raw.y, raw.h, raw.c, raw.dx, *raw.weights))


def test_evidence_counts_loops_and_products_of_what_was_compiled() -> None:
    forward = shared().evidence(Workload(2, 4))
    assert forward["platform"] == "cpu"
    assert forward["loops"] == 1
    assert forward["matrix_products"] == 2
    both = build(name="jax_scan+preproject").evidence(Workload(2, 4, mode="training"))
    assert both["loops"] == 2
    assert both["instructions"]["while"] == 2


def test_hlo_instructions_are_counted_whatever_their_type() -> None:
    text = """
HloModule jit_f, entry_computation_layout={(f32[2]{0})->f32[2]{0}}
body {
  p = (s32[], f32[2]{0}) parameter(0)
  ROOT t = (s32[], f32[2]{0}) tuple(p)
}
ENTRY main {
  %a.1 = f32[2]{0} parameter(0), metadata={op_name="x = y(z)"}
  %w = (s32[], f32[], f32[], f32[], f32[], /*index=5*/f32[2]{0}) while(%a.1), body=body
  %c = f32[2]{0} custom-call(%a.1), custom_call_target="__cudnn$rnn", api_version=1
  %d = f32[] dot(%a.1, %c), lhs_contracting_dims={0}
  ROOT %f = f32[2]{0} fusion(%a.1), kind=kLoop, calls=fused
}
"""
    found = describe_hlo(text)
    assert found["loops"] == 1
    assert found["fusions"] == 1
    assert found["matrix_products"] == 1
    assert found["custom_calls"] == {"__cudnn$rnn": 1}
    assert found["instructions"]["parameter"] == 2


def test_the_profiler_names_what_ran() -> None:
    step = shared().prepare(Workload(2, 4))
    step.run()
    step.synchronize()
    # On a GPU the kernels are on the lines of its streams; a CPU has other lines.
    names = jax_evidence.profile(step.run, step.synchronize, plane="/host:CPU", line="")
    assert any("dot" in name or "fusion" in name for name in names)


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
    ("spec", "mode"),
    [(LSTMSpec(3, 5, 2, True), "inference"), (LSTMSpec(3, 5), "training")],
    ids=["two layers, both directions", "gradients"],
)
def test_the_cudnn_buffer_is_what_jax_unpacks(
    cudnn_on_a_cpu: Build, spec: LSTMSpec, mode: str
) -> None:
    model = cudnn_on_a_cpu(spec)
    result = gate(model, Workload(3, 4, mode, min_length=2), seed=2)
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


def test_threads_are_set_before_jax_starts_and_not_after() -> None:
    code = (
        "import numpy as np, lstm_impl\n"
        "from lstm_impl.backends import jax_scan\n"
        "jax_scan.set_threads(3)\n"
        "import os; print(os.environ['NPROC'])\n"
        "spec = lstm_impl.LSTMSpec(2, 3)\n"
        "weights = lstm_impl.LSTMWeights.random(spec)\n"
        "lstm_impl.get_backend('jax_scan').build(spec, weights)\n"
        "try:\n"
        "    jax_scan.set_threads(1)\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    number, words = done.stdout.splitlines()
    assert number == "3"
    assert words.endswith("or start Python with NPROC=1")


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert (
        str(get_backend("jax_scan").availability("cpu")) == "JAX is not installed: pip install jax"
    )
    words = str(get_backend("jax_scan").availability("gpu:0"))
    assert words == "JAX is not installed: pip install 'jax[cuda12]'"


def test_a_missing_flax_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "flax" else object()
    )
    words = str(get_backend("flax").availability("cpu"))
    assert words == "Flax is not installed: pip install jax flax"
    assert get_backend("jax_scan").availability("cpu")


def test_a_jax_without_its_cuda_part_is_named_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if jax_model._cuda_version() is not None:
        pytest.skip("this JAX has its CUDA part")
    facts = CudaFacts(hardware=True, driver_version=(12, 8))
    monkeypatch.setattr(cuda, "machine_facts", lambda: facts)
    words = str(get_backend("jax_scan").availability("gpu:0"))
    assert "is built without CUDA" in words
    assert words.endswith("pip install 'jax[cuda12]'")


def test_evidence_counts_what_a_step_starts() -> None:
    model = shared()
    short, long = (model.evidence(Workload(2, steps))["launches"] for steps in (4, 8))
    assert long > short
    assert (long - short) % 4 == 0  # as many kernels at each timestep
    assert model.evidence(Workload(2, 8, window=4))["launches"] == 2 * short


def test_a_profile_has_the_instructions_that_ran() -> None:
    found = shared().profile(Workload(2, 4))
    assert any("dot" in each.name or "fusion" in each.name for each in found.events)
    assert all(each.seconds >= 0 for each in found.events)
