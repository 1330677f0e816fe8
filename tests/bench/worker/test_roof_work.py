"""What roofs are measured with: factors, sizes of arrays, and what keeps a library slow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.worker import estimate, roof_libraries
from bench.worker.roof_libraries import (
    LARGEST_ARRAY,
    SMALLEST_ARRAY,
    UNROLLED,
    Sizes,
    array_bytes,
    called,
    factors,
    last_caches,
    limited,
    mebibytes,
    unrolls,
)

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
