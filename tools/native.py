"""``python -m tools.native``: ``fused_cpu``, compiled ahead for machines without a compiler.

One file for each kind of CPU that is asked for, for the TensorFlow that is installed here, or one
unpacked from its wheel, which may be for another kind of machine. Where ``LSTM_NATIVE_PREBUILT``
names their folder, or a wheel was built with them in ``lstm_impl/native/prebuilt``, the backend
takes the one that fits.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import lstm_impl.backends.fused_cpu.library as fused_cpu_library
from bench.cli import arguments, command_line
from lstm_impl import UnsupportedError
from lstm_impl.backends.fused_cpu.prebuilt import KINDS

EPILOG = """\
exit codes: 0 all were written; 2 bad input, or one could not be compiled (told in a line)
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _build, words, UnsupportedError, OSError)


def _build(options: argparse.Namespace) -> int:
    for cpu in options.cpu or _of_this_machine():
        made = fused_cpu_library.build(cpu, options.folder, options.tensorflow)
        print(f"written: {made}", file=sys.stderr)
    return 0


def _of_this_machine() -> list[str]:
    return [name for name, kind in KINDS.items() if kind.machine == platform.machine()]


# -- the command line


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "native",
        "Compile fused_cpu for machines without a compiler: a library for each kind of CPU,\n"
        "for the TensorFlow that is installed here or that --tensorflow names.",
        EPILOG,
    )
    parser.add_argument(
        "folder", type=Path, help="where they are written; the folder is made if it is not there"
    )
    arguments.add_values(
        parser,
        (
            *("cpu", "NAMES", arguments.names),
            f"kinds of CPU, separated by commas, of {', '.join(KINDS)} (default: all of this "
            "machine's)",
        ),
        (
            *("tensorflow", "FOLDER", Path),
            "where a wheel of TensorFlow is unpacked, to compile for that one; of another kind of "
            "machine with a compiler for that kind, as aarch64-linux-gnu-g++",
        ),
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
