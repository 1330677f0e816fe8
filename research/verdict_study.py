"""Simulate how often the verdicts are right.

``python -m research.verdict_study`` prints the tables of ``research/verdicts.md`` and draws its
pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.cli import arguments, command_line, output
from bench.cli.command_line import UsageError
from bench.cli.progress import Progress
from bench.render import plot
from bench.render.table import TextTable
from research import bridges, changes, nodes, percentiles, verdicts
from research.pictures import pictures
from research.rules import TRIALS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code: 2 if a picture cannot be drawn or written."""
    return command_line.run(_parser(), _study, argv)


def _study(options: argparse.Namespace) -> int:
    """Print the tables, and draw the pictures if there is a folder for them."""
    if options.changes and options.nodes:
        raise UsageError("--changes and --nodes are two studies: give one")
    folder: Path | None = options.output
    if folder is not None:
        if options.changes or options.nodes:
            other = "--changes" if options.changes else "--nodes"
            raise UsageError(f"{other} has no pictures, so --output does not go with it")
        plot.require_matplotlib()
    with Progress("simulating, for some minutes"):
        made = _tables(options)
    for title, table in made.items():
        print(f"{title}\n\n{table.markdown(aligned=True)}\n")
    if folder is not None:
        for name, draw in pictures(options.trials or TRIALS).items():
            output.write_file(folder / name, draw())
    return 0


def _tables(options: argparse.Namespace) -> dict[str, TextTable]:
    if options.changes:
        return changes.tables(options.trials or changes.TRIALS)
    if options.nodes:
        return nodes.tables(options.trials or nodes.TRIALS)
    trials = options.trials or TRIALS
    return verdicts.tables(trials) | bridges.tables(trials) | percentiles.tables(trials)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
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
        type=arguments.make_integer_parser(1),
        help=f"simulated comparisons for each number (default: {TRIALS}), or with --changes "
        f"histories ({changes.TRIALS}), with --nodes {nodes.TRIALS}",
    )
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
