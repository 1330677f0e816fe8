"""``python -m bench.submit``: result files checked, made anonymous, put where they are shared.

Nothing is sent: what it writes is for a pull request, and can be looked through before.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.cli import arguments, command_line
from bench.machine.fields import ResultError, printable
from bench.machine.writing import ResultWriteError
from bench.records.files import files_of
from bench.render.quantities import count
from bench.sharing.submission import FOLDER, submit

REFUSED = 1

EPILOG = """\
A file must be whole, unchanged and such as can be: each case proven within its bounds, with
evidence of what ran; statistics that follow from the samples; validity that the samples show; no
rate beyond the device's, no time outside the run, no samples twice.

exit codes:
  0  all files are written, or were there
  1  a file says what cannot be; each reason is told, and nothing is written
  2  bad input: a file that cannot be read, a folder that cannot be written to
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _submit, words, ResultWriteError)


def _submit(options: argparse.Namespace) -> int:
    paths = files_of(options.paths)
    if not paths:
        raise ResultError("no result files are there")
    found = submit(paths, options.to, datetime.now(UTC))
    for told in found.problems:
        print(f"refused: {printable(told, 600)}", file=sys.stderr)
    if found.problems:
        return REFUSED
    for path in found.written:
        print(printable(str(path)))
    for path in found.there:
        print(f"there already: {printable(str(path))}")
    if found.written:
        told = count(len(found.written), "file")
        print(f"{told} for a pull request: look through what is in them before you commit them")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "submit", "Check result files, make them anonymous, put them where they are shared.", EPILOG
    )
    command_line.add_result_files(parser)
    kind = "in it, the folder of the machine's kind (default: %(default)s)"
    arguments.add_values(parser, ("to", "FOLDER", Path, kind), default=Path(FOLDER))
    return parser


if __name__ == "__main__":
    command_line.end(main)
