"""Add the options that select results by backend, device, suite and the like, and apply them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence

from bench.cli import arguments
from bench.cli.command_line import ReportedError
from bench.cli.progress import read_results
from bench.records.only import FILTERS, only
from bench.records.schema import Results


def add(parser: argparse.ArgumentParser, names: Iterable[str] = FILTERS) -> None:
    """The options by which every command that reads results takes some of them."""
    group = parser.add_argument_group(
        "only these", "names, separated by commas or blanks; a name may be a pattern: 'b32-*'"
    )
    for name in names:
        group.add_argument(f"--{name}", metavar="NAMES", type=arguments.names)


def chosen(
    results: Results, options: argparse.Namespace, names: Iterable[str] = FILTERS
) -> Results:
    """Those of the results that the options of ``add``, of the same names, ask for.

    Raises NothingThereError.
    """
    return only(results, {name: getattr(options, name) for name in names})


def read(options: argparse.Namespace, *places: Sequence[str | os.PathLike[str]]) -> list[Results]:
    """What is ``chosen`` of the files of each place; each that is bad was reported.

    Raises ReportedError if of one of them no file could be read, NothingThereError.
    """
    found = [read_results(paths) for paths in places]
    if not all(results.files for results in found):
        raise ReportedError
    return [chosen(results, options) for results in found]
