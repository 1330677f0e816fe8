"""``python -m bench.truncation``: what a truncation window costs, for each backend, from results.

Of each stream that was cut into windows a table a backend, one of all backends with the window from
which on a timestep is cheap, and a picture. The command; ``windows.cost_asked`` reads and shows. It
promises: the good files are shown beside bad ones, which give one line each and exit code 2. No
framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.cli import arguments, command_line, filters
from bench.machine.folder import DEFAULT_FOLDER, RESULTS_VARIABLE
from bench.windows.cost_asked import FORMATS, MEASURE, show

EPILOG = f"""\
exit codes:
  0  what windows cost was written
  2  bad input: an option, a file that cannot be read (the good files beside it are still
     shown), or no results of streams cut into windows

Short windows pay the fixed cost of a step (launch, dispatch, update) more often. So of each backend
the window is told from which on a timestep costs at most 5% more than at its cheapest window, as
measured, with its interval. The line a + b·k describes a step on k timesteps, a being its fixed
cost: it is fitted to relative errors in each process that measured every window; where short or
long windows alone make another line, the bounds of a and b hold that, too. Results are measured by
{MEASURE}

A picture of several streams is a file each, with the stream's shape in its name.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), show, words)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "truncation",
        "What a truncation window costs: time, memory, compiling, and what it learns.",
        EPILOG,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="result files or folders, those of bench.learning too (default: the newest run "
        f"with windows, and the newest map of what was learned, in ${RESULTS_VARIABLE} or "
        f"{DEFAULT_FOLDER}/)",
    )
    arguments.add_output(parser, FORMATS, by_name=True)
    brief = "with --format markdown: of each stream only the table with a line a backend"
    arguments.add_flags(parser, brief=brief)
    filters.add(parser)
    return parser


if __name__ == "__main__":
    command_line.end(main)
