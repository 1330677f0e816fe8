"""``python -m bench.predict``: what a shape would take that was not measured, and how sure that is.

Reads results of one machine, fits a time model to them for each backend (``reporting.predicted``)
and predicts the shape that is asked for, with the error that the model makes for measured shapes
that it was not told. What it says is predicted in title and column; it writes no result files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.case.cases import Shape
from bench.cli import arguments, command_line, deliver, filters
from bench.cli.progress import asked_for
from bench.reporting.predicted import Predicted, Question, answers
from bench.stats.ranking import build
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import GRADIENTS, MODES

PREDICTED, NOTHING_PREDICTED = range(2)

FORMATS = ("terminal", "markdown", "csv", "json")

EPILOG = """\
exit codes:
  0  something was predicted
  1  nothing was, and why is told of each backend
  2  bad input: an option, a file that cannot be read, or no results

Each backend has a model of its own, a fixed time and one of each timestep, on top of the roofs that
its results hold (docs/why.md). "error" is how far the model misses a measured shape that it was not
told: in the median, and at worst. Nothing is predicted beyond the sizes that were measured, nor
from fewer than 6 shapes, nor for layers on layers, two directions, windows or lengths that differ.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _predict, words)


def _predict(options: argparse.Namespace) -> int:
    (results,) = filters.read(options, asked_for(options.paths), names=("backend",))
    report = build(results)
    question = Question(
        Shape(options.batch, options.steps, options.input or options.hidden, options.hidden),
        options.mode,
        options.device,
        options.dtype,
        options.gradients,
    )
    made = Predicted(question, answers(report, question))
    deliver.as_asked(
        options,
        made.terminal,
        {"markdown": made.markdown, "csv": made.comma_separated, "json": made.as_json},
    )
    if results.errors:
        return command_line.BAD_INPUT
    return PREDICTED if any(each.found for each in made.found) else NOTHING_PREDICTED


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "predict", "What would a shape take that was not measured, and how sure is that?", EPILOG
    )
    command_line.add_result_paths(parser)
    size = arguments.SIZE
    arguments.add_values(
        parser,
        ("batch", "N", size, "sequences"),
        ("steps", "N", size, "timesteps"),
        ("hidden", "N", size, "units"),
        required=True,
    )
    features = "features of a timestep (default: as many as units)"
    arguments.add_values(parser, ("input", "N", size, features))
    add = arguments.add_choice
    add(parser, "mode", MODES, usual=MODES[0])
    add(parser, "gradients", GRADIENTS, "what training differentiates", GRADIENTS[0])
    add(parser, "dtype", PRECISIONS, usual="float32")
    arguments.add_usual(parser, ("device", "NAME", str, "cpu", "cpu, gpu:0, ..."))
    arguments.add_output(parser, FORMATS, by_name=True)
    filters.add(parser, ("backend",))
    return parser


if __name__ == "__main__":
    command_line.end(main)
