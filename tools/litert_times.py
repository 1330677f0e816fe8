"""Run ``python -m tools.litert_times``: compare the LiteRT files into which Keras's LSTM converts.

The command prints a Markdown table with the size of each file and the CPU time of a call on one
thread. The files run in turn, so that a change of the machine's speed affects all of them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

SHAPES = ((1, 1, 64, 64), (1, 50, 16, 32), (1, 100, 64, 64), (8, 50, 128, 256))
"""The batch, timesteps, inputs and units of each layer."""

ROUNDS = 30
"""The number of samples for each file."""
SECONDS = 0.01
"""The least CPU time of one sample in seconds. Many clocks could not resolve a single call."""


def make_runners(shape: tuple[int, int, int, int]) -> dict[str, tuple[int, Callable[[], None]]]:
    """Return the size of each file in bytes, and a function that runs the file once."""
    import keras

    from lstm_impl.backends.others import litert
    from lstm_impl.keras import export_litert

    batch, steps, inputs, units = shape
    layer = keras.layers.LSTM(units, return_sequences=True)
    model = keras.Sequential([keras.Input((steps, inputs)), layer])
    x = np.random.default_rng(0).normal(size=(batch, steps, inputs)).astype(np.float32)
    files = {
        "loop": export_litert(model, batch, fused=False, print_fn=None),
        "fused operator": export_litert(model, batch, print_fn=None),
        "fused operator, int8": export_litert(
            model, batch, precision="int8", samples=[x], print_fn=None
        ),
    }

    def make_runner(content: bytes) -> Callable[[], None]:
        interpreter = litert.open_interpreter(content, 1)
        interpreter.allocate_tensors()
        (place,) = (each["index"] for each in interpreter.get_input_details())

        def run() -> None:
            interpreter.set_tensor(place, x)
            interpreter.invoke()

        return run

    return {name: (len(content), make_runner(content)) for name, content in files.items()}


def measure(runners: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Return samples of the CPU time of one call in seconds, from interleaved rounds."""
    calls = {}
    for name, run in runners.items():
        run()
        begin = time.process_time()
        run()
        calls[name] = max(1, round(SECONDS / max(time.process_time() - begin, 1e-6)))
    samples: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            begin = time.process_time()
            for _ in range(calls[name]):
                run()
            samples[name].append((time.process_time() - begin) / calls[name])
    return samples


def main() -> int:
    """Print the table and return the exit code 0."""
    print("| shape | file | kB | CPU ms per call | times as fast as the loop |")
    print("|---|---|---:|---:|---:|")
    for shape in SHAPES:
        made = make_runners(shape)
        samples = measure({name: run for name, (_, run) in made.items()})
        batch, steps, inputs, units = shape
        for name, (size, _) in made.items():
            pairs = zip(samples["loop"], samples[name], strict=True)
            ratio = statistics.median(loop / own for loop, own in pairs)
            print(
                f"| {batch}×{steps}×{inputs}→{units} | {name} | {size / 1000:.0f} "
                f"| {statistics.median(samples[name]) * 1000:.3g} | {ratio:.2g} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
