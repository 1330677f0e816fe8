"""Run ``python tools/wheel_check.py BACKEND ...``: check backends on a machine without a compiler.

Run the file by its path, in an environment where a wheel is installed, so that nothing is imported
from the clone. Each backend must compute from a prebuilt library, in each type that it supports.
"""

from __future__ import annotations

import sys

from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend
from lstm_impl.backends.fused_cpu.library import COMPUTES
from lstm_impl.proof import gate


def main(names: list[str]) -> int:
    """Return 0, or 1 if a backend is unavailable, not prebuilt or wrong."""
    for name in names:
        backend = get_backend(name)
        available = backend.availability("cpu")
        if "runs from a prebuilt library" not in available.reason:
            print(f"{name}: {available.reason or 'it would be compiled'}", file=sys.stderr)
            return 1
        for dtype in COMPUTES if name != "numpy_fused" else COMPUTES[:1]:
            spec = LSTMSpec(3, 33, dtype=dtype)
            model = backend.build(spec, LSTMWeights.random(spec))
            found = gate(model, Workload(13, 5, "training"))
            if not found.passed:
                print(f"{name} in {dtype}: {found.describe()}", file=sys.stderr)
                return 1
        print(f"{name}: {available.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
