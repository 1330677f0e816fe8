"""Run ``python -m tools.empty_call``: measure what a ``tf.function`` costs without an LSTM in it.

For layers with little work, most of the time is TensorFlow's own cost of a call. For each layer,
the command times four functions in turn, and prints the CPU time of each, which is the shortest of
several rounds:

- ``empty``: a ``tf.function`` that returns its argument, or the layer's variables in training;
- ``reads``: a function that also reads the layer's three variables;
- ``layer``: a function that calls the layer, or computes the gradients of its variables;
- ``kernel``: only the kernels, through the C interface, without TensorFlow.

The difference between ``layer`` and ``reads + kernel`` is what this project's op adds.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

SHAPES = ((1, 1, 256, 256), (5, 15, 1, 4))
"""The batch, timesteps, features and units of each layer."""

ROUNDS, CALLS = 30, 100
"""The number of rounds, and how often each round calls a function. A call takes about 0.1 ms."""

Function = Callable[[], object]
"""A call to time."""


def make_calls(shape: Sequence[int], training: bool) -> dict[str, Function]:
    """Return the calls to time by name, for a layer of this batch, time, input and units."""
    import tensorflow as tf

    import lstm_impl.keras

    batch, timesteps, features, units = shape
    layer = lstm_impl.keras.LSTM(units, return_sequences=True)
    layer.build((batch, timesteps, features))
    x = tf.random.normal([batch, timesteps, features])
    variables = [each.value for each in layer.trainable_variables]

    def infer(x: Any) -> Any:
        return layer(x, training=False)

    def train(x: Any) -> Any:
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
        return tape.gradient(y, layer.trainable_variables)

    def reads(x: Any) -> Any:
        return [x, *(tf.identity(each) for each in variables)]

    def empty(x: Any) -> Any:
        return x

    bodies: dict[str, Callable[[Any], Any]] = {
        "empty": empty,
        "reads": reads,
        "layer": train if training else infer,
    }
    traced = {name: tf.function(body, autograph=False) for name, body in bodies.items()}
    calls: dict[str, Function] = {
        name: functools.partial(function, x) for name, function in traced.items()
    }
    return calls | {"kernel": make_kernel_call(shape, training)}


def make_kernel_call(shape: Sequence[int], training: bool) -> Function:
    """Return a call of only the kernels, for a layer of this batch, time, input and units."""
    from lstm_impl.backends.fused_cpu.c_interface import KernelLayer, kernels

    batch, timesteps, features, units = shape
    layer = KernelLayer(timesteps, batch, features, units, batch_major=1)
    loaded, width = kernels(), 4 * units
    gates, cells = loaded.kept_sizes(timesteps, batch, units)
    state, sequence = (batch, units), (batch, timesteps, units)
    weights = (features, width), (units, width), (width,)

    def arrays(*shapes: Any) -> list[Any]:
        return [np.zeros(each, np.float32) for each in shapes]

    def addresses(given: Sequence[Any]) -> list[int]:
        return [0 if each is None else each.ctypes.data for each in given]

    kernel, recurrent_kernel, bias, x, h, c = arrays(
        *weights, (batch, timesteps, features), state, state
    )
    y, *last = arrays(sequence, state, state)
    kept = arrays(gates, cells) if training else [None, None]
    forward = [kernel, recurrent_kernel, bias, x, h, c, None, y, *last, *kept, None]
    flows = arrays(sequence, state, state)
    made = arrays(gates, state, state, *weights)
    backward = [recurrent_kernel, x, h, c, None, y, *kept, *flows, *made]
    given, back = addresses(forward), addresses(backward) if training else []
    alive = forward, backward  # The addresses belong to these arrays, which must stay alive.

    def call() -> object:
        loaded.forward(layer, *given)
        if training:
            loaded.backward(layer, *back)
        return alive

    return call


def measure_cpu_times(
    calls: Mapping[str, Function],
    rounds: int,
    count: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Return the shortest mean CPU time of each function in seconds. The functions run in turn."""
    for call in calls.values():
        for _ in range(3):  # This traces the function, and lets TensorFlow optimize its graph.
            call()
    shortest = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            started = clock()
            for _ in range(count):
                call()
            shortest[name] = min(shortest[name], (clock() - started) / count)
    return shortest


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and return the exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.empty_call", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"of a round; default {CALLS}")
    options = parser.parse_args(argv)
    print("| batch × time × units | mode | empty | reads | layer | kernel |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for batch, timesteps, features, units in SHAPES:
        size = f"{features}→{units}" if features != units else str(units)
        for mode in ("inference", "training"):
            calls = make_calls((batch, timesteps, features, units), mode == "training")
            found = measure_cpu_times(calls, options.rounds, options.calls)
            cells = " | ".join(f"{1e6 * each:.0f} µs" for each in found.values())
            print(f"| {batch}×{timesteps}×{size} | {mode} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
