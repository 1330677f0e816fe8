"""Roofs on a simulated clock: what is measured, and the parts of a case."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bench.case.cases import Case
from bench.records.schema import Figures
from bench.render.messages import reason_line
from bench.worker import estimate
from bench.worker.roof_libraries import Library, RoofWork, Sizes
from bench.worker.roofs import (
    COARSER,
    WELL_ABOVE,
    AccountingError,
    RoofFile,
    Roofs,
    above_roofs,
    chain,
    fastest,
    precisions,
)
from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, get_backend
from lstm_impl.processors import count_usable_cpus

pytestmark = pytest.mark.usefixtures("unlimited")

SPEC, WORK = LSTMSpec(8, 16), Workload(2, 10)
FORWARD, BACKWARD = (2, 16, 64), (2, 64, 16)
RATE, BANDWIDTH, PRODUCT = 1e9, 1e8, 1e-5


@dataclass
class World:
    """A machine of known speed and its clock. log: the requests."""

    time: float = 0.0
    log: list[tuple[object, ...]] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def works(self, seconds: float, amount: float, by: str) -> Sequence[RoofWork]:
        def run(count: int) -> None:
            self.time += count * seconds

        return (RoofWork(run, amount, by),)


@dataclass
class Machine(Library):
    """A library of known speed. refuses: a precision that it raises for."""

    world: World
    name: str = "a library"
    rate: float = RATE
    bandwidth: float = BANDWIDTH
    cached: float = BANDWIDTH
    product: float = PRODUCT
    half: float = 1.0
    launch: float = 2e-6
    refuses: str = ""
    version: str = "1"
    frameworks: tuple[str, ...] = ()

    def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
        self.world.log.append((self.name, "products", sizes, precision))
        if precision == self.refuses:
            raise TypeError(f"no {precision}")
        faster = self.half if precision in ("float16", "bfloat16") else 1.0
        if sizes in (FORWARD, BACKWARD):
            return self.world.works(4 * self.product / faster, 4, self.name)
        return self.world.works(2 * sizes[0] ** 3 / self.rate / faster, 1, self.name)

    def traffic(self, size: int, threads: int) -> Sequence[RoofWork]:
        self.world.log.append((self.name, "traffic", size, threads))
        rate = self.bandwidth if size == 2**20 else self.cached
        return self.world.works(2 * size / rate, 2 * size, self.name)

    def operators(self, by: str) -> Sequence[RoofWork]:
        self.world.log.append((self.name, "operators", by))
        if by == "broken":
            raise RuntimeError("no such loop")
        return () if by == "nobody" else self.world.works(16 * self.launch, 16, "its loop")


@pytest.fixture
def world() -> World:
    return World()


def roofs(world: World, *machines: Library, seen: RoofFile | None = None) -> Roofs:
    return Roofs(
        *(lambda device, frameworks, threads: machines, world.now, lambda device: 2**20, seen),
        flags=lambda: (),
    )


def case(mode: str = "inference", dtype: str = "float32", device: str = "cpu") -> Case:
    return Case("a", LSTMSpec(8, 16, dtype=dtype), Workload(2, 10, mode), device)


# -- what is counted of a case


def test_chain_counts_products_that_wait_for_one_another() -> None:
    assert chain(SPEC, WORK) == {FORWARD: 10}
    assert chain(SPEC, Workload(2, 10, "training")) == {FORWARD: 10, BACKWARD: 10}
    # Layers run a timestep behind one another, and directions in parallel;
    assert chain(LSTMSpec(8, 16, num_layers=3), WORK) == {FORWARD: 12}
    assert chain(LSTMSpec(8, 16, bidirectional=True), WORK) == {FORWARD: 10}
    # a layer over two directions waits for both ends of the one below.
    assert chain(LSTMSpec(8, 16, num_layers=3, bidirectional=True), WORK) == {FORWARD: 30}
    windows = Workload(2, 10, "training", window=4)
    assert chain(SPEC, windows) == {FORWARD: 10, BACKWARD: 10}
    assert chain(LSTMSpec(8, 16, num_layers=2), windows)[FORWARD] == 5 + 5 + 3
    # Padding does not count.
    assert chain(SPEC, Workload(2, 10, min_length=2)) == {FORWARD: 10 * 12 / 20}


@pytest.mark.parametrize(
    ("dtype", "device", "flags", "expected"),
    [
        ("tf32", "cpu", (), {"float32": 1}),
        ("float64", "gpu:0", (), {"float64": 1}),
        ("mixed_bfloat16", "cpu", (), {"bfloat16": 1, "float32": 1}),
        ("mixed_float16", "gpu:0", (), {"float16": 1}),
        ("tf32", "gpu:0", (), {"tf32": 1, "float32": 1}),
        ("bf32", "cpu", (), {"bfloat16": 1, "float32": 1}),
        ("bf16x3", "cpu", (), {"float32": 1}),
        ("bf16x3", "cpu", ("amx_bf16",), {"float32": 1, "bfloat16": 3}),
        ("float32", "cpu", ("amx_bf16",), {"float32": 1, "bfloat16": 6}),
        ("float64", "cpu", ("amx_bf16",), {"float64": 1}),
        ("float32", "gpu:0", ("amx_bf16",), {"float32": 1}),
    ],
)
def test_precisions_on_a_device_are_those_of_products(
    dtype: str, device: str, flags: tuple[str, ...], expected: dict[str, float]
) -> None:
    assert precisions(LSTMSpec(8, 16, dtype=dtype), device, flags) == expected


@pytest.mark.parametrize(
    ("dtype", "flags", "part"),
    [
        ("float32", (), 2.4),
        ("float32", ("amx_bf16",), 2.4 * 6 / 16),
        ("bf16x3", ("amx_bf16",), 2.4 * 3 / 16),
        ("bf32", (), 2.4 / 16),
    ],
)
def test_figures_count_the_products_that_replace_one(
    world: World, dtype: str, flags: tuple[str, ...], part: float
) -> None:
    """Products of bfloat16 are 16 times as fast, and several may make one of float32."""
    machine = Machine(world, rate=1e6, bandwidth=1e13, product=1e-9, half=16.0)
    found = Roofs(
        lambda device, frameworks, threads: [machine],
        world.now,
        lambda device: 2**20,
        flags=lambda: flags,
    )
    least = estimate.operations(SPEC, WORK) / 1e6
    figures = found.figures(case(dtype=dtype), least / 2.4)
    assert figures["of_matmul"] == pytest.approx(part)
    assert [each.code for each in above_roofs(figures)] == ["above_roof"] * (part > WELL_ABOVE)


# -- the clock


def test_fastest_first_call_does_not_count(world: World) -> None:
    seconds = iter([9.0, 0.3, 0.1, 0.4])

    def run(count: int) -> None:
        world.time += next(seconds)

    assert fastest(RoofWork(run, 4, "it"), 0.7, world.now) == pytest.approx(0.1 / 4)


def test_fastest_coarse_clock_gets_longer_blocks(world: World) -> None:
    counts = []

    def run(count: int) -> None:
        counts.append(count)
        # The clock shows nothing of a short block.
        world.time += 0.001 if count >= 100 else 0.0

    assert fastest(RoofWork(run, 1, "it"), 0.002, world.now) == pytest.approx(0.001 / 128)
    assert counts == [1, 1, 2, 4, 8, 16, 32, 64, 128, 128, 128]


# -- figures


def test_figures_have_roofs_and_parts(world: World) -> None:
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


def test_figures_fastest_library_is_the_roof(world: World) -> None:
    slow = Machine(world, "slow", RATE / 2, BANDWIDTH * 2, product=PRODUCT * 2)
    fast = Machine(world, "fast")
    for order in ((slow, fast), (fast, slow)):
        found = roofs(world, *order).figures(case(), 1.0)
        assert str(found["matmul_by"]).startswith("fast, float32")
        assert found["matmul_per_s"] == pytest.approx(RATE)
        assert (found["bandwidth_by"], found["chain_by"]) == ("slow", "fast, float32")


def test_figures_second_case_measures_only_new_precisions(world: World) -> None:
    found = roofs(world, Machine(world, half=3.0))
    first = found.figures(case(), 1.0)
    requests = len(world.log)
    assert found.figures(case(), 2.0)["of_chain"] == pytest.approx(10 * PRODUCT / 2)
    assert len(world.log) == requests
    half = found.figures(case(dtype="float16"), 1.0)
    assert half["matmul_per_s"] == pytest.approx(3 * RATE)
    assert half["chain_s"] == pytest.approx(10 * PRODUCT / 3)
    assert first["matmul_per_s"] == pytest.approx(RATE)


def test_figures_library_that_raises_is_skipped(world: World) -> None:
    unable = Machine(world, "unable", 10 * RATE, refuses="float32", product=0.1 * PRODUCT)
    found = roofs(world, unable, Machine(world, "able")).figures(case(), 1.0)
    assert found["chain_by"] == "able, float32"
    figures = roofs(world, unable).figures(case(), 1.0)
    assert "of_matmul" not in figures
    assert "of_chain" not in figures
    assert figures["of_bandwidth"]


# -- above a roof


SLOW = {
    "matmul": {"rate": 1e6},
    "bandwidth": {"bandwidth": 1e6, "cached": 1e6},
    "chain": {"product": PRODUCT},
}


def below(world: World, name: str, **kinds: str) -> tuple[Machine, float]:
    """Return a machine with one low roof, and the least time of ``case()`` under it."""
    machine = Machine(world, rate=1e13, bandwidth=1e13, cached=1e13, product=1e-9)
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
def test_figures_case_above_a_roof_has_its_part(world: World, name: str, times: float) -> None:
    machine, least = below(world, name)
    figures = roofs(world, machine).figures(case(), least / times)
    assert figures[f"of_{name}"] == pytest.approx(times)
    codes = [each.code for each in above_roofs(figures)]
    assert codes == (["above_roof"] if name == "matmul" and times == 2.4 else [])


def test_figures_three_times_the_roof_raises(world: World) -> None:
    machine, least = below(world, "matmul")
    with pytest.raises(AccountingError) as error:
        roofs(world, machine).figures(case(), least / 3.2)
    message = reason_line(error.value.reason)
    assert message.startswith("accounting error: ")
    assert "320% of the matrix-product rate" in message
    assert f"{least / 3.2:.3g} s" in message
    assert "a library" in message


@pytest.mark.parametrize("times", [2.0, 3.2, 25.0])
def test_above_roofs_missing_framework_is_empty(world: World, times: float) -> None:
    machine, least = below(world, "matmul")
    machine.frameworks = ("a",)
    found = roofs(world, machine)
    figures = found.figures(case(), least / times, None, {"a", "b"})
    assert figures["matmul_without"] == "b"
    assert figures["of_matmul"] == pytest.approx(times)
    assert above_roofs(figures) == []
    if times < 3:
        assert above_roofs(found.figures(case(), least / times, None, {"a"}))


def test_figures_far_above_the_roof_raise_for_a_framework_without_one_too(world: World) -> None:
    machine, least = below(world, "matmul")
    machine.frameworks = ("a",)
    found = roofs(world, machine)
    with pytest.raises(AccountingError):
        found.figures(case(), least / 32, None, {"a", "b"})
    # Products of int8 may be faster still.
    found.figures(case(), least / 90, None, {"a"}, COARSER)
    with pytest.raises(AccountingError):
        found.figures(case(), least / 100, None, {"a"}, COARSER)


def test_figures_busy_first_measurements_are_repeated(world: World) -> None:
    """The first measurements have a hundredth of the rate."""
    seconds = below(world, "matmul")[1] / 2

    class Busy(Machine):
        def products(self, sizes: Sizes, precision: str) -> Sequence[RoofWork]:
            quiet = len([each for each in world.log if each[1] == "products"]) >= 3
            self.rate = 1e9 if quiet else 1e6
            return super().products(sizes, precision)

    busy = Busy(world, bandwidth=1e13, cached=1e13, product=1e-9)
    figures = roofs(world, busy).figures(case(), seconds)
    assert above_roofs(figures) == []
    part = figures["of_matmul"]
    assert isinstance(part, float)
    assert part < 1


def test_figures_exceeded_roof_is_measured_again_a_few_times(world: World) -> None:
    for name in SLOW:
        machine, least = below(world, name)
        found = roofs(world, machine)
        for _ in range(6):
            found.figures(case(), least / 2)
        requests = len(world.log)
        for _ in range(6):
            found.figures(case(), least / 2)
        assert len(world.log) == requests
        world.log.clear()


def test_figures_cached_data_has_the_bandwidth_of_caches(world: World) -> None:
    machine = Machine(world, rate=1e13, bandwidth=1e6, cached=1e9, product=1e-9)
    found = roofs(world, machine)
    size = estimate.least_bytes(SPEC, WORK)
    assert found.figures(case(), size / 1e8)["of_bandwidth"] == pytest.approx(0.1)
    # the roof of other cases stays
    longer = Case("a", SPEC, Workload(2, 11))
    size = estimate.least_bytes(SPEC, longer.workload)
    assert found.figures(longer, 2 * size / 1e6)["of_bandwidth"] == pytest.approx(0.5)


def test_above_roofs_name_roof_and_library() -> None:
    figures: Figures = {
        "of_matmul": WELL_ABOVE,
        "of_bandwidth": 1.0,
        "of_chain": 9.0,
        "matmul_by": "a library, float32, 64 x 64",
        "bandwidth_by": "a copy",
        "bytes": 3.0 * 2**20,
        "array_bytes": 1.0 * 2**20,
    }
    assert above_roofs(figures) == above_roofs({}) == []
    (problem,) = above_roofs({**figures, "of_matmul": 2.0})
    assert problem.code == "above_roof"
    assert "200% of the matrix-product rate" in reason_line(problem)
    assert "a library, float32, 64 x 64" in reason_line(problem)
    (problem,) = above_roofs({**figures, "of_bandwidth": 2.0})
    assert "200% of the memory bandwidth" in reason_line(problem)
    # Caches may hold this data.
    assert above_roofs({**figures, "of_bandwidth": 50.0, "bytes": 1.0 * 2**20}) == []


# -- the launch roof


def test_of_launches_is_a_loop_of_as_many_operators(world: World) -> None:
    made = roofs(world, Machine(world, frameworks=("tensorflow",)))
    for count in (100, 300):  # one loop for all cases of a framework
        evidence = {"launches": count, "launched_by": "tensorflow"}
        found = made.launch_figures(case(), "tensorflow", evidence, 1e-3)
    assert world.log == [("a library", "operators", "tensorflow")]
    assert found["launches"] == 300
    assert found["launch_s"] == pytest.approx(300 * 2e-6)
    assert found["of_launch"] == pytest.approx(0.6)
    assert (found["launch_by"], found["launch_from"]) == ("its loop", "this process")
    made.launch_figures(case(), "tensorflow", {"launches": 1, "launched_by": "xla"}, 1.0)
    assert len(world.log) == 2


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"launches": 3},
        {"launches": "3", "launched_by": "xla"},
        {"launches": 0, "launched_by": "xla"},
        {"launches": 3, "launched_by": "nobody"},
        {"launches": 3, "launched_by": "broken"},
    ],
)
def test_of_launches_without_number_or_loop_is_empty(
    world: World, evidence: dict[str, object]
) -> None:
    made = roofs(world, Machine(world, frameworks=("litert",)))
    assert made.launch_figures(case(), "litert", evidence, 1.0) == {}
    # another framework's loop is not used
    evidence = {"launches": 3, "launched_by": "xla"}
    assert made.launch_figures(case(), "jax", evidence, 1.0) == {}


# -- roofs of other processes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "roofs.json"


def test_figures_best_of_another_process_is_the_roof(world: World, file: Path) -> None:
    fast, slow = Machine(world, "fast"), Machine(world, "slow", RATE / 2, product=2 * PRODUCT)
    first = roofs(world, fast, slow, seen=RoofFile(file, lambda: 0.0)).figures(case(), 1.0)
    assert first["matmul_from"] == "this process"
    assert first["matmul_per_s"] == pytest.approx(RATE)
    later = roofs(world, slow, seen=RoofFile(file, lambda: 86400.0)).figures(case(), 1.0)
    assert later["of_matmul"] == first["of_matmul"]
    assert later["matmul_per_s"] == pytest.approx(RATE)
    assert str(later["matmul_by"]).startswith("fast")
    assert later["matmul_from"] == "this machine, 1970-01-01"
    assert later["of_chain"] == first["of_chain"]
    assert later["chain_from"] == "this machine, 1970-01-01"


def test_figures_fourth_process_does_not_measure_again(world: World, file: Path) -> None:
    machine = Machine(world, frameworks=("a",))
    for _ in range(3):
        world.log.clear()
        roofs(world, machine, seen=RoofFile(file)).figures(case(), 1.0)
        assert world.log
    world.log.clear()
    fourth = roofs(world, machine, seen=RoofFile(file)).figures(case(), 1.0, None, {"a"})
    assert not world.log
    assert "matmul_without" not in fourth  # its products are in the roof
    assert fourth["of_matmul"]
    # Another version is another library.
    roofs(world, replace(machine, version="2"), seen=RoofFile(file)).figures(case(), 1.0)
    assert world.log


@pytest.mark.parametrize("with_file", [True, False])
def test_figures_exceeded_chain_is_repeated_once_in_a_session(
    world: World, tmp_path: Path, with_file: bool
) -> None:
    machine, least = below(world, "chain")
    session, requests = tmp_path / "session.json", []
    for _ in range(3):
        world.log.clear()
        seen = RoofFile(tmp_path / "roofs.json" if with_file else None, session=session)
        roofs(world, machine, seen=seen).figures(case(), least / 2)
        requests.append(len(world.log))
    assert requests[0] > 0
    assert requests[1:] == [0, 0]
    # A damaged file is as good as none.
    session.write_text('{"schema": 1, "repeated": [')
    world.log.clear()
    roofs(world, machine, seen=RoofFile(None, session=session)).figures(case(), least / 2)
    assert len(world.log) == requests[0]


def test_figures_exceeded_products_are_repeated_in_each_process(
    world: World, tmp_path: Path
) -> None:
    machine, least = below(world, "matmul")
    for _ in range(3):
        world.log.clear()
        seen = RoofFile(None, session=tmp_path / "session.json")
        roofs(world, machine, seen=seen).figures(case(), least / 2)
        assert world.log


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
def test_above_roofs_fastest_correct_backends_is_empty(
    backend: str,
    threads: int | None,
    sizes: tuple[int, int],
    work: Workload,
    dtype: str,
    request: pytest.FixtureRequest,
) -> None:
    """Their library alone gives the roofs."""
    pytest.importorskip(backend)
    made = get_backend(backend)
    spec = LSTMSpec(*sizes, dtype=dtype)
    if made.refusal(spec, work):
        pytest.skip(made.refusal(spec, work))
    used = threads or count_usable_cpus()
    made.use_threads(used)
    if backend == "torch":  # it reads the environment when it is imported
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
    assert above_roofs(figures) == []
    assert "matmul_without" not in figures
