"""``python -m bench.documents``: what commands made in the documents, made again.

It runs all commands in the comments of the README and of docs/ again and writes what has changed;
with ``--check`` it writes nothing and says what does not match. ``running.remaking`` knows how.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.disk.writing import ResultWriteError
from bench.running.remaking import DocumentError, documents, remake
from bench.telling import arguments, command_line

SAME, DIFFERENT, BAD_INPUT = range(3)

EPILOG = """\
exit codes:
  0  all is as its command makes it (after writing what has changed, without --check)
  1  --check found something that is not
  2  bad input: an unknown document, a comment that cannot be read, a command that fails
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    known = documents()
    named = options.documents or known
    if unknown := [each for each in named if each not in known]:
        told = f"{unknown[0]} is not a document of the project: they are {', '.join(known)}"
        print(f"error: {told}", file=sys.stderr)
        return BAD_INPUT
    changed: list[str] = []
    try:
        for document in named:
            changed += remake(document, write=not options.check)
    except (DocumentError, ResultWriteError, OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    for each in changed:
        print(each if options.check else f"made again: {each.splitlines()[0]}")
    if not changed:
        print("all is as its commands make it")
    elif options.check:
        print("to make it again: python -m bench.documents")
    return DIFFERENT if changed and options.check else SAME


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m bench.documents",
        description="Make again what commands made in the README and in docs/, from a clone.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "documents", nargs="*", metavar="DOCUMENT", help="README.md, docs/x.md (default: all)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    return parser


if __name__ == "__main__":
    command_line.end(main)
