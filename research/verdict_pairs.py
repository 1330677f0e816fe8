"""``python -m research.verdict_pairs``: how far the ratios of real pairs spread between processes.

The command; ``studying.pairs`` finds it out, from result files. No framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.cli import arguments, command_line
from bench.cli.progress import Progress, read_results
from bench.stats.intervals import ENOUGH_PROCESSES
from research.pairs import coverage, pairs_of, shape, spreads


def main(words: Sequence[str] | None = None) -> int:
    """Print the tables; 2 if the files hold no such pair."""
    parser = arguments.parser(
        "verdict_pairs",
        "How far the ratios of pairs spread between processes, and what that covers.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="result files, or folders of them")
    arguments.add_choice(parser, "format", ("markdown",), usual="markdown")
    options = parser.parse_args(words)
    results = read_results(options.results)
    with Progress("comparing"):
        pairs = pairs_of(results)
    if not pairs:
        text = f"no two backends did the same work in {ENOUGH_PROCESSES} processes or more"
        command_line.tell_errors([text])
    if results.errors or not pairs:
        return command_line.BAD_INPUT
    tables = (sheet.markdown(aligned=True) for sheet in (spreads(pairs), coverage(pairs)))
    print("\n\n".join((shape(pairs), *tables)))
    return 0


if __name__ == "__main__":
    command_line.end(main)
