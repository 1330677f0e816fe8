"""Which libraries make roofs in a process, and NumPy's products and copies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from bench.worker import roof_libraries
from bench.worker.roof_libraries import Library, NumPyLibrary
from bench.worker.roofs import fastest

pytestmark = pytest.mark.usefixtures("unlimited")


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
