"""Run ``python -m tools.documents``: remake what commands made in the documents.

It runs all commands in the comments of the README and of docs/ and writes what has changed; with
``--check`` it writes nothing and reports differences (``tools.remaking``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from tools.remaking import documents, remake

SAME, DIFFERENT = range(2)

EPILOG = """\
exit codes:
  0  all is as its command makes it (after writing what has changed, without --check)
  1  --check found something that is not
  2  bad input: an unknown document, a comment that cannot be read, a command that fails
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _documents, words, OSError, UnicodeDecodeError)


def _documents(options: argparse.Namespace) -> int:
    known = documents()
    named = options.documents or known
    if unknown := [each for each in named if each not in known]:
        raise UsageError(
            f"{unknown[0]} is not a document of the project: they are {', '.join(known)}"
        )
    changed: list[str] = []
    for document in named:
        changed += remake(document, write=not options.check)
    for each in changed:
        print(each if options.check else f"made again: {each.splitlines()[0]}")
    if not changed:
        print("all is as its commands make it")
    elif options.check:
        print("to make it again: python -m tools.documents")
    return DIFFERENT if changed and options.check else SAME


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "tools.documents",
        "Make again what commands made in the README and in docs/, from a clone.",
        EPILOG,
    )
    parser.add_argument(
        "documents", nargs="*", metavar="DOCUMENT", help="README.md, docs/x.md (default: all)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    return parser


if __name__ == "__main__":
    command_line.end(main)
