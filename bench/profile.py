"""``python -m bench.profile``: where the time of one case goes, apart from timing it.

Prints what the case is bound by and its operators by time, and writes one file that Perfetto opens.
The command; ``measuring.profiling`` looks and tells.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.case.cases import ID_SPELLING, Case
from bench.cli import arguments, command_line
from bench.render.escape import clean
from bench.studies.profiling import OPEN_WITH, profiled, write
from bench.worker.outcomes import Unmeasured

PROFILED, NOT_PROFILED = range(2)

FORMATS = ("terminal", "markdown", "csv")

EPILOG = f"""\
exit codes:
  0  profiled
  1  not profiled, and why: the backend cannot run here, fails the gate, or its framework has no
     profiler that is known here
  2  bad input

A case's id is spelled as in reports: {ID_SPELLING}. The case is
judged like one that is measured. The file opens in {OPEN_WITH} (nothing is sent: it is
read in the browser) and in chrome://tracing. A profiler slows what it watches: the times are its
own, and the time of a step that is told beside them was taken without it.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _profile, words)


def _profile(options: argparse.Namespace) -> int:
    found = profiled(options.case)
    if isinstance(found, Unmeasured):
        text = f"{found.reason}{f'; {found.advice}' if found.advice else ''}"
        print(f"{options.case.id}: {clean(text)}", file=sys.stderr)
        return NOT_PROFILED
    write(found, options.output, options.format)
    return PROFILED


def _case(text: str) -> Case:
    try:
        return Case.from_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "profile", "Where does the time of a case go? By operator, and as a timeline.", EPILOG
    )
    parser.add_argument("case", metavar="CASE_ID", type=_case, help=f"such as {ID_SPELLING}")
    timeline = "the timeline, in JSON (Chrome's trace events)"
    arguments.add_values(parser, ("output", "FILE", Path, timeline), required=True)
    arguments.add_choice(parser, "format", FORMATS, "of the table", FORMATS[0])
    return parser


if __name__ == "__main__":
    command_line.end(main)
