"""``python -m bench.verdict_study``: how often the verdicts are right, by simulation.

Prints the tables of ``docs/verdicts.md`` and draws its pictures (``judging.study``,
``judging.study_pictures``). Matplotlib is asked for only where a picture is.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from bench.disk.fields import printable
from bench.disk.writing import ResultWriteError, write_bytes
from bench.judging import change_study, study_bridges, study_nodes, study_percentiles
from bench.judging.rules import RIVAL_TRIALS, TRIALS
from bench.judging.study import tables
from bench.judging.study_pictures import pictures
from bench.telling import arguments, command_line
from bench.telling.progress import Progress

CALL_SHARE = 20
"""Of so many comparisons one is simulated call by call."""


def main(words: Sequence[str] | None = None) -> int:
    """Print the tables and, with ``--output``, draw the pictures; 2 if they cannot be written."""
    options = _options(words)
    usual = change_study.TRIALS if options.changes else TRIALS
    trials = options.trials or (study_nodes.TRIALS if options.nodes else usual)
    rival_trials = min(RIVAL_TRIALS, trials)
    with Progress("simulating, for some minutes"):
        made = _made(options, trials, rival_trials)
    for title, text in made.items():
        print(f"{title}\n\n{text}\n")
    if options.output is None:
        return 0
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        for name, draw in pictures(trials, rival_trials).items():
            drawn = io.BytesIO()
            draw().savefig(drawn, format=Path(name).suffix[1:])
            write_bytes(options.output / name, drawn.getvalue())
            print(f"wrote {printable(str(options.output / name))}")
    except ImportError:
        return command_line.bad_input("pictures need Matplotlib: pip install matplotlib")
    except ResultWriteError as error:
        return command_line.bad_input(error)
    except OSError as error:
        where = printable(str(error.filename or options.output))
        return command_line.bad_input(f"{where} cannot be written: {error.strerror}")
    return 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments.parser(
        "verdict_study", "Simulate how often the verdicts are right, and what other rules say."
    )
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, help="draw the pictures too, as PNG files there"
    )
    parser.add_argument(
        "--changes",
        action="store_true",
        help="of the changes that bench.history finds, in place of verdicts",
    )
    parser.add_argument(
        "--nodes",
        action="store_true",
        help="of several machines of one kind, in place of one",
    )
    parser.add_argument(
        "--trials",
        type=arguments.whole(1),
        help=f"simulated comparisons for each number (default: {TRIALS}), or with --changes "
        f"histories ({change_study.TRIALS}), with --nodes {study_nodes.TRIALS}",
    )
    options = parser.parse_args(words)
    other = "--changes" if options.changes else "--nodes" if options.nodes else ""
    if options.changes and options.nodes:
        parser.error("--changes and --nodes are two studies: give one")
    if other and options.output is not None:
        parser.error(f"{other} has no pictures, so --output does not go with it")
    return options


def _made(options: argparse.Namespace, trials: int, rival_trials: int) -> dict[str, str]:
    """The tables of the study that was asked for."""
    if options.changes:
        return change_study.tables(trials)
    if options.nodes:
        return study_nodes.tables(trials, min(study_nodes.REPORTS, trials))
    # Every call of both sides is drawn, so there are fewer comparisons.
    percentiles = study_percentiles.tables(max(1, trials // CALL_SHARE))
    return tables(trials, rival_trials) | study_bridges.tables(trials) | percentiles


if __name__ == "__main__":
    command_line.end(main)
