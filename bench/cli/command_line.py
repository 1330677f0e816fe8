"""Run commands: return exit codes, and print one line for an error.

Commands survive closed pipes and full disks.
"""

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
from typing import NoReturn, TextIO

from bench.machine.fields import InputError, printable
from bench.machine.reading import DEFAULT_FOLDER, RESULTS_VARIABLE
from bench.machine.reasons import ReasonedError

BAD_INPUT = 2
"""The exit code of every command for input that is invalid or unreadable, or output it cannot
write.
"""

INTERRUPTED = 130
"""The exit code after Ctrl-C or another request to stop."""

READER_LEFT = 128 + 13
"""The exit code of a program that the signal SIGPIPE ended, because the reader of its output left.
"""

_LONGEST_LINE = 10_000
"""The longest printed line, in characters. A path has at most 4,096."""

NARROWEST = 20
"""The narrowest terminal, in columns. A smaller value, such as COLUMNS=0, means an unknown width.
"""


def run_and_exit(main: Callable[[], int]) -> NoReturn:
    """Run a command and end this process with its exit code.

    If the output cannot be written, this prints one line. This happens when its reader (a pager or
    ``head``) left, when its disk is full, or when it is closed.
    """
    # Set this before a framework is imported, here or in a child process. A user's setting wins.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if sys.stdout is None:
        _exit("error: standard output is closed; redirect it to /dev/null to discard it")
    if not (width := os.environ.get("COLUMNS", "80")).isdecimal() or int(width[:9]) < NARROWEST:
        del os.environ["COLUMNS"]
    code: int | str | None
    try:
        try:
            code = main()
        except SystemExit as stopped:
            # argparse raises this. Rich raises it, too, with another exit code, for a broken pipe.
            code = READER_LEFT if isinstance(stopped.__context__, BrokenPipeError) else stopped.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        code = READER_LEFT
    except OSError as error:
        _discard_output()
        what = "standard output" if error.filename is None else str(error.filename)
        _exit(f"error: {what}: {error.strerror or error}")
    _flush_errors()
    sys.exit(code)


def run(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None,
    *more: type[Exception],
    interrupted: str | None = None,
) -> int:
    """Run ``work`` with the parsed options and return the exit code.

    An ``InputError``, or one of the types in ``more``, is printed in one line and returns
    ``BAD_INPUT``. So does a ``ReportedError``, which is not printed again.

    interrupted: the message to print for Ctrl-C, which then returns ``INTERRUPTED``. None lets the
    KeyboardInterrupt pass.
    """
    options = parser.parse_args(argv)
    write_non_ascii()
    expected: tuple[type[Exception], ...] = (InputError, *more)
    try:
        return work(options)
    except ReportedError:
        return BAD_INPUT
    except BrokenPipeError:
        raise  # A BrokenPipeError is an OSError, which may be among the expected errors.
    except expected as error:
        return report_failure(error)
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        if interrupted:
            print(interrupted, file=sys.stderr)
        return INTERRUPTED


def report_failure(error: object, code: int = BAD_INPUT) -> int:
    """Print an error and return its exit code."""
    print_errors([error])
    return code


def print_errors(errors: Iterable[object]) -> None:
    """Print each error as one line on standard error."""
    for error in errors:
        text = str(error)
        if isinstance(error, ReasonedError):
            from bench.render.messages import reason_texts

            text = reason_texts(error.reason)[0]
        line = " ".join(each.strip() for each in text.splitlines())
        print(f"error: {printable(line, _LONGEST_LINE)}", file=sys.stderr)


def _exit(line: str) -> NoReturn:
    with contextlib.suppress(OSError, AttributeError):  # Standard error may be closed, too.
        print(printable(line, 1000), file=sys.stderr, flush=True)
    _flush_errors()
    sys.exit(BAD_INPUT)


def _flush_errors() -> None:
    """Write what standard error still holds, or discard it if it cannot be written.

    Python's own flush at exit would fail, too, and would change the exit code to 120.
    """
    with contextlib.suppress(AttributeError):  # Standard error is closed.
        try:
            sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)


def _discard_output() -> None:
    """Redirect standard output to nowhere, so that Python's flush at exit raises no error."""
    _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write_non_ascii() -> None:
    """Let the streams replace letters that the encoding of this terminal does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)


PLAIN = "lstm-plain"
"""The name of the error handler that replaces letters that a stream cannot encode."""

_ASCII = {
    **dict(zip("★☆▲✓–−—×·µ≤─━│┃█▉▊▋▌▍▎▏", "*+*+---x-u<--||#####---", strict=True)),
    **dict(zip("▁▂▃▄▅▆▇", "1234567", strict=True)),
    "°": " ",
    "±": "+-",
    "∞": "inf",
}


def _replace_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_ASCII.get(each, "?") for each in letters), error.end


codecs.register_error(PLAIN, _replace_letters)


def name_python() -> str:
    """Return how a user calls this Python: ``python``, or its path if ``python`` is another one."""
    # tox runs commands with a PATH that is not the user's.
    here = Path(sys.executable)
    if shutil.which("python") == str(here) and "TOX_ENV_DIR" not in os.environ:
        return "python"
    near = here.is_relative_to(Path.cwd())
    return shlex.quote(str(here.relative_to(Path.cwd()) if near else here))


def format_command(command: str, *words: str) -> str:
    """Return a command of this suite with its arguments, as a user would type it."""
    return escape_command(
        " ".join([name_python(), "-m", f"bench.{command}", *map(shlex.quote, words)])
    )


def escape_command(command: str) -> str:
    """Return a command that a user can type, with unprintable letters escaped."""
    return printable(command, _LONGEST_LINE)


def add_result_paths(parser: argparse.ArgumentParser, default: str = "the latest results") -> None:
    """Add the argument ``paths`` for result files or folders.

    default: what the help calls the default.
    """
    text = (
        f"result files or folders (default: {default} in ${RESULTS_VARIABLE} or {DEFAULT_FOLDER}/)"
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help=text)


class UsageError(InputError):
    """A command cannot be executed. The message says in one line why, and what to do."""


class ReportedError(InputError):
    """A command cannot continue, and the reason has already been printed."""
