"""Measure this project by pytest into a folder of the test."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench import records
from bench.records.schema import ResultFile
from tests.bench import other_package
from tests.bench.warm_pytest import WarmPytest
from tests.outside import outside
from tests.places import ROOT

SUITE = """\
schema = 1
name = "mine"
backends = ["numpy"]
devices = ["cpu"]
seconds = 0.05

[[groups]]
modes = ["training"]
shapes = [{ batch = 2, timesteps = 3, input_size = 1, hidden_size = 2 }]

[[groups]]
modes = ["inference", "training"]
windows = [2]
shapes = [{ batch = 2, timesteps = 4, input_size = 1, hidden_size = 2 }]
"""


# Backends that misbehave, installed as those of another package.
MISBEHAVING = """\
import os, signal
from dataclasses import replace
from lstm_impl import Availability, Step, UnsupportedError
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel

class _Scripted(NumPyLoop):
    def _build(self, spec, weights, device, batch_major):
        return self.model(self, spec, device, batch_major, weights)

class _Wrong(NumPyModel):
    def _train(self, *arguments):
        raw = super()._train(*arguments)
        # None in the timed step: the gate finds it where it requests all gradients once.
        dx = None if raw.dx is None else raw.dx * 1.01
        return replace(raw, dx=dx)

class _Raising(NumPyModel):
    def prepare(self, workload, seed=0):
        if self.spec.hidden_size > 1:
            raise MemoryError("a million bytes too few")
        return super().prepare(workload, seed)

class _Late(NumPyModel):
    # Sends a signal in its fortieth call, which is timed.
    def prepare(self, workload, seed=0):
        step, calls = super().prepare(workload, seed), []
        def run():
            calls.append(1)
            if len(calls) == 40:
                os.kill(os.getpid(), self.backend.signal)
            return step.run()
        return Step(run, step.synchronize, step.trace)

class Wrong(_Scripted):
    strategy, model = "wrong", _Wrong
class Raising(_Scripted):
    strategy, model = "raising", _Raising
class Interrupted(_Scripted):
    strategy, model, signal = "interrupted", _Late, signal.SIGINT
class Killed(_Scripted):
    strategy, model, signal = "killed", _Late, signal.SIGKILL
class Absent(NumPyLoop):
    strategy = "absent"
    def availability(self, device="cpu"):
        return Availability(False, "it is not installed", "pip install it")
class Choosy(NumPyLoop):
    strategy = "choosy"
    def refusal(self, spec, workload=None):
        return "windows are beneath it" if workload and workload.window else ""
"""


# Only the environment of our tests has Hypothesis, whose plugin imports all of it.
WITHOUT = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")


Environ: TypeAlias = dict[str, str]


@dataclass
class Done:
    code: int
    out: str
    folder: Path

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.json")) if self.folder.exists() else []

    @property
    def file(self) -> ResultFile:
        (path,) = self.files
        return records.read(path)

    @property
    def data(self) -> dict[str, Any]:
        (path,) = self.files
        found: dict[str, Any] = json.loads(path.read_text())
        return found


class Project:
    """This project, measured into a folder of the test by forks of ``warm``."""

    def __init__(self, folder: Path, warm: WarmPytest | None = None) -> None:
        self.folder = folder
        self._warm = warm
        # A lock of its own: no other run on the machine interferes.
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.suite = folder / "mine.toml"
        self.suite.write_text(SUITE)
        names = ("wrong", "raising", "interrupted", "killed", "absent", "choosy")
        backends = {name: name.capitalize() for name in names}
        self.packages = folder / "packages"
        other_package.install(self.packages, "misbehaving", MISBEHAVING, backends)

    def select_backends(self, *names: str) -> None:
        self.suite.write_text(SUITE.replace('["numpy"]', json.dumps(names)))

    @property
    def into(self) -> tuple[str, ...]:
        """The options that name the suite and the folder."""
        return (f"--lstm-suite={self.suite}", f"--lstm-results={self.folder / 'results'}")

    @property
    def suited(self) -> tuple[str, ...]:
        """The options that measure the suite into the folder."""
        return ("--benchmark-only", *self.into)

    def run(self, *arguments: str, where: Path = ROOT, environ: Environ | None = None) -> Done:
        """Run pytest in a fork."""
        assert self._warm is not None
        own = self._environ(environ)
        code, out = self._warm.run([*WITHOUT, *arguments], where, own, self.packages)
        return Done(code, out, self.folder / "results")

    def start(self, *arguments: str, where: Path = ROOT, environ: Environ | None = None) -> Done:
        """Run pytest in a new process."""
        return self.python("-m", "pytest", *WITHOUT, *arguments, where=where, environ=environ)

    def python(self, *arguments: str, where: Path = ROOT, environ: Environ | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=where,
            env=self._environ(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return Done(done.returncode, done.stdout, self.folder / "results")

    def measure(self, *arguments: str) -> Done:
        """Run pytest --benchmark-only on the suite, into the folder, in a fork."""
        return self.run(*self.suited, *arguments)

    def _environ(self, environ: Environ | None) -> Environ:
        own = {"COLUMNS": "100", "TMPDIR": str(self.temporary), **(environ or {})}
        return outside(self.packages) | own


@dataclass
class Usual:
    """A project whose suite was measured once with the default options."""

    project: Project
    done: Done
    theirs: Path


IDS = (
    "numpy/b2-t3-i1-h2-dw/float32/training/cpu",
    "numpy/b2-t4-i1-h2-w2/float32/inference/cpu",
    "numpy/b2-t4-i1-h2-w2-dw/float32/training/cpu",
)
