"""Test ``bench.run`` and its verdicts on this machine with backends of known ratio.

Two names of one backend must not differ, and one that takes a tenth longer for each step must be
found slower. What the simulation of ``verdict_study`` shows of made-up samples is tested here of
real ones: processes, alternating blocks, files and verdicts as a user has them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import other_package
from tests.places import ROOT

SOURCE = """\
import time
from dataclasses import replace
from lstm_impl.backends.{module} import {base}

class Twin({base}):
    strategy = "twin"

class Waiting({base}):  # for its result in each call, not once per block
    strategy = "waiting"
    share = 0.0

    def _build(self, *arguments):
        model = super()._build(*arguments)
        prepare = model.prepare

        def waiting(workload, seed=0):
            step = prepare(workload, seed)

            def run():
                start = time.perf_counter()
                result = step.run()
                step.synchronize()
                end = time.perf_counter()
                while time.perf_counter() < end + self.share * (end - start):
                    pass
                return result

            return replace(step, run=run)

        model.prepare = waiting
        return model

class Late(Waiting):
    strategy = "late"
    share = 0.1
"""

SUITE = """\
schema = 1
name = "truth"
backends = ["{strategy}", "twin", "waiting", "late"]
devices = ["cpu"]
modes = ["training"]
seconds = 1.0

[[groups]]
shapes = [{{ batch = 16, timesteps = 25, input_size = 32, hidden_size = 64 }}]
"""

PROCESSES = 12
"""Enough for a true tenth to be found in all but one of thousands of comparisons, where processes
spread by 3.5% (docs/verdicts.md)."""

MOST_PROCESSES = 48
"""Of a machine that is so busy that twelve do not show a tenth."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "module", "base"),
    [
        ("numpy", "others.numpy_loop", "NumPyLoop"),
        ("while_loop", "tensorflow.loops", "WhileLoop"),
    ],
)
def test_run_judges_a_twin_equal_and_a_tenth_more_slower(
    tmp_path: Path, strategy: str, module: str, base: str
) -> None:
    packages = tmp_path / "packages"
    source = SOURCE.format(module=module, base=base)
    points = {"twin": "Twin", "waiting": "Waiting", "late": "Late"}
    other_package.install(packages, "twins", source, points)
    (tmp_path / "truth.toml").write_text(SUITE.format(strategy=strategy))
    # A lock of its own: other runs on the machine do not matter here.
    (tmp_path / "tmp").mkdir()
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)]),
        "TMPDIR": str(tmp_path / "tmp"),
        # Else each step waits for a thread that another program keeps from its processor.
        **dict.fromkeys(("OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1"),
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def read(backend: str, baseline: str) -> dict[str, object]:
        report = run("bench.report", "results", f"--baseline={baseline}", "--format=json")
        rows: list[dict[str, object]] = json.loads(report)["cases"]
        return next(row for row in rows if row["backend"] == backend)

    run("bench.run", "truth.toml", f"--processes={PROCESSES}", "--results=results")
    twin = read("twin", strategy)
    # It is tested once: repeating until there is a verdict makes false ones.
    assert twin["processes"] == PROCESSES
    assert twin["verdict"] in ("SAME", "UNCLEAR"), twin
    late = read("late", "waiting")
    processes = PROCESSES
    while late["verdict"] == "UNCLEAR" and processes < MOST_PROCESSES:
        processes += PROCESSES
        options = (f"--resume={late['session']}", f"--processes={processes}", "--results=results")
        run("bench.run", *options)
        late = read("late", "waiting")
    assert late["verdict"] == "SLOWER", late
    low, high = late["ratio_low"], late["ratio_high"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < 1.1 < high, late
