"""The process that measures memory, with forks that grow, die and hang."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.case.cases import Case
from bench.stats.along import bytes_per_unit
from bench.worker import memory_server, resources
from bench.worker.resources import ProcessMemory
from lstm_impl import LSTMSpec, Workload
from tests.bench.worker.forked_backends import ENOUGH, MIB, case, gone, known, linux, reason


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


def test_modules_have_every_framework_of_the_package() -> None:
    from lstm_impl import get_backend
    from lstm_impl.names import BUILT_IN

    numbers = {"partial_unroll": "partial_unroll@10"}
    backends = [get_backend(numbers.get(name, name)) for name in BUILT_IN]
    # Keras's other backends need Keras, but not TensorFlow.
    usual = {"KERAS_BACKEND": "tensorflow"}
    keras = {each.strategy for each in backends if {**usual, **each.environment} != usual}
    frameworks = {each.framework for each in backends if each.strategy not in keras}
    assert (frameworks - {"numpy"}) | keras == set(memory_server.MODULES)


def test_import_missing_module_is_skipped_and_broken_one_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lacking.py").write_text("import no_such_dependency")
    for name in ("no_such_framework", "no_such_framework.part"):
        memory_server._import(name)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        memory_server._import("lacking")
