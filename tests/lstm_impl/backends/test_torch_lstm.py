"""What only a PyTorch backend can get wrong: its two biases, its own loops, its settings."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload, cuda, dropout_masks
from lstm_impl.backends import torch_compile, torch_lstm
from lstm_impl.cuda import CudaFacts
from lstm_impl.model import Model
from lstm_impl.proof import gate
from lstm_impl.proof.comparison import error
from lstm_impl.registry import get_backend

SPEC = LSTMSpec(3, 5)


@pytest.fixture(autouse=True)
def _torch_is_here() -> None:
    available = get_backend("torch").availability("cpu")
    if not available:
        pytest.skip(f"torch: {available}")


def build(spec: LSTMSpec, seed: int = 1, batch_major: bool = False) -> torch_lstm.TorchLSTMModel:
    weights = LSTMWeights.random(spec, seed)
    model = get_backend("torch").build(spec, weights, batch_major=batch_major)
    assert isinstance(model, torch_lstm.TorchLSTMModel)
    return model


def test_the_input_bias_is_zero_and_not_trained() -> None:
    import torch

    model = build(SPEC)
    assert len(model.parameters) == 3
    x = torch.ones(2, 1, 3)
    y, _ = model(x)
    y.sum().backward()
    biases = [p for name, p in model.module.named_parameters() if name.startswith("bias_ih")]
    assert len(biases) == 1
    assert biases[0].grad is None
    assert not biases[0].any()


def test_the_tensor_face_is_differentiable_and_agrees_with_forward() -> None:
    import torch

    model = build(SPEC)
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    expected, state = model.forward(x)
    tensor = torch.tensor(x, requires_grad=True)
    y, (h, c) = model(tensor)
    assert error(y.detach().numpy(), expected) < 1e-6
    assert error(h.detach().numpy(), state.h) < 1e-6
    assert error(c.detach().numpy(), state.c) < 1e-6
    y.sum().backward()
    assert tensor.grad is not None
    gradients = model.gradients(x, np.ones_like(expected))
    assert error(tensor.grad.numpy(), gradients.x) < 1e-6


def test_masks_see_weights_that_were_trained_in_place() -> None:
    import torch

    spec = LSTMSpec(3, 5, 2)
    model, other = build(spec), build(spec, seed=2)
    masks = dropout_masks(spec, 4, 2, 0.5, seed=0)
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    model.forward(x, masks=masks)
    with torch.no_grad():
        for ours, theirs in zip(model.parameters, other.parameters, strict=True):
            ours.copy_(theirs)
    ours, _ = model.forward(x, masks=masks)
    expected, _ = get_backend("numpy").build(spec, other.get_weights()).forward(x, masks=masks)
    assert error(ours, expected) < 1e-5


def test_a_training_step_keeps_no_graph_of_the_window_before() -> None:
    model = build(SPEC)
    raw = model.prepare(Workload(2, 6, mode="training", window=2)).run()
    assert not any(tensor.requires_grad for tensor in (raw.y, raw.h, raw.c))


def test_evidence_says_whose_lstm_ran() -> None:
    import torch

    found = build(SPEC).evidence(Workload(2, 4, mode="training"))
    assert found["ops_total"] > 5
    assert found["kernels_total"] == 0
    if torch.backends.mkldnn.is_available():
        assert found["implementation"] == "oneDNN"
        assert found["ops"]["aten::mkldnn_rnn_layer"] == 1
    double = build(LSTMSpec(3, 5, dtype="float64")).evidence(Workload(2, 4))
    assert double["implementation"] == "PyTorch's operators, step by step"


def test_cudnn_is_told_from_its_operator() -> None:
    assert build(SPEC).implementation({"aten::lstm": 1, "aten::_cudnn_rnn": 1}) == "cuDNN"


def test_a_half_precision_model_keeps_half_and_a_mixed_one_keeps_single() -> None:
    import torch

    half, mixed = (
        build(LSTMSpec(3, 5, dtype="bfloat16")),
        build(LSTMSpec(3, 5, dtype="mixed_bfloat16")),
    )
    assert half.parameters[0].dtype == torch.bfloat16
    assert mixed.parameters[0].dtype == torch.float32
    x = torch.ones(2, 1, 3, dtype=torch.bfloat16)
    assert mixed(x)[0].dtype == torch.bfloat16


@pytest.fixture
def _precision_restored() -> Iterator[None]:
    import torch

    if not hasattr(torch.backends.cudnn, "rnn"):
        pytest.skip("PyTorch before 2.9 has another setting")
    settings = (torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    before = [each.fp32_precision for each in settings]
    yield
    for each, value in zip(settings, before, strict=True):
        each.fp32_precision = value


@pytest.mark.usefixtures("_precision_restored")
@pytest.mark.parametrize(("dtype", "word"), [("tf32", "tf32"), ("float32", "ieee")])
def test_each_call_sets_the_precision_of_its_own_model(dtype: str, word: str) -> None:
    import torch

    model = build(LSTMSpec(3, 5, dtype=dtype))
    model.device = "gpu:0"  # the setting is the GPU's; it can be read without one
    with model.precision():
        assert torch.backends.cudnn.rnn.fp32_precision == word
        assert torch.backends.cuda.matmul.fp32_precision == word


def test_tf32_on_a_cpu_is_single_precision() -> None:
    spec = LSTMSpec(4, 6, dtype="tf32")
    result = gate(build(spec), Workload(3, 5, mode="training"), seed=2)
    assert max(result.errors.values()) < 1e-5


def test_threads_can_be_set() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch_lstm.set_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cpu, gpu = (get_backend("torch").availability(device) for device in ("cpu", "gpu:0"))
    assert str(cpu).startswith("PyTorch is not installed: pip install torch --index-url ")
    assert str(gpu) == "PyTorch is not installed: pip install torch"


def test_a_build_without_cuda_is_named_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    if torch.version.cuda:
        pytest.skip("this PyTorch is built with CUDA")
    facts = CudaFacts(hardware=True, driver_version=(12, 8))
    monkeypatch.setattr(cuda, "machine_facts", lambda: facts)
    words = str(get_backend("torch").availability("gpu:0"))
    assert words.startswith(f"a GPU is here, but PyTorch {torch.__version__} is built without CUDA")
    assert words.endswith("pip install torch")


def test_a_device_name_that_is_none_is_refused() -> None:
    assert "expected cpu, gpu or gpu:N" in str(get_backend("torch").availability("gpu:first"))


def test_gradients_leave_the_weights_alone() -> None:
    model = build(SPEC)
    before = model.get_weights()
    step = model.prepare(Workload(2, 4, mode="training"))
    step.run()
    for ours, theirs in zip(model.get_weights().arrays(), before.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# -- torch_compile: compiling is slow, so the loop is judged uncompiled, and compiled once


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


def build_compiled(name: str, spec: LSTMSpec, batch_major: bool = False) -> Model:
    backend = get_backend(name)
    available = backend.availability("cpu")
    if not available:
        pytest.skip(f"{name}: {available}")
    return backend.build(spec, LSTMWeights.random(spec, seed=1), batch_major=batch_major)


@pytest.mark.usefixtures("_uncompiled")
@pytest.mark.parametrize("case", COMPILED)
@pytest.mark.parametrize("name", ["torch_compile", "torch_compile+cell"])
def test_the_loop_to_compile_equals_the_reference(name: str, case: str) -> None:
    spec, workload = COMPILED[case]
    result = gate(build_compiled(name, spec, workload.batch_major), workload, seed=2)
    assert result.passed, result.describe()


@pytest.mark.usefixtures("_uncompiled")
def test_a_loop_that_was_not_compiled_is_not_said_to_be() -> None:
    found = build_compiled("torch_compile", SPEC).evidence(Workload(2, 3))
    assert found["implementation"] == "PyTorch's operators, step by step"


def test_each_shape_and_kind_of_call_is_compiled_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    codes = []

    def compiled(function: types.FunctionType, **options: bool) -> types.FunctionType:
        assert options == {"fullgraph": True, "dynamic": False}
        codes.append(function.__code__)
        return function

    monkeypatch.setattr(torch, "compile", compiled)
    for _ in range(2):
        model = build_compiled("torch_compile", SPEC)
        for timesteps in (2, 2, 3):
            x = np.ones((timesteps, 1, 3))
            model.forward(x)
            model.gradients(x, np.ones((timesteps, 1, 5)))
    assert len(codes) == 8
    assert len({id(code) for code in codes}) == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch_compile", "torch_compile+cell"])
def test_the_compiled_loop_equals_the_reference_and_was_compiled(name: str) -> None:
    model = build_compiled(name, SPEC)
    workload = Workload(2, 3, "training", min_length=2)
    result = gate(model, workload, seed=2)
    assert result.passed, result.describe()
    assert model.evidence(workload)["implementation"] == "compiled by Inductor"


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    words = str(get_backend("torch_compile").availability("cpu"))
    assert words.startswith("torch.compile needs a C++ compiler, and no-such-compiler is not found")
    assert words.endswith("apt-get install g++")


def test_missing_headers_of_python_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", sys.executable)  # anything that can be run
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    words = str(get_backend("torch_compile").availability("cpu"))
    assert words.startswith(f"torch.compile needs Python's headers, and {tmp_path / 'Python.h'} is")


def test_a_missing_triton_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    available = torch_compile.compiler_availability("gpu:0")
    assert str(available).startswith("torch.compile needs Triton on a GPU, which is not installed")


def test_evidence_counts_what_python_starts_and_what_it_multiplies() -> None:
    fused = build(SPEC).evidence(Workload(2, 4))
    assert fused["launched_by"] == "python"
    assert 0 < fused["launches"] < fused["ops_total"]
    # PyTorch's own operators, step by step, tell their multiplications.
    spec = LSTMSpec(3, 5, dtype="float64")
    apart = build(spec).evidence(Workload(2, 4))
    assert apart["operations"] == 2.0 * 4 * 2 * 20 * (3 + 5)


def test_a_profile_has_each_operator_on_its_thread() -> None:
    found = build(SPEC).profile(Workload(2, 4))
    assert "aten::lstm" in {each.name for each in found.events}
    assert all(each.seconds >= 0 and each.track for each in found.events)
