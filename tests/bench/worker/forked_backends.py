"""Backends of another package whose processes grow, die and hang."""

import sys
from pathlib import Path
from typing import Any

import pytest

from bench.case.cases import Case
from bench.records.schema import Figures
from bench.render.messages import no_figure
from lstm_impl import LSTMSpec, Workload

MIB = 2**20
ENOUGH = 120.0  # seconds for work of one second on a busy machine

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")


BACKENDS = '''
import mmap, os, signal, time
import numpy as np
from lstm_impl import Step
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel

KEPT = []

class Scripted(NumPyLoop):
    def _build(self, spec, weights, device, batch_major):
        return WorldModel(self, spec, "cpu", False, weights)

class WorldModel(NumPyModel):
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

for name in ("grows", "reads", "dies", "leaves", "raises", "hangs"):
    globals()[name] = type(name, (Scripted,), {"strategy": name, "framework": "scripted"})
broken = type("broken", (Scripted,), {"strategy": "broken", "framework": "broken"})
'''


NAMES = ("grows", "reads", "dies", "leaves", "raises", "hangs", "broken")


def install(folder: Path) -> None:
    """Install their package, with a framework that imports and one that is broken."""
    (folder / "forked.py").write_text(BACKENDS)
    (folder / "scripted.py").write_text("")
    (folder / "broken.py").write_text("raise RuntimeError('its library is not there')")
    facts = folder / "scripted-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1.0\n")
    points = "\n".join(f"{name} = forked:{name}" for name in NAMES)
    (facts / "entry_points.txt").write_text(f"[lstm_impl.backends]\n{points}\n")


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
    return no_figure(figures)


def gone(process: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"
