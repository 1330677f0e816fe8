"""Judge whether kernels are faster than other libraries by the required factors.

``tools.amx_bars`` and ``tools.gru_bars`` define the bars, and how their cases are measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import bench
from bench.cli import arguments
from bench.render.quantities import ratio, seconds
from bench.render.table import markdown_table
from lstm_impl import UnsupportedError

MEASURING = ("--processes", "6", "--seconds", "0.25")
"""The options of the measurement."""


@dataclass(frozen=True)
class Bar:
    """Describe how many times as fast as its fastest peer a backend must be in one case.

    Attributes
    ----------
    backend, peers
        Our backend, and the backends with which it is compared.
    shape
        The sizes as in a case's id, where ``-dw`` and ``-dwx`` name the gradients of a training
        step.
    least
        The smallest speedup with which the bar is met.
    dtype, mode
        The precision and the mode of the case.
    most_s
        The longest time that our case may take, in seconds, or None. It replaces the comparison.
    """

    backend: str
    peers: tuple[str, ...]
    shape: str
    least: float
    dtype: str = "bfloat16"
    mode: str = "inference"
    most_s: float | None = None


@dataclass(frozen=True)
class Times:
    """Hold the measured times of a bar in seconds. A time is None if the case was not measured.

    Attributes
    ----------
    ours, peer
        Our time, and that of the fastest peer.
    low, high
        The interval of how many times as fast ours is. Its ends are quotients of the opposite ends
        of the intervals of both times. Both are None if a time has no interval.
    """

    ours: float | None
    peer: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, ours: Any, peer: Any) -> Self:
        """Return the times of two rows of a table of results, of which each may be None."""
        found = cls(getattr(ours, "time_s", None), getattr(peer, "time_s", None))
        if getattr(ours, "time_low_s", None) is None or getattr(peer, "time_low_s", None) is None:
            return found
        low, high = peer.time_low_s / ours.time_high_s, peer.time_high_s / ours.time_low_s
        return replace(found, low=low, high=high)

    def describe_interval(self) -> str:
        """Return the interval of the speedup, or an empty string."""
        if self.low is None or self.high is None:
            return ""
        return f"{ratio(self.low)} to {ratio(self.high)}×"

    def describe(self, bar: Bar) -> tuple[list[str], str]:
        """Return the columns of times, speedup, interval and bar, and the verdict."""
        ours, peer = (
            seconds(each) if each is not None else "none" for each in (self.ours, self.peer)
        )
        if bar.most_s is not None:
            verdict = "no result"
            if self.ours is not None:
                verdict = "met" if self.ours < bar.most_s else "missed"
            return [ours, "", "", "", f"< {seconds(bar.most_s)}"], verdict
        least = f"{bar.least:g}×"
        if self.ours is None or self.peer is None:
            return [ours, peer, "", "", least], "no result"
        speedup = self.peer / self.ours
        return [
            ours,
            peer,
            f"{ratio(speedup)}×",
            self.describe_interval(),
            least,
        ], "met" if speedup >= bar.least else "missed"


def judge(frame: Any, bars: Iterable[Bar]) -> Iterator[tuple[Bar, Times]]:
    """Yield each bar with our time and that of the fastest peer."""
    measured = frame[frame.outcome == "measured"]
    for bar in bars:
        same = (measured["shape"] == bar.shape) & (measured["mode"] == bar.mode)
        rows = measured[same & (measured["dtype"] == bar.dtype)]
        ours, peers = rows[rows.backend == bar.backend], rows[rows.backend.isin(bar.peers)]
        yield bar, Times.of(find_fastest(ours), find_fastest(peers))


def find_fastest(rows: Any) -> Any:
    """Return the row with the shortest time, or None if there is none."""
    return min(rows.itertuples(), key=lambda row: row.time_s, default=None)


def print_verdicts(frame: Any, bars: Iterable[Bar]) -> list[Bar]:
    """Print a table of the bars, and return those that are missed or have no result."""
    lines, missed = [], []
    for bar, times in judge(frame, bars):
        columns, verdict = times.describe(bar)
        if verdict != "met":
            missed.append(bar)
        lines.append([f"{bar.backend} {bar.dtype} {bar.mode}, {bar.shape}", *columns, verdict])
    headings = ["case", "ours", "fastest peer", "speedup", "interval", "bar", "verdict"]
    print(markdown_table(headings, [False, True, True, True, True, True, False], lines))
    return missed


def measure(
    suite: Path, folder: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Measure a suite, and return the paths of its result files.

    Parameters
    ----------
    suite
        The path of the suite.
    folder
        The folder for new result files.
    environment
        The variables that ``bench.run`` gets besides those of this process.

    Raises
    ------
    UnsupportedError
        If ``bench.run`` fails.
    """
    pattern = f"{suite.stem.replace('_', '-')}-*.json"
    before = set(folder.glob(pattern))
    command = [sys.executable, "-m", "bench.run", str(suite), *MEASURING, "--results", str(folder)]
    variables = os.environ | dict(environment)
    if code := subprocess.run(command, env=variables, check=False).returncode:
        raise UnsupportedError(f"bench.run ended with exit code {code}; see its messages above")
    return sorted(map(str, set(folder.glob(pattern)) - before))


def load_or_measure(
    options: argparse.Namespace, measure_now: Callable[[Path], Sequence[str]]
) -> Any:
    """Return the results that the command line names, or those of a new measurement, as a table."""
    return bench.load_frame(options.paths or measure_now(options.results))


def make_parser(command: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Make a parser for the paths of result files and the folder for new ones."""
    parser = arguments.make_parser(command, description, epilog)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="result files to judge instead")
    which = "the folder for new result files (default: results)"
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help=which)
    return parser
