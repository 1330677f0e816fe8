"""What only the FlashRNN backend can get wrong: shapes, lengths, and what it may be asked for.

Its kernels need a GPU. Here its calling convention is stood in for by the equations that its paper
and README give, in the shapes that they give; where the package is installed, its own plain
PyTorch kernel (``vanilla``) is called instead.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload
from lstm_impl.backends.torch import flashrnn
from lstm_impl.proof import gate
from lstm_impl.registry import get_backend

CASES = {
    "one sequence, one timestep": (LSTMSpec(3, 5), Workload(1, 1, "training")),
    "two layers, both directions": (LSTMSpec(3, 5, 2, True), Workload(4, 6, "training")),
    "lengths": (LSTMSpec(3, 5, 2, True), Workload(4, 7, "training", min_length=1)),
    "windows": (LSTMSpec(3, 5), Workload(2, 7, "training", window=3)),
    "batch-major": (LSTMSpec(3, 5, 2), Workload(4, 6, "training", batch_major=True, min_length=3)),
    "dropout": (LSTMSpec(3, 5, 2), Workload(4, 6, "training", dropout=0.5)),
    "mixed_bfloat16": (LSTMSpec(4, 6, dtype="mixed_bfloat16"), Workload(3, 5, "training")),
}


def documented(
    pre: Any,  # [B, T, gate, head, D]
    recurrent: Any,  # [gate, head, to, from]
    bias: Any,  # [gate, head, D]
    states: Any,  # [state, B, 1, head, D]
    function: str,
    backend: str,
    dtype: str,
) -> tuple[Any, Any]:
    """States of all steps ``[state, B, T, head, D]`` and the last ones."""
    import torch

    assert (function, backend) == ("lstm", "cuda")
    assert dtype == str(pre.dtype).removeprefix("torch.")
    h, c = states[:, :, 0]
    found = []
    for t in range(pre.shape[1]):
        z = pre[:, t] + torch.einsum("gndp,bnp->bgnd", recurrent, h) + bias
        i, f, g, o = z.unbind(1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        found.append(torch.stack((h, c)))
    every = torch.stack(found, dim=2)
    return every, every[:, :, -1:]


def build(spec: LSTMSpec, batch_major: bool = False) -> flashrnn.FlashRNNModel:
    """A model on the CPU, which ``build`` of the backend would refuse."""
    available = get_backend("torch").availability("cpu")
    if not available:
        pytest.skip(f"torch: {available}")
    backend = get_backend("flashrnn+alternating")
    weights = LSTMWeights.random(spec, seed=1).map(spec.quantize)
    return flashrnn.FlashRNNModel(backend, spec, "cpu", batch_major, weights)


@pytest.mark.parametrize("case", CASES)
def test_layers_are_stacked_over_the_documented_kernel(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    package = types.ModuleType("flashrnn")
    package.flashrnn = documented  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashrnn", package)
    spec, workload = CASES[case]
    result = gate(build(spec, workload.batch_major), workload, seed=2)
    assert result.passed, result.describe()


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("flashrnn", LSTMSpec(3, 32), "computes float32 products in TF32; ask for the dtype tf32"),
        ("flashrnn+triton", LSTMSpec(3, 32), "triton_fused kernel computes float32 products in"),
        ("flashrnn", LSTMSpec(3, 20, dtype="float16"), "multiple of 16, not 20; flashrnn+altern"),
        ("flashrnn+triton", LSTMSpec(3, 128, dtype="tf32"), "takes hidden sizes 16, 32, 64, not"),
        ("flashrnn+alternating", LSTMSpec(3, 4, dtype="float64"), "not in float64"),
    ],
)
def test_what_a_kernel_cannot_do_is_refused(name: str, spec: LSTMSpec, words: str) -> None:
    assert words in get_backend(name).refusal(spec)


def test_two_kernels_at_once_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="two kernels; choose one"):
        get_backend("flashrnn+alternating+triton")
