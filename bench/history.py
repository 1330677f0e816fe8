"""``python -m bench.history``: every case over the sessions of one machine, and what changed."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.cli import arguments, command_line, filters, output
from bench.cli.filters import parse_rule
from bench.cli.progress import Progress, result_paths
from bench.machine.reading import default_folder
from bench.render import history as shown
from bench.verdicts.history import build, judge, since

FORMATS = ("terminal", "markdown", "csv", "svg")
EPILOG = """\
exit codes:
  0  the history was shown, and no --fail-on rule was broken, or the history is too short to judge
  1  something has become slower and stayed so: the --fail-on rule was broken
  2  bad input: an option, a file that cannot be read (the good files are still
     shown), or no case to show

A session's ratio is to the session before it with the same case on the same machine: below 1 it
became faster. What changed between two sessions may be the cause.

Changes that last longer than a session come first, with what changed: all cases of a device, a
backend, or a case. To accept a change, begin after it: --since 2026-01-31. docs/history.md has the
method and its error rates.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _show, words)


def _show(options: argparse.Namespace) -> int:
    rule = None if options.fail_on is None else parse_rule(options.fail_on)
    result_paths(options.paths)  # raises an error if there are none
    (results,) = filters.read(options, options.paths or [default_folder()])
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
        # The runner reads standard error, and standard output may be data.
        for line in shown.error_lines(guard):
            print(line, file=sys.stderr)
    if results.errors:
        return command_line.BAD_INPUT
    return 1 if guard is not None and guard.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "history",
        "Every case over the sessions of one machine, with the versions that changed.",
        EPILOG,
    )
    command_line.add_result_paths(parser, "all")
    fits = "only cases whose id matches, as 'keras/*' or '*/b32-*/training/cpu'"
    arguments.add_values(parser, ("case", "GLOB", str, fits), default="*")
    arguments.add_values(
        parser,
        (
            *("since", "TIME", _time),
            "only sessions from then on, as 2026-01-31 or 2026-01-31T18:00 (UTC): earlier changes "
            "are accepted",
        ),
        (
            *("fail-on", "RULE", str),
            "exit with 1 if something has become SLOWER and stayed so (slower), or by more than "
            "5%% (slower:5%%)",
        ),
    )
    filters.add(parser)
    sessions = "show all sessions of each case, not a line per case"
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
    command_line.end(main)
