"""Add and apply the options that select results, and parse ``--fail-on``."""

import argparse
import os
import re
from collections.abc import Iterable, Sequence

from bench.cli import arguments
from bench.cli.command_line import ReportedError, UsageError
from bench.cli.progress import read_results
from bench.machine.fields import printable
from bench.records.schema import Results
from bench.records.selection import FILTERS, select
from bench.verdicts.pairs import Rule


def add_filters(parser: argparse.ArgumentParser, names: Iterable[str] = FILTERS) -> None:
    """Add the options that select results."""
    group = parser.add_argument_group(
        "select results",
        "Give names, separated by commas or blanks. A name may be a pattern such as 'b32-*'.",
    )
    for name in names:
        group.add_argument(f"--{name}", metavar="NAMES", type=arguments.parse_names)


def apply_filters(
    results: Results, options: argparse.Namespace, names: Iterable[str] = FILTERS
) -> Results:
    """Return the results that the options of these names select.

    Raises NothingThereError if nothing is left.
    """
    return select(results, {name: getattr(options, name) for name in names})


def read_selected(
    options: argparse.Namespace, *places: Sequence[str | os.PathLike[str]]
) -> list[Results]:
    """Read and select the results of each group of paths, and report unreadable files.

    Raises ReportedError if no file of a group can be read, and NothingThereError if the options
    leave nothing of a group.
    """
    found = [read_results(paths) for paths in places]
    if not all(results.files for results in found):
        raise ReportedError
    return [apply_filters(results, options) for results in found]


def parse_rule(text: str) -> Rule:
    """Parse the ``--fail-on`` rule ``slower`` or ``slower:5%``. Raises UsageError."""
    found = re.fullmatch(r"slower(?::(\d+(?:\.\d+)?)%)?", text)
    if found is None:
        text = f"--fail-on {printable(text)!r}: expected slower, or slower:5% for more than 5%"
        raise UsageError(text)
    return Rule(text, None if found[1] is None else float(found[1]) / 100)
