"""What the commands have in common: how they meet a terminal, a pipe and their arguments.

No results, no framework.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import shutil
import sys
from pathlib import Path

from bench.folder import DEFAULT_FOLDER, RESULTS_VARIABLE


def write_any_letter() -> None:
    """Let the output take letters that this terminal has not.

    Names in result files may hold any: better a "?" in their place than nothing at all.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def reader_left() -> None:
    """After a BrokenPipeError: whoever read the output has seen enough (a pager, head).

    Python's own flush at exit must not complain of it again.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def width_is_known() -> bool:
    """Whether the output has a width: a terminal's own, or one that the user has set.

    In a pipe or a file it is not guessed from elsewhere.
    """
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def python() -> str:
    """How a user calls this Python from here: ``python``, or its path where that is another.

    tox calls commands with a PATH that its user has not.
    """
    here = Path(sys.executable)
    if shutil.which("python") == str(here) and "TOX_ENV_DIR" not in os.environ:
        return "python"
    near = here.is_relative_to(Path.cwd())
    return shlex.quote(str(here.relative_to(Path.cwd()) if near else here))


def add_result_paths(parser: argparse.ArgumentParser, default: str = "the latest results") -> None:
    """The argument ``paths``: result files or folders; ``default`` says what is read without."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help=f"result files or folders (default: {default} in ${RESULTS_VARIABLE} "
        f"or {DEFAULT_FOLDER}/)",
    )
