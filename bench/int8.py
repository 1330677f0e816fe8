"""``python -m bench.int8``: what quantisation to int8 gains in inference, and loses.

PyTorch's and ONNX Runtime's, each beside float32 in the same runtime, in alternating blocks and
several fresh processes; with the error of the outputs against float64.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.machine import fresh
from bench.measuring.int8 import RUNTIMES, SHAPES, Question, Row, answer, rows
from bench.suites.sizes import Shape
from bench.telling import arguments, command_line, deliver, quantities
from bench.telling.in_turn import asked_in_turn
from bench.telling.marks import RATIO_INTERVAL
from bench.telling.sheet import Column, Sheet

EPILOG = """\
A shape is spelled b<batch>-t<timesteps>-i<input features>-h<hidden units>. int8 is not the same
function: an error is the root mean square of the outputs' difference from float64, over that of
the outputs.

exit codes: 0 all was measured; 1 something was not (a line says why); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(words)
    command_line.write_any_letter()
    if options.answer is not None:
        fresh.answer(options.answer, _answered)
        return 0
    try:
        for shape in options.shapes:
            Shape.parse(shape)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return command_line.BAD_INPUT
    asked = tuple(options.shapes), tuple(options.runtime), options.seconds
    seeds = range(options.seed, options.seed + options.processes)
    answers = asked_in_turn("bench.int8", [asdict(Question(*asked, seed)) for seed in seeds])
    if answers is None:
        return 1
    table, problems = rows(answers)
    if table:
        _show(table, options.format, options.output)
    for problem in problems:
        print(f"not measured: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _answered(asked: dict[str, Any]) -> list[dict[str, Any]]:
    for field in ("shapes", "runtimes"):
        asked[field] = tuple(asked[field])
    return answer(Question(**asked))


def _show(table: Sequence[Row], form: str, output: Path | None) -> None:
    sheet = Sheet.of(
        [
            Column("shape", names=True),
            Column("runtime"),
            *(Column(heading, right=True) for heading in ("float32", "int8 is times as fast")),
            *map(Column, (RATIO_INTERVAL, "verdict")),
            *(Column(heading, right=True) for heading in ("float32's error", "int8's error")),
        ],
        [
            [
                row.shape,
                row.runtime,
                quantities.seconds(row.float32_seconds),
                quantities.times_as_fast(row.comparison.ratio.mid),
                quantities.times_bounds(row.comparison.ratio.low, row.comparison.ratio.high),
                str(row.comparison.verdict),
                f"{row.float32_loss:.1e}",
                f"{row.int8_loss:.1%}",
            ]
            for row in table
        ],
    )
    how = f"{table[0].comparison.how}; above 1, int8 is faster than float32 in the same runtime"

    def terminal(console: Console) -> None:
        console.print(sheet.grid())
        console.print()
        console.print(how)

    deliver.deliver(
        form,
        deliver.Target(output),
        terminal,
        {"markdown": lambda: f"{sheet.markdown()}\n\n{how}\n"},
    )


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m bench.int8",
        description="What int8 gains in inference over float32, and what accuracy it loses.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "shapes", nargs="*", default=list(SHAPES), metavar="SHAPE", help="%(default)s"
    )
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument(
        "--processes", type=arguments.whole(1), default=6, help="fresh ones (%(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=arguments.seconds,
        default=3.0,
        help="of timing a shape (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments.add_output(parser, ("terminal", "markdown"))
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    command_line.end(main)
