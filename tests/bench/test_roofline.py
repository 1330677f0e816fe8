"""Roofs: what is counted, worked out by hand; what is measured, on a clock of the test's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench import estimate, roof_libraries, roofline
from bench.cases import Case
from bench.roof_libraries import Library, NumPyLibrary, Sizes, Work
from bench.roofline import AccountingError, Roofs, chain, fastest, precisions
from lstm_impl import LSTMSpec, Workload

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


def roofs(world: World, *machines: Library) -> Roofs:
    return Roofs(lambda device, frameworks: machines, world.now, lambda device: 2**20)


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
    seconds = iter([9.0, 0.3, 0.1, 0.2, 0.4])

    def run(count: int) -> None:
        world.time += next(seconds)

    assert fastest(Work(run, 4, "it"), 0.9, world.now) == pytest.approx(0.1 / 4)


def test_a_block_is_long_enough_for_the_clock(world: World) -> None:
    counts = []

    def run(count: int) -> None:
        counts.append(count)
        # A clock that ticks so coarsely shows nothing of a short block.
        world.time += 0.001 if count >= 100 else 0.0

    assert fastest(Work(run, 1, "it"), 0.002, world.now) == pytest.approx(0.001 / 128)
    assert counts == [1, 1, 2, 4, 8, 16, 32, 64, 128, 128]


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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("matmul", "the matrix-product rate"),
        ("bandwidth", "the memory bandwidth"),
        ("chain", "the serial chain"),
    ],
)
def test_a_case_above_a_roof_is_an_accounting_error(world: World, name: str, words: str) -> None:
    machine = Machine(world, rate=1e13, bandwidth=1e13, cached=1e13, product=1e-9, loop=1e-9)
    slow = {"matmul": ("rate",), "bandwidth": ("bandwidth", "cached"), "chain": ("product", "loop")}
    for attribute in slow[name]:
        setattr(machine, attribute, PRODUCT if name == "chain" else 1e6)
    least = {
        "matmul": estimate.operations(SPEC, WORK) / 1e6,
        "bandwidth": estimate.least_bytes(SPEC, WORK) / 1e6,
        "chain": 10 * PRODUCT,
    }[name]
    with pytest.raises(AccountingError) as error:
        roofs(world, machine).figures(case(), least / 2)
    told = str(error.value)
    assert told.startswith("accounting error: ")
    assert f"200% of {words}" in told
    assert f"{least / 2:.3g} s" in told
    assert f"{least:.3g} s" in told


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


def test_a_case_that_is_no_further_above_than_a_clock_changes_is_at_the_roof(world: World) -> None:
    machine = Machine(world, rate=1e13, bandwidth=1e13, cached=1e13)
    figures = roofs(world, machine).figures(case(), 10 * PRODUCT / 1.04)
    assert figures["of_chain"] == 1.0
    with pytest.raises(AccountingError, match="106%"):
        roofs(world, machine).figures(case(), 10 * PRODUCT / 1.06)


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
    assert roofline.last_caches(tmp_path) == (16 + 32) * 2**20
    assert roofline.last_caches(tmp_path / "none") == 0


def test_only_what_the_process_computes_with_makes_roofs(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, str]] = []

    def maker(name: str) -> Callable[[str], Library]:
        def make(device: str) -> Library:
            started.append((name, device))
            if name == "torch":
                raise RuntimeError("no CUDA")
            return Machine(World(), name)

        return make

    makers = {name: maker(name) for name in ("tensorflow", "torch", "jax")}
    makers["flax"] = makers["jax"]
    monkeypatch.setattr(roof_libraries, "_BY_FRAMEWORK", makers)
    assert [each.name for each in roof_libraries.libraries("cpu", ())] == ["NumPy"]
    found = roof_libraries.libraries("gpu:0", ("jax", "flax", "torch", "onnxruntime"))
    assert [each.name for each in found] == ["jax"]
    assert started == [("jax", "gpu:0"), ("torch", "gpu:0")]


def test_a_library_that_comes_later_may_raise_a_roof(world: World) -> None:
    slow, fast = Machine(world, "slow", product=2 * PRODUCT), Machine(world, "fast")
    found = Roofs(
        lambda device, frameworks: [slow, fast] if "fast" in frameworks else [slow],
        world.now,
        lambda device: 2**20,
    )
    assert found.figures(case(), 1.0)["of_chain"] == pytest.approx(20 * PRODUCT)
    world.log.clear()
    assert found.figures(case(), 1.0, None, {"fast"})["of_chain"] == pytest.approx(10 * PRODUCT)
    assert {each[0] for each in world.log} == {"fast"}


@pytest.mark.parametrize(
    ("framework", "name"),
    [("numpy", "NumPy"), ("tensorflow", "TensorFlow"), ("torch", "PyTorch"), ("jax", "JAX")],
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
        assert 0 < fastest(work, 0.001, time.perf_counter) < 10


def test_a_product_in_pieces_is_the_whole_product() -> None:
    works = NumPyLibrary().products((32, 128, 512), "float32", compiled=False)
    assert [work.by for work in works] == ["NumPy", "NumPy on one thread"]


def test_numpy_copies_on_threads_what_it_says() -> None:
    copy, read = NumPyLibrary().traffic(2**20, 3)
    assert copy.by == "copy of 1 MiB by NumPy on 3 threads"
    assert (copy.amount, read.amount) == (2 * 2**20, 2**20)
    for work in (copy, read):
        work.run(2)
