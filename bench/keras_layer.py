"""``python -m bench.keras_layer``: the layer of this library against ``keras.layers.LSTM``.

Both layers have the same weights and get the same input. What is timed is what a user runs: a whole
training step of a model that holds the layer and nothing else (forward pass, mean squared error,
gradients, update), traced as Keras's ``fit`` traces it, ``fit`` itself or ``train_on_batch``; or
the forward pass. With ``KERAS_BACKEND=torch`` or ``jax`` it is the layers there.
Before a layer is timed, its outputs and gradients are compared with Keras's on these very shapes.
Each pair is timed in alternating blocks, in several fresh processes; what is shown is the ratio of
times with its interval and verdict.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from bench.case.cases import Shape
from bench.cli import arguments, command_line, studies
from bench.cli.command_line import UsageError
from bench.cli.output import Told
from bench.render import quantities
from bench.render.escape import LONGEST_NAME
from bench.render.marks import RATIO_INTERVAL
from bench.render.table import Column, Sheet, numbers
from bench.worker.layer import MODES, SHAPES, Question, answer, picked, rows
from lstm_impl.backends.keras_environment import DEFAULT, keras_backend
from lstm_impl.registry import get_backend
from lstm_impl.spec import PRECISIONS

EPILOG = """\
A shape is spelled b<batch>-t<timesteps>-i<input features>-h<hidden units>, as in the suite's case
ids. A ratio is ours / Keras's: below 1, ours is faster. With 6 processes or more the interval comes
from the processes themselves; with fewer, from an allowance for how processes differ.

exit codes: 0 all was measured; 1 something was not (a line says why); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return studies.run(_parser(), Question, answer, _keras_layer, words)


def _keras_layer(options: argparse.Namespace) -> int:
    answers = studies.asked_anew("bench.keras_layer", _question(options), options)
    return 1 if answers is None else _show(answers, options)


def _question(options: argparse.Namespace) -> Question:
    for shape in options.shapes:
        Shape.parse(shape)
    for backend in options.backend:
        if backend != "auto":
            get_backend(backend)
    if (theirs := keras_backend()) != DEFAULT and options.through != "batch":
        raise UsageError(
            f"Keras runs on {theirs} here, and --through {options.through} is measured in "
            "TensorFlow's graphs; ask for --through batch"
        )
    return Question(
        tuple(options.shapes),
        tuple(options.mode),
        tuple(options.backend),
        options.through,
        options.dtype,
        options.masked,
        options.seconds,
        options.seed,
    )


def _show(answers: Sequence[Sequence[Mapping[str, Any]]], options: argparse.Namespace) -> int:
    table, problems = rows(answers)
    computed_by = picked(answers)
    if table:
        sheet = Sheet.of(
            [
                Column("shape", names=True),
                *map(Column, ("mode", "backend", "computed by")),
                *numbers("Keras", "times as fast"),
                *map(Column, (RATIO_INTERVAL, "verdict")),
            ],
            [
                [
                    *row.key,
                    row.side,
                    computed_by[*row.key, row.side],
                    quantities.seconds(row.base_seconds),
                    quantities.times_as_fast(row.comparison.ratio.mid),
                    quantities.times_bounds(row.comparison.ratio.low, row.comparison.ratio.high),
                    str(row.comparison.verdict),
                ]
                for row in table
            ],
        )
        how = (
            f"Keras on {keras_backend()}; {table[0].comparison.how}; times as fast: ours as "
            "Keras's, above 1 is faster"
        )
        Told((), (("", sheet),), (how,), heading=LONGEST_NAME).deliver(options)
    return studies.missing(problems)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "keras_layer",
        "Time lstm_impl.keras.LSTM against keras.layers.LSTM in alternating blocks.",
        EPILOG,
    )
    parser.add_argument(
        "shapes", nargs="*", default=list(SHAPES), metavar="SHAPE", help="%(default)s"
    )
    parser.add_argument(
        "--backend", nargs="+", default=["auto"], help="of our layer; several are timed together"
    )
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    through = (
        "a traced step; fit and predict themselves; or train_on_batch and predict_on_batch, on "
        "whichever backend Keras runs"
    )
    add = arguments.add_choice
    add(parser, "through", ("step", "fit", "batch"), through, "step")
    add(parser, "dtype", sorted(PRECISIONS.keys() - {"tf32"}), usual="float32")
    parser.add_argument("--masked", action="store_true", help="sequences of half to full length")
    studies.add_processes(parser, 6.0, "timing a shape and mode")
    return parser


if __name__ == "__main__":
    command_line.end(main)
