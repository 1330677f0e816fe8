"""The options by which a command that reads results takes some of them, spelled once for all."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from bench.results.only import FILTERS, only
from bench.results.schema import Results
from bench.telling import arguments


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
