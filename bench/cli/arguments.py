"""Parse the values of command lines: names, whole numbers, times and percentages.

Each parser raises ``argparse.ArgumentTypeError`` with one line that says what would be right.
Imports nothing of results or frameworks, since pytest loads it with the plugin's options.
"""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.cli.command_line import BAD_INPUT
from bench.machine.fields import printable

_LONGEST_ERROR = 1000
_LONGEST_TIME = 1e8  # seconds; three years
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


class Parser(argparse.ArgumentParser):
    """Prints what is wrong in one line, without the usage, which is a screenful."""

    def error(self, message: str) -> NoReturn:
        """End the command with one line and the exit code of bad input."""
        self.exit(BAD_INPUT, f"error: {printable(message, _LONGEST_ERROR)}; see --help\n")


def parser(command: str, description: str, epilog: str = "", **more: Any) -> Parser:
    """The parser of ``python -m bench.COMMAND``; its epilog, the exit codes, stands as it is."""
    return Parser(
        prog=f"python -m bench.{command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )


def add_values(
    to: argparse._ActionsContainer,
    *rows: tuple[str, str, Callable[[str], Any], str],
    **more: Any,
) -> None:
    """Options that take a value: name, metavar, type and help. more: for ``add_argument``."""
    for name, metavar, kind, described in rows:
        to.add_argument(f"--{name}", metavar=metavar, type=kind, help=described, **more)


def add_usual(
    to: argparse._ActionsContainer, *rows: tuple[str, str, Callable[[str], Any], Any, str]
) -> None:
    """As ``add_values``, with a default before the help."""
    for name, metavar, kind, usual, described in rows:
        shown = f"{described} (default: %(default)s)".lstrip()
        add_values(to, (name, metavar, kind, shown), default=usual)


def add_choice(
    to: argparse._ActionsContainer,
    name: str,
    choices: Iterable[str],
    text: str = "",
    usual: str | None = None,
) -> None:
    """An option that takes one of some words. usual: its default."""
    default = "" if usual is None else "(default: %(default)s)"
    to.add_argument(
        f"--{name}", choices=tuple(choices), default=usual, help=f"{text} {default}".strip()
    )


def add_flags(to: argparse._ActionsContainer, **flags: str) -> None:
    """Options without a value, with their help."""
    for name, described in flags.items():
        to.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=described)


def add_output(
    parser: argparse._ActionsContainer,
    formats: Sequence[str],
    note: str = "",
    by_name: bool = False,
) -> None:
    """The options ``--format`` and ``--output``. note: on a format.

    by_name: the format is None by default, and follows from the name of the file.
    """
    default = "what FILE's name says, or else terminal" if by_name else "%(default)s"
    parser.add_argument(
        "--format",
        choices=formats,
        default=None if by_name else formats[0],
        help=f"what is written (default: {default}{f'; {note}' if note else ''})",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write there, not to the terminal"
    )


def names(text: str) -> tuple[str, ...]:
    """Names, separated by commas or blanks; at least one."""
    found = tuple(re.split(r"[,\s]+", text.strip(", \t\n")))
    if found == ("",):
        raise argparse.ArgumentTypeError("expected at least one name")
    return found


def whole(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    """A type: whole numbers from ``least`` to ``most``."""

    def number(text: str) -> int:
        if text.isascii() and text.isdecimal() and least <= int(text[:20]) <= most:
            return int(text)
        upwards = f"from {least} to {most}" if most < 2**63 - 1 else f"of at least {least}"
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number {upwards}")

    return number


SIZE = whole(1, 999_999_999)
"""The type of a size: of a batch, a layer, a sequence."""


def wholes(text: str) -> tuple[int, ...]:
    """Whole numbers, separated by commas or blanks, as in 3,5,10."""
    try:
        return tuple(int(part) for part in names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; expected integers, as in 3,5,10") from None


def seconds(text: str) -> float:
    """A time above 0, in seconds: 90, 90s, 10m or 1h30m."""
    match = _TIME.fullmatch(text.strip())
    hours, minutes, rest = (float(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + rest
    if not 0 < total < _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 90s, 10m or 1h30m")
    return total


def periods(text: str) -> tuple[float | None, ...]:
    """When the calls of a stream are due: ``10ms``, ``back-to-back``, separated by commas."""
    return tuple(dict.fromkeys(map(_period, names(text))))


def short_time(text: str) -> float:
    """A time in seconds, from a microsecond on: 500us, 10ms, 1.5s."""
    found = _period(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 500us, 10ms or 1.5s")
    return found


def _period(text: str) -> float | None:
    # What it takes to know them is not every pytest's to wait for.
    from bench.case.cases import parse_period

    try:
        return parse_period(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def percentage(text: str) -> float:
    """A percentage above 0, with or without its sign, as a share: 2% is 0.02."""
    kind = "percentage from 0 to 100, such as 2%"
    return _above_0(text.strip().removesuffix("%"), 100, kind, text) / 100


def share(text: str) -> float:
    """A number above 0 and up to 1."""
    return _above_0(text, 1, "number from 0 to 1", text)


def _above_0(text: str, most: float, kind: str, given: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) <= most:
            return value
    raise argparse.ArgumentTypeError(f"{given!r} is no {kind}")


def add_unmeasured(parser: argparse.ArgumentParser) -> None:
    """``--unmeasured``, for a terminal and Markdown."""
    text = "list what has no time and why, not only how much of it there is"
    add_flags(parser, unmeasured=text)
