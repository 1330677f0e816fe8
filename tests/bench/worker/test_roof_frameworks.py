"""The frameworks' products: in the precision that is asked for, and those that were asked for."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable

import numpy as np
import pytest

from bench.worker import roof_libraries
from bench.worker.roof_libraries import Library
from bench.worker.roofs import fastest


@pytest.mark.parametrize(
    ("framework", "name"),
    [
        ("tensorflow", "TensorFlow"),
        ("torch", "PyTorch"),
        ("jax", "JAX"),
        ("onnxruntime", "ONNX Runtime"),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "float64", "float16"])
def test_libraries_compute_in_the_precision_that_is_asked_for(
    framework: str, name: str, precision: str
) -> None:
    pytest.importorskip(framework)
    library = roof_libraries.libraries("cpu", [framework])[-1]
    assert library.name == name
    works = [
        work
        for compiled in (False, True)
        for work in library.products((2, 3, 4), precision, compiled=compiled)
    ]
    assert works
    for work in works:
        assert work.by.startswith(name)
        assert 0 < fastest(work, 0.001, time.perf_counter) < math.inf


def test_onnx_runtime_multiplies_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    library = roof_libraries.OnnxRuntimeLibrary("cpu", 1)
    left, right = roof_libraries.factors((3, 5, 7))
    for constant in (True, False):
        session = ort.InferenceSession(
            library._graph(left, right, 2, constant=constant), providers=["CPUExecutionProvider"]
        )
        given = {"left": left} if constant else {"left": left, "right": right}
        for out in session.run(None, given):
            np.testing.assert_allclose(out, left @ right, rtol=1e-5)
    assert library.products((3, 5, 7), "bfloat16", compiled=False) == ()


@pytest.mark.parametrize(
    ("framework", "make", "loop"),
    [
        ("jax", roof_libraries.JaxLibrary, "loop"),
        ("tensorflow", roof_libraries.TensorFlowLibrary, "function"),
    ],
)
def test_a_compiled_loop_makes_each_of_its_products(
    framework: str, make: Callable[[str], Library], loop: str
) -> None:
    """A compiler that finds equal products makes them once; the roof would be so much higher."""
    module = pytest.importorskip(framework)
    (work,) = make("cpu").products((2, 3, 4), "float32", compiled=True)
    inside = inspect.getclosurevars(work.run).nonlocals
    given = inside["left"], inside["out"]
    if framework == "jax":
        text = inside[loop].lower(1, *given).compile().as_text()
    else:
        compiled = inside[loop].experimental_get_compiler_ir(module.constant(1), *given)
        text = compiled(stage="optimized_hlo")
    assert text.count(" dot(") == work.amount == roof_libraries.UNROLLED


@pytest.mark.parametrize("make", [each for _, each in roof_libraries.MAKERS])
def test_a_cpu_s_memory_is_as_fast_whoever_asks(make: Callable[[str, int], Library]) -> None:
    try:
        library = make("cpu", 1)
    except ImportError:
        pytest.skip("its framework is not installed")
    assert library.traffic(2**20, 1) == ()
