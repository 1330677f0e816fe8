"""Run ``python -m tools.packed_times``: compare our layers with PyTorch's on packed sequences.

The command prints a Markdown table with the time of a call of ``torch.nn.LSTM`` and ``GRU``, and of
``lstm_impl.torch.LSTM`` and ``GRU``, on the same ``PackedSequence`` of sequences whose lengths are
spread evenly. It also prints the time of our layer on a batch without padding. The calls run in
turn, so that a change of the machine's speed affects all of them. Run it on a quiet machine,
because PyTorch's threads spin while they wait for each other. On a busy machine, ``--cpu-time``
measures the processor time of one thread.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

LENGTHS = (20, 100)
"""The shortest and the longest sequence, in timesteps."""

INTERVAL = 1.96
"""Standard normal quantile of a 95% interval."""


def make_calls(
    cell: str, units: int, batch: int, training: bool
) -> dict[str, Callable[[], object]]:
    """Return the calls that are compared, by name."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    import lstm_impl.torch as ours

    torch.manual_seed(0)
    peer, own = getattr(torch.nn, cell)(units, units), getattr(ours, cell)(units, units)
    own.load_state_dict(peer.state_dict())
    x = torch.randn(LENGTHS[1], batch, units)
    lengths = torch.linspace(*LENGTHS, batch).round().long()
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)

    def infer(layer: Any, given: Any) -> None:
        with torch.no_grad():
            layer(given)

    def train(layer: Any, given: Any) -> None:
        layer.zero_grad(set_to_none=True)
        y = layer(given)[0]
        data = y if torch.is_tensor(y) else y.data
        data.backward(torch.ones_like(data))

    run = train if training else infer
    return {
        "peer": lambda: run(peer, packed),
        "packed": lambda: run(own, packed),
        "full": lambda: run(own, x),
    }


def measure(
    calls: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return samples of the time of one call in seconds, from interleaved rounds."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        order = list(calls.items())
        for name, call in order if number % 2 else reversed(order):
            call()  # The threads of the other layer may still be spinning.
            begin = clock()
            call()
            if number:  # The first round warms up.
                samples[name].append(clock() - begin)
    return samples


def find_interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of ratios, and a 95% interval from order statistics."""
    ordered, count = sorted(ratios), len(ratios)
    reach = INTERVAL * math.sqrt(count) / 2
    low, high = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
    return statistics.median(ordered), ordered[max(0, low)], ordered[min(count - 1, high)]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and return the exit code 0."""
    about = "Compare our layers with PyTorch's on packed sequences, in a Markdown table."
    parser = argparse.ArgumentParser(prog="python -m tools.packed_times", description=about)
    parser.add_argument("--cells", nargs="+", default=["LSTM", "GRU"], choices=["LSTM", "GRU"])
    parser.add_argument("--units", nargs="+", type=int, default=[256, 128, 64])
    parser.add_argument("--batch", type=int, default=8, help="number of sequences")
    parser.add_argument("--rounds", type=int, default=40, help="number of samples of each call")
    parser.add_argument("--cpu-time", action="store_true", help="the CPU time of one thread")
    given = parser.parse_args(argv)
    clock = time.perf_counter
    if given.cpu_time:
        import torch

        torch.set_num_threads(1)
        clock = time.process_time
    print("| layer | units | mode | PyTorch | ours | times as fast | ours, full batch |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for cell in given.cells:
        for units in given.units:
            for mode in ("inference", "training"):
                calls = make_calls(cell, units, given.batch, mode == "training")
                samples = measure(calls, given.rounds, clock)
                pairs = zip(samples["peer"], samples["packed"], strict=True)
                median, low, high = find_interval([peer / own for peer, own in pairs])
                peer, own, full = (
                    f"{statistics.median(samples[name]) * 1000:.3g} ms"
                    for name in ("peer", "packed", "full")
                )
                print(
                    f"| {cell} | {units} | {mode} | {peer} | {own} "
                    f"| {median:.2f} ({low:.2f}–{high:.2f}) | {full} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
