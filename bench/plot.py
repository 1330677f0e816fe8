"""Draw results for a slide or a paper as PNG, SVG or PDF: ``python -m bench.plot``.

A picture shows throughput, speedup over a baseline or memory of one session. With ``--along`` it
shows time and memory against the window, the number of timesteps or the batch size.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cli import arguments, command_line, filters
from bench.cli.command_line import UsageError
from bench.cli.progress import find_result_paths, is_reference
from bench.machine.fields import printable
from bench.machine.writing import ResultWriteError, write_bytes
from bench.render import plot
from bench.render.palette import THEMES
from bench.render.plot import KIND_OF, NARROWEST, WIDEST, Plot, choose
from bench.render.quantities import count
from bench.verdicts.along import AXES, series
from bench.verdicts.sections import KINDS, build

EPILOG = """\
exit codes:
  0  the picture was written
  2  bad input: a wrong option, a file that cannot be read (the picture of the other files is still
     made), nothing to draw, or matplotlib is not installed

A picture shows one session. If the results hold several, it shows the newest. `python -m
bench.history --format svg` draws several sessions over time, and `python -m bench.compare devices
--format svg` draws a map of two devices.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _plot, argv, ResultWriteError)


def _plot(options: argparse.Namespace) -> int:
    kind = plot.picture_format(options.output)
    if kind is None:
        names = ", ".join(f".{each}" for each in plot.FORMATS)
        raise UsageError(f"--output {printable(str(options.output))}: expected a name in {names}")
    if not NARROWEST <= options.width <= WIDEST:
        raise UsageError(
            f"--width {options.width:g}: expected a width from {NARROWEST:g} to {WIDEST:g} inches"
        )
    plot.require_matplotlib()
    (results,) = filters.read_selected(options, find_result_paths(options.paths))
    reference = is_reference(options.paths, results)
    kinds = "all" if options.along else options.kind
    sections = build(results, baseline=options.baseline, kind=kinds).sections
    if options.along is not None:
        found = [each for each in series(sections, options.along) if each.values]
        if not found:
            raise UsageError(f"no case has a time along {options.along}")
        newest = [each for each in found if each.section is found[0].section]
        theme = THEMES[options.theme]
        drawn = plot.draw_series(newest, kind, options.width, theme, is_reference=reference)
        skipped = len({id(each.section) for each in found}) - 1
    else:
        rows = choose(sections[0], options.what, pattern=options.case)
        what = Plot(options.what, sections[0], rows, options.width, reference)
        drawn = plot.draw_picture(what, kind, THEMES[options.theme])
        skipped = len(sections) - 1
    write_bytes(options.output, drawn)
    more = f" (it shows the newest session; {count(skipped, 'other')} left out)" if skipped else ""
    print(f"written: {printable(str(options.output))}{more}", file=sys.stderr)
    return command_line.BAD_INPUT if results.errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser("plot", "Draw results for a slide or a paper.", EPILOG)
    command_line.add_result_paths(parser)
    arguments.add_choice(parser, "what", KIND_OF, "the figure to draw", "throughput")
    axis = "draw time per timestep or sequence, and memory, against this instead"
    arguments.add_choice(parser, "along", AXES, axis)
    add = functools.partial(arguments.add_values, parser)
    place = "the file to write; its suffix gives the format: .png, .svg or .pdf"
    add(("output", "FILE", Path, place), required=True)
    usual = "the baseline of a speedup (default: keras or else while_loop, if measured)"
    add(("baseline", "BACKEND", str, usual))
    add(("case", "GLOB", str, "draw only cases whose id matches, such as '*/b32-*'"), default="*")
    kind = "draw the plain shapes, the shapes cut into windows, or the streams"
    arguments.add_choice(parser, "kind", KINDS, kind, KINDS[0])
    back = "colours: a white background, or a dark one with light letters"
    arguments.add_choice(parser, "theme", THEMES, back, "light")
    width = "width of the picture; letters stay 7 to 9 points high (default: %(default)g, a full "
    add(("width", "INCHES", float, f"{width}page; a column is 3.5)"), default=7.0)
    filters.add_filters(parser)
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
