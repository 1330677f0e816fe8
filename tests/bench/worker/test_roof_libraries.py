"""Products, moved bytes and empty loops of each library."""

import inspect
import math
import time
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from bench.stats.bound import FROM_PYTHON
from bench.worker import estimate, roof_libraries
from bench.worker.roof_libraries import ARRAY, Library, NumPyLibrary
from bench.worker.roofs import fastest


def test_array_bytes_little_memory_is_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, size in ((None, ARRAY), (2**40, ARRAY), (2**27, 2**23)):
        monkeypatch.setattr(estimate, "free", lambda device, of=free: estimate.Free(of, None, 2))
        assert roof_libraries.array_bytes("cpu") == size
        assert roof_libraries.array_bytes("gpu:0") == ARRAY


@pytest.mark.parametrize("sizes", [(2, 4, 16), (1, 256, 1024), (8, 512, 128)])
def test_factors_repeated_product_stays_in_range(sizes: roof_libraries.Sizes) -> None:
    left, right = roof_libraries.factors(sizes)
    for _ in range(100):  # one number of it, like the compiled loop
        out = left @ right
        left[0, 0] = out[0, 0]
        assert 1e-6 < abs(left[0, 0]) <= 1.0
    assert np.abs(out).max() <= 1.0


def test_libraries_are_those_of_the_frameworks_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, str]] = []

    class Made(NumPyLibrary):
        def __init__(self, device: str, threads: int = 1) -> None:
            started.append((self.name, device))
            if self.name == "torch":
                raise RuntimeError("no CUDA")

    def kind(*frameworks: str) -> type[Library]:
        return type("Kind", (Made,), {"name": frameworks[0], "frameworks": frameworks})

    made = (NumPyLibrary, kind("tensorflow"), kind("torch"), kind("jax", "flax"))
    monkeypatch.setattr(roof_libraries, "LIBRARIES", made)
    assert [each.name for each in roof_libraries.libraries("cpu", ())] == ["NumPy"]
    found = roof_libraries.libraries("gpu:0", ("jax", "flax", "torch", "litert"))
    assert [each.name for each in found] == ["jax"]
    assert started == [("torch", "gpu:0"), ("jax", "gpu:0")]


def test_numpy_products_use_blas_threads_one_and_several(monkeypatch: pytest.MonkeyPatch) -> None:
    works = NumPyLibrary("cpu", 2).products((32, 128, 512), "float32")
    assert [work.by for work in works] == [
        "NumPy",
        "NumPy on one thread",
        "NumPy on 2 threads, each with its own columns",
    ]
    # One thread, and few columns, are not divided.
    assert len(NumPyLibrary("cpu", 1).products((32, 128, 512), "float32")) == 1
    assert len(NumPyLibrary("cpu", 4).products((32, 128, 8), "float32")) == 2
    assert not NumPyLibrary("cpu").products((2, 3, 4), "float16")


@pytest.fixture
def multiplied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Log the shapes of the factors of each product that NumPy makes."""
    made: list[tuple[int, ...]] = []
    matmul = np.matmul

    def watched(left: Any, right: Any, **rest: Any) -> Any:
        made.append((len(left) if left.ndim > 2 else 1, *right.shape))
        return matmul(left, right, **rest)

    monkeypatch.setattr(np, "matmul", watched)
    return made


def test_numpy_threads_with_own_columns_make_the_complete_product(
    multiplied: list[tuple[int, ...]],
) -> None:
    *_, shared = NumPyLibrary("cpu", 3).products((1, 64, 256), "float32")
    multiplied.clear()
    shared.run(2)
    assert sorted(multiplied) == [(16, 64, 85)] * 4 + [(16, 64, 86)] * 2


def test_numpy_small_products_are_stacked_and_counted(multiplied: list[tuple[int, ...]]) -> None:
    for sizes, stack in (((1, 8, 32), 64), ((32, 64, 64), 2), ((512, 64, 64), 1)):
        (work,) = NumPyLibrary("cpu").products(sizes, "float32")
        multiplied.clear()
        work.run(3)
        assert [each[0] for each in multiplied] == [stack] * 3
        assert work.amount == stack


def test_numpy_own_threads_limit_the_blas_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("the threads of NumPy's BLAS cannot be set")
        library = NumPyLibrary("cpu", 2)
        given: list[int] = []
        limit = library._blas.limit

        def limited(limits: int) -> Any:
            given.append(limits)
            return limit(limits=limits)

        monkeypatch.setattr(library._blas, "limit", limited)
        for work in library.products((32, 64, 64), "float32"):
            work.run(3)
        assert threads() == {2}
        assert given == [1, 1]  # for one thread and for two


def test_numpy_traffic_uses_several_threads_for_large_arrays() -> None:
    works = NumPyLibrary("cpu").traffic(2**20, 3)
    assert [work.by for work in works] == [
        "copy of an array by NumPy on 1 thread",
        "reading of an array by NumPy on 1 thread",
        "copy of an array by NumPy on 3 threads",
        "reading of an array by NumPy on 3 threads",
    ]
    assert [work.amount for work in works] == [2 * 2**20, 2**20] * 2
    for work in works:
        work.run(2)
    assert len(NumPyLibrary("cpu").traffic(2**16, 3)) == 2


@pytest.mark.parametrize("framework", ["numpy", "tensorflow", "torch", "jax", "onnxruntime"])
def test_library_installed_has_products_and_operators(framework: str) -> None:
    pytest.importorskip(framework)
    library = roof_libraries.libraries("cpu", [framework])[-1]
    half = "float32" if framework == "numpy" else "float16"
    works = [
        work for kind in ("float32", "float64", half) for work in library.products((2, 3, 4), kind)
    ]
    assert works
    assert framework == "numpy" or not library.traffic(2**20, 1)  # NumPy measures the memory
    loops = {by: library.operators(by) for by in ("tensorflow", "xla", "python", "nobody")}
    assert {by for by, made in loops.items() if made} == {
        "numpy": set(),
        "torch": {"python"},
        "jax": {"xla"},
        "tensorflow": {"tensorflow", "xla"},
        "onnxruntime": set(),
    }[framework]
    for by, (work,) in [(by, made) for by, made in loops.items() if made]:
        assert work.by.endswith(FROM_PYTHON) == (by == "python")
        works.append(work)
    for work in works:
        assert library.name in work.by
        assert 0 < fastest(work, 0.001, time.perf_counter) < math.inf


def test_onnx_runtime_product_is_right() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    library = roof_libraries.OnnxRuntimeLibrary("cpu", 1)
    (work,) = library.products((3, 5, 7), "float32")
    work.run(1)
    left, right = roof_libraries.factors((3, 5, 7))
    call = inspect.getclosurevars(work.run).nonlocals["call"]
    (out,) = call.args[0].copy_outputs_to_cpu()
    np.testing.assert_allclose(out, left @ right, rtol=1e-5)
    assert library.products((3, 5, 7), "bfloat16") == ()


def test_compiled_loop_makes_each_product() -> None:
    """If a compiler made equal products once, the roof would be too high."""
    tensorflow = pytest.importorskip("tensorflow")
    work = roof_libraries.TensorFlowLibrary("cpu").compiled((2, 3, 4), "float32")
    inside = inspect.getclosurevars(work.run).nonlocals
    given = tensorflow.constant(1), inside["left"], inside["out"]
    compiled = inside["function"].experimental_get_compiler_ir(*given)
    assert compiled(stage="optimized_hlo").count(" dot(") == work.amount == roof_libraries.UNROLLED
