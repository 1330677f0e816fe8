"""Find the modules that a fresh interpreter has loaded after a program."""

import subprocess
import sys

from tests.places import ROOT

FRAMEWORKS = (
    *("tensorflow", "keras", "tf_keras", "torch", "jax", "jaxlib", "flax"),
    *("onnx", "onnxruntime", "ai_edge_litert", "triton", "openvino", "tinygrad"),
)
"""Seconds each, and not all are installed everywhere."""

SLOW = ("pandas", "scipy.stats", "matplotlib", "pyarrow", "duckdb", "PIL")
"""Tenths of a second each: loaded only where they are used."""


def list_loaded(program: str) -> set[str]:
    """Return the full names of the modules that a program loads. It must not print anything.

    Raises AssertionError with its errors where it failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
