"""Run ``python -m tools.amx_bars``: measure and judge the kernels on a CPU with AMX.

It measures ``amx_bars.toml`` in six processes, and compares each of our times with that of the
fastest peer. Paths of result files are judged without a measurement, on any machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
from bench.cli import arguments, command_line
from bench.render.quantities import ratio, seconds
from bench.render.table import markdown_table
from lstm_impl import UnsupportedError
from lstm_impl.backends.fused_cpu.prebuilt import cpu_flags

SUITE = Path(__file__).with_name("amx_bars.toml")

MEASURING = ("--processes", "6", "--seconds", "0.25")

EPILOG = """\
exit codes: 0 every bar is met; 1 one is missed or has no result; 2 bad input, or a CPU without AMX
"""

STREAM, WIDE = "b1-t150-i256-h256", "b64-t25-i512-h512"
SHAPES = (STREAM, "b128-t25-i64-h64", "b32-t100-i128-h128", "b8-t100-i256-h256", WIDE)


@dataclass(frozen=True)
class Bar:
    """How many times as fast as the fastest of some peers a backend is to be in one case.

    shape: as in a case's id, where ``-dw`` and ``-dwx`` name the gradients of a training step.
    """

    backend: str
    peers: tuple[str, ...]
    shape: str
    least: float
    dtype: str = "bfloat16"
    mode: str = "inference"


def bars() -> Iterator[Bar]:
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


def judge(frame: Any) -> Iterator[tuple[Bar, float | None, float | None]]:
    """Yield each bar with our time and the fastest peer's, None where a case was not measured."""
    measured = frame[frame.outcome == "measured"]
    for bar in bars():
        same = (measured["shape"] == bar.shape) & (measured["mode"] == bar.mode)
        rows = measured[same & (measured["dtype"] == bar.dtype)]
        ours = rows[rows.backend == bar.backend].time_s
        peers = rows[rows.backend.isin(bar.peers)].time_s
        yield bar, _shortest(ours), _shortest(peers)


def _shortest(times: Any) -> float | None:
    return float(times.min()) if len(times) else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _judge, argv, UnsupportedError, OSError)


def _judge(options: argparse.Namespace) -> int:
    paths = options.paths or measure(options.results)
    lines, all_met = [], True
    for bar, ours, peers in judge(bench.load_frame(paths)):
        found = ours is not None and peers is not None
        speedup = peers / ours if ours is not None and peers is not None else 0.0
        is_met = found and speedup >= bar.least
        all_met = all_met and is_met
        name = f"{bar.backend} {bar.dtype} {bar.mode}"
        times = [seconds(each) if each is not None else "none" for each in (ours, peers)]
        verdict = "met" if is_met else "missed" if found else "no result"
        shown = f"{ratio(speedup)}×" if found else ""
        lines.append([f"{name}, {bar.shape}", *times, shown, f"{bar.least:g}×", verdict])
    headings = ["case", "ours", "fastest peer", "speedup", "bar", "verdict"]
    print(markdown_table(headings, [False, True, True, True, True, False], lines))
    return 0 if all_met else 1


def measure(folder: Path) -> list[str]:
    """Measure the suite and return the paths of its result files.

    Raises UnsupportedError on a CPU without AMX, where there is nothing to judge.
    """
    if "amx_bf16" not in cpu_flags():
        raise UnsupportedError(
            "this CPU has no AMX (no flag amx_bf16 in /proc/cpuinfo), so that there are no tiles "
            "to measure; name result files of another machine to judge those"
        )
    before = set(folder.glob("amx-bars-*.json"))
    command = [sys.executable, "-m", "bench.run", str(SUITE), *MEASURING, "--results", str(folder)]
    if code := subprocess.run(command, check=False).returncode:
        raise UnsupportedError(f"bench.run ended with exit code {code}; see its messages above")
    return sorted(map(str, set(folder.glob("amx-bars-*.json")) - before))


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "tools.amx_bars",
        "Measure the kernels on a CPU with AMX, and judge them against other libraries.",
        EPILOG,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="result files to judge instead")
    which = "the folder for new result files (default: results)"
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help=which)
    return parser


if __name__ == "__main__":
    command_line.end(main)
