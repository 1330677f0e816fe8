"""Run ``python -m tools.amx_bars``: measure and judge the kernels on a CPU with AMX.

The command measures ``amx_bars.toml`` in six processes, with float32 by tiles, and compares each of
our times with that of the fastest peer. Then it measures float32 by the CPU's float units and by
tiles, to see which should be the default. If you name result files, it judges those on any machine
and measures nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.cli import command_line
from bench.render.quantities import ratio, seconds
from bench.render.table import markdown_table
from lstm_impl import UnsupportedError
from lstm_impl.backends.fused_cpu.prebuilt import cpu_flags
from tools.bars import Bar, Times, load_or_measure, make_parser, print_verdicts
from tools.bars import measure as measure_suite

SUITE = Path(__file__).with_name("amx_bars.toml")
"""The suite that is measured."""

FLOAT32 = Path(__file__).with_name("amx_float32.toml")

PRODUCTS = "LSTM_NATIVE_FLOAT32"
"""The environment variable that chooses how float32 is multiplied."""

UNITS, TILES = "amx-float32-units", "amx-float32-tiles"
"""The suites of float32 by the CPU's float units and by tiles."""

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
    frame = load_or_measure(options, measure)
    missed = print_verdicts(frame[~frame.suite.isin([UNITS, TILES])], list_bars())
    found = list(compare_float32(frame))
    if found:
        headings = ["float32", "tiles", "units", "speedup", "interval"]
        print("\n" + markdown_table(headings, [False, *4 * [True]], [*map(_cells, found)]))
    print(f"\n{advise_default(found)}")
    return 1 if missed else 0


def compare_float32(frame: Any) -> Iterator[tuple[str, Times]]:
    """Yield each float32 case that was measured by tiles and by units, and both times."""
    measured = frame[frame.outcome == "measured"]
    units = {row.case_id: row for row in measured[measured.suite == UNITS].itertuples()}
    for row in measured[measured.suite == TILES].itertuples():
        if row.case_id in units:
            yield row.case_id, Times.of(row, units[row.case_id])


def _cells(found: tuple[str, Times]) -> list[str]:
    case, times = found
    assert times.ours is not None
    assert times.peer is not None
    both = [seconds(times.ours), seconds(times.peer)]
    return [case, *both, f"{ratio(times.peer / times.ours)}×", times.describe_interval()]


def advise_default(found: Sequence[tuple[str, Times]]) -> str:
    """Return what the comparison of tiles with units means for the default of float32."""
    if not found:
        return "float32 by tiles was not measured next to float32 by units."
    uncertain = [case for case, times in found if times.low is None or times.low <= 1.0]
    if not uncertain:
        return "Tiles are faster in every case: make them the default of float32."
    names = ", ".join(uncertain)
    return f"Keep the units as the default of float32: tiles are not certainly faster at {names}."


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
    paths = measure_suite(SUITE, folder, {PRODUCTS: "tiles"})
    with tempfile.TemporaryDirectory() as scratch:
        for products in ("units", "tiles"):
            suite = Path(scratch, f"amx_float32_{products}.toml")
            suite.write_text(FLOAT32.read_text().replace("PRODUCTS", products))
            paths += measure_suite(suite, folder, {PRODUCTS: products})
    return paths


if __name__ == "__main__":
    command_line.run_and_exit(main)
