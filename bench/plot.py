"""``python -m bench.plot``: a picture of results for a slide or a paper, as PNG, SVG or PDF.

Throughput, speed-up over a baseline, what comes before the first result, memory, or the roofline of
one session. This room knows the report's rows and which of them a picture is of; ``plot_picture``
draws them. Nothing slow is imported before there is something to draw.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from bench import command_line, drawing
from bench.folder import default_folder
from bench.report_rows import KINDS, NothingToReportError, Row, Section, build
from bench.report_text import count
from bench.result_fields import printable
from bench.results import ResultWriteError, collect, latest, write_bytes

EPILOG = """\
exit codes:
  0  the picture was written
  2  bad input: an option, a file that cannot be read (of the good files beside it the picture
     is still made), nothing to draw, or no matplotlib

One picture is of one session: of several the newest is drawn. `python -m bench.history` draws
several over time, and `python -m bench.compare devices` the map of two devices.
"""

# A picture that is wider than this is no picture of a page, and one narrower has no room for bars.
NARROWEST, WIDEST = 3.0, 30.0


class PlotError(ValueError):
    """There is nothing to draw, or nothing to draw with; one line that says what to do."""


@dataclass(frozen=True)
class Kind:
    """What a picture can be of.

    title: over it. has: whether a row has what is drawn. lacking: said where no row has.
    """

    title: str
    has: Callable[[Row], bool]
    lacking: str


def _has_setup(row: Row) -> bool:
    return bool(setup_parts(row))


KIND_OF = {
    "throughput": Kind("Sequences per second", lambda row: row.measured, "no case was measured"),
    "speedup": Kind(
        "Speed-up", lambda row: row.to_baseline is not None, "no case has a baseline beside it"
    ),
    "setup": Kind(
        "Time to the first result",
        _has_setup,
        "no case says what building, tracing and the first call took",
    ),
    "memory": Kind(
        "Peak memory",
        lambda row: "peak_bytes" in row.memory,
        "no case has figures of memory: they are of a version that did not measure it",
    ),
    "roofline": Kind(
        "Roofline",
        lambda row: row.measured and all(row.roofs.get(key) for key in ("operations", "bytes")),
        "no case has figures of roofs: they are of a version that did not measure them",
    ),
}

SETUP = {"build_s": "build", "trace_s": "trace", "first_call_s": "first call, compiling included"}
"""What comes before the first result, in its order, and how it is called."""


def setup_parts(row: Row) -> dict[str, float]:
    """Seconds of each part of ``SETUP`` that is known, by its key."""
    setup = row.setup or {}
    return {key: value for key in SETUP if (value := setup.get(key)) is not None}


@dataclass(frozen=True)
class Plot:
    """What is drawn: which figure of which rows of a session, on so many inches of width.

    skipped: how many sessions are not drawn.
    """

    what: str
    section: Section
    rows: tuple[Row, ...]
    width: float = 7.0
    skipped: int = 0

    @property
    def kind(self) -> Kind:
        """Of what it is."""
        return KIND_OF[self.what]


def choose(
    section: Section, what: str, *, mode: str | None = None, pattern: str = "*"
) -> tuple[Row, ...]:
    """The rows of a section that a picture is of, in the report's order.

    mode: only this one. pattern: of the ids of the cases, as a shell's. With a row come the rows of
    its group that were measured: a picture of a figure that some of them lack leaves them blank.

    Raises PlotError if there is none.
    """
    rows = [
        row
        for row in section.rows
        if row.measured
        and mode in (None, row.case.workload.mode)
        and fnmatchcase(row.case.id, pattern)
    ]
    if not rows:
        there = next((row.case.id for row in section.rows if row.measured), "")
        if not there:
            raise PlotError(KIND_OF["throughput"].lacking)
        raise PlotError(
            f"no measured case fits what was chosen; a case is named like {printable(there, 120)}"
        )
    groups = {row.case.group for row in rows if KIND_OF[what].has(row)}
    if not groups:
        raise PlotError(f"--what {what}: {KIND_OF[what].lacking}")
    return tuple(row for row in rows if row.case.group in groups)


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    try:
        return _plot(options)
    except (PlotError, NothingToReportError, ResultWriteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _plot(options: argparse.Namespace) -> int:
    kind = drawing.kind_of(options.output)
    if kind is None:
        names = ", ".join(f".{each}" for each in drawing.FORMATS)
        raise PlotError(f"--output {printable(str(options.output))}: expected a name in {names}")
    if not NARROWEST <= options.width <= WIDEST:
        raise PlotError(
            f"--width {options.width:g}: expected inches from {NARROWEST:g} to {WIDEST:g}"
        )
    if not drawing.available():
        raise PlotError(f"a picture needs matplotlib: {drawing.INSTALL}")
    folder = default_folder()
    paths = options.paths or latest(folder)
    if not paths:
        raise PlotError(
            f"there are no results in {printable(folder)}/; make some with "
            "`pytest --benchmark-only`, or name result files or folders"
        )
    results = collect(paths)
    for error in results.errors:
        print(f"error: {error}", file=sys.stderr)
    if not results.files:
        return 2
    report = build(results, baseline=options.baseline, device=options.device, kind=options.kind)
    section = report.sections[0]
    rows = choose(section, options.what, mode=options.mode, pattern=options.case)
    skipped = len(report.sections) - 1
    from bench import plot_picture

    data = plot_picture.picture(Plot(options.what, section, rows, options.width, skipped), kind)
    write_bytes(options.output, data)
    more = f" (of the newest session; not of {count(skipped, 'other')})" if skipped else ""
    print(f"written: {printable(str(options.output))}{more}", file=sys.stderr)
    return 2 if results.errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.plot",
        description="A picture of results for a slide or a paper.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command_line.add_result_paths(parser)
    parser.add_argument(
        "--what",
        choices=tuple(KIND_OF),
        default="throughput",
        help="of what the picture is (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="where it goes; its name's end says how: .png, .svg or .pdf",
    )
    parser.add_argument(
        "--baseline",
        metavar="BACKEND",
        help="of a speed-up (default: keras or else while_loop, if measured)",
    )
    parser.add_argument("--device", help="only this device: cpu, gpu:0, ...")
    parser.add_argument("--mode", choices=("inference", "training"), help="only this mode")
    parser.add_argument(
        "--case", metavar="GLOB", default="*", help="only cases whose id fits, as '*/b32-*'"
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default=KINDS[0],
        help="the plain shapes, or those cut into windows (default: %(default)s)",
    )
    parser.add_argument(
        "--width",
        metavar="INCHES",
        type=float,
        default=7.0,
        help="of the picture; letters stay 7 to 9 points high (default: %(default)g, both columns "
        "of a page; one is 3.5)",
    )
    return parser


if __name__ == "__main__":
    # The rooms that draw a plot take bench.plot's types, which __main__'s are not.
    from bench import plot as itself

    command_line.end(itself.main)
