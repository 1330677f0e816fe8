"""Test calls of liblstm by many threads, after a fork and at the end of a process."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, Workload
from lstm_impl.backends.fused_cpu import c_interface, library
from tests.lstm_impl.backends.built import built, ready
from tests.lstm_impl.backends.own_process import named_threads
from tests.lstm_impl.backends.test_fused_cpu_kernels import (
    ADDRESS,
    GXX,
    THREAD,
    check,
    compiled,
    needs_compiler,
)

BINDINGS = ("numpy_fused", "fused_cpu", "jax_fused_cpu", "torch_fused_cpu")
DTYPES = ("float32", "tf32", "bfloat16", "mixed_bfloat16", "bf16x3", "bf32")
SPEC = LSTMSpec(8, 64)
X = np.random.default_rng(0).standard_normal((12, 48, 8)).astype(np.float32)


@pytest.mark.parametrize("name", BINDINGS)
def test_model_called_by_many_threads_gives_each_the_same_numbers(name: str) -> None:
    model = built(name, SPEC)
    expected, before = model.forward(X)[0], named_threads()
    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(model.forward, X) for _ in range(30)]
    assert all(np.array_equal(each.result()[0], expected) for each in found)
    if name in ("numpy_fused", "torch_fused_cpu"):
        # Another test of this process may have asked for more.
        assert named_threads() <= max(before, len(os.sched_getaffinity(0)) - 1)
    else:  # threads are the framework's
        assert named_threads() == before


def read_product(name: str) -> Callable[[], object]:
    """Return a call that keeps the thread pool of a binding's framework busy."""
    square = np.eye(400, dtype=np.float32)
    if name == "fused_cpu":
        tensorflow = pytest.importorskip("tensorflow")
        return lambda: tensorflow.linalg.matmul(square, square).numpy()
    if name == "jax_fused_cpu":
        jax = pytest.importorskip("jax")
        return lambda: np.asarray(jax.numpy.matmul(square, square))
    if name == "torch_fused_cpu":
        tensor = pytest.importorskip("torch").from_numpy(square)
        return lambda: tensor @ tensor
    return lambda: square @ square


@pytest.mark.parametrize("name", BINDINGS)
def test_calls_beside_a_busy_framework_give_the_same_numbers(name: str) -> None:
    model, product, over = built(name, SPEC), read_product(name), threading.Event()
    y = model.forward(X)[0]
    gradient = model.gradients(X, np.ones_like(y)).x

    def keep_busy() -> int:
        made = 0
        while not over.is_set():
            product()
            made += 1
        return made

    with ThreadPoolExecutor(6) as pool:
        busy = [pool.submit(keep_busy) for _ in range(3)]
        try:
            forward = [pool.submit(model.forward, X) for _ in range(30)]
            backward = [pool.submit(model.gradients, X, np.ones_like(y)) for _ in range(10)]
            assert all(np.array_equal(each.result()[0], y) for each in forward)
            assert all(np.array_equal(each.result().x, gradient) for each in backward)
        finally:
            over.set()
        assert all(each.result() for each in busy)


@pytest.mark.parametrize("name", BINDINGS)
def test_evidence_names_how_the_kernels_multiply_in_each_layer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def products(_: object, layer: Any) -> str:
        sizes = layer.timesteps, layer.batch, layer.inputs, layer.units
        return " ".join(map(str, (*sizes, layer.type)))

    monkeypatch.setattr(c_interface.Kernels, "products", products)
    workload = Workload(2, 6, "training", window=3)
    for dtype, kind in zip(DTYPES, (0, 0, 1, 4, 5, 2), strict=True):
        spec = LSTMSpec(4, 5, num_layers=3, dtype=dtype)
        if not ready(name).refusal(spec, workload):
            found = built(name, spec).evidence(workload)
            assert found["products"] == f"3 2 4 5 {kind}, 3 2 5 5 {kind}"
    assert dtype == "bf32" or name != "fused_cpu"


def test_bindings_in_one_process_share_one_liblstm() -> None:
    for name in ("numpy_fused", "fused_cpu", "jax_fused_cpu"):
        ready(name)
        built(name, SPEC).forward(X)
    maps = Path("/proc/self/maps").read_text().splitlines()
    paths = {Path(line.split()[-1]) for line in maps if line.endswith(".so")}
    kinds = ("liblstm", "tensorflow_binding", "jax_binding")
    mapped = [path for path in paths if path.name.startswith(kinds)]
    # Prebuilt ones have longer names.
    names = [path.name.split("-")[0].removesuffix(".so") for path in mapped]
    assert sorted(names) == sorted(kinds)
    assert c_interface.kernels()._loaded._name in map(str, mapped)


def test_two_copies_of_liblstm_compute_side_by_side(tmp_path: Path) -> None:
    models = [built("numpy_fused", SPEC) for _ in range(2)]
    expected = models[0].forward(X)[0]
    copy = shutil.copy(c_interface.kernels()._loaded._name, tmp_path / "copy.so")
    models[1]._kernels = c_interface.Kernels(ctypes.CDLL(str(copy)))
    functions = {ctypes.cast(m._kernels._forward, ctypes.c_void_p).value for m in models}
    assert len(functions) == 2
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(model.forward, X) for _ in range(10) for model in models]
    assert all(np.array_equal(each.result()[0], expected) for each in found)


RUN = """
    import os, signal, sys, threading, time
    from tests.lstm_impl.backends.own_process import named_threads
    import numpy as np
    {first}
    from lstm_impl import LSTMSpec, LSTMWeights, get_backend
    spec = LSTMSpec(8, 64)
    model = get_backend(sys.argv[1]).build(spec, LSTMWeights.random(spec))
    x = np.ones((12, 48, 8), np.float32)
    y = model.forward(x)[0]
    def forever():
        while True:
            model.forward(x)
    for _ in range(3):
        threading.Thread(target=forever, daemon=True).start()
"""


SLOW = [pytest.param(each, marks=pytest.mark.slow) for each in ("fused_cpu", "torch_fused_cpu")]


def run(name: str, words: str, first: str = "") -> None:
    ready(name)
    program = textwrap.dedent(RUN).format(first=first) + textwrap.dedent(words)
    command = [sys.executable, "-c", program, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["numpy_fused", *SLOW])
def test_child_forked_while_threads_call_computes(name: str) -> None:
    run(
        name,
        """
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                os._exit(0 if np.array_equal(model.forward(x)[0], y) else 1)
            code = os.waitpid(child, 0)[1]
            assert code == 0, code
        os._exit(0)
        """,
    )


# JAX and PyTorch abort a process that ends while such threads call any function of theirs.
@pytest.mark.parametrize("name", ["numpy_fused", *SLOW[:1]])
def test_process_that_ends_while_threads_call_ends_cleanly(name: str) -> None:
    run(name, "time.sleep(0.2)")


@pytest.mark.slow
@needs_compiler
def test_gradients_of_jax_with_a_copy_of_other_lanes_are_right(tmp_path: Path) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("its flags are for x86")
    compiler = library.find_compiler("g++")
    assert isinstance(compiler, library.Compiler)
    copy = tmp_path / library.C.file
    flags = [*library.kernel_flags("-march=x86-64-v3"), "-O1"]
    library.compile_library(compiler, flags, [], copy, library.C)
    run(
        "jax_fused_cpu",
        """
        given = x, np.ones_like(y)
        theirs = get_backend("numpy").build(spec, LSTMWeights.random(spec)).gradients(*given)
        np.testing.assert_allclose(model.gradients(*given).x, theirs.x, atol=1e-5)
        os._exit(0)
        """,
        f"import ctypes; ctypes.CDLL({str(copy)!r})",
    )


ONE_THREAD = {
    "numpy_fused": "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    "fused_cpu": "import tensorflow as tf; tf.config.threading.set_intra_op_parallelism_threads(1)",
    "torch_fused_cpu": "import torch; torch.set_num_threads(1)",
}
"""What gives a process, or the framework in it, one thread to compute with."""


@pytest.mark.parametrize("name", ["numpy_fused", *SLOW])
def test_calls_where_there_is_one_thread_start_no_other(name: str) -> None:
    run(
        name,
        """
        model.forward(x[:3])  # few steps, which the library's own threads share in any framework
        assert named_threads() == 0
        os._exit(0)
        """,
        ONE_THREAD[name],
    )


@pytest.mark.parametrize(
    "limits",
    [{"cpu.max": "90000 100000"}, {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}],
    ids=["version 2", "version 1"],
)
def test_container_with_the_time_of_one_processor_has_one_thread(limits: dict[str, str]) -> None:
    ready("numpy_fused")
    folder = "/sys/fs/cgroup"
    place = folder if "cpu.max" in limits else f"{folder}/cpu"
    commands = [f"mount -t tmpfs none {folder}", f"mkdir -p {place}"]
    commands += [f"echo {limit} > {place}/{name}" for name, limit in limits.items()]
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if subprocess.run([*isolated, commands[0]], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a folder of control groups: unshare --mount")
    program = """
        import numpy as np
        from lstm_impl import LSTMSpec, LSTMWeights, get_backend
        from tests.lstm_impl.backends.own_process import named_threads
        spec, x = LSTMSpec(64, 64), np.ones((50, 48, 64), np.float32)
        get_backend("numpy_fused").build(spec, LSTMWeights.random(spec)).forward(x)
        assert named_threads() == 0
    """
    command = [*isolated, "\n".join([*commands, 'exec "$0" -c "$1"']), sys.executable]
    done = subprocess.run([*command, textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one CPU has no other thread")
def test_small_calls_wake_a_thread_only_where_they_follow_each_other() -> None:
    ready("numpy_fused")
    program = """
        import time
        import numpy as np
        from lstm_impl import LSTMSpec, LSTMWeights, get_backend
        from tests.lstm_impl.backends.own_process import named_threads
        spec, x = LSTMSpec(256, 256), np.ones((1, 1, 256), np.float32)
        model = get_backend("numpy_fused").build(spec, LSTMWeights.random(spec))
        y = model.forward(x)[0]
        for _ in range(10):
            time.sleep(0.01)
            assert np.array_equal(model.forward(x)[0], y)
        assert named_threads() == 0
        end = time.monotonic() + 20
        while named_threads() == 0 and time.monotonic() < end:
            assert np.array_equal(model.forward(x)[0], y)
        assert named_threads() > 0
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("flags", [THREAD, ADDRESS], ids=["thread", "address"])
def test_c_interface_called_by_many_threads_under_a_sanitizer(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    check(compiled(tmp_path, GXX, *flags, checks="liblstm_calls.cc"))


@pytest.mark.slow
@needs_compiler
def test_c_interface_in_children_of_forks_computes(tmp_path: Path) -> None:
    # Without a sanitizer: under one a forked child may not start threads.
    check(compiled(tmp_path, GXX, checks="liblstm_calls.cc"), "fork")
