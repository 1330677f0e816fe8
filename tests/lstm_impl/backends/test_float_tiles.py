"""Test that float32 by tiles passes the gate, with tiles that C++ emulates."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from lstm_impl import LSTMSpec, Workload
from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.fused_cpu.c_interface import CELLS, KernelLayer, Kernels
from lstm_impl.cell import GRU
from tests.lstm_impl.backends.built import built, passes
from tests.lstm_impl.backends.test_fused_cpu_kernels import TILES, needs_compiler
from tests.lstm_impl.backends.test_numpy_fused import KINDS, compute_layer

pytestmark = [pytest.mark.slow, needs_compiler]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a liblstm whose tiles are emulated."""
    path = tmp_path_factory.mktemp("emulated") / library.C.file
    flags = [*library.KERNEL_FLAGS, "-O1", TILES]
    compiler = library.find_compiler("g++")
    assert isinstance(compiler, library.Compiler)
    library.compile_library(compiler, flags, [], path, library.C)
    return path


@pytest.mark.parametrize(
    ("spec", "workload"),
    [
        (LSTMSpec(37, 33), Workload(19, 9, "training", gradients="all")),
        (
            LSTMSpec(5, 20, num_layers=2, bidirectional=True),
            Workload(40, 5, "training", min_length=2),
        ),
        (LSTMSpec(64, 64), Workload(2, 70, "training", gradients="weights+input")),
        (LSTMSpec(37, 33, cell=GRU()), Workload(19, 9, "training", gradients="all")),
        (
            LSTMSpec(5, 20, num_layers=2, bidirectional=True, cell=GRU(reset_after=False)),
            Workload(40, 5, "training", min_length=2, gradients="all"),
        ),
    ],
)
def test_gate_of_float32_by_emulated_tiles_passes(
    spec: LSTMSpec, workload: Workload, emulated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A copy of the library reads its variables once.
    monkeypatch.setenv("LSTM_NATIVE_FLOAT32", "tiles")
    monkeypatch.setenv("LSTM_NATIVE_BFLOAT16", "tiles")
    kernels = Kernels(ctypes.CDLL(str(emulated)))
    sizes = workload.timesteps, workload.batch, spec.input_size, spec.hidden_size
    layer = KernelLayer(*sizes, cell=CELLS[spec.cell.name])
    assert kernels.products(layer) == "tdpbf16ps: 6 products of bfloat16 parts"
    monkeypatch.setattr(c_interface, "kernels", lambda: kernels)
    passes(built("numpy_fused", spec), workload)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", [(40, 5, 33, 40), (20, 40, 17, 31), (9, 20, 48, 64)])
@pytest.mark.parametrize("masked", [False, True])
def test_transposed_weights_give_the_same_bits_by_emulated_tiles(
    sizes: tuple[int, int, int, int],
    cell: str,
    kind: str,
    masked: bool,
    emulated: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LSTM_NATIVE_FLOAT32", "tiles")
    monkeypatch.setenv("LSTM_NATIVE_BFLOAT16", "tiles")
    kernels = Kernels(ctypes.CDLL(str(emulated)))
    layer = KernelLayer(*sizes, type=c_interface.TYPES[kind], cell=CELLS[cell])
    assert "tdpbf16ps" in kernels.products(layer)
    monkeypatch.setattr(c_interface, "kernels", lambda: kernels)
    ours, theirs = (compute_layer(sizes, cell, kind, masked, each) for each in (True, False))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
