"""What every backend of PyTorch shares: its settings, its gradients, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from lstm_impl import LSTMSpec, Workload, cuda, get_backend
from lstm_impl.backends.torch import model as torch_model
from lstm_impl.cuda import CudaFacts
from lstm_impl.profile import Event
from lstm_impl.proof.comparison import error
from tests.lstm_impl.backends.built import built, needs

pytestmark = needs("torch")


def test_the_tensor_face_is_differentiable_and_agrees_with_forward() -> None:
    import torch

    model = built("torch")
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


def test_a_training_step_keeps_no_graph_of_the_window_before() -> None:
    model = built("torch")
    raw = model.prepare(Workload(2, 6, mode="training", window=2)).run()
    assert not any(tensor.requires_grad for tensor in (raw.y, raw.h, raw.c))


def test_a_half_precision_model_keeps_half_and_a_mixed_one_keeps_single() -> None:
    import torch

    half, mixed = (
        built("torch", LSTMSpec(3, 5, dtype="bfloat16")),
        built("torch", LSTMSpec(3, 5, dtype="mixed_bfloat16")),
    )
    assert half.parameters[0].dtype == torch.bfloat16
    assert mixed.parameters[0].dtype == torch.float32
    x = torch.ones(2, 1, 3, dtype=torch.bfloat16)
    assert mixed(x)[0].dtype == torch.bfloat16
    for model in (half, mixed):
        y, state = model.forward(np.ones((2, 1, 3)))
        assert y.dtype == state.c.dtype == np.float32  # NumPy has no bfloat16


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

    model = built("torch", LSTMSpec(3, 5, dtype=dtype))
    model.device = "gpu:0"  # the setting is the GPU's; it can be read without one
    with model.precision():
        assert torch.backends.cudnn.rnn.fp32_precision == word
        assert torch.backends.cuda.matmul.fp32_precision == word


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


def test_evidence_counts_what_python_starts_and_what_it_multiplies() -> None:
    fused = built("torch").evidence(Workload(2, 4))
    assert fused["launched_by"] == "python"
    assert 0 < fused["launches"] < fused["ops_total"]
    # PyTorch's own operators, step by step, tell their multiplications.
    spec = LSTMSpec(3, 5, dtype="float64")
    apart = built("torch", spec).evidence(Workload(2, 4))
    assert apart["operations"] == 2.0 * 4 * 2 * 20 * (3 + 5)


def test_a_profile_has_each_operator_on_its_thread() -> None:
    found = built("torch").profile(Workload(2, 4))
    assert "aten::lstm" in {each.name for each in found.events}
    assert all(each.seconds >= 0 and each.track for each in found.events)


@dataclass
class Seen:
    """An event of PyTorch's profiler."""

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


def test_what_an_operator_calls_is_no_launch_and_only_products_are_operations() -> None:
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


def test_a_timeline_is_in_seconds_by_thread_and_gpu() -> None:
    events = torch_model.timeline(
        [
            Seen("aten::mm", thread=3, start=1e6, end=1.5e6),
            Seen("sgemm", "DeviceType.CUDA", device_index=1, start=2e6, end=4e6),
        ]
    )
    assert events == [Event("aten::mm", 1.0, 0.5, "thread 3"), Event("sgemm", 2.0, 2.0, "GPU 1")]
