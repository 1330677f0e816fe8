"""Test the kernels of fused_cpu through their C interface: threads, processes and errors."""

import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, UnsupportedError
from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.call import Call
from lstm_impl.cell import CELLS, get_cell
from lstm_impl.workload import Workload
from tests.lstm_impl.backends.built import built, needs, passes

pytestmark = needs("numpy_fused")

SPEC = LSTMSpec(24, 40, num_layers=2, bidirectional=True)
X = np.random.default_rng(0).standard_normal((30, 8, 24)).astype(np.float32)


def test_number_of_threads_does_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(threads: int) -> Any:
        model = built("numpy_fused", SPEC)
        plain = c_interface.kernel_layer
        monkeypatch.setattr(
            c_interface, "kernel_layer", lambda *sizes, cell: plain(*sizes, threads, cell=cell)
        )
        y, state = model.forward(X)
        gradients = model.gradients(X, np.ones_like(y))
        monkeypatch.setattr(c_interface, "kernel_layer", plain)
        return [y, state.h, gradients.x, *gradients.weights.arrays()]

    for one, several in zip(computed(1), computed(3), strict=True):
        np.testing.assert_array_equal(one, several)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch_and_timesteps", [(1, 1), (1, 16), (1, 17), (8, 1), (3, 3), (5, 16)])
def test_few_rows_of_whole_registers_equal_the_reference(
    batch_and_timesteps: tuple[int, int], masked: bool, cell: str
) -> None:
    """The kernels have special code for gradients with few rows and whole registers of units."""
    spec = LSTMSpec(48, 32, num_layers=2, bidirectional=True, cell=get_cell(cell))
    model = built("numpy_fused", spec)
    workload = Workload(*batch_and_timesteps, "training", min_length=1 if masked else None)
    passes(model, workload)


@pytest.mark.parametrize("kind", ["bf32", "bfloat16", "mixed_bfloat16", "int8"])
def test_gru_multiplies_as_an_lstm_of_the_same_sizes(kind: str) -> None:
    sizes, kernels = (30, 16, 40, 64), c_interface.kernels()
    layers = [
        c_interface.KernelLayer(*sizes, type=c_interface.TYPES[kind], cell=cell)
        for cell in c_interface.CELLS.values()
    ]
    lstm, *grus = map(kernels.products, layers)
    assert grus == [lstm, lstm]


def test_unknown_cell_of_a_layer_is_refused_by_number() -> None:
    unknown = c_interface.KernelLayer(1, 1, 2, 3, cell=3)
    with pytest.raises(c_interface.KernelError, match="3 is no cell of a layer"):
        c_interface.kernels().forward(unknown, *[0] * 13)


def test_other_threads_run_while_a_kernel_computes() -> None:
    """No thread is forced to release the interpreter's lock, so the kernel must release it."""
    layer, kernels = c_interface.KernelLayer(100, 8, 16, 16, False, False), c_interface.kernels()
    sizes = (16 * 64, 16 * 64, 64, 800 * 16, 128, 128, 800 * 16, 128, 128)
    arrays = [np.zeros(size, np.float32) for size in sizes]
    addresses = [each.ctypes.data for each in arrays]
    addresses = [*addresses[:6], 0, *addresses[6:], 0, 0, 0]
    began, other_ran, end = threading.Event(), threading.Event(), time.monotonic() + 10

    def compute() -> None:
        began.set()
        while not other_ran.is_set() and time.monotonic() < end:
            kernels.forward(layer, *addresses)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=compute)
        thread.start()
        began.wait()
        other_ran.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert time.monotonic() < end


def test_read_only_and_transposed_input_gives_the_same_numbers() -> None:
    model = built("numpy_fused", SPEC)
    expected = model.forward(X)[0]
    fixed = X.copy()
    fixed.flags.writeable = False
    for x in (fixed, np.asfortranarray(X)):
        state = np.zeros((SPEC.state_layers, 8, 40), np.float32)
        np.testing.assert_array_equal(model._infer(Call(x, (state, state))).y, expected)


def test_layer_that_cannot_be_computed_raises_with_the_reason() -> None:
    layer = c_interface.KernelLayer(1, 1, 3, 0)
    with pytest.raises(c_interface.KernelError, match="3 inputs and 0 units has nothing"):
        c_interface.kernels().forward(layer, *[0] * 13)
    with pytest.raises(UnsupportedError, match="it computes in float32 only, not float64"):
        built("numpy_fused", LSTMSpec(2, 3, dtype="float64"))


TRANSPOSED = [(0, 5), (5, 0), (1, 1), (3, 70), (16, 16), (33, 17), (64, 8), (200, 40), (1100, 500)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("sizes", TRANSPOSED, ids=lambda sizes: "x".join(map(str, sizes)))
@pytest.mark.parametrize("dtype", [np.uint32, np.uint16], ids=["float32", "bfloat16"])
def test_transpose_has_every_bit_of_the_matrix(
    dtype: Any, sizes: tuple[int, int], threads: int
) -> None:
    """Numbers are drawn from all patterns of bits: denormal numbers and every NaN are among them.

    The largest matrix is one that threads share.
    """
    kind = c_interface.TYPES["float32" if dtype == np.uint32 else "bfloat16"]
    draw, most = np.random.default_rng(0), np.iinfo(dtype).max
    matrix = draw.integers(0, most, sizes, dtype, endpoint=True)
    guard = dtype(most - 5)
    written = np.full(matrix.size + 64, guard, dtype)  # what is behind the transpose stays
    addresses = matrix.ctypes.data, written.ctypes.data
    c_interface.kernels().transpose(*sizes, kind, threads, *addresses)
    np.testing.assert_array_equal(written[: matrix.size].reshape(sizes[::-1]), matrix.T)
    assert (written[matrix.size :] == guard).all()


@pytest.mark.parametrize(
    ("rows", "columns", "kind", "words"),
    [
        (-1, 4, "float32", "a matrix with an axis of -1; expected 0 to 2147483647"),
        (4, -(2**63), "float32", "a matrix with an axis of -9223372036854775808; expected"),
        (0, 2**31, "bfloat16", "a matrix with an axis of 2147483648; expected"),
        (4, 4, "bf32", "2 is no type of a matrix; expected float or bfloat16"),
        (4, 4, "int8", "3 is no type of a matrix; expected float or bfloat16"),
    ],
)
def test_matrix_that_cannot_be_transposed_is_refused(
    rows: int, columns: int, kind: str, words: str
) -> None:
    numbers = np.ones(16, np.float32)
    written = np.zeros(16, np.float32)
    addresses = numbers.ctypes.data, written.ctypes.data
    with pytest.raises(c_interface.KernelError, match=words):
        c_interface.kernels().transpose(rows, columns, c_interface.TYPES[kind], 1, *addresses)
    assert not written.any()


KINDS = ("float32", "bfloat16", "bf32", "mixed_bfloat16", "bf16x3")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", c_interface.CELLS)
@pytest.mark.parametrize(
    "sizes",
    # Few rows read the weights in place: in parts of registers, whole ones, and by two threads. For
    # several steps they are copied. More rows pack them, in whole blocks of units and in parts.
    [
        *((1, 1, 5, 18), (2, 2, 33, 19), (1, 3, 48, 32), (1, 2, 256, 256)),
        *((4, 1, 20, 33), (30, 2, 5, 18), (9, 20, 48, 64), (40, 5, 33, 40), (20, 40, 17, 31)),
    ],
    ids=lambda sizes: "x".join(map(str, sizes)),
)
@pytest.mark.parametrize("masked", [False, True])
def test_layer_of_transposed_weights_computes_the_same_bits(
    sizes: tuple[int, int, int, int], cell: str, kind: str, masked: bool
) -> None:
    ours, theirs = (compute_layer(sizes, cell, kind, masked, each) for each in (True, False))
    assert all(each.any() for each in theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def compute_layer(
    sizes: tuple[int, int, int, int], cell: str, kind: str, masked: bool, transposed: bool
) -> list[Any]:
    """Return all results of a forward and a backward pass, with the gradients as ``[in, G*H]``.

    masked: whether the sequences have different lengths, some so short that their padding is not
    computed.
    """
    t, b, i, u = sizes
    kernels, gates = c_interface.kernels(), 4 if cell == "lstm" else 3
    halves, has_c, has_bias = kind in ("bfloat16", "mixed_bfloat16"), cell == "lstm", cell == "gru"
    kept_gates, kept_cells = kernels.kept_sizes(t, b, u, cell)
    layer = c_interface.KernelLayer(
        *(t, b, i, u),
        type=c_interface.TYPES[kind],
        threads=2,
        transposed=transposed,
        cell=c_interface.CELLS[cell],
    )

    def drawn(shape: tuple[int, ...], in_halves: bool) -> Any:
        numbers = np.random.default_rng(shape).standard_normal(shape).astype(np.float32)
        return (numbers.view(np.uint32) >> 16).astype(np.uint16) if in_halves else numbers

    def empty(shape: tuple[int, ...], in_halves: bool = halves) -> Any:
        return np.zeros(shape, np.uint16 if in_halves else np.float32)

    def turned(arrays: list[Any]) -> list[Any]:
        both = (np.ascontiguousarray(each.T) for each in arrays[:2])
        return [*both, *arrays[2:]] if transposed else arrays

    def address(array: Any) -> int:
        return 0 if array is None else int(array.ctypes.data)

    shapes = [(i, gates * u), (u, gates * u), *((1 + has_bias) * [(gates * u,)])]
    weights = turned([drawn(shape, kind == "bfloat16") for shape in shapes])
    of_weights = [np.zeros_like(each) for each in weights]
    lengths = np.arange(b) * t // b + 1 if masked else np.full(b, t)
    mask = np.ascontiguousarray((np.arange(t)[:, None] < lengths).astype(np.uint8))
    x, h, dh, dy = (drawn(shape, halves) for shape in ((t, b, i), (b, u), (b, u), (t, b, u)))
    c, dc = (drawn((b, u + 1), halves)[:, 1:].copy() if has_c else None for _ in range(2))
    last_h, dh0 = empty((b, u)), empty((b, u))
    last_c, dc0 = (empty((b, u)) if has_c else None for _ in range(2))
    y, dx, hidden = empty((t, b, u)), empty((t, b, i)), empty((t, b, u))
    kept = empty((kept_gates,)), empty((kept_cells,)) if has_c else None
    dz = np.zeros(kept_gates, np.float32)
    steps, hidden_of_call = (mask, hidden) if masked else (None, None)

    given = (*weights[:3], x, h, c, steps, y, last_h, last_c, *kept, hidden_of_call, *weights[3:])
    kernels.forward(layer, *map(address, given))
    given = (weights[1], x, h, c, steps, hidden if masked else y, *kept, dy, dh, dc)
    written = (dz, dh0, dc0, *of_weights)
    kernels.backward(layer, *map(address, (*given, *written)))
    kernels.input_gradient(layer, *map(address, (weights[0], dz, steps, dx)))
    found = [y, last_h, last_c, dh0, dc0, dz, *turned(of_weights), dx]
    return [each for each in found if each is not None]


SMALL = LSTMSpec(2, 3)

NOT_REAL = {
    "dates": "datetime64[s]",
    "durations": "timedelta64[s]",
    "structures": [("value", "f4")],
    "complex numbers": "complex64",
    "text": "U3",
    "bytes": "S3",
    "raw bytes": "V4",
}


@pytest.mark.parametrize("dtype", NOT_REAL.values(), ids=NOT_REAL)
def test_arrays_of_other_types_than_real_numbers_are_refused_by_name(dtype: Any) -> None:
    model, x = built("numpy_fused", SMALL), np.ones((4, 1, 2), np.float32)
    good, wrong = np.zeros((1, 1, 3), np.float32), np.zeros((1, 1, 3), dtype)
    expected = "has type .*; expected real numbers"
    with pytest.raises(ValueError, match=f"^x {expected}"):
        model.forward(np.zeros((4, 1, 2), dtype))
    for name, state in (("h", LSTMState(wrong, good)), ("c", LSTMState(good, wrong))):
        with pytest.raises(ValueError, match=rf"^state\.{name} {expected}"):
            model.forward(x, state)
    with pytest.raises(ValueError, match=f"^dy {expected}"):
        model.gradients(x, np.zeros((4, 1, 3), dtype))
    arrays = LSTMWeights.random(SMALL).arrays()
    for place, name in enumerate(("kernel", "recurrent_kernel", "bias")):
        changed: list[Any] = [*arrays]
        changed[place] = np.zeros(arrays[place].shape, dtype)
        with pytest.raises(ValueError, match=rf"layers\[0\]\[0\]\.{name} {expected}"):
            LSTMWeights.from_arrays(SMALL, changed)


def test_real_numbers_of_any_type_are_converted() -> None:
    model, x = built("numpy_fused", SMALL), np.ones((4, 1, 2), np.float32)
    expected = model.forward(x)[0]
    others: list[Any] = [x.astype(each) for each in (bool, np.int8, np.float16, np.float64, object)]
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="it comes with JAX or TensorFlow")
    for other in (*others, x.astype(ml_dtypes.bfloat16), x.tolist()):
        np.testing.assert_array_equal(model.forward(other)[0], expected)
