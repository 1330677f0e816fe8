"""What a fresh interpreter has loaded when a program has run: what starts at once loads little."""

from __future__ import annotations

import subprocess
import sys

from tests.places import ROOT

FRAMEWORKS = (
    *("tensorflow", "keras", "tf_keras", "torch", "jax", "jaxlib", "flax"),
    *("onnx", "onnxruntime", "ai_edge_litert", "triton", "openvino"),
)
"""Seconds each, and not all are installed everywhere."""

SLOW = ("pandas", "scipy.stats", "matplotlib", "pyarrow", "duckdb", "PIL")
"""Tenths of a second each: for those who asked for what they do."""


def loaded_by(program: str) -> set[str]:
    """The modules by their full names; the program may print nothing.

    Raises ``AssertionError`` with what it said where it failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
