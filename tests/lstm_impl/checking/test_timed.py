"""Test a target as a backend that a benchmark measures."""

from pathlib import Path

import numpy as np
import pytest

from lstm_impl.checking import TargetError
from lstm_impl.checking.timed import TimedTarget, timed_backend
from lstm_impl.proof.check import gate
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload
from tests.lstm_impl.backends.built import IN_PEERS

SPEC = LSTMSpec(5, 8)

KERNELS = """\
import numpy as np


def lstm(x, h, c, kernel, recurrent_kernel, bias):
    outputs = []
    for x_t in x:
        z = x_t @ kernel + h @ recurrent_kernel + bias
        i, f, g, o = np.split(z, 4, axis=-1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        outputs.append(h)
    return np.stack(outputs), h, c


def outputs_only(x, h, c, kernel, recurrent_kernel, bias):
    return lstm(x, h, c, kernel, recurrent_kernel, bias)[0]


def without_state(x, kernel, recurrent_kernel, bias):
    zeros = np.zeros((x.shape[1], len(recurrent_kernel)), np.float32)
    return lstm(x, zeros, zeros, kernel, recurrent_kernel, bias)


def ignores_cell_state(x, h, c, kernel, recurrent_kernel, bias):
    return lstm(x, h, 0 * c, kernel, recurrent_kernel, bias)
"""

TORCH_KERNEL = """\
import torch


def lstm(x, h, c, kernel, recurrent_kernel, bias):
    outputs = []
    for x_t in x:
        z = x_t @ kernel + h @ recurrent_kernel + bias
        i, f, g, o = z.chunk(4, dim=-1)
        c = c * f.sigmoid() + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), h, c
"""

JAX_KERNEL = """\
import jax
import jax.numpy as jnp


def lstm(x, h, c, kernel, recurrent_kernel, bias):
    def cell(state, x_t):
        h, c = state
        i, f, g, o = jnp.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, -1)
        c = c * jax.nn.sigmoid(f) + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (h, c), y = jax.lax.scan(cell, (h, c), x)
    return y, h, c
"""


def make(folder: Path, source: str, name: str = "lstm", **declared: object) -> TimedTarget:
    path = folder / "timed_kernels.py"
    path.write_text(source, encoding="utf-8")
    return timed_backend("mine", f"{path}:{name}", "lstm", declared, str(folder))()


def check_step(backend: TimedTarget, mode: str, gradients: str = "all") -> bool:
    model = backend.build(SPEC, LSTMWeights.random(SPEC, 1))
    return gate(model, Workload(4, 6, mode, gradients=gradients)).passed


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("mode", ["inference", "streaming"])
def test_timed_step_of_a_right_function_passes_the_gate_and_of_a_wrong_one_does_not(
    tmp_path: Path, mode: str
) -> None:
    assert check_step(make(tmp_path, KERNELS), mode)
    assert not check_step(make(tmp_path, KERNELS, "ignores_cell_state"), mode)


@pytest.mark.parametrize(
    ("module", "source"),
    [("torch", TORCH_KERNEL), pytest.param("jax", JAX_KERNEL, marks=IN_PEERS)],
)
@pytest.mark.parametrize("gradients", ["weights", "all"])
def test_timed_training_of_a_framework_passes_the_gate(
    tmp_path: Path, module: str, source: str, gradients: str
) -> None:
    pytest.importorskip(module)
    assert check_step(make(tmp_path, source), "training", gradients)


@pytest.mark.parametrize("module", ["torch", "jax"])
def test_timed_results_stay_in_the_framework(tmp_path: Path, module: str) -> None:
    pytest.importorskip(module)
    source = {"torch": TORCH_KERNEL, "jax": JAX_KERNEL}[module]
    model = make(tmp_path, source).build(SPEC, LSTMWeights.random(SPEC, 1))
    found = model.prepare(Workload(4, 6, "inference")).run()
    assert not isinstance(found.y, np.ndarray)
    assert tuple(found.states[0].shape) == (1, 4, 8)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "lacks"),
    [("outputs_only", "returns no h"), ("without_state", "takes no initial state")],
)
def test_function_that_does_less_work_is_refused(tmp_path: Path, name: str, lacks: str) -> None:
    with pytest.raises(UnsupportedError, match=lacks):
        make(tmp_path, KERNELS, name).build(SPEC, LSTMWeights.random(SPEC, 1))


def test_workload_that_the_target_cannot_do_is_refused_with_the_reason(tmp_path: Path) -> None:
    backend = make(tmp_path, KERNELS)
    refused = {
        "its sequences are [T, B, in]": Workload(4, 6, "inference", batch_major=True),
        "it takes no lengths": Workload(4, 6, "inference", min_length=2),
    }
    for reason, workload in refused.items():
        assert backend.refusal(SPEC, workload) == reason
    deep = LSTMSpec(5, 8, num_layers=2)
    assert backend.refusal(deep) == "it computes one layer in one direction"
    assert backend.refusal(SPEC, Workload(4, 6, "inference")) == ""


def test_target_that_does_not_exist_is_an_error_when_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="has no 'missing'"):
        make(tmp_path, KERNELS, "missing").load()
