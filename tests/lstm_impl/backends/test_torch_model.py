"""Test what PyTorch's backends share: precision, gradients, and the evidence of what ran."""

from __future__ import annotations

import sys
import sysconfig
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lstm_impl import (
    LSTMSpec,
    LSTMWeights,
    UnsupportedError,
    Workload,
    dropout_masks,
    get_backend,
)
from lstm_impl.backends.torch import model as torch_model
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import measure_error
from tests.lstm_impl.backends.built import built, needs

pytestmark = needs("torch")


def test_call_with_tensors_is_differentiable_and_equals_forward() -> None:
    import torch

    model = built("torch")
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    expected, state = model.forward(x)
    tensor = torch.tensor(x, requires_grad=True)
    y, (h, c) = model(tensor)
    assert measure_error(y.detach().numpy(), expected) < 1e-6
    assert measure_error(h.detach().numpy(), state.h) < 1e-6
    assert measure_error(c.detach().numpy(), state.c) < 1e-6
    y.sum().backward()
    assert tensor.grad is not None
    gradients = model.gradients(x, np.ones_like(expected))
    assert measure_error(tensor.grad.numpy(), gradients.x) < 1e-6


@pytest.fixture
def _precision_restored() -> Iterator[None]:
    import torch

    if not hasattr(torch.backends.cudnn, "rnn"):
        pytest.skip("PyTorch before 2.9 has another setting")
    settings = (torch.backends.cudnn.rnn, torch.backends.cuda.matmul, torch.backends.mkldnn.rnn)
    before = [each.fp32_precision for each in settings]
    yield
    for each, value in zip(settings, before, strict=True):
        each.fp32_precision = value


@pytest.mark.usefixtures("_precision_restored")
@pytest.mark.parametrize(("dtype", "word"), [("tf32", "tf32"), ("float32", "ieee")])
def test_call_sets_the_precision_of_its_own_model(dtype: str, word: str) -> None:
    import torch

    model = built("torch", LSTMSpec(3, 5, dtype=dtype))
    model.device = "gpu:0"  # the setting is the GPU's; it can be read without one
    with model.precision():
        assert torch.backends.cudnn.rnn.fp32_precision == word
        assert torch.backends.cuda.matmul.fp32_precision == word


@pytest.mark.usefixtures("_precision_restored")
def test_bf32_sets_onednn_only_during_a_call_of_its_model() -> None:
    import torch

    model = built("torch", LSTMSpec(3, 5, dtype="bf32"))
    for one, word in ((model, "bf16"), (built("torch"), "none"), (model, "bf16")):
        one.forward(np.ones((2, 1, 3)))
        assert torch.backends.mkldnn.rnn.fp32_precision == word
    built("torch").forward(np.ones((2, 1, 3)))
    model.device = "gpu:0"
    with pytest.raises(UnsupportedError, match="bf32 is oneDNN's; it needs a CPU"):
        model.precision()


def test_evidence_counts_launches_and_operations() -> None:
    fused = built("torch").evidence(Workload(2, 4))
    assert fused["launched_by"] == "python"
    assert 0 < fused["launches"] < fused["ops_total"]
    # PyTorch's own operators, step by step, report their multiplications.
    spec = LSTMSpec(3, 5, dtype="float64")
    apart = built("torch", spec).evidence(Workload(2, 4))
    assert apart["operations"] == 2.0 * 4 * 2 * 20 * (3 + 5)


@dataclass
class Seen:
    """Stand in for an event of PyTorch's profiler."""

    name: str
    device_type: str = "DeviceType.CPU"
    cpu_parent: object = None
    flops: int | None = None
    thread: int = 1
    device_index: int = 0
    start: float = 0.0  # in microseconds
    end: float = 1.0

    @property
    def time_range(self) -> Seen:
        return self


def test_counted_ignores_nested_launches_and_other_operations() -> None:
    outer = Seen("aten::lstm")
    gpu = "DeviceType.CUDA"
    found = torch_model.counted(
        [
            outer,
            Seen("aten::addmm", cpu_parent=outer, flops=120),
            Seen("aten::mm", flops=30),
            Seen("aten::mul", flops=7),  # of single numbers
            Seen("sgemm", gpu),
            Seen("sgemm", gpu, flops=120),
        ]
    )
    assert found["ops"] == {"aten::lstm": 1, "aten::addmm": 1, "aten::mm": 1, "aten::mul": 1}
    assert found["kernels"] == {"sgemm": 2}
    assert (found["launches"], found["operations"]) == (3, 150.0)
    assert found["launched_by"] == "python"


def test_input_bias_is_zero_and_not_trained() -> None:
    import torch

    model = built("torch")
    assert len(model.parameters) == 3
    x = torch.ones(2, 1, 3)
    y, _ = model(x)
    y.sum().backward()
    biases = [p for name, p in model.module.named_parameters() if name.startswith("bias_ih")]
    assert len(biases) == 1
    assert biases[0].grad is None
    assert not biases[0].any()


def test_masks_after_training_use_the_new_weights() -> None:
    import torch

    spec = LSTMSpec(3, 5, 2)
    model, other = built("torch", spec), built("torch", spec, seed=2)
    masks = dropout_masks(spec, 4, 2, 0.5, seed=0)
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    model.forward(x, masks=masks)
    with torch.no_grad():
        for ours, theirs in zip(model.parameters, other.parameters, strict=True):
            ours.copy_(theirs)
    ours, _ = model.forward(x, masks=masks)
    expected, _ = get_backend("numpy").build(spec, other.get_weights()).forward(x, masks=masks)
    assert measure_error(ours, expected) < 1e-5


def test_evidence_names_the_implementation() -> None:
    import torch

    found = built("torch").evidence(Workload(2, 4, mode="training"))
    assert found["ops_total"] > 5
    assert found["kernels_total"] == 0
    if torch.backends.mkldnn.is_available():
        assert found["implementation"] == "oneDNN"
        assert found["ops"]["aten::mkldnn_rnn_layer"] == 1
        ran = found["primitives"]
        assert sum(count for name, count in ran.items() if name.startswith("rnn ")) == 2
        assert any(name.startswith("reorder ") for name in ran)
    double = built("torch", LSTMSpec(3, 5, dtype="float64")).evidence(Workload(2, 4))
    assert double["implementation"] == "PyTorch's operators, step by step"


@pytest.fixture
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "compile", lambda function, **options: function)


COMPILED = {
    "two layers, both directions, lengths": (
        LSTMSpec(3, 5, 2, True),
        Workload(4, 6, "training", min_length=2),
    ),
    "windows": (LSTMSpec(3, 5), Workload(2, 7, "training", window=3)),
    "batch-major": (LSTMSpec(3, 5), Workload(4, 6, "training", batch_major=True, min_length=3)),
    "dropout": (LSTMSpec(3, 5, 2), Workload(4, 6, "training", dropout=0.5)),
    "float64": (LSTMSpec(4, 6, dtype="float64"), Workload(3, 5, "training")),
    "float16": (LSTMSpec(4, 6, dtype="float16"), Workload(3, 5, "training")),
    "mixed_bfloat16": (LSTMSpec(4, 6, dtype="mixed_bfloat16"), Workload(3, 5, "training")),
}


@pytest.mark.usefixtures("_uncompiled")
@pytest.mark.parametrize("case", COMPILED)
@pytest.mark.parametrize("name", ["torch_compile", "torch_compile+cell"])
def test_loop_before_compiling_equals_the_reference(name: str, case: str) -> None:
    spec, workload = COMPILED[case]
    result = gate(built(name, spec, batch_major=workload.batch_major), workload, seed=2)
    assert result.passed, result.describe()


def test_compile_is_done_for_each_shape_and_kind_of_call(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    codes = []

    def compiled(function: types.FunctionType, **options: bool) -> types.FunctionType:
        assert options == {"fullgraph": True, "dynamic": False}
        codes.append(function.__code__)
        return function

    monkeypatch.setattr(torch, "compile", compiled)
    for _ in range(2):
        model = built("torch_compile")
        for timesteps in (2, 2, 3):
            x = np.ones((timesteps, 1, 3))
            model.forward(x)
            model.gradients(x, np.ones((timesteps, 1, 5)))
    assert len(codes) == 8
    assert len({id(code) for code in codes}) == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch_compile", "torch_compile+cell"])
def test_compiled_loop_equals_the_reference(name: str) -> None:
    model = built(name)
    workload = Workload(2, 3, "training", min_length=2)
    result = gate(model, workload, seed=2)
    assert result.passed, result.describe()
    assert model.evidence(workload)["implementation"] == "compiled by Inductor"


@pytest.mark.slow
def test_frozen_weights_are_reordered_once_and_replaced_by_others() -> None:
    model, eager = built("torch+frozen"), built("torch")
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    first = model.forward(x)[0]
    for seed in (1, 2):
        for one in (model, eager):
            one.set_weights(LSTMWeights.random(model.spec, seed))
        assert measure_error(model.forward(x)[0], eager.forward(x)[0]) < 1e-6
    assert measure_error(model.forward(x)[0], first) > 0.01
    found = model.evidence(Workload(2, 4))
    assert not any("reorder" in name for name in found.get("primitives", {}))


@pytest.mark.parametrize("workload", [Workload(2, 3, "training"), Workload(2, 3, min_length=1)])
def test_frozen_weights_refuse_what_does_not_compile(workload: Workload) -> None:
    assert "only infers" in get_backend("torch+frozen").refusal(LSTMSpec(3, 5), workload)
    assert not get_backend("torch").refusal(LSTMSpec(3, 5), workload)


@pytest.mark.parametrize("name", ["torch_compile", "torch+frozen"])
def test_availability_without_a_compiler_names_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    message = str(get_backend(name).availability("cpu"))
    assert message.startswith(
        "torch.compile needs a C++ compiler, and no-such-compiler is not installed"
    )
    assert message.endswith("apt-get install g++")


def test_availability_without_python_headers_names_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", sys.executable)  # anything that can be run
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    message = str(get_backend("torch_compile").availability("cpu"))
    assert message.startswith(
        f"torch.compile needs Python's headers, and {tmp_path / 'Python.h'} does not"
    )
