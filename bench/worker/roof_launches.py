"""The launch roof: how fast a framework starts operators that have nothing to do.

An LSTM's loop starts some twenty small operators at each timestep. What starting takes is seen in a
loop of operators on one number, in the same framework and by the same means as the backend's own:
TensorFlow's executor, what XLA compiled, or a Python program. Each waits for the one before, so
that none has to be handed to another thread; a real loop's may have to, which takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.case.cases import Case
from bench.machine import devices
from bench.stats.bound import FROM_PYTHON
from bench.worker.roof_work import Work
from lstm_impl.backends.hlo import launches

OPERATORS = 16
"""In a turn of the loop, so that the turn's own work is shared by about as many as in an LSTM's."""

TURNS = 1000
"""Of one call: calling a graph takes as long as some hundred of its operators."""

NUMBERS = 1024
"""That an operator of XLA's computes: a loop over less than a kilobyte it makes into one kernel,
which starts nothing. A tenth of a microsecond at the most."""


@dataclass(frozen=True)
class Launches:
    """What a case's step starts: so many operators, by one of ``LAUNCHERS``, of a framework."""

    count: float
    by: str
    framework: str


@dataclass(frozen=True)
class Launcher:
    """An empty loop. library: whose it is, with its version."""

    library: str
    work: Work


def counted(evidence: Mapping[str, Any], framework: str) -> Launches | None:
    """What a backend's evidence says that one step starts; None where it does not."""
    count, by = evidence.get("launches"), evidence.get("launched_by")
    if not isinstance(count, int | float) or not isinstance(by, str) or count <= 0:
        return None
    return Launches(float(count), by, framework)


def launcher(case: Case, asked: Launches) -> Launcher | None:
    """The empty loop that a case's launches are held against; None where there is none."""
    make = _MAKERS.get((asked.by, _SAME.get(asked.framework, asked.framework)))
    return None if make is None else make(case.device)


def _tensorflow(device: str) -> Launcher:
    import tensorflow as tf

    place = _place(device)
    with tf.device(place):
        number = tf.constant([0.5])

    def body(turn: Any, value: Any) -> Any:
        for _ in range(OPERATORS):
            value = tf.tanh(value)
        return turn + 1, value

    def loop(turns: Any, value: Any) -> Any:
        with tf.device(place):
            return tf.while_loop(lambda turn, _: turn < turns, body, (0, value))

    function = tf.function(loop, autograph=False)

    def run(count: int) -> None:
        function(tf.constant(count * TURNS), number)
        tf.test.experimental.sync_devices()

    work = Work(run, TURNS * OPERATORS, "a loop of TensorFlow's")
    return Launcher(f"TensorFlow {tf.__version__}", work)


def _tensorflow_compiled(device: str) -> Launcher:
    import tensorflow as tf

    place = _place(device)
    with tf.device(place):
        numbers = tf.fill([NUMBERS], 0.5)

    def body(turn: Any, value: Any) -> Any:
        return turn + 1, tf.cast(turn, tf.float32) - value

    def loop(value: Any) -> Any:
        with tf.device(place):
            return tf.while_loop(lambda turn, _: turn < TURNS, body, (0, value))

    function = tf.function(loop, jit_compile=True, autograph=False)
    started = _started(str(function.experimental_get_compiler_ir(numbers)(stage="optimized_hlo")))

    def run(count: int) -> None:
        for _ in range(count):
            function(numbers)
        tf.test.experimental.sync_devices()

    work = Work(run, started, "a loop of TensorFlow's with XLA")
    return Launcher(f"TensorFlow {tf.__version__}", work)


def _place(device: str) -> str:
    return "/CPU:0" if device == "cpu" else f"/GPU:{devices.gpu_index(device)}"


def _started(text: str) -> int:
    """Kernels of a compiled loop, which decides itself what it fuses.

    Raises RuntimeError where that is not told, or a turn starts none.
    """
    found = launches(text)
    if found is None or found < TURNS:
        raise RuntimeError(f"the compiled loop starts {found} kernels in {TURNS} turns")
    return found


def _jax(device: str) -> Launcher:
    import jax

    kind, index = ("cpu", 0) if device == "cpu" else ("gpu", devices.gpu_index(device))
    numbers = jax.device_put(np.full(NUMBERS, 0.5, np.float32), jax.devices(kind)[index])

    def body(turn: Any, value: Any) -> Any:
        return turn - value

    loop = jax.jit(lambda value: jax.lax.fori_loop(0, TURNS, body, value)).lower(numbers).compile()
    started = _started(loop.as_text())

    def run(count: int) -> None:
        for _ in range(count):
            last = loop(numbers)
        jax.block_until_ready(last)

    return Launcher(f"JAX {jax.__version__}", Work(run, started, "a loop of JAX's with XLA"))


def _torch(device: str) -> Launcher:
    import torch

    place = "cpu" if device == "cpu" else f"cuda:{devices.gpu_index(device)}"
    number = torch.full((1,), 0.5, device=place)

    def run(count: int) -> None:
        with torch.inference_mode():
            value = number
            for _ in range(count * OPERATORS):
                value = torch.tanh(value)
            if place != "cpu":
                torch.cuda.synchronize(place)

    by = f"operators of PyTorch {FROM_PYTHON}"
    return Launcher(f"PyTorch {torch.__version__}", Work(run, OPERATORS, by))


def _numpy(device: str) -> Launcher:
    number = np.full(1, 0.5, np.float32)

    def run(count: int) -> None:
        value = number
        for _ in range(count * OPERATORS):
            value = np.tanh(value)

    by = f"operators of NumPy {FROM_PYTHON}"
    return Launcher(f"NumPy {np.__version__}", Work(run, OPERATORS, by))


_MAKERS: dict[tuple[str, str], Callable[[str], Launcher]] = {
    ("tensorflow", "tensorflow"): _tensorflow,
    ("xla", "tensorflow"): _tensorflow_compiled,
    ("xla", "jax"): _jax,
    ("python", "torch"): _torch,
    ("python", "numpy"): _numpy,
}

_SAME = {"flax": "jax", "flashrnn": "torch"}
"""Frameworks that compute with another's operators."""
