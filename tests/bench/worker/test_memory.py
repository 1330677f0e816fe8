"""Test the memory of a case, in the process that times and in another."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.case.cases import Case
from bench.records.schema import Figures
from bench.render.messages import no_figure
from bench.verdicts.along import bytes_per_unit
from bench.worker import estimate, memory_server, resources
from bench.worker.resources import ProcessMemory, gauge, time_limit
from lstm_impl import LSTMSpec, Step, Workload
from tests.bench.worker.forked_backends import ENOUGH, MIB, case, gone, known, linux, reason

# -- on a GPU


@dataclass
class Pool:
    """The memory of a GPU as an allocator counts it."""

    in_use: int = 0
    peak: int = 0
    calls: list[str] = field(default_factory=list)

    def hold(self, size: int) -> None:
        self.in_use += size
        self.peak = max(self.peak, self.in_use)

    def use(self, size: int) -> None:
        self.hold(size)
        self.in_use -= size

    def reset(self, device: object) -> None:
        self.peak = self.in_use

    def read_size(self, device: object) -> int:
        self.calls.append(str(device))
        return self.in_use

    def framework(self, name: str) -> Any:
        """Return the parts of a framework's module that are used."""
        if name == "tensorflow":
            experimental = SimpleNamespace(
                get_memory_info=lambda of: {"current": self.read_size(of), "peak": self.peak},
                reset_memory_stats=self.reset,
            )
            return SimpleNamespace(config=SimpleNamespace(experimental=experimental))
        if name == "torch":
            cuda = SimpleNamespace(
                memory_allocated=self.read_size,
                max_memory_allocated=lambda device: self.peak,
                reset_peak_memory_stats=self.reset,
            )
            return SimpleNamespace(cuda=cuda)
        gpu = SimpleNamespace(
            memory_stats=lambda: {"bytes_in_use": self.in_use, "peak_bytes_in_use": self.peak}
        )
        return SimpleNamespace(devices=lambda kind: [gpu, gpu] if self.read_size(kind) >= 0 else [])


def make_backend(framework: str) -> Any:
    return SimpleNamespace(framework=framework)


def one_case(framework: str, modules: dict[str, Any], pool: Pool, *, first: int) -> Figures:
    """Run a case that holds 100 bytes and needs ``first`` more in its first call, 50 in later
    ones."""
    assert gauge(make_backend(framework), "cpu", modules) is None
    found = gauge(make_backend(framework), "gpu:1", modules)
    assert found is not None
    pool.hold(100)
    pool.use(first)
    return found(Step(lambda: pool.use(50), lambda: None, lambda: None))


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_gauge_earlier_peak_is_not_counted(framework: str) -> None:
    pool = Pool(in_use=1000, peak=9000)
    found = one_case(framework, {framework: pool.framework(framework)}, pool, first=400)
    assert found["peak_bytes"] == 500
    assert found["steady_bytes"] == 150
    assert pool.calls[0] == ("GPU:1" if framework == "tensorflow" else "1")


@pytest.mark.parametrize("framework", ["jax", "flax"])
def test_gauge_jax_counts_only_a_raised_peak(framework: str) -> None:
    pool = Pool(in_use=1000, peak=1200)
    found = one_case(framework, {"jax": pool.framework("jax")}, pool, first=400)
    assert (found["peak_bytes"], found["steady_bytes"]) == (500, None)
    assert (found["how"], found["allocator"]) == ("allocator", "JAX")
    assert pool.calls == ["gpu"]
    pool.peak = 9000
    found = one_case(framework, {"jax": pool.framework("jax")}, pool, first=400)
    assert "something earlier in the process needed more memory" in no_figure(found)


def test_gauge_framework_without_allocator_gives_the_reason() -> None:
    found = one_case("onnxruntime", {"onnxruntime": object()}, Pool(), first=1)
    assert found["peak_bytes"] is None
    assert no_figure(found) == "not known: onnxruntime does not say what it holds on a GPU"


def test_gauge_failing_allocator_gives_the_reason() -> None:
    def fail(*arguments: object) -> int:
        raise RuntimeError("no such device\nand a page more")

    cuda = SimpleNamespace(
        memory_allocated=fail, max_memory_allocated=fail, reset_peak_memory_stats=fail
    )
    found = one_case("torch", {"torch": SimpleNamespace(cuda=cuda)}, Pool(), first=1)
    assert no_figure(found) == "not known: no such device"


def test_time_limit_leaves_time_for_the_answer() -> None:
    assert time_limit(10.0, None) == resources.START_LIMIT + resources.SLACK + 30.0
    assert time_limit(1e4, None) == resources.LONGEST
    for left in (10.0, 60.0, 120.0):
        assert time_limit(100.0, left) + resources.GRACE <= 0.9 * left


# -- on a CPU


@linux
def test_memory_framework_that_failed_is_not_started_again(
    backends: Path, process_memory: ProcessMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = "not known: broken cannot be imported: its library is not there"
    assert reason(process_memory.measure(case("broken"), 0, ENOUGH)) == expected

    def start(*arguments: object) -> None:
        raise AssertionError("it was started again")

    monkeypatch.setattr(resources, "Server", start)
    assert reason(process_memory.measure(case("broken"), 0, ENOUGH)) == expected


@linux
def test_memory_killed_server_is_started_again(
    backends: Path, process_memory: ProcessMemory
) -> None:
    known(process_memory.measure(case("grows"), 0, ENOUGH))
    (server,) = process_memory._servers.values()
    os.kill(server.process.pid, signal.SIGKILL)
    assert "the process for memory has" in reason(process_memory.measure(case("grows"), 0, ENOUGH))
    known(process_memory.measure(case("grows"), 0, ENOUGH))


@linux
def test_memory_process_that_cannot_start_gives_the_reason(
    process_memory: ProcessMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.EAGAIN, "too many processes")

    monkeypatch.setattr(subprocess, "Popen", full)
    found = process_memory.measure(case("numpy"), 0, ENOUGH)
    expected = "not known: the process for memory cannot be started: too many processes"
    assert reason(found) == expected


def test_memory_without_time_is_not_begun(process_memory: ProcessMemory) -> None:
    found = process_memory.measure(case("numpy"), 0, 0.5)
    assert "no time was left" in reason(found)
    assert process_memory._servers == {}


def test_memory_case_that_does_not_fit_twice_is_not_begun(
    process_memory: ProcessMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(estimate, "free", lambda device: estimate.Free(10, None, 2))
    found = process_memory.measure(case("numpy"), 0, ENOUGH)
    assert "next to the process that times, needs about" in reason(found)
    assert {type(each) for each in found.values()} <= {int, float, str, type(None)}  # as is read


# The server


@pytest.fixture(scope="module")
def lasting(backends: Path) -> Iterator[ProcessMemory]:
    """Share one server, which its children cannot end."""
    with ProcessMemory() as found:
        yield found


@linux
def test_measure_growing_case_gives_peak_and_steady_bytes(lasting: ProcessMemory) -> None:
    peak, steady = known(lasting.measure(case("grows"), 0, ENOUGH))
    assert peak == pytest.approx((8 + 64) * MIB, abs=2 * MIB)
    assert steady == pytest.approx((3 * 8 + 16) * MIB, abs=2 * MIB)


@linux
def test_resident_pages_of_files_are_not_counted(backends: Path, lasting: ProcessMemory) -> None:
    (backends / "forked.py.large").write_bytes(bytes(64 * MIB))
    peak, steady = known(lasting.measure(case("reads"), 0, ENOUGH))
    assert max(peak, steady) < 4 * MIB


@linux
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dies", "its process was ended by SIGKILL (usually because memory ran out)"),
        ("leaves", "its process ended with exit code 3"),
        ("raises", "ValueError: not today"),
    ],
)
def test_server_failed_child_gives_the_reason_and_goes_on(
    lasting: ProcessMemory, name: str, why: str
) -> None:
    assert reason(lasting.measure(case(name), 0, ENOUGH)) == f"not known: {why}"
    known(lasting.measure(case("grows"), 0, ENOUGH))


@linux
def test_server_hanging_child_is_ended_at_its_limit(lasting: ProcessMemory) -> None:
    """The seconds are recorded with figures and without."""
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
def test_server_killed_parent_ends_it_and_its_child(backends: Path) -> None:
    code = (
        "import sys\n"
        "from bench.worker.resources import Server\n"
        "from bench.case.cases import Case\n"
        "from lstm_impl import LSTMSpec, Workload\n"
        "server = Server('scripted')\n"
        "print(server.process.pid, flush=True)\n"
        "case = Case('hangs', LSTMSpec(1, 4), Workload(2, 6))\n"
        "server.ask({'case': case.to_dict(), 'seed': 0, 'threads': None}, 1000.0)\n"
    )
    root = Path(resources.__file__).parents[2]
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
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_memory_tensorflow_grows_with_the_window(process_memory: ProcessMemory) -> None:
    windows, spec = (30, 120), LSTMSpec(16, 64)
    works = [Workload(32, 120, "training", window=window) for window in windows]
    cases = [Case("while_loop", spec, work) for work in works]
    peaks = [known(process_memory.measure(each, 0, ENOUGH))[0] for each in cases]
    assert list(process_memory._servers) == ["tensorflow"]
    slope = bytes_per_unit(dict(zip(windows, peaks, strict=True)))
    assert slope is not None
    # Gates, cells and outputs in float32 for the backward pass, and gradients.
    kept = 4 * 6 * 32 * 64
    assert kept < slope.mid < 12 * kept


def test_servers_import_the_frameworks_of_backends_and_keras_on_them() -> None:
    from lstm_impl import get_backend

    assert memory_server.server_name(get_backend("jax_scan")) == "jax"
    assert memory_server.server_name(get_backend("keras_jax")) == "jax+keras"
    assert memory_server.server_name(get_backend("keras_openvino")) == "openvino+keras"


def test_import_missing_module_is_skipped_and_broken_one_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lacking.py").write_text("import no_such_dependency")
    for name in ("no_such_framework", "no_such_framework.part"):
        memory_server._import(name)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        memory_server._import("lacking")
