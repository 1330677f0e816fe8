"""``python -m bench.verdict_study``: how often the verdicts are right, by simulation.

The command; ``studying.asked`` makes the tables of ``docs/verdicts.md`` and draws its pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.studying import asked, changes, nodes
from bench.studying.rules import TRIALS
from bench.telling import arguments, command_line


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 if the pictures cannot be drawn or written."""
    return command_line.run(_parser(), _study, words)


def _study(options: argparse.Namespace) -> int:
    asked.study(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "verdict_study", "Simulate how often the verdicts are right, and what other rules say."
    )
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, help="draw the pictures too, as PNG files there"
    )
    arguments.add_flags(
        parser,
        changes="of the changes that bench.history finds, in place of verdicts",
        nodes="of several machines of one kind, in place of one",
    )
    parser.add_argument(
        "--trials",
        type=arguments.whole(1),
        help=f"simulated comparisons for each number (default: {TRIALS}), or with --changes "
        f"histories ({changes.TRIALS}), with --nodes {nodes.TRIALS}",
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
