"""Run ``python -m tools.gru_bars``: measure and judge the kernels of a GRU.

The command measures ``gru_bars.toml`` in six processes, and compares each of our times with that of
the fastest peer. If you name result files, it judges those on any machine and measures nothing.
"""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cli import command_line
from lstm_impl import UnsupportedError
from tools.bars import Bar, load_or_measure, make_parser, measure, print_verdicts

SUITE = Path(__file__).with_name("gru_bars.toml")
"""The suite that is measured."""

EPILOG = """\
exit codes: 0 the bars are met, of those of fused_cpu in each mode all but one; 1 more are missed or
have no result; 2 bad input
"""

SHAPES = (
    "b5-t15-i1-h4",
    "b1-t1-i256-h256",
    "b1-t150-i256-h256",
    "b8-t100-i256-h256",
    "b32-t100-i128-h128",
    "b64-t25-i512-h512",
    "b128-t25-i64-h64",
)
"""The shapes of the suite ``cpu-frameworks``."""

AGENT = "b64-t32-i32-h128"
"""The shape of TorchRL's issue 4154, in which its own backward pass takes 10.2 ms."""

SCANS = ("jax_scan", "jax_scan+preproject")

ALLOWED = {"fused_cpu:forward": 1, "fused_cpu": 1}
"""The number of bars that a backend may miss: one of its seven shapes."""


def list_bars() -> Iterator[Bar]:
    """Yield all bars: of fused_cpu in both modes, and of torch_fused_cpu in training."""
    others = "torch:forward", *(f"{each}:forward" for each in SCANS), "keras:forward", "onnxruntime"
    for shape in SHAPES:
        yield Bar("fused_cpu:forward", others, f"{shape}-gru", 1.05, dtype="float32")
    in_training = functools.partial(Bar, dtype="float32", mode="training")
    for shape in SHAPES:
        yield in_training("fused_cpu", ("torch", *SCANS, "keras"), f"{shape}-gru-dw", 1.05)
    for shape in SHAPES:
        yield in_training("torch_fused_cpu", ("torch",), f"{shape}-gru-dw", 1.2)
    yield in_training("torch_fused_cpu", (), f"{AGENT}-gru-dw", 0.0, most_s=0.010)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code (see ``EPILOG``)."""
    what = "Measure the kernels' GRU on a CPU, and judge it against other libraries."
    parser = make_parser("tools.gru_bars", what, EPILOG)
    return command_line.run(parser, _judge, argv, UnsupportedError, OSError)


def _judge(options: argparse.Namespace) -> int:
    frame = load_or_measure(options, functools.partial(measure, SUITE))
    missed = Counter(bar.backend for bar in print_verdicts(frame, list_bars()))
    return 1 if any(count > ALLOWED.get(name, 0) for name, count in missed.items()) else 0


if __name__ == "__main__":
    command_line.run_and_exit(main)
