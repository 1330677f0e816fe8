"""Memory, with simulated allocators and real processes that grow, die and hang."""

import errno
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.records.schema import Figures
from bench.render.messages import no_figure
from bench.worker import estimate, resources
from bench.worker.resources import ProcessMemory, gauge, time_limit
from lstm_impl import Step
from tests.bench.worker.forked_backends import ENOUGH, case, known, linux, reason

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


def backend_of(framework: str) -> Any:
    return SimpleNamespace(framework=framework)


def one_case(framework: str, modules: dict[str, Any], pool: Pool, *, first: int) -> Figures:
    """Run a case that holds 100 bytes and needs ``first`` more in its first call, 50 in later
    ones."""
    assert gauge(backend_of(framework), "cpu", modules) is None
    found = gauge(backend_of(framework), "gpu:1", modules)
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
    assert "something before it in the process needed more" in no_figure(found)


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
