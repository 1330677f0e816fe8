"""What roofs are measured with: products, moved bytes and empty loops of each library."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from bench.worker import estimate, roof_libraries
from bench.worker.roof_libraries import (
    LARGEST_ARRAY,
    SMALLEST_ARRAY,
    UNROLLED,
    Library,
    NumPyLibrary,
    Sizes,
    array_bytes,
    called,
    factors,
    last_caches,
    limited,
    mebibytes,
    unrolls,
)
from bench.worker.roofs import fastest

pytestmark = pytest.mark.usefixtures("unlimited")


def test_the_last_caches_are_added_up_and_each_counted_once(tmp_path: Path) -> None:
    for cpu, level, size, shared in (
        (0, 2, "1M", "0"),
        (1, 2, "1M", "1"),
        (0, 3, "16384K", "0-1"),
        (1, 3, "16384K", "0-1"),
        (2, 3, "32M", "2-3"),
    ):
        folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{level}"
        folder.mkdir(parents=True)
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
        (folder / "shared_cpu_list").write_text(f"{shared}\n")
    assert last_caches(tmp_path) == (16 + 32) * 2**20
    assert last_caches(tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("caches", "free", "size"),
    [
        (2**20, None, SMALLEST_ARRAY),
        (12 * 2**20, None, 48 * 2**20),
        (2**30, None, LARGEST_ARRAY),
        (2**30, 2**27, 2**23),  # no more than its share of what is free
    ],
)
def test_arrays_are_well_past_the_caches_as_far_as_there_is_memory_for_them(
    monkeypatch: pytest.MonkeyPatch, caches: int, free: int | None, size: int
) -> None:
    monkeypatch.setattr(roof_libraries, "last_caches", lambda: caches)
    monkeypatch.setattr(estimate, "free", lambda device: estimate.Free(free, None, 2))
    assert array_bytes("cpu") == size
    assert array_bytes("gpu:0") == LARGEST_ARRAY


@pytest.mark.parametrize("sizes", [(2, 4, 16), (1, 256, 1024), (8, 512, 128)])
def test_a_product_that_is_fed_back_neither_grows_nor_becomes_denormal(sizes: Sizes) -> None:
    left, right = factors(sizes)
    assert (left.shape, right.shape) == (sizes[:2], sizes[1:])
    assert {left.dtype, right.dtype} == {np.dtype(np.float32)}
    for _ in range(100):  # a number of it, as a loop does that is compiled
        out = left @ right
        left[0, 0] = out[0, 0]
        assert 1e-6 < abs(left[0, 0]) <= 1.0
    assert np.abs(out).max() <= 1.0


def test_large_products_stand_alone_in_a_loop() -> None:
    assert unrolls((256, 256, 256)) == UNROLLED
    assert unrolls((256, 256, 257)) == 1


def test_a_library_is_called_with_what_is_set_to_slow_it_down_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert limited() == {}
    assert called("NumPy") == "NumPy"
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert limited() == {"OPENBLAS_CORETYPE": "Haswell", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    assert called("NumPy") == "NumPy with OPENBLAS_CORETYPE=Haswell"
    assert called("TensorFlow") == "TensorFlow with ONEDNN_MAX_CPU_ISA=SSE41"
    assert called("JAX") == "JAX"


def test_sizes_are_told_in_what_keeps_them_short() -> None:
    assert [mebibytes(size) for size in (16 * 2**10, 2**20 - 1, 2**20, 48 * 2**20)] == [
        *("16 KiB", "1024 KiB", "1 MiB", "48 MiB")
    ]


def test_only_what_the_process_computes_with_makes_roofs(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, str]] = []

    def maker(name: str) -> Callable[[str, int], Library]:
        def make(device: str, threads: int) -> Library:
            started.append((name, device))
            if name == "torch":
                raise RuntimeError("no CUDA")
            return cast("Library", SimpleNamespace(name=name))

        return make

    makers = (
        (("tensorflow",), maker("tensorflow")),
        (("torch",), maker("torch")),
        (("jax", "flax"), maker("jax")),
    )
    monkeypatch.setattr(roof_libraries, "MAKERS", makers)
    assert [each.name for each in roof_libraries.libraries("cpu", ())] == ["NumPy"]
    found = roof_libraries.libraries("gpu:0", ("jax", "flax", "torch", "litert"))
    assert [each.name for each in found] == ["jax"]
    assert started == [("torch", "gpu:0"), ("jax", "gpu:0")]


def test_numpy_multiplies_with_its_own_threads_on_one_and_on_several() -> None:
    works = NumPyLibrary(2).products((32, 128, 512), "float32", compiled=False)
    assert [work.by for work in works] == [
        "NumPy",
        "NumPy on one thread",
        "NumPy on 2 threads, each with its own columns",
    ]
    # With one thread there is nothing to share, nor with so few columns.
    assert len(NumPyLibrary(1).products((32, 128, 512), "float32", compiled=False)) == 1
    assert len(NumPyLibrary(4).products((32, 128, 8), "float32", compiled=False)) == 2


def test_threads_with_their_own_columns_make_the_whole_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, ...]] = []
    matmul = np.matmul

    def watched(left: Any, right: Any, **rest: Any) -> Any:
        made.append(right.shape)
        return matmul(left, right, **rest)

    monkeypatch.setattr(np, "matmul", watched)
    *_, apart = NumPyLibrary(3).products((1, 64, 256), "float32", compiled=False)
    made.clear()
    apart.run(2)
    assert sorted(made) == [(64, 85)] * 4 + [(64, 86)] * 2


def test_numpy_s_blas_has_its_threads_back_after_a_roof() -> None:
    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("NumPy's BLAS cannot be told how many threads to use")
        for work in NumPyLibrary(2).products((32, 64, 64), "float32", compiled=False):
            work.run(3)
        assert threads() == {2}


def test_numpy_copies_on_one_thread_and_on_all_but_no_crumbs() -> None:
    works = NumPyLibrary().traffic(2**20, 3)
    assert [work.by for work in works] == [
        "copy of 1 MiB by NumPy on 1 thread",
        "reading of 1 MiB by NumPy on 1 thread",
        "copy of 1 MiB by NumPy on 3 threads",
        "reading of 1 MiB by NumPy on 3 threads",
    ]
    assert [work.amount for work in works] == [2 * 2**20, 2**20] * 2
    for work in works:
        work.run(2)
    assert len(NumPyLibrary().traffic(2**16, 3)) == 2


@pytest.mark.parametrize("precision", ["float32", "float64", "float16"])
def test_numpy_multiplies_in_the_precision_that_is_asked_for_if_its_blas_does(
    precision: str,
) -> None:
    works = NumPyLibrary().products((2, 3, 4), precision, compiled=False)
    assert bool(works) == (precision != "float16")
    assert not NumPyLibrary().products((2, 3, 4), precision, compiled=True)
    for work in works:
        assert 0 < fastest(work, 0.001, time.perf_counter) < math.inf


def test_numpy_makes_small_products_in_one_call_and_counts_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    matmul = np.matmul

    def watched(left: Any, right: Any, **rest: Any) -> Any:
        made.append(len(left) if left.ndim > 2 else 1)
        return matmul(left, right, **rest)

    monkeypatch.setattr(np, "matmul", watched)
    for sizes, stack in (((1, 8, 32), 64), ((32, 64, 64), 2), ((512, 64, 64), 1)):
        (work,) = NumPyLibrary().products(sizes, "float32", compiled=False)
        made.clear()
        work.run(3)
        assert made == [stack] * 3
        assert work.amount == stack


def test_numpy_is_called_with_what_limits_its_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    (work,) = NumPyLibrary().products((8, 8, 8), "float32", compiled=False)
    assert work.by == "NumPy with OPENBLAS_CORETYPE=Haswell"


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
