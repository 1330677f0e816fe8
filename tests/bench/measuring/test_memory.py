"""Memory: allocators that say what a test tells them, and real processes that grow, die, hang."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.measuring import estimate, memory, memory_server
from bench.measuring.memory import ProcessMemory, Server, ServerError, gauge, time_limit
from bench.results.schema import Figures
from bench.suites.cases import Case
from bench.windows.cost import bytes_per_timestep
from lstm_impl import LSTMSpec, Step, Workload

MIB = 2**20
ENOUGH = 120.0  # seconds for what takes one: the machine may be busy with something else

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")


# -- on a GPU


@dataclass
class Pool:
    """A GPU's memory as an allocator counts it."""

    in_use: int = 0
    peak: int = 0
    calls: list[str] = field(default_factory=list)

    def hold(self, size: int) -> None:
        self.in_use += size
        self.peak = max(self.peak, self.in_use)

    def use(self, size: int) -> None:
        self.hold(size)
        self.in_use -= size

    def reset(self) -> None:
        self.peak = self.in_use

    def tensorflow(self) -> Any:
        def info(device: str) -> dict[str, int]:
            self.calls.append(device)
            return {"current": self.in_use, "peak": self.peak}

        def reset(device: str) -> None:
            self.reset()

        experimental = SimpleNamespace(get_memory_info=info, reset_memory_stats=reset)
        return SimpleNamespace(config=SimpleNamespace(experimental=experimental))

    def torch(self) -> Any:
        def allocated(device: int) -> int:
            self.calls.append(str(device))
            return self.in_use

        def most(device: int) -> int:
            return self.peak

        def reset(device: int) -> None:
            self.reset()

        cuda = SimpleNamespace(
            memory_allocated=allocated, max_memory_allocated=most, reset_peak_memory_stats=reset
        )
        return SimpleNamespace(cuda=cuda)

    def jax(self) -> Any:
        def stats() -> dict[str, int]:
            return {"bytes_in_use": self.in_use, "peak_bytes_in_use": self.peak}

        def devices(kind: str) -> list[Any]:
            self.calls.append(kind)
            return [SimpleNamespace(memory_stats=stats), SimpleNamespace(memory_stats=stats)]

        return SimpleNamespace(devices=devices)


def told(framework: str) -> Any:
    return SimpleNamespace(framework=framework)


def one_case(framework: str, modules: dict[str, Any], pool: Pool, *, first: int) -> Figures:
    """A case that holds 100 bytes, and needs so many more in its first call, 50 in a later one."""
    found = gauge(told(framework), "gpu:1", modules)
    assert found is not None
    pool.hold(100)
    pool.use(first)
    return found.figures(Step(lambda: pool.use(50), lambda: None, lambda: None))


@pytest.mark.parametrize("framework", ["tensorflow", "torch", "flashrnn"])
def test_a_gpus_peak_is_that_of_the_case_and_of_no_earlier_one(framework: str) -> None:
    pool = Pool(in_use=1000, peak=9000)
    module = "torch" if framework == "flashrnn" else framework
    found = one_case(framework, {module: getattr(pool, module)()}, pool, first=400)
    assert found["peak_bytes"] == 500
    assert found["steady_bytes"] == 150
    assert pool.calls[0] == ("GPU:1" if module == "tensorflow" else "1")


def test_a_later_step_that_needs_more_than_the_first_is_the_peak() -> None:
    pool = Pool()
    found = one_case("torch", {"torch": pool.torch()}, pool, first=10)
    assert (found["peak_bytes"], found["steady_bytes"]) == (150, 150)


@pytest.mark.parametrize("framework", ["jax", "flax"])
def test_jaxs_peak_counts_where_the_case_has_raised_it(framework: str) -> None:
    pool = Pool(in_use=1000, peak=1200)
    found = one_case(framework, {"jax": pool.jax()}, pool, first=400)
    assert (found["peak_bytes"], found["steady_bytes"]) == (500, None)
    assert "JAX cannot reset its peak" in str(found["how"])
    assert pool.calls == ["gpu"]


def test_jaxs_peak_is_not_known_where_an_earlier_case_needed_more() -> None:
    pool = Pool(in_use=1000, peak=9000)
    found = one_case("jax", {"jax": pool.jax()}, pool, first=400)
    assert found["peak_bytes"] is None
    assert "something before it in the process needed more" in str(found["how"])


def test_a_jax_allocator_that_does_not_count_says_so() -> None:
    silent = SimpleNamespace(devices=lambda kind: 2 * [SimpleNamespace(memory_stats=lambda: None)])
    found = one_case("jax", {"jax": silent}, Pool(), first=1)
    assert found["how"] == "not known: the allocator that JAX was told to use does not count"


def test_a_framework_that_nobody_can_ask_says_so() -> None:
    found = one_case("onnxruntime", {"onnxruntime": object()}, Pool(), first=1)
    assert found["peak_bytes"] is None
    assert found["how"] == "not known: onnxruntime does not say what it holds on a GPU"


def test_an_allocator_that_fails_costs_the_figure_only() -> None:
    def fail(*arguments: object) -> int:
        raise RuntimeError("no such device\nand a page more")

    cuda = SimpleNamespace(
        memory_allocated=fail, max_memory_allocated=fail, reset_peak_memory_stats=fail
    )
    found = one_case("torch", {"torch": SimpleNamespace(cuda=cuda)}, Pool(), first=1)
    assert found["how"] == "not known: RuntimeError: no such device"


def test_a_step_that_fails_costs_the_figure_only() -> None:
    def fail() -> None:
        raise MemoryError("full")

    found = gauge(told("torch"), "gpu:0", {"torch": Pool().torch()})
    assert found is not None
    figures = found.figures(Step(fail, lambda: None, lambda: None))
    assert figures["how"] == "not known: MemoryError: full"


def test_what_is_not_known_is_counted_by_its_reason_and_what_was_not_asked_for_is_not() -> None:
    known: Figures = {"peak_bytes": 1.0, "steady_bytes": None, "how": "told"}
    died = memory.unknown("it died")
    assert memory.unweighed([None, known, died, died, {"peak_bytes": None}]) == {
        "not known: it died": 2,
        "not known": 1,
    }


def test_a_cpu_has_no_gauge() -> None:
    assert gauge(told("tensorflow"), "cpu", {}) is None


def test_the_time_limit_leaves_what_bench_run_needs_to_see_the_answer() -> None:
    assert time_limit(10.0, None) == memory.START_LIMIT + memory.SLACK + 30.0
    assert time_limit(1e4, None) == memory.LONGEST
    for left in (10.0, 60.0, 120.0):
        assert time_limit(100.0, left) + memory.GRACE <= 0.9 * left


# -- on a CPU


BACKENDS = '''
import mmap, os, signal, time
import numpy as np
from lstm_impl import Step
from lstm_impl.backends.numpy_loop import NumPyLoop, NumPyModel

KEPT = []

class Told(NumPyLoop):
    def _build(self, spec, weights, device, batch_major):
        return ToldModel(self, spec, "cpu", False, weights)

class ToldModel(NumPyModel):
    """Its steps do as the strategy is called; those of one unit, with which it starts, nothing."""

    def prepare(self, workload, seed=0):
        if self.spec.hidden_size == 1:
            return Step(lambda: None, lambda: None, lambda: None)
        calls = []

        def run():
            calls.append(1)
            getattr(self, self.backend.strategy)(len(calls))

        return Step(run, lambda: None, lambda: None)

    def grows(self, call):
        KEPT.append(np.ones(8 << 20, np.uint8))          # 8 MiB more each time, kept
        np.ones((64 if call == 1 else 16) << 20, np.uint8)  # and freed

    def swells(self, call):
        if call == 3:
            KEPT.append(np.ones(32 << 20, np.uint8))

    def reads(self, call):
        with open(__file__ + ".large", "rb") as file:    # the pages of a file, as of a library
            KEPT.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        sum(KEPT[-1][::4096])

    def dies(self, call):
        os.kill(os.getpid(), signal.SIGKILL)

    def leaves(self, call):
        os._exit(3)

    def raises(self, call):
        raise ValueError("not today\\nnor tomorrow")

    def hangs(self, call):
        time.sleep(1000)

    def talks(self, call):
        print("loud", flush=True)
        os.write(1, b"loud")
        os.write(2, b"loud")

for name in ("grows", "swells", "reads", "dies", "leaves", "raises", "hangs", "talks"):
    globals()[name] = type(name, (Told,), {"strategy": name, "framework": "told"})
for name in ("broken", "crashing"):
    globals()[name] = type(name, (Told,), {"strategy": name, "framework": name})
'''
NAMES = (
    "grows",
    "swells",
    "reads",
    "dies",
    "leaves",
    "raises",
    "hangs",
    "talks",
    "broken",
    "crashing",
)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Backends of another package, found by entry points as any."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "told_backends.py").write_text(BACKENDS)
    (folder / "told.py").write_text("")
    (folder / "broken.py").write_text("raise RuntimeError('its library is not there')")
    (folder / "crashing.py").write_text("import os; os.abort()")
    facts = folder / "told-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: told\nVersion: 1.0\n")
    points = "\n".join(f"{name} = told_backends:{name}" for name in NAMES)
    (facts / "entry_points.txt").write_text(f"[lstm_impl.backends]\n{points}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


@pytest.fixture
def process_memory() -> Iterator[ProcessMemory]:
    with ProcessMemory() as found:
        yield found


@pytest.fixture(scope="module")
def lasting(backends: Path) -> Iterator[ProcessMemory]:
    """One whose server outlives what its children do, each in a fork of its own."""
    with ProcessMemory() as found:
        yield found


def case(name: str, **changes: Any) -> Case:
    return Case(name, LSTMSpec(1, 4), Workload(2, 6, "training", **changes))


def known(figures: Figures) -> tuple[float, float]:
    peak, steady = figures["peak_bytes"], figures["steady_bytes"]
    assert isinstance(peak, int), figures["how"]
    assert isinstance(steady, int), figures["how"]
    return peak, steady


def reason(figures: Figures) -> str:
    assert figures["peak_bytes"] is None
    assert figures["steady_bytes"] is None
    return str(figures["how"])


@linux
def test_the_peak_is_that_of_the_first_calls_and_steady_that_of_a_later_one(
    lasting: ProcessMemory,
) -> None:
    peak, steady = known(lasting.measure(case("grows"), 0, ENOUGH))
    assert peak == pytest.approx((8 + 64) * MIB, abs=2 * MIB)
    assert steady == pytest.approx((3 * 8 + 16) * MIB, abs=2 * MIB)


@linux
def test_the_peak_is_never_less_than_what_a_later_step_holds(lasting: ProcessMemory) -> None:
    peak, steady = known(lasting.measure(case("swells"), 0, ENOUGH))
    assert peak == steady == pytest.approx(32 * MIB, abs=2 * MIB)


@linux
def test_what_one_case_leaves_is_not_the_next_ones(lasting: ProcessMemory) -> None:
    found = [known(lasting.measure(case("grows"), 0, ENOUGH)) for _ in range(2)]
    assert found[0][0] == pytest.approx(found[1][0], abs=2 * MIB)


@linux
def test_pages_of_files_are_not_counted(backends: Path, lasting: ProcessMemory) -> None:
    (backends / "told_backends.py.large").write_bytes(bytes(64 * MIB))
    peak, steady = known(lasting.measure(case("reads"), 0, ENOUGH))
    assert max(peak, steady) < 4 * MIB


@linux
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dies", "its process was ended by SIGKILL (as a rule: no memory was left)"),
        ("leaves", "its process ended with exit code 3"),
        ("raises", "ValueError: not today"),
    ],
)
def test_a_child_that_comes_to_nothing_leaves_the_reason_and_the_next_case_its_turn(
    lasting: ProcessMemory, name: str, why: str
) -> None:
    assert reason(lasting.measure(case(name), 0, ENOUGH)) == f"not known: {why}"
    known(lasting.measure(case("grows"), 0, ENOUGH))


@linux
def test_a_child_that_hangs_is_ended_at_its_limit_and_its_server_goes_on(
    lasting: ProcessMemory,
) -> None:
    """And how long it took is told of what was found and of what was not."""
    known(lasting.measure(case("grows"), 0, ENOUGH))
    begun = time.monotonic()
    hung = lasting.measure(case("hangs"), 0, 2.0)
    assert "it took longer than 2 s" in reason(hung)
    known(found := lasting.measure(case("grows"), 0, ENOUGH))
    took = time.monotonic() - begun
    assert took < ENOUGH
    assert isinstance(slow := hung["seconds"], float)
    assert isinstance(quick := found["seconds"], float)
    assert slow >= 1.0
    assert 0 < slow + quick <= took


@linux
def test_what_a_framework_prints_is_no_answer(lasting: ProcessMemory) -> None:
    known(lasting.measure(case("talks"), 0, ENOUGH))


@linux
def test_a_framework_that_does_not_start_is_not_started_again(
    backends: Path, process_memory: ProcessMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "not known: broken cannot be imported: its library is not there"
    assert reason(process_memory.measure(case("broken"), 0, ENOUGH)) == told

    def start(*arguments: object) -> None:
        raise AssertionError("it was started again")

    monkeypatch.setattr(memory, "Server", start)
    assert reason(process_memory.measure(case("broken"), 0, ENOUGH)) == told


@linux
def test_a_framework_that_takes_its_process_down_costs_the_figure_only(
    backends: Path, process_memory: ProcessMemory
) -> None:
    found = process_memory.measure(case("crashing"), 0, ENOUGH)
    assert reason(found) == "not known: the process for memory has ended"


@linux
def test_a_server_that_was_killed_is_started_anew(
    backends: Path, process_memory: ProcessMemory
) -> None:
    known(process_memory.measure(case("grows"), 0, ENOUGH))
    (server,) = process_memory._servers.values()
    os.kill(server.process, signal.SIGKILL)
    assert "the process for memory has" in reason(process_memory.measure(case("grows"), 0, ENOUGH))
    known(process_memory.measure(case("grows"), 0, ENOUGH))


def gone(process: int) -> bool:
    """Whether a process has ended (what nobody has waited for yet counts as ended)."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def soon(happens: Callable[[], bool]) -> bool:
    end = time.monotonic() + ENOUGH
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(each) for each in text.split()]


@linux
def test_the_server_and_its_child_end_with_whoever_started_them(backends: Path) -> None:
    code = (
        "import sys\n"
        "from bench.measuring.memory import Server\n"
        "from bench.suites.cases import Case\n"
        "from lstm_impl import LSTMSpec, Workload\n"
        "server = Server('told')\n"
        "print(server.process, flush=True)\n"
        "case = Case('hangs', LSTMSpec(1, 4), Workload(2, 6))\n"
        "server.ask({'case': case.to_dict(), 'seed': 0, 'threads': None}, 1000.0)\n"
    )
    root = Path(memory.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root, text=True
    ) as starter:
        assert starter.stdout is not None
        server = int(starter.stdout.readline())
        assert soon(lambda: bool(children(server)))
        (child,) = children(server)
        starter.kill()
    assert soon(lambda: gone(server) and gone(child))


@linux
def test_a_machine_without_room_for_another_process_costs_the_figure_only(
    process_memory: ProcessMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.EAGAIN, "too many processes")

    monkeypatch.setattr(subprocess, "Popen", full)
    found = process_memory.measure(case("numpy"), 0, ENOUGH)
    told = "not known: the process for memory cannot be started: too many processes"
    assert reason(found) == told


@linux
def test_closing_ends_the_server_and_a_later_case_starts_another(
    backends: Path, process_memory: ProcessMemory
) -> None:
    known(process_memory.measure(case("grows"), 0, ENOUGH))
    (server,) = process_memory._servers.values()
    process_memory.close()
    assert gone(server.process)
    known(process_memory.measure(case("grows"), 0, ENOUGH))


@linux
def test_a_server_that_is_not_ready_in_time_is_an_error(backends: Path) -> None:
    with pytest.raises(ServerError, match="was not ready in 0 s"):
        Server("told", limit=0.0)


def test_without_time_it_is_not_begun(process_memory: ProcessMemory) -> None:
    found = process_memory.measure(case("numpy"), 0, 0.5)
    assert "no time was left" in reason(found)
    assert process_memory._servers == {}


def test_a_case_that_would_not_fit_a_second_time_is_not_begun(
    process_memory: ProcessMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(estimate, "free", lambda device: estimate.Free(10, None, 2))
    found = process_memory.measure(case("numpy"), 0, ENOUGH)
    assert "beside the process that times, needs about" in reason(found)


def test_elsewhere_than_on_linux_the_reason_is_kept(
    process_memory: ProcessMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert reason(process_memory.measure(case("numpy"), 0, ENOUGH)).endswith("from Linux's /proc")


def peaks_of(
    backend: str, batch: int, windows: Sequence[int], process_memory: ProcessMemory
) -> list[float]:
    """The peak at each window of a stream as long as the longest, 16 features and 64 units."""
    stream, spec = max(windows), LSTMSpec(16, 64)
    cases = [Case(backend, spec, Workload(batch, stream, "training", window=k)) for k in windows]
    return [known(process_memory.measure(each, 0, ENOUGH))[0] for each in cases]


@linux
def test_a_real_backends_memory_grows_with_its_window(process_memory: ProcessMemory) -> None:
    windows = (25, 100, 200)
    peaks = peaks_of("numpy", 16, windows, process_memory)
    slope = bytes_per_timestep(windows, peaks)
    assert slope is not None
    # It keeps gates, cells and outputs in float64: six arrays of [batch, hidden] at least.
    kept = 8 * 6 * 16 * 64
    assert kept < slope.mid < 8 * kept


@linux
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_tensorflows_memory_is_measured_in_a_fork_of_its_server(
    process_memory: ProcessMemory,
) -> None:
    windows = (30, 240)
    peaks = peaks_of("while_loop", 32, windows, process_memory)
    assert list(process_memory._servers) == ["tensorflow"]
    slope = bytes_per_timestep(windows, peaks)
    assert slope is not None
    # It keeps gates, cells and outputs in float32 for the backward pass, and makes gradients.
    kept = 4 * 6 * 32 * 64
    assert kept < slope.mid < 12 * kept


def test_every_framework_of_ours_is_imported_before_the_fork() -> None:
    from lstm_impl import get_backend
    from lstm_impl.registry import _BUILT_IN

    numbers = {"partial_unroll": "partial_unroll@10"}
    backends = [get_backend(numbers.get(name, name)) for name in _BUILT_IN]
    # Keras's other backends need Keras besides, and TensorFlow's must not be there with them.
    usual = {"KERAS_BACKEND": "tensorflow"}
    keras = {each.strategy for each in backends if {**usual, **each.environment} != usual}
    frameworks = {each.framework for each in backends if each.strategy not in keras}
    assert (frameworks - {"numpy"}) | keras == set(memory_server.MODULES)
