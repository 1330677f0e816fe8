"""Run a command: exit codes, errors in one line, closed pipes, full disks and Ctrl-C."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from bench.machine.fields import InputError, printable
from bench.machine.reading import DEFAULT_FOLDER, RESULTS_VARIABLE

BAD_INPUT = 2
"""The exit code of every command for what cannot be read or written."""

INTERRUPTED = 130
"""The exit code after Ctrl-C or another request to end."""

READER_LEFT = 128 + 13
"""The exit code of a tool that SIGPIPE ended."""

_LONGEST_LINE = 10_000
"""Letters. A path has 4,096 at most, and few commands name many."""

NARROWEST = 20
"""Columns. A terminal that claims fewer, as COLUMNS=0 does, does not know its width."""


def end(main: Callable[[], int]) -> NoReturn:
    """Run a command and end this process with its exit code.

    Errors of the output are one line: its reader left (a pager, ``head``), its disk is full, or it
    was closed before anything was begun.
    """
    # Before any framework is imported, here or in a process of ours. A user's own choice stands.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if sys.stdout is None:
        _exit("error: standard output is closed; send it to /dev/null if it is not wanted")
    if not (width := os.environ.get("COLUMNS", "80")).isdecimal() or int(width[:9]) < NARROWEST:
        del os.environ["COLUMNS"]
    code: int | str | None
    try:
        try:
            code = main()
        except SystemExit as stopped:
            # argparse ends so; and Rich, with a code of its own, where it met a broken pipe.
            code = READER_LEFT if isinstance(stopped.__context__, BrokenPipeError) else stopped.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        _write_nowhere()
        code = READER_LEFT
    except OSError as error:
        _write_nowhere()
        what = "standard output" if error.filename is None else str(error.filename)
        _exit(f"error: {what}: {error.strerror or error}")
    sys.exit(code)


def run(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], int],
    words: Sequence[str] | None,
    *more: type[Exception],
    interrupted: str | None = None,
) -> int:
    """Run ``work`` with the parsed options and return the exit code.

    An ``InputError``, or one of ``more``, is printed in a line and makes the code ``BAD_INPUT``, as
    does a ``ReportedError``, which was printed before. interrupted: what is printed after an
    interruption, which makes the code ``INTERRUPTED``.
    """
    options = parser.parse_args(words)
    write_any_letter()
    mended: tuple[type[Exception], ...] = (InputError, *more)
    try:
        return work(options)
    except ReportedError:
        return BAD_INPUT
    except mended as error:
        if isinstance(error, BrokenPipeError):
            raise  # the reader of the output has seen enough
        return failed(error)
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        if interrupted:
            print(interrupted, file=sys.stderr)
        return INTERRUPTED


def failed(error: object, code: int = BAD_INPUT) -> int:
    """Print an error and return the exit code for it."""
    tell_errors([error])
    return code


def tell_errors(errors: Iterable[object]) -> None:
    """A line each, on standard error."""
    from bench.stats.intervals import ReasonedError  # NumPy, which only errors need here

    for error in errors:
        text = str(error)
        if isinstance(error, ReasonedError):
            from bench.render.messages import error_text

            text = error_text(error.reason)
        line = " ".join(each.strip() for each in text.splitlines())
        print(f"error: {printable(line, _LONGEST_LINE)}", file=sys.stderr)


def _exit(line: str) -> NoReturn:
    with contextlib.suppress(OSError, AttributeError):  # standard error may be closed, too
        print(printable(line, 1000), file=sys.stderr, flush=True)
    sys.exit(BAD_INPUT)


def _write_nowhere() -> None:
    """Python's own flush at exit must not complain of the output again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_any_letter() -> None:
    """Print others in place of letters that this terminal has not: names may hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)


PLAIN = "lstm-plain"
"""The name of the error handler of streams that have not all letters."""

_ASCII = {
    **dict(zip("★☆▲✓–−—×·µ≤─━│┃█▉▊▋▌▍▎▏", "*+*+---x-u<--||#####---", strict=True)),
    **dict(zip("▁▂▃▄▅▆▇", "1234567", strict=True)),
    "°": " ",
    "±": "+-",
    "∞": "inf",
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_ASCII.get(each, "?") for each in letters), error.end


codecs.register_error(PLAIN, _plain)


def width_is_known() -> bool:
    """Whether the output has a width: a terminal's own, or one that the user has set."""
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def python() -> str:
    """How a user calls this Python from here: ``python``, or its path where that is another."""
    # tox calls commands with a PATH that its user has not.
    here = Path(sys.executable)
    if shutil.which("python") == str(here) and "TOX_ENV_DIR" not in os.environ:
        return "python"
    near = here.is_relative_to(Path.cwd())
    return shlex.quote(str(here.relative_to(Path.cwd()) if near else here))


def typed(command: str, *words: str) -> str:
    """A command of this suite with its words, for a person to type."""
    return typed_command(" ".join([python(), "-m", f"bench.{command}", *map(shlex.quote, words)]))


def typed_command(command: str) -> str:
    """A command for a person to type: a folder's name in it may hold anything."""
    return printable(command, _LONGEST_LINE)


def add_result_paths(parser: argparse.ArgumentParser, default: str = "the latest results") -> None:
    """The argument ``paths``: result files or folders; ``default`` says what is read without."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help=f"result files or folders (default: {default} in ${RESULTS_VARIABLE} "
        f"or {DEFAULT_FOLDER}/)",
    )


class UsageError(InputError):
    """A command cannot be carried out; one line that says why and what to do."""


class ReportedError(InputError):
    """The command cannot go on, and the reason has been printed."""
