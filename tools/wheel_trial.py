"""Run ``python tools/wheel_trial.py``: try the library's wheel with NumPy alone, as a new user.

Run the file by its path, in an environment where only the wheel of ``lstm-impl`` was installed and
where no compiler is on the PATH. The command checks that the wheel requires nothing except NumPy
and registers no plugin, and that its kernels compute from a prebuilt library. It prints the size of
what was installed and the time of the first call.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LIBRARY = "lstm-impl"
"""The distribution of the library."""

COMPILERS = ("c++", "g++", "clang++", "cc", "gcc", "clang")
"""The commands that must not be found."""

PROCESSES = 9
"""The number of processes that time their first call."""

FIRST_CALL = """
import time

started = time.perf_counter()
import numpy as np

with_numpy = time.perf_counter()
import lstm_impl

spec = lstm_impl.LSTMSpec(input_size=128, hidden_size=256)
weights = lstm_impl.LSTMWeights.random(spec)
backend = lstm_impl.get_backend("numpy_fused")
y, state = backend.build(spec, weights).forward(np.ones((100, 32, 128), np.float32))
ended, used = time.perf_counter(), time.process_time()
assert "it runs from a prebuilt library" in backend.availability("cpu").reason
times = ended - started, with_numpy - started, used
print(*times, backend.availability("cpu").reason, sep=";")
"""
"""A program that computes 100 timesteps of 32 sequences. It prints the seconds from before its
first import to the result, those of importing NumPy, the processor time since the start of Python
in all threads, and the library that computed."""


def find_problems() -> Iterator[str]:
    """Yield what a user of the wheel would not expect."""
    for name in COMPILERS:
        if found := shutil.which(name):
            yield f"this trial is for a machine without a compiler, and here is {found}"
    installed = importlib.metadata.distribution(LIBRARY)
    needed = [each for each in installed.requires or () if "extra ==" not in each]
    if [each.partition(">")[0] for each in needed] != ["numpy"]:
        yield f"{LIBRARY} requires {needed}; expected NumPy alone"
    for point in installed.entry_points:
        yield f"{LIBRARY} registers {point.name} in {point.group}"


def measure_size(name: str) -> float:
    """Return the size of an installed distribution in megabytes."""
    files = (Path(str(each.locate())) for each in importlib.metadata.files(name) or ())
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def main() -> int:
    """Return 0, or 1 with the reasons on standard error."""
    problems = list(find_problems())
    for problem in problems:
        print(problem, file=sys.stderr)
    names = {each.metadata["Name"] for each in importlib.metadata.distributions()}
    for name in sorted(names - {"pip", "setuptools", "wheel"}):
        print(f"{name} {importlib.metadata.version(name)}: {measure_size(name):.1f} MB")
    # With -P, Python imports nothing from the working directory, which may be a clone.
    command = [sys.executable, "-P", "-c", FIRST_CALL]
    said = [
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split(";")
        for _ in range(PROCESSES)
    ]
    total, of_numpy, used = (
        statistics.median(float(each[part]) for each in said) for part in range(3)
    )
    print(
        f"first call: {total:.2f} s, of which importing NumPy takes {of_numpy:.2f} s; "
        f"processor time {used:.2f} s (medians of {PROCESSES} processes); {said[0][3].strip()}"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
