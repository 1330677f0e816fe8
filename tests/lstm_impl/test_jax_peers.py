"""What only a JAX backend can get wrong: retracing, 64 bits, waiting, and what XLA compiled."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bench.equivalence import error
from lstm_impl import LSTMSpec, LSTMWeights, Workload, cuda
from lstm_impl.backend import get_backend
from lstm_impl.backends import jax_model
from lstm_impl.backends.hlo import describe_hlo
from lstm_impl.cuda import CudaFacts

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


def test_tracing_is_done_once_and_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    traced: list[str] = []
    function = model.function

    def counted(*arguments: Any) -> Any:
        traced.append("once")
        return function(*arguments)

    monkeypatch.setattr(model, "function", counted)
    step = model.prepare(Workload(2, 4, mode="training"))
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

    model = build()
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    zeros = np.zeros((1, 2, 5), np.float32)

    @jax.jit
    def loss(parameters: Any) -> Any:
        return model.function(parameters, x, zeros, zeros)[0].sum()

    kernel = jax.grad(loss)(model.parameters)[0]
    expected = model.gradients(x, np.ones((4, 2, 5))).weights.layers[0][0].kernel
    assert error(np.asarray(kernel), expected) < 1e-5


def test_the_callers_array_is_not_shared_with_the_device() -> None:
    model = build()
    array = np.zeros((64, 64), np.float32)
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
    forward = build().evidence(Workload(2, 4))
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
    step = build().prepare(Workload(2, 4))
    step.run()
    step.synchronize()
    # On a GPU the kernels are on the lines of its streams; a CPU has other lines.
    names = jax_model.profile(step.run, step.synchronize, plane="/host:CPU", line="")
    assert any("dot" in name or "fusion" in name for name in names)


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
