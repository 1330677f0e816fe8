"""Run ``python -m tools.amx_bars``: measure and judge the kernels on a CPU with AMX.

The command measures ``amx_bars.toml`` in six processes, and compares each of our times with that of
the fastest peer. If you name result files, it judges those on any machine and measures nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cli import command_line
from lstm_impl import UnsupportedError
from lstm_impl.backends.fused_cpu.prebuilt import cpu_flags
from tools.bars import Bar, load_or_measure, make_parser, print_verdicts
from tools.bars import measure as measure_suite

SUITE = Path(__file__).with_name("amx_bars.toml")
"""The suite that is measured."""

EPILOG = """\
exit codes: 0 every bar is met; 1 one is missed or has no result; 2 bad input, or a CPU without AMX
"""

STREAM, WIDE = "b1-t150-i256-h256", "b64-t25-i512-h512"
SHAPES = (STREAM, "b128-t25-i64-h64", "b32-t100-i128-h128", "b8-t100-i256-h256", WIDE)


def list_bars() -> Iterator[Bar]:
    """Yield all bars: bfloat16 in inference and training, int8, and float32 at the widest shape."""
    forward = "fused_cpu:forward", ("torch:forward",)
    for shape in SHAPES:
        yield Bar(*forward, shape, 1.8 if shape == WIDE else 1.3)
    for gradients in ("dw", "dwx"):
        for shape in SHAPES:
            yield Bar("fused_cpu", ("torch",), f"{shape}-{gradients}", 2.0, mode="training")
    int8 = "numpy_fused:int8", ("onnxruntime:int8",)
    for shape in SHAPES:
        yield Bar(*int8, shape, 1.5, dtype="float32")
    others = "torch:forward", "onnxruntime", "openvino"
    yield Bar("fused_cpu:forward", others, WIDE, 1.5, dtype="float32")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    what = "Measure the kernels on a CPU with AMX, and judge them against other libraries."
    parser = make_parser("tools.amx_bars", what, EPILOG)
    return command_line.run(parser, _judge, argv, UnsupportedError, OSError)


def _judge(options: argparse.Namespace) -> int:
    return 1 if print_verdicts(load_or_measure(options, measure), list_bars()) else 0


def measure(folder: Path) -> list[str]:
    """Measure the suite, and return the paths of its result files.

    Raises
    ------
    UnsupportedError
        If the CPU has no AMX, so that there is nothing to judge, or if the measurement fails.
    """
    if "amx_bf16" not in cpu_flags():
        raise UnsupportedError(
            "this CPU has no AMX (no flag amx_bf16 in /proc/cpuinfo), so there are no tiles to "
            "measure; to judge another machine, name its result files"
        )
    return measure_suite(SUITE, folder)


if __name__ == "__main__":
    command_line.run_and_exit(main)
