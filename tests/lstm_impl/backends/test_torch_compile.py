"""A loop compiled by PyTorch. Compiling is slow: it is judged uncompiled, and compiled once."""

from __future__ import annotations

import sys
import sysconfig
import types
from pathlib import Path

import numpy as np
import pytest

from lstm_impl import LSTMSpec, Workload, get_backend
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built, needs

pytestmark = needs("torch")


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
def test_the_loop_to_compile_equals_the_reference(name: str, case: str) -> None:
    spec, workload = COMPILED[case]
    result = gate(built(name, spec, batch_major=workload.batch_major), workload, seed=2)
    assert result.passed, result.describe()


def test_each_shape_and_kind_of_call_is_compiled_apart(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_the_compiled_loop_equals_the_reference_and_was_compiled(name: str) -> None:
    model = built(name)
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
