"""Run ``python -m bench.echo``: train the 2016 tutorial's task, or map what a window learns."""

import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor

import lstm_impl
from bench.cli import command_line
from bench.echo import run, windows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``run.EPILOG`` and ``windows.EPILOG``)."""
    argv = sys.argv[1:] if argv is None else argv
    parser, work = run.parser, run.train
    if argv[:1] == ["windows"]:
        parser, work, argv = windows.parser, windows.main, argv[1:]
    failures = lstm_impl.UnsupportedError, BrokenExecutor, OSError
    return command_line.run(parser(), work, argv, *failures, interrupted="stopped at once")


if __name__ == "__main__":
    command_line.run_and_exit(main)
