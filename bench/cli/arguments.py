"""Define the parser of all commands, groups of options, and the types of their values.

The functions ``parse_...`` are types for ``add_argument``. They raise
``argparse.ArgumentTypeError`` with one line that says what is expected. pytest loads this module
with the plugin's options, so the module imports nothing that reads results and no framework.
"""

import argparse
import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.cli.command_line import BAD_INPUT
from bench.machine.fields import did_you_mean, printable, without_secrets
from bench.machine.reading import SHARED, is_url

_LONGEST_ERROR = 1000
_LONGEST_TIME = 1e8  # seconds; three years
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, without the long usage."""

    def format_help(self) -> str:
        """Return the help.

        Outside a clone, it names the path of each document instead of docs/NAME.md.
        """
        text = super().format_help()
        inside = Path(__file__).resolve().parents[2] == SHARED
        return text if inside else re.sub(r"(?<!/)docs/(?=\w+\.md)", f"{SHARED}/docs/", text)

    def error(self, message: str) -> NoReturn:
        """Print an error in one line and exit with the code of bad input."""
        self.exit(BAD_INPUT, f"error: {printable(message, _LONGEST_ERROR)}; see --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments. Report an unknown option before a missing required one.

        A misspelled option is the likely reason why a required one is missing.
        """
        words = [*(sys.argv[1:] if args is None else args), "--"]
        known = [each for each in self._option_string_actions if each.startswith("--")]
        for name in [word.partition("=")[0] for word in words[: words.index("--")]]:
            near = not name.startswith("--") or any(each.startswith(name) for each in known)
            # A parser with subcommands cannot know their options.
            if not near and self._subparsers is None:
                self.error(f"there is no option {name}{did_you_mean(name, known)}")
        found, rest = super().parse_known_args(args, namespace)
        if getattr(found, "format", "") is None:
            suffix = "" if found.output is None else found.output.suffix.lower()
            (formats,) = (each.choices or () for each in self._actions if each.dest == "format")
            found.format = SUFFIXES.get(suffix, "")
            if found.format not in formats:
                self.error(
                    f"--output {found.output}: this name implies no format; add --format, one of "
                    f"{', '.join(formats)}"
                )
        return found, rest


SUFFIXES = {
    "": "terminal",
    ".txt": "terminal",
    ".md": "markdown",
    **{f".{each}": each for each in ("csv", "json", "parquet", "html", "svg")},
}
"""The format that the suffix of a file name implies."""


def make_parser(command: str, description: str, epilog: str = "", **more: Any) -> Parser:
    """Return the parser of ``python -m bench.COMMAND``, or of a module with a dot in its name."""
    return Parser(
        prog=f"python -m {command if '.' in command else f'bench.{command}'}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )


def add_values(
    to: argparse._ActionsContainer, *rows: tuple[str, str, Callable[[str], Any], str], **more: Any
) -> None:
    """Add options with a value.

    rows: the name, metavar, type and help of each option. more: further arguments of
    ``add_argument``.
    """
    for name, metavar, kind, described in rows:
        to.add_argument(f"--{name}", metavar=metavar, type=kind, help=described, **more)


def add_with_default(
    to: argparse._ActionsContainer, *rows: tuple[str, str, Callable[[str], Any], Any, str]
) -> None:
    """Add options with a value and a default.

    rows: the name, metavar, type, default and help of each option.
    """
    for name, metavar, kind, default, text in rows:
        help_text = f"{text} (default: %(default)s)".lstrip()
        add_values(to, (name, metavar, kind, help_text), default=default)


def add_choice(
    to: argparse._ActionsContainer,
    name: str,
    choices: Iterable[str],
    text: str = "",
    default: str | None = None,
) -> None:
    """Add an option whose value is one of several words."""
    note = "" if default is None else "(default: %(default)s)"
    to.add_argument(
        f"--{name}", choices=tuple(choices), default=default, help=f"{text} {note}".strip()
    )


def add_flags(to: argparse._ActionsContainer, **flags: str) -> None:
    """Add options without a value.

    flags: the help of each option by its name, with underscores for hyphens.
    """
    for name, described in flags.items():
        to.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=described)


def add_output(parser: argparse._ActionsContainer, formats: Sequence[str]) -> None:
    """Add the options ``--format`` and ``--output``."""
    described = "the format of the output (default: the one that FILE's name implies, or terminal)"
    add_choice(parser, "format", formats, described)
    add_values(parser, ("output", "FILE", local_path, "write to FILE, not to the terminal"))


def local_path(text: str) -> Path:
    """Return the path of a file to write. Raise ArgumentTypeError for a URL."""
    if is_url(text):
        shown = printable(without_secrets(text), 100)
        raise argparse.ArgumentTypeError(
            f"{shown} is a URL, but a report can only be written to a file on this machine; write "
            "FILE and copy it (bench.submit --to URL copies results)"
        )
    return Path(text)


def parse_names(text: str) -> tuple[str, ...]:
    """Parse one or more names, separated by commas or blanks."""
    found = tuple(re.split(r"[,\s]+", text.strip(", \t\n")))
    if found == ("",):
        raise argparse.ArgumentTypeError("expected at least one name")
    return found


def make_integer_parser(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    """Return a type that parses integers from ``least`` to ``most``."""

    def number(text: str) -> int:
        if text.isascii() and text.isdecimal() and least <= int(text[:20]) <= most:
            return int(text)
        upwards = f"from {least} to {most}" if most < 2**63 - 1 else f"of at least {least}"
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number {upwards}")

    return number


SIZE = make_integer_parser(1, 999_999_999)
"""The type of a batch size, a layer size or a number of timesteps."""


def parse_integers(text: str) -> tuple[int, ...]:
    """Parse integers, separated by commas or blanks, as in 3,5,10."""
    try:
        return tuple(int(part) for part in parse_names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of integers; write 3,5,10"
        ) from None


def parse_seconds(text: str) -> float:
    """Parse a positive time into seconds: 90, 90s, 10m or 1h30m."""
    match = _TIME.fullmatch(text.strip())
    hours, minutes, rest = (float(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + rest
    if not 0 < total < _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 90s, 10m or 1h30m")
    return total


def parse_periods(text: str) -> tuple[float | None, ...]:
    """Parse the periods of a stream's calls, separated by commas, such as ``10ms,back-to-back``."""
    return tuple(dict.fromkeys(map(_period, parse_names(text))))


def parse_short_time(text: str) -> float:
    """Parse a time of at least a microsecond into seconds: 500us, 10ms, 1.5s."""
    found = _period(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 500us, 10ms or 1.5s")
    return found


def _period(text: str) -> float | None:
    # Importing this at the top would delay the start of every pytest run.
    from bench.case.cases import parse_period

    try:
        return parse_period(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_percentage(text: str) -> float:
    """Parse a percentage above 0, with or without %, into a fraction: 2% becomes 0.02."""
    kind = "percentage from 0 to 100, such as 2%"
    return _above_0(text.strip().removesuffix("%"), 100, kind, text) / 100


def parse_share(text: str) -> float:
    """Parse a number above 0 and at most 1."""
    return _above_0(text, 1, "number from 0 to 1", text)


def _above_0(text: str, most: float, kind: str, given: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) <= most:
            return value
    raise argparse.ArgumentTypeError(f"{given!r} is not a {kind}")


def add_unmeasured(parser: argparse.ArgumentParser) -> None:
    """Add ``--unmeasured``, which applies to the terminal and Markdown."""
    add_flags(
        parser, unmeasured="list the cases without a time and the reasons, not only their number"
    )
