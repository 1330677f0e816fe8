"""Installs the TensorFlow that suits this machine into the environment that runs this file.

With the CUDA libraries where NVIDIA's driver shows a GPU, the CPU's build elsewhere: no tox setting
can ask the machine. It knows the project's extras and what a device is, nothing else; the project
itself must be installed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.machine import devices

SIZES = {"cpu": "about 250 MB", "gpu": "about 3 GB, CUDA libraries included"}


def extra(here: list[str]) -> str:
    """The project's extra for a machine with these devices."""
    return "gpu" if any(devices.kind(name) == "gpu" for name in here) else "cpu"


def command(name: str) -> list[str]:
    """What installs an extra's packages; pip leaves alone what is there already."""
    requirement = f"lstm-benchmark-suite[{name}]"
    constraints = str(Path(__file__).resolve().parent.parent / "constraints.txt")
    return [sys.executable, "-m", "pip", "install", "-q", "-c", constraints, requirement]


def main() -> int:
    """Install, and return pip's exit code."""
    name = extra(devices.list_devices())
    # Said before, since pip says nothing for minutes.
    print(f"TensorFlow ({name}): {SIZES[name]}, downloaded once", flush=True)
    return subprocess.call(command(name))


if __name__ == "__main__":
    sys.exit(main())
