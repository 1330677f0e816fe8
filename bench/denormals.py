"""``python -m bench.denormals``: what numbers too small to be normal cost each backend.

The same step is timed on ordinary numbers and on denormal ones, in alternating blocks. The command;
``measuring.denormals`` knows the case, the processes and the table.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence

from bench.cli import arguments, command_line, studies
from bench.worker.denormals import Question, answer, asked, told
from lstm_impl.workload import SEQUENCE_MODES

BACKENDS = ("keras", "while_loop+hoisted", "while_loop+xla", "torch", "jax_scan", "onnxruntime")

EPILOG = """\
Ratios are denormal / ordinary of the same process: 1 is no cost. With 6 processes of a kind or more
the interval comes from the processes themselves. Half of the processes flush denormals to zero: the
thread that starts all others is told so before any framework is imported.

exit codes: 0 all was measured, or shown; 1 something was not measured (told in a line); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    work = functools.partial(studies.ended, "denormals", asked, told)
    return studies.run(_parser(), Question, answer, work, words)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "denormals", "Time the same step on ordinary and on denormal numbers.", EPILOG
    )
    arguments.add_usual(parser, ("shape", "SHAPE", str, "b8-t100-i64-h64", "as case ids spell it"))
    parser.add_argument("--backend", nargs="+", default=list(BACKENDS), help="%(default)s")
    arguments.add_choice(parser, "mode", SEQUENCE_MODES, usual="inference")
    studies.add_study(parser)
    studies.add_processes(parser, 0.5, "timing a backend on either kind of numbers", "of each kind")
    return parser


if __name__ == "__main__":
    command_line.end(main)
