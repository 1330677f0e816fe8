"""What the commands of studies have in common: answers become a file, which is then shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from bench.disk.fields import ResultError, printable
from bench.disk.folder import default_folder
from bench.disk.writing import ResultWriteError
from bench.results import study
from bench.results.study import Study
from bench.telling.command_line import UsageError, bad_input
from bench.telling.inert import clean
from lstm_impl.spec import UnsupportedError

Asked: TypeAlias = tuple[Mapping[str, object], Sequence[Sequence[Mapping[str, Any]]]]
"""A question as the file has it, and the records of each process that answered."""


def add_study(parser: argparse.ArgumentParser) -> None:
    """The options ``--folder`` and ``--show``."""
    parser.add_argument("--folder", type=Path, help="where the file is written (default: results/)")
    parser.add_argument(
        "--show", nargs="*", metavar="PATH", help="measure nothing: show a file, or the newest"
    )


def ended(
    kind: str,
    options: argparse.Namespace,
    ask: Callable[[], Asked | None],
    show: Callable[[Study], Sequence[str]],
) -> int:
    """Ask, write the answers and show them, or show what was written before; the exit code.

    ask: gives None if a process died, which it has told. show: delivers a study and returns what is
    not in it and why.
    """
    try:
        if options.show is not None:
            show(study.newest(options.show, kind))
            return 0
        started = datetime.now(UTC)
        asked = ask()
        if asked is None:
            return 1
        path = study.save(
            study.document(kind, started, *asked), options.folder or Path(default_folder())
        )
        print(f"written: {printable(str(path))}", file=sys.stderr)
        problems = show(study.read(path, kind))
        for problem in problems:
            print(f"not measured: {clean(problem, 1000)}", file=sys.stderr)
        return 1 if problems else 0
    except (ResultError, ResultWriteError, UsageError, UnsupportedError, ValueError) as error:
        return bad_input(error)
