"""``python -m bench.history``: every case over the sessions of one machine, and what changed.

For the question that an upgrade leaves behind: since when is it slower, and what was new then? The
command; ``comparing.history`` finds it out, ``comparing.history_words`` shows it. No framework.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.comparing.history import HistoryError, build
from bench.disk.fields import printable
from bench.disk.folder import default_folder
from bench.results.files import by_default
from bench.results.only import NothingThereError
from bench.telling import arguments, command_line, deliver, filters
from bench.telling.command_line import UsageError
from bench.telling.progress import Progress, read_results

TEXTS = ("terminal", "markdown", "csv")
PICTURES = ("svg", "png")
EPILOG = """\
exit codes:
  0  the history was shown
  2  bad input: an option, a file that cannot be read (the good files beside it are still
     shown), or no case to show

A session's ratio is to the session before it that has the same case on the same machine: below
1 it became faster. What changed between two sessions may be the cause; it need not be.
"""


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    try:
        return _show(options)
    except (HistoryError, NothingThereError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _show(options: argparse.Namespace) -> int:
    target = deliver.Target(options.output)
    deliver.check(options.format, target)
    folder = default_folder()
    if not options.paths and not by_default(folder):
        raise HistoryError(
            f"there are no results in {printable(folder)}/; make some with "
            "`pytest --benchmark-only`, or name result files or folders"
        )
    results = read_results(options.paths or [folder])
    for error in results.errors:
        print(f"error: {error}", file=sys.stderr)
    if not results.files:
        return 2
    results = filters.chosen(results, options)
    with Progress("comparing sessions"):
        history = build(results, pattern=options.case)
    from bench.comparing import history_words

    history_words.show(history, options.format, target, sessions=options.sessions)
    return 2 if results.errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m bench.history",
        description="Every case over the sessions of one machine, with the versions that changed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command_line.add_result_paths(parser, "all")
    parser.add_argument(
        "--case",
        metavar="GLOB",
        default="*",
        help="only cases whose id fits, as 'keras/*' or '*/b32-*/training/cpu'",
    )
    filters.add(parser)
    parser.add_argument(
        "--sessions",
        action="store_true",
        help="in a terminal: each case with all its sessions; else a line a case, news first",
    )
    arguments.add_output(parser, (*TEXTS, *PICTURES), "a picture needs matplotlib")
    return parser


if __name__ == "__main__":
    command_line.end(main)
