"""``python -m bench.int8``: what quantisation to int8 gains in inference, and loses.

PyTorch's and ONNX Runtime's, each beside float32 in the same runtime, in alternating blocks and
several fresh processes; with the error of the outputs against float64.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from bench.case.cases import Shape
from bench.cli import arguments, command_line, studies
from bench.cli.output import Told
from bench.render import quantities
from bench.render.escape import LONGEST_NAME
from bench.render.marks import RATIO_INTERVAL
from bench.render.table import Column, Sheet, numbers
from bench.stats.beside import Beside
from bench.worker.int8 import RUNTIMES, SHAPES, Question, answer, losses, rows

EPILOG = """\
A shape is spelled b<batch>-t<timesteps>-i<input features>-h<hidden units>. int8 is not the same
function: an error is the root mean square of the outputs' difference from float64, over that of
the outputs.

exit codes: 0 all was measured; 1 something was not (a line says why); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return studies.run(_parser(), Question, answer, _int8, words)


def _int8(options: argparse.Namespace) -> int:
    for shape in options.shapes:
        Shape.parse(shape)
    shapes, runtimes = tuple(options.shapes), tuple(options.runtime)
    question = Question(shapes, runtimes, options.seconds, options.seed)
    answers = studies.asked_anew("bench.int8", question, options)
    if answers is None:
        return 1
    table, problems = rows(answers)
    if table:
        _told(table, losses(answers)).deliver(options)
    return studies.missing(problems)


def _told(table: Sequence[Beside], errors: Mapping[tuple[str, ...], float]) -> Told:
    sheet = Sheet.of(
        [
            Column("shape", names=True),
            Column("runtime"),
            *numbers("float32", "int8 is times as fast"),
            *map(Column, (RATIO_INTERVAL, "verdict")),
            *numbers("float32's error", "int8's error"),
        ],
        [
            [
                *row.key,
                quantities.seconds(row.base_seconds),
                quantities.times_as_fast(row.comparison.ratio.mid),
                quantities.times_bounds(row.comparison.ratio.low, row.comparison.ratio.high),
                str(row.comparison.verdict),
                f"{errors[*row.key, 'float32']:.1e}",
                f"{errors[*row.key, 'int8']:.1%}",
            ]
            for row in table
        ],
    )
    how = f"{table[0].comparison.how}; above 1, int8 is faster than float32 in the same runtime"
    return Told((), (("", sheet),), (how,), heading=LONGEST_NAME)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "int8", "What int8 gains in inference over float32, and what accuracy it loses.", EPILOG
    )
    parser.add_argument(
        "shapes", nargs="*", default=list(SHAPES), metavar="SHAPE", help="%(default)s"
    )
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    studies.add_processes(parser, 3.0, "timing a shape")
    return parser


if __name__ == "__main__":
    command_line.end(main)
