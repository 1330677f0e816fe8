"""Roofs: what is counted, worked out by hand; what is measured, on a clock of the test's own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from bench.measuring import estimate, roof_frameworks, roof_libraries, roof_work
from bench.measuring.roof import AccountingError, chain, doubts, precisions
from bench.measuring.roof_libraries import NumPyLibrary
from bench.measuring.roof_work import Library, Sizes, Work, last_caches
from bench.measuring.roofs import Roofs, fastest
from bench.measuring.roofs_seen import RoofsSeen
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, get_backend
from lstm_impl.tuning.machine import usable

SPEC = LSTMSpec(8, 16)
WORK = Workload(2, 10)
FORWARD, BACKWARD = (2, 16, 64), (2, 64, 16)
RATE, BANDWIDTH, PRODUCT = 1e9, 1e8, 1e-5


@dataclass
class World:
    """A machine of so much speed, and its clock. log: what it was asked to do."""

    time: float = 0.0
    log: list[tuple[object, ...]] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def works(self, seconds: float, amount: float, by: str) -> Sequence[Work]:
        def run(count: int) -> None:
            self.time += count * seconds

        return (Work(run, amount, by),)


@dataclass
class Machine:
    """A library whose products and copies take as long as it is told.

    refuses: a precision that it raises for.
    """

    world: World
    name: str = "a library"
    rate: float = RATE
    bandwidth: float = BANDWIDTH
    cached: float = BANDWIDTH
    product: float = PRODUCT
    loop: float = PRODUCT
    half: float = 1.0
    refuses: str = ""
    version: str = "1"
    frameworks: tuple[str, ...] = ()

    def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
        self.world.log.append((self.name, "products", sizes, precision, compiled))
        if precision == self.refuses:
            raise TypeError(f"no {precision}")
        faster = self.half if precision == "float16" else 1.0
        if sizes in (FORWARD, BACKWARD):
            seconds = (self.loop if compiled else self.product) / faster
            return self.world.works(4 * seconds, 4, self.name)
        return self.world.works(2 * sizes[0] ** 3 / self.rate / faster, 1, self.name)

    def traffic(self, size: int, threads: int) -> Sequence[Work]:
        self.world.log.append((self.name, "traffic", size, threads))
        rate = self.bandwidth if size == 2**20 else self.cached
        return self.world.works(2 * size / rate, 2 * size, self.name)


@pytest.fixture
def world() -> World:
    return World()


def roofs(world: World, *machines: Library, seen: RoofsSeen | None = None) -> Roofs:
    return Roofs(
        lambda device, frameworks, threads: machines, world.now, lambda device: 2**20, seen
    )


def case(mode: str = "inference", dtype: str = "float32", device: str = "cpu") -> Case:
    return Case("a", LSTMSpec(8, 16, dtype=dtype), Workload(2, 10, mode), device)


# -- what is counted


def test_the_chain_is_one_product_a_timestep_and_one_more_backward() -> None:
    assert chain(SPEC, WORK) == {FORWARD: 10}
    assert chain(SPEC, Workload(2, 10, "training")) == {FORWARD: 10, BACKWARD: 10}


def test_layers_follow_one_another_a_timestep_behind_and_directions_side_by_side() -> None:
    assert chain(LSTMSpec(8, 16, num_layers=3), WORK) == {FORWARD: 12}
    assert chain(LSTMSpec(8, 16, bidirectional=True), WORK) == {FORWARD: 10}
    # A layer over two directions waits for both ends of the one below.
    assert chain(LSTMSpec(8, 16, num_layers=3, bidirectional=True), WORK) == {FORWARD: 30}


def test_windows_follow_one_another() -> None:
    work = Workload(2, 10, "training", window=4)
    assert chain(SPEC, work) == {FORWARD: 10, BACKWARD: 10}
    assert chain(LSTMSpec(8, 16, num_layers=2), work)[FORWARD] == 5 + 5 + 3


def test_sequences_that_have_ended_take_no_part_in_the_chain() -> None:
    assert chain(SPEC, Workload(2, 10, min_length=2)) == {FORWARD: 10 * 12 / 20}


@pytest.mark.parametrize(
    ("dtype", "device", "expected"),
    [
        ("float32", "cpu", ("float32",)),
        ("tf32", "cpu", ("float32",)),
        ("float64", "gpu:0", ("float64",)),
        ("mixed_bfloat16", "cpu", ("bfloat16", "float32")),
        ("mixed_float16", "gpu:0", ("float16",)),
        ("float32", "gpu:0", ("float32",)),
        ("tf32", "gpu:0", ("tf32", "float32")),
    ],
)
def test_a_roof_is_that_of_the_precisions_a_case_may_be_computed_in(
    dtype: str, device: str, expected: tuple[str, ...]
) -> None:
    assert precisions(LSTMSpec(8, 16, dtype=dtype), device) == expected


# -- the clock


def test_the_fastest_block_counts_and_the_first_call_does_not(world: World) -> None:
    seconds = iter([9.0, 0.3, 0.1, 0.4])

    def run(count: int) -> None:
        world.time += next(seconds)

    assert fastest(Work(run, 4, "it"), 0.7, world.now) == pytest.approx(0.1 / 4)


def test_a_block_is_long_enough_for_the_clock(world: World) -> None:
    counts = []

    def run(count: int) -> None:
        counts.append(count)
        # A clock that ticks so coarsely shows nothing of a short block.
        world.time += 0.001 if count >= 100 else 0.0

    assert fastest(Work(run, 1, "it"), 0.002, world.now) == pytest.approx(0.001 / 128)
    assert counts == [1, 1, 2, 4, 8, 16, 32, 64, 128, 128, 128]


def test_one_block_of_a_busy_machine_is_not_the_roof(world: World) -> None:
    seconds = iter([0.06, 0.06, 0.0003, 0.0004])

    def run(count: int) -> None:
        world.time += next(seconds)

    assert fastest(Work(run, 1, "it"), 0.02, world.now) == pytest.approx(0.0003)


def test_threads_are_timed_in_blocks_that_hide_their_start(world: World) -> None:
    def run(count: int) -> None:
        world.time += 50e-6 + count * 1e-6

    alone = fastest(Work(run, 1, "it"), 0.02, world.now)
    assert fastest(Work(run, 1, "it", 2e-3), 0.02, world.now) == pytest.approx(1e-6, rel=0.05)
    assert alone > 1.15e-6


# -- figures


def test_figures_say_how_near_a_case_comes_to_each_roof(world: World) -> None:
    training = case("training")
    found = roofs(world, Machine(world)).figures(training, 0.01)
    operations = estimate.operations(training.spec, training.workload)
    size = estimate.least_bytes(training.spec, training.workload)
    assert found["operations"] == operations
    assert found["bytes"] == size
    assert found["matmul_per_s"] == pytest.approx(RATE)
    assert found["bandwidth_per_s"] == pytest.approx(BANDWIDTH)
    assert found["chain_s"] == pytest.approx(20 * PRODUCT)
    assert found["of_matmul"] == pytest.approx(operations / RATE / 0.01)
    assert found["of_bandwidth"] == pytest.approx(size / BANDWIDTH / 0.01)
    assert found["of_chain"] == pytest.approx(20 * PRODUCT / 0.01)
    assert found["chain_by"] == "a library, float32"


def test_the_fastest_library_makes_the_roof(world: World) -> None:
    slow = Machine(world, "slow", RATE / 2, BANDWIDTH * 2, product=PRODUCT * 2)
    fast = Machine(world, "fast")
    for order in ((slow, fast), (fast, slow)):
        found = roofs(world, *order).figures(case(), 1.0)
        assert str(found["matmul_by"]).startswith("fast, float32")
        assert found["matmul_per_s"] == pytest.approx(RATE)
        assert (found["bandwidth_by"], found["chain_by"]) == ("slow", "fast, float32")


def test_a_roof_is_measured_once_and_that_of_each_precision_apart(world: World) -> None:
    found = roofs(world, Machine(world, half=3.0))
    first = found.figures(case(), 1.0)
    asked = len(world.log)
    assert found.figures(case(), 2.0)["of_chain"] == pytest.approx(10 * PRODUCT / 2)
    assert len(world.log) == asked
    half = found.figures(case(dtype="float16"), 1.0)
    assert half["matmul_per_s"] == pytest.approx(3 * RATE)
    assert half["chain_s"] == pytest.approx(10 * PRODUCT / 3)
    assert first["matmul_per_s"] == pytest.approx(RATE)


def test_where_halves_are_slow_a_cpu_computes_them_in_float32(world: World) -> None:
    found = roofs(world, Machine(world, half=0.1)).figures(case(dtype="float16"), 1.0)
    assert found["matmul_per_s"] == pytest.approx(RATE)
    assert found["chain_by"] == "a library, float32"


def test_what_a_library_cannot_do_is_left_to_the_others(world: World) -> None:
    unable = Machine(world, "unable", 10 * RATE, refuses="float32", product=0.1 * PRODUCT)
    found = roofs(world, unable, Machine(world, "able")).figures(case(), 1.0)
    assert found["chain_by"] == "able, float32"
    nobody = roofs(world, unable).figures(case(), 1.0)
    assert "of_matmul" not in nobody
    assert "of_chain" not in nobody
    assert nobody["of_bandwidth"]


def test_larger_products_are_tried_while_they_are_short(world: World) -> None:
    # 256: 3.4 ms, 512: 27 ms, 1024: 0.2 s
    roofs(world, Machine(world, rate=1e10)).figures(case(), 1.0)
    squares = [each[2] for each in world.log if each[1] == "products" and each[2] != FORWARD]
    assert squares == [(64,) * 3, (256,) * 3, (512,) * 3, (1024,) * 3]
    world.log.clear()
    roofs(world, Machine(world, rate=1e9)).figures(case(), 1.0)
    squares = [each[2] for each in world.log if each[1] == "products" and each[2] != FORWARD]
    assert squares == [(64,) * 3, (256,) * 3]


def test_copies_use_the_threads_that_were_asked_for(world: World) -> None:
    roofs(world, Machine(world)).figures(case(), 1.0, threads=3)
    assert ("a library", "traffic", 2**20, 3) in world.log


# -- above a roof


SLOW = {
    "matmul": {"rate": 1e6},
    "bandwidth": {"bandwidth": 1e6, "cached": 1e6},
    "chain": {"product": PRODUCT, "loop": PRODUCT},
}


def below(world: World, name: str, **kinds: str) -> tuple[Machine, float]:
    """A machine whose one roof is low, and the least time of ``case()`` under that."""
    machine = Machine(world, rate=1e13, bandwidth=1e13, cached=1e13, product=1e-9, loop=1e-9)
    for attribute, value in SLOW[name].items():
        setattr(machine, attribute, value)
    least = {
        "matmul": estimate.operations(SPEC, WORK) / 1e6,
        "bandwidth": estimate.least_bytes(SPEC, WORK) / 1e6,
        "chain": 10 * PRODUCT,
    }[name]
    return machine, least


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("times", [1.06, 1.4, 2.4])
def test_a_case_above_a_roof_has_its_time_and_its_part(
    world: World, name: str, times: float
) -> None:
    machine, least = below(world, name)
    figures = roofs(world, machine).figures(case(), least / times)
    assert figures[f"of_{name}"] == pytest.approx(times)
    doubted = [each.code for each in doubts(figures)]
    assert doubted == (["above_roof"] if name == "matmul" and times == 2.4 else [])


@pytest.mark.parametrize("name", ["bandwidth", "chain"])
def test_no_excess_over_the_chain_or_over_what_caches_may_move_is_doubted(
    world: World, name: str
) -> None:
    machine, least = below(world, name)
    figures = roofs(world, machine).figures(case(), least / 50)
    assert figures[f"of_{name}"] == pytest.approx(50)
    assert doubts(figures) == []


def test_more_bandwidth_than_memory_has_is_doubted_of_data_that_no_cache_holds(
    world: World,
) -> None:
    machine, _ = below(world, "bandwidth")
    large = Case("a", SPEC, Workload(64, 1000))
    size = estimate.least_bytes(large.spec, large.workload)
    assert size > 2**20
    figures = roofs(world, machine).figures(large, size / 1e6 / 2)
    (doubt,) = doubts(figures)
    assert doubt.code == "above_roof"
    assert "200% of the memory bandwidth" in doubt.text


def test_a_doubt_says_whose_roof_it_is_and_what_to_do(world: World) -> None:
    machine, least = below(world, "matmul")
    (doubt,) = doubts(roofs(world, machine).figures(case(), least / 2))
    assert "200% of the matrix-product rate" in doubt.text
    assert "a library, float32, 64 x 64" in doubt.text
    assert "quiet machine" in doubt.advice


def test_three_times_what_every_library_does_best_is_impossible(world: World) -> None:
    machine, least = below(world, "matmul")
    with pytest.raises(AccountingError) as error:
        roofs(world, machine).figures(case(), least / 3.2)
    told = str(error.value)
    assert told.startswith("accounting error: ")
    assert "320% of the matrix-product rate" in told
    assert f"{least / 3.2:.3g} s" in told
    assert "a library" in told


@pytest.mark.parametrize("times", [2.0, 3.2, 100.0])
def test_without_a_framework_s_own_products_nothing_is_doubted(world: World, times: float) -> None:
    machine, least = below(world, "matmul")
    machine.frameworks = ("a",)
    found = roofs(world, machine)
    figures = found.figures(case(), least / times, None, {"a", "b"})
    assert figures["matmul_without"] == "b"
    assert figures["of_matmul"] == pytest.approx(times)
    assert doubts(figures) == []
    if times < 3:
        assert doubts(found.figures(case(), least / times, None, {"a"}))


def test_a_library_that_cannot_compute_here_has_not_contributed(world: World) -> None:
    machine, least = below(world, "matmul")
    unable = Machine(world, "unable", refuses="float32", frameworks=("b",))
    figures = roofs(world, machine, unable).figures(case(), least / 5, None, {"b"})
    assert figures["matmul_without"] == "b"


def test_a_busy_moment_of_each_measurement_but_the_last_is_no_doubt(world: World) -> None:
    """The rate is a hundredth while others compute, which they do for a while."""
    seconds = below(world, "matmul")[1] / 2

    class Busy(Machine):
        def products(self, sizes: Sizes, precision: str, *, compiled: bool) -> Sequence[Work]:
            quiet = len([each for each in world.log if each[1] == "products"]) >= 3
            self.rate = 1e9 if quiet else 1e6
            return super().products(sizes, precision, compiled=compiled)

    busy = Busy(world, bandwidth=1e13, cached=1e13, product=1e-9, loop=1e-9)
    figures = roofs(world, busy).figures(case(), seconds)
    assert doubts(figures) == []
    part = figures["of_matmul"]
    assert isinstance(part, float)
    assert part < 1


def test_a_roof_that_cases_are_above_is_measured_again_so_often_and_no_more(world: World) -> None:
    for name in SLOW:
        machine, least = below(world, name)
        found = roofs(world, machine)
        for _ in range(6):
            found.figures(case(), least / 2)
        asked = len(world.log)
        for _ in range(6):
            found.figures(case(), least / 2)
        assert len(world.log) == asked
        world.log.clear()


def test_what_limits_the_instructions_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    figures = roofs(world, Machine(world)).figures(case(), 1.0)
    assert figures["limits"] == "OPENBLAS_CORETYPE=Haswell"
    by = [each.by for each in NumPyLibrary().products((8, 8, 8), "float32", compiled=False)]
    assert by == ["NumPy with OPENBLAS_CORETYPE=Haswell"]


def test_a_roof_that_was_taken_at_a_bad_moment_is_taken_again(world: World) -> None:
    machine = Machine(world, rate=RATE / 10, bandwidth=1e13, product=1e-9)
    found = roofs(world, machine)
    found.figures(case(), 1.0)
    machine.rate = RATE
    seconds = 2 * estimate.operations(SPEC, WORK) / RATE
    figures = found.figures(case(), seconds)
    assert figures["of_matmul"] == pytest.approx(0.5)
    # Best of both: a bad moment later takes nothing away.
    machine.rate = RATE / 10
    assert found.figures(case(), seconds)["of_matmul"] == pytest.approx(0.5)


def test_what_fits_into_caches_may_be_moved_as_fast_as_they_move_it(world: World) -> None:
    machine = Machine(world, rate=1e13, bandwidth=1e6, cached=1e9, product=1e-9)
    found = roofs(world, machine)
    size = estimate.least_bytes(SPEC, WORK)
    assert found.figures(case(), size / 1e8)["of_bandwidth"] == pytest.approx(0.1)
    # and raises the roof of no other case
    longer = Case("a", SPEC, Workload(2, 11))
    size = estimate.least_bytes(SPEC, longer.workload)
    assert found.figures(longer, 2 * size / 1e6)["of_bandwidth"] == pytest.approx(0.5)


def test_compiled_loops_are_tried_on_a_cpu_only_when_the_roof_is_in_doubt(world: World) -> None:
    machine = Machine(world, rate=1e13, bandwidth=1e13, loop=PRODUCT / 4)
    found = roofs(world, machine)
    found.figures(case(), 1.0)
    assert not any(each[-1] is True for each in world.log)
    assert found.figures(case(), 5 * PRODUCT)["of_chain"] == pytest.approx(0.5)


def test_a_kernel_that_stays_on_a_gpu_may_be_faster_than_a_chain_of_products(world: World) -> None:
    machine = Machine(world, rate=1e13, bandwidth=1e13)
    figures = roofs(world, machine).figures(case(device="gpu:0"), 5 * PRODUCT)
    assert figures["of_chain"] == pytest.approx(2.0)
    assert doubts(figures) == []
    machine = Machine(world, rate=1.0, bandwidth=1e13)
    with pytest.raises(AccountingError, match="the matrix-product rate"):
        roofs(world, machine).figures(case(device="gpu:0"), 1.0)


def test_an_interruption_is_let_through(world: World) -> None:
    class Interrupted(Machine):
        def traffic(self, size: int, threads: int) -> Sequence[Work]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        roofs(world, Interrupted(world)).figures(case(), 1.0)


# -- the machine


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


def test_only_what_the_process_computes_with_makes_roofs(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, str]] = []

    def maker(name: str) -> Callable[[str, int], Library]:
        def make(device: str, threads: int) -> Library:
            started.append((name, device))
            if name == "torch":
                raise RuntimeError("no CUDA")
            return Machine(World(), name)

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


def test_a_library_that_comes_later_may_raise_a_roof(world: World) -> None:
    slow, fast = Machine(world, "slow", product=2 * PRODUCT), Machine(world, "fast")
    found = Roofs(
        lambda device, frameworks, threads: [slow, fast] if "fast" in frameworks else [slow],
        world.now,
        lambda device: 2**20,
    )
    assert found.figures(case(), 1.0)["of_chain"] == pytest.approx(20 * PRODUCT)
    world.log.clear()
    assert found.figures(case(), 1.0, None, {"fast"})["of_chain"] == pytest.approx(10 * PRODUCT)
    assert {each[0] for each in world.log} == {"fast"}


@pytest.mark.parametrize(
    ("framework", "name"),
    [
        ("numpy", "NumPy"),
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
    assert bool(works) == ((framework, precision) != ("numpy", "float16"))
    for work in works:
        assert work.by.startswith(name)
        assert 0 < fastest(work, 0.001, time.perf_counter) < math.inf


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


def test_onnx_runtime_multiplies_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    library = roof_frameworks.OnnxRuntimeLibrary("cpu", 1)
    left, right = roof_work.factors((3, 5, 7))
    for constant in (True, False):
        session = ort.InferenceSession(
            library._graph(left, right, 2, constant=constant), providers=["CPUExecutionProvider"]
        )
        given = {"left": left} if constant else {"left": left, "right": right}
        for out in session.run(None, given):
            np.testing.assert_allclose(out, left @ right, rtol=1e-5)
    assert library.products((3, 5, 7), "bfloat16", compiled=False) == ()


# -- with what other processes saw


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "roofs.json"


def test_the_part_is_that_of_the_best_that_any_process_saw(world: World, file: Path) -> None:
    fast, slow = Machine(world, "fast"), Machine(world, "slow", RATE / 2, product=2 * PRODUCT)
    first = roofs(world, fast, slow, seen=RoofsSeen(file, lambda: 0.0)).figures(case(), 1.0)
    assert first["matmul_from"] == "this process"
    assert first["matmul_here"] == pytest.approx(RATE)
    later = roofs(world, slow, seen=RoofsSeen(file, lambda: 86400.0)).figures(case(), 1.0)
    assert later["of_matmul"] == first["of_matmul"]
    assert later["matmul_per_s"] == pytest.approx(RATE)
    assert later["matmul_here"] == pytest.approx(RATE / 2)
    assert str(later["matmul_by"]).startswith("fast")
    assert later["matmul_from"] == "this machine, 1970-01-01"
    assert later["of_chain"] == first["of_chain"]
    assert later["chain_here"] == pytest.approx(2 * (first["chain_s"] or 0))
    assert later["chain_from"] == "this machine, 1970-01-01"


def test_a_case_is_not_doubted_under_a_roof_that_another_process_saw(
    world: World, file: Path
) -> None:
    machine, least = below(world, "matmul")
    better = Machine(world, "better", rate=4e6, bandwidth=1e13, cached=1e13)
    roofs(world, better, seen=RoofsSeen(file)).figures(case(), 1.0)
    figures = roofs(world, machine, seen=RoofsSeen(file)).figures(case(), least / 3.2)
    assert figures["of_matmul"] == pytest.approx(0.8)


def test_what_three_processes_have_measured_a_fourth_does_not(world: World, file: Path) -> None:
    machine = Machine(world, frameworks=("a",))
    for _ in range(3):
        world.log.clear()
        roofs(world, machine, seen=RoofsSeen(file)).figures(case(), 1.0)
        assert world.log
    world.log.clear()
    fourth = roofs(world, machine, seen=RoofsSeen(file)).figures(case(), 1.0, None, {"a"})
    assert not world.log
    assert "matmul_here" not in fourth
    assert "matmul_without" not in fourth  # its products are in the roof
    assert fourth["of_matmul"]
    # Another version of the library is another library.
    roofs(world, replace(machine, version="2"), seen=RoofsSeen(file)).figures(case(), 1.0)
    assert world.log


def test_a_case_above_what_is_known_has_it_measured_again(world: World, file: Path) -> None:
    machine, least = below(world, "matmul")
    for _ in range(3):
        roofs(world, machine, seen=RoofsSeen(file)).figures(case(), 10 * least)
    machine.rate = 1e7
    figures = roofs(world, machine, seen=RoofsSeen(file)).figures(case(), least / 2)
    assert figures["of_matmul"] == pytest.approx(0.2)


# -- with the libraries that are installed


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize(
    ("sizes", "work"),
    [
        ((256, 256), Workload(1, 150)),
        ((256, 256), Workload(1, 150, "training")),
        ((256, 256), Workload(128, 20)),
        ((256, 256), Workload(128, 20, "training")),
        ((512, 512), Workload(64, 25)),
        ((512, 512), Workload(64, 25, "training")),
        ((64, 64), Workload(1, 1)),
        ((512, 512), Workload(1, 1)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_fastest_correct_backends_keep_their_times(
    backend: str,
    threads: int | None,
    sizes: tuple[int, int],
    work: Workload,
    dtype: str,
    request: pytest.FixtureRequest,
) -> None:
    """With their library alone in the process, as far as roofs can tell."""
    pytest.importorskip(backend)
    made = get_backend(backend)
    spec = LSTMSpec(*sizes, dtype=dtype)
    if made.refusal(spec, work):
        pytest.skip(made.refusal(spec, work))
    used = threads or usable()
    made.use_threads(used)
    if backend == "torch":  # it takes the number from the environment when it is imported
        torch = pytest.importorskip("torch")
        before = torch.get_num_threads()
        request.addfinalizer(lambda: torch.set_num_threads(before))
        torch.set_num_threads(used)
    try:
        model = made.build(spec, LSTMWeights.random(spec, 0), "cpu")
    except UnsupportedError as error:
        pytest.skip(str(error))
    step = model.prepare(work, 0)
    taken: list[float] = []
    end = time.perf_counter() + 0.5
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step.run()
        step.synchronize()
        taken.append(time.perf_counter() - start)
    figures = Roofs().figures(Case(backend, spec, work), min(taken), used, {made.framework})
    assert doubts(figures) == []
    assert "matmul_without" not in figures
