"""What ``bench.verdict_study`` is asked: the tables of a study, and the pictures of verdicts."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from bench.studying import bridges, changes, nodes, percentiles, verdicts
from bench.studying.pictures import pictures
from bench.studying.rules import TRIALS
from bench.telling import deliver
from bench.telling.command_line import UsageError
from bench.telling.progress import Progress
from bench.telling.sheet import Sheet


def study(options: argparse.Namespace) -> None:
    """Print the tables and, if there is a folder for them, draw the pictures.

    Raises UsageError if they cannot be drawn or written.
    """
    if options.changes and options.nodes:
        raise UsageError("--changes and --nodes are two studies: give one")
    folder: Path | None = options.output
    if folder is not None:
        if options.changes or options.nodes:
            other = "--changes" if options.changes else "--nodes"
            raise UsageError(f"{other} has no pictures, so --output does not go with it")
        deliver.check("png", deliver.Target(folder))
    with Progress("simulating, for some minutes"):
        made = _tables(options)
    for title, sheet in made.items():
        print(f"{title}\n\n{sheet.markdown(aligned=True)}\n")
    if folder is not None:
        for name, draw in pictures(options.trials or TRIALS).items():
            drawn = io.BytesIO()
            draw().savefig(drawn, format="png")
            deliver.write_file(folder / name, drawn.getvalue())


def _tables(options: argparse.Namespace) -> dict[str, Sheet]:
    if options.changes:
        return changes.tables(options.trials or changes.TRIALS)
    if options.nodes:
        return nodes.tables(options.trials or nodes.TRIALS)
    trials = options.trials or TRIALS
    return verdicts.tables(trials) | bridges.tables(trials) | percentiles.tables(trials)
