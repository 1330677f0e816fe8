"""``python -m bench.upload``: result files of this machine, copied to a place elsewhere.

What ``bench.run --results URL`` does at its end, for files that are there already or could not be
copied then.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.cli import arguments, command_line
from bench.machine.copying import upload
from bench.machine.fields import printable
from bench.machine.folder import is_url
from bench.machine.remote import PlaceError
from bench.records.files import files_of, read

UNWRITABLE = 3
"""The exit code of ``bench.run`` for the same."""

EPILOG = """\
A file that is there already is left as it is, and another one of its name is never replaced.

exit codes: 0 all files are there; 2 bad input, nothing was copied; 3 a file could not be copied
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _upload, words)


def _upload(options: argparse.Namespace) -> int:
    if not is_url(options.to):
        raise PlaceError(f"--to {printable(options.to)}: expected a URL, as s3://team/lstm")
    paths = files_of(options.paths)
    for path in paths:
        read(path)  # nothing is sent that nobody could read
    there, errors = upload(paths, options.to)
    for name in there:
        print(name)
    command_line.tell_errors(errors)
    return UNWRITABLE if errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser("upload", "Copy result files to a place elsewhere.", EPILOG)
    command_line.add_result_files(parser)
    parser.add_argument(
        "--to", metavar="URL", required=True, help="any that fsspec knows: s3://team/lstm"
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
