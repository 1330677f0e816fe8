"""Records of one thing timed beside another in a process, as a fresh process answers them."""

from __future__ import annotations

from typing import Any

import numpy as np


def record(seconds: float, **more: Any) -> dict[str, Any]:
    """Of twenty rounds on one shape, with a little noise that is the same for all."""
    noise = np.random.default_rng(0).uniform(0.999, 1.001, 20)
    return {
        "shape": "b1-t1-i1-h1",
        "failed": "",
        "samples": (seconds * noise).tolist(),
        "rounds": list(range(20)),
        **more,
    }


def of_layers(seconds: float, theirs: str, **more: Any) -> list[dict[str, Any]]:
    """A process that timed Keras's layer, 2 s a step, and ours."""
    step = {"mode": "training", "picked": "scan"}
    return [record(2.0, layer=theirs, **step), record(seconds, layer="auto", **step, **more)]
