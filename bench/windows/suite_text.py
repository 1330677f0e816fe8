"""The suite that measures precisely what a person asked: its text, and the check that it loads.

This room knows questions and suites.
"""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

from bench import suites
from bench.machine import devices
from bench.suites.loading import Suite
from bench.suites.values import SuiteError
from bench.windows.answer import Question
from bench.windows.needed import Need

BACKENDS = ("keras", "while_loop", "while_loop+hoisted", "while_loop+hoisted+xla")
GPU_BACKENDS = ("cudnn",)
PEERS = ("torch", "jax_scan")
"""TensorFlow's ways that compile at any length, and its peers; what is not installed is recorded as
not measured and costs no time."""

_MULTIPLES = (1, 2, 4)
"""Of the window that is needed: what a longer one would save is part of the question."""

SECONDS = 3.0


def text(question: Question, need: Need, backends: Sequence[str] = ()) -> str:
    """The suite as TOML. backends: by default the usual ones of the device."""
    chosen = list(backends)
    if not chosen:
        gpu = GPU_BACKENDS if devices.kind(question.device) == "gpu" else ()
        chosen = [*BACKENDS, *gpu, *PEERS]
    size = question.input_size or question.hidden_size
    if question.training:
        windows = [need.window * each for each in _MULTIPLES]
        if question.steps is not None:
            windows = [k for k in windows if k <= question.steps]
        timesteps = windows[-1]
        what = f"windows for a dependency of {question.dependency} timesteps"
        cost = (
            f"what a window for a dependency of {question.dependency} timesteps costs. The window "
            f"needed is {need.window}: {need.why}."
        )
        cut = f'gradients = "weights"\nwindows = {json.dumps(windows)}\n'
        optimizer = ', optimizer = "adam"'
    else:
        timesteps = need.window
        what = f"inference on {timesteps} timesteps"
        cost = f"what {what} costs."
        cut = optimizer = ""
    about = textwrap.wrap(f"Written by python -m bench.recommend: {cost}", 96)
    comment = "\n".join(f"# {line}" for line in about)
    layers = f", num_layers = {question.num_layers}" if question.num_layers > 1 else ""
    return f"""\
{comment}

schema = 1
name = "{name(question)}"
summary = "{what}"
backends = {json.dumps(chosen)}
devices = {json.dumps([question.device])}
modes = {json.dumps([question.mode])}
dtypes = {json.dumps([question.dtype])}
seconds = {SECONDS}
memory = true

[[groups]]
{cut}shapes = [
  {{ batch = {question.batch}, timesteps = {timesteps}, input_size = {size}, \
hidden_size = {question.hidden_size}{layers}{optimizer} }},
]
"""


def name(question: Question) -> str:
    """Of the suite, which its file has, too."""
    if question.training:
        return f"dependency-{question.dependency}"
    return f"inference-{question.steps}"


def checked(told: str, name: str) -> Suite:
    """The suite that a text stands for. Raises SuiteError, naming ``name``, if it does not load."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suite.toml"
        path.write_text(told, encoding="utf-8")
        try:
            return suites.load(str(path))
        except SuiteError as error:
            raise SuiteError(str(error).replace(str(path), name)) from None
