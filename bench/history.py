"""Show every case over the sessions of a machine, and what changed: ``python -m bench.history``."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.cli import arguments, command_line, filters, output
from bench.cli.filters import parse_rule
from bench.cli.progress import Progress, find_result_paths
from bench.machine.reading import default_folder
from bench.render import history as shown
from bench.verdicts.history import build, judge, since

FORMATS = ("terminal", "markdown", "csv", "svg")
EPILOG = """\
exit codes:
  0  the history was shown; no case broke the --fail-on rule, or the history is too short for it
  1  something has become slower and stayed slower: it broke the --fail-on rule
  2  bad input: a wrong option, a file that cannot be read (the other files are still shown), or no
     case to show

The ratio of a session compares it with the previous session of the same case on the same machine.
Below 1 the case became faster. The packages or settings that changed between the two sessions may
be the cause.

The command first shows the changes that last longer than one session. A change concerns all cases
of a device, a backend or one case. To accept a change, begin after it: --since 2026-01-31.
docs/history.md describes the method and its error rates.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _show, argv)


def _show(options: argparse.Namespace) -> int:
    rule = None if options.fail_on is None else parse_rule(options.fail_on)
    find_result_paths(options.paths)  # This raises an error if there are no results.
    (results,) = filters.read_selected(options, options.paths or [default_folder()])
    if options.since is not None:
        results = since(results, options.since)
    with Progress("comparing sessions"):
        history = build(results, pattern=options.case)
    guard = None if rule is None else judge(rule, history)
    document = shown.document(history, options.sessions, guard)
    output.deliver(options, document.terminal, shown.texts(history, document))
    if guard is not None and options.format not in ("terminal", "markdown"):
        print(shown.gate_line(guard), file=sys.stderr)
    if guard is not None and os.environ.get("GITHUB_ACTIONS"):
        # The runner also reads standard error, and standard output may hold data.
        for line in shown.error_lines(guard):
            print(line, file=sys.stderr)
    if results.errors:
        return command_line.BAD_INPUT
    return 1 if guard is not None and guard.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "history",
        "Show every case over the sessions of one machine, with the versions that changed.",
        EPILOG,
    )
    command_line.add_result_paths(parser, "all")
    fits = "show only cases whose id matches, such as 'keras/*' or '*/b32-*/training/cpu'"
    arguments.add_values(parser, ("case", "GLOB", str, fits), default="*")
    arguments.add_values(
        parser,
        (
            *("since", "TIME", _time),
            "use only sessions from this time on, 2026-01-31 or 2026-01-31T18:00 (UTC); earlier "
            "changes count as accepted",
        ),
        (
            *("fail-on", "RULE", str),
            "exit with 1 if something has become SLOWER and stayed slower (slower), or by more "
            "than 5%% (slower:5%%)",
        ),
    )
    filters.add_filters(parser)
    sessions = "show all sessions of each case, not one line per case"
    arguments.add_flags(parser, sessions=sessions)
    arguments.add_output(parser, FORMATS)
    return parser


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not a time; write 2026-01-31 or 2026-01-31T18:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


if __name__ == "__main__":
    command_line.run_and_exit(main)
