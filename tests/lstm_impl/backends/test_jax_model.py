"""What only a JAX backend can get wrong: retracing, 64 bits, waiting, and what XLA compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, cuda, get_backend, reference
from lstm_impl.backends.jax import model as jax_model
from lstm_impl.backends.jax.scan import JaxScan
from lstm_impl.cuda import CudaFacts
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import SPEC, built, needs, shared

pytestmark = needs("jax_scan")


def test_tracing_is_done_once_and_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("jax_scan")
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

    model = built("jax_scan", LSTMSpec(3, 5, dtype="float64"))
    y, state = model.forward(np.ones((2, 1, 3)))
    assert y.dtype == state.c.dtype == np.float64
    assert jnp.ones(1).dtype == jnp.float32


def test_the_function_can_be_differentiated_by_the_user() -> None:
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
    assert error(np.asarray(kernel), expected.weights.layers[0][0].kernel) < 1e-5


def test_the_callers_array_is_not_shared_with_the_device() -> None:
    model = built("jax_scan")
    # JAX uses the caller's memory where it begins at a multiple of 64 bytes.
    memory = np.zeros(4096 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    array = memory[start : start + 4096].view(np.float32)
    placed = model._to_device(array)
    array += 1
    assert not np.asarray(placed).any()


def test_waiting_waits_for_the_last_step() -> None:
    model = built("jax_scan", LSTMSpec(64, 128))
    step = model.prepare(Workload(32, 50, mode="training"))
    step.synchronize()  # nothing has been run: nothing to wait for
    step.run()
    raw = step.run()
    step.synchronize()
    assert all(array.is_ready() for array in (raw.y, raw.h, raw.c, raw.dx, *raw.weights))


def test_evidence_counts_loops_and_products_of_what_was_compiled() -> None:
    forward = shared("jax_scan").evidence(Workload(2, 4))
    assert forward["platform"] == "cpu"
    assert forward["loops"] == 1
    assert forward["matrix_products"] == 2


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
    model = shared("jax_scan")
    short, long = (model.evidence(Workload(2, steps))["launches"] for steps in (4, 8))
    assert long > short
    assert (long - short) % 4 == 0  # as many kernels at each timestep
    assert model.evidence(Workload(2, 8, window=4))["launches"] == 2 * short


def test_a_profile_has_the_instructions_that_ran() -> None:
    found = shared("jax_scan").profile(Workload(2, 4))
    assert any("dot" in each.name or "fusion" in each.name for each in found.events)
    assert all(each.seconds >= 0 for each in found.events)


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("float32", "highest"), ("tf32", "tensorfloat32"), ("float16", None), ("float64", None)],
)
def test_on_a_gpu_products_have_the_precision_that_the_spec_asks_for(
    monkeypatch: pytest.MonkeyPatch, dtype: str, precision: str | None
) -> None:
    import jax

    monkeypatch.setattr(jax_model, "_gpus", lambda: jax.devices("cpu"))
    spec = LSTMSpec(3, 5, dtype=dtype)
    model = jax_model.JaxModel(JaxScan(), spec, "gpu:0", False, LSTMWeights.random(spec))
    asked: list[str | None] = []

    def network(*given: Any) -> Any:
        asked.append(jax.config.jax_default_matmul_precision)

    monkeypatch.setattr(model, "_network", network)
    model.function(model.parameters, None, None, None)
    assert asked == [precision]
