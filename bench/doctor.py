"""``python -m bench.doctor``: which backends run on which devices here, and is this a good moment.

The command; what it finds and how that is shown is ``running.diagnosis``'s. It works with no
framework installed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from bench.cli import arguments, command_line, output
from bench.machine import devices
from bench.session.diagnosis import diagnose, exit_code, show
from lstm_impl import UnsupportedError

FORMATS = ("terminal", "json")
EPILOG = """\
exit codes:
  0  on every device asked about (by default: on one at least) some backend can run,
     the NumPy reference not counted
  1  none can; what to install is said
  2  bad input: an option, or a backend or device that does not exist

Asking every framework takes as long as starting each: about 10 seconds for TensorFlow. Nothing is
measured and nothing is changed.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _doctor, words, UnsupportedError)


def _doctor(options: argparse.Namespace) -> int:
    requested = [devices.parse(name) for name in options.device or ()]
    if sys.stderr.isatty():
        print("starting every framework that is installed ...", file=sys.stderr)
    found = diagnose(requested or _usual_devices(), options.backends)
    output.as_asked(
        options,
        lambda console: show(found, console),
        {"json": lambda: json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"},
    )
    return exit_code(found.survey, every_device=bool(requested))


def _usual_devices() -> list[str]:
    here = devices.available()
    # Where there is no GPU, why there is none is part of the answer.
    return here if len(here) > 1 else [*here, "gpu:0"]


# -- the command line


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "doctor",
        "Which backends run on which devices here, why others do not, and what about this machine "
        "to change before measuring.",
        EPILOG,
    )
    which = "cpu, gpu:0, ..., separated by commas (default: all that are here)"
    arguments.add_values(
        parser,
        ("device", "DEVICES", arguments.names, which),
        ("backends", "NAMES", arguments.names, "only these, separated by commas (default: all)"),
    )
    arguments.add_output(parser, FORMATS)
    return parser


if __name__ == "__main__":
    command_line.end(main)
