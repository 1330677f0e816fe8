"""Run ``python -m tools.documents``: remake the parts of documents that commands print.

The command runs all commands in the comments of the README and of docs/, and writes what has
changed. With ``--check`` it writes nothing and reports the differences (``tools.remaking``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from tools.remaking import list_documents, remake

SAME, DIFFERENT = range(2)

EPILOG = """\
exit codes:
    0  every part is what its command prints (after writing the changes, without --check)
    1  --check found a part that differs
    2  bad input: an unknown document, a comment that cannot be read, a command that fails
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _documents, argv, OSError, UnicodeDecodeError)


def _documents(options: argparse.Namespace) -> int:
    known = list_documents()
    named = options.documents or known
    if unknown := [each for each in named if each not in known]:
        raise UsageError(
            f"{unknown[0]} is not a document of the project; expected one of {', '.join(known)}"
        )
    changed: list[str] = []
    for document in named:
        changed += remake(document, write=not options.check)
    for each in changed:
        print(each if options.check else f"rewritten: {each.splitlines()[0]}")
    if not changed:
        print("every part is what its command prints")
    elif options.check:
        print("to rewrite these parts, run: python -m tools.documents")
    return DIFFERENT if changed and options.check else SAME


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "tools.documents",
        "Remake the parts of the README and of docs/ that commands print. Needs a clone.",
        EPILOG,
    )
    parser.add_argument(
        "documents", nargs="*", metavar="DOCUMENT", help="README.md, docs/x.md (default: all)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
