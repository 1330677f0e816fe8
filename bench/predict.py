"""``python -m bench.predict``: what a shape would take that was not measured, and how sure that is.

Reads results of one machine, fits a time model to them for each backend (``judging.predicting``)
and predicts the shape that is asked for, with the error that the model makes for measured shapes
that it was not told. What it says is predicted in title and column; it writes no result files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from bench.disk.fields import printable
from bench.disk.folder import default_folder
from bench.judging.predicting import (
    SIZES,
    NoPredictionError,
    Point,
    Prediction,
    Shape,
    predict,
    rest_of_timestep,
)
from bench.judging.ranking import build
from bench.judging.rows import NothingToReportError, Report, Row
from bench.results.files import latest
from bench.results.only import NothingThereError
from bench.telling import arguments, command_line, deliver, filters
from bench.telling.command_line import UsageError
from bench.telling.headings import name
from bench.telling.inert import clean, code
from bench.telling.inert import markdown as markdown_text
from bench.telling.progress import read_results
from bench.telling.quantities import count, seconds
from bench.telling.sheet import Column, Sheet
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import GRADIENTS, MODES

PREDICTED, NOTHING_PREDICTED, BAD_INPUT = range(3)

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


@dataclass(frozen=True)
class Told:
    """What is said of one backend: a prediction, or why there is none."""

    backend: str
    found: Prediction | None
    reason: str = ""


@dataclass(frozen=True)
class Question:
    """A shape, and what else is alike in all that is asked."""

    shape: Shape
    mode: str
    device: str
    dtype: str
    gradients: str

    def fits(self, row: Row) -> bool:
        """Whether a row differs from what is asked in its sizes alone, and is to be trusted."""
        spec, work = row.case.spec, row.case.workload
        return (
            row.measured
            and not row.invalid
            and (row.case.device, work.mode, spec.dtype) == (self.device, self.mode, self.dtype)
            and (not work.training or work.gradients == self.gradients)
            and (spec.num_layers, spec.bidirectional) == (1, False)
            and (work.window, work.min_length, work.optimizer) == (None, None, None)
            and not (work.dropout or work.batch_major)
        )

    @property
    def uses(self) -> int:
        """How often the input stands in a product of the step."""
        return uses(self.mode, self.gradients)

    @property
    def words(self) -> str:
        """What is predicted, in a line."""
        asked = f", gradients of {self.gradients}" if self.mode == MODES[1] else ""
        return f"{self.shape.name}, {self.mode}{asked}, {self.dtype}, {self.device}"


def uses(mode: str, gradients: str) -> int:
    """How often the input stands in a product: forward, for the weights, and for itself."""
    if mode != MODES[1]:
        return 1
    return 2 if gradients == GRADIENTS[0] else 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    try:
        return _predict(options)
    except (NothingToReportError, NothingThereError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT


def _predict(options: argparse.Namespace) -> int:
    folder = default_folder()
    paths = options.paths or latest(folder)
    if not paths:
        raise NothingToReportError(f"there are no results in {printable(str(folder))}/")
    results = read_results(paths)
    for error in results.errors:
        print(f"error: {error}", file=sys.stderr)
    report = build(filters.chosen(results, options, ("backend",)))
    question = Question(
        Shape(options.batch, options.steps, options.input or options.hidden, options.hidden),
        options.mode,
        options.device,
        options.dtype,
        options.gradients,
    )
    found = answers(report, question)
    _deliver(question, found, options)
    if results.errors:
        return BAD_INPUT
    return PREDICTED if any(each.found for each in found) else NOTHING_PREDICTED


def answers(report: Report, question: Question) -> list[Told]:
    """Of each backend that was measured on anything alike; the shortest predicted time first.

    Raises NothingToReportError for results of several machines, and if nothing is alike.
    """
    if len({section.run.machine_id for section in report.sections}) > 1:
        raise NothingToReportError(
            "the results are of several machines, whose times make no one model: name those of one"
        )
    points: dict[str, dict[Shape, Point]] = {}
    without: set[str] = set()
    for row in (row for section in report.sections for row in section.rows if question.fits(row)):
        point = _point(row)
        if point is None:
            without.add(row.case.backend)
        else:  # the newest session comes first
            points.setdefault(row.case.backend, {}).setdefault(point.shape, point)
    if not points and not without:
        raise NothingToReportError(
            "nothing that is to be trusted was measured that differs in its sizes alone from "
            f"{question.words} (INVALID cases are left out; bench.report says why they are)"
        )
    told = [_told(backend, list(each.values()), question) for backend, each in points.items()]
    told += [Told(each, None, "its results hold no roofs") for each in without - points.keys()]
    return sorted(told, key=lambda each: (each.found.seconds if each.found else 1e99, each.backend))


def _told(backend: str, points: Sequence[Point], question: Question) -> Told:
    if any(point.shape == question.shape for point in points):
        return Told(backend, None, "it was measured on this very shape: bench.report has its time")
    try:
        return Told(backend, predict(points, question.shape, question.uses))
    except NoPredictionError as error:
        return Told(backend, None, str(error))


def _point(row: Row) -> Point | None:
    """A row as the model takes it; None without roofs."""
    spec, work = row.case.spec, row.case.workload
    chain, rate = row.roofs.get("chain_s", 0.0), row.roofs.get("matmul_per_s", 0.0)
    if chain <= 0 or rate <= 0:
        return None
    shape = Shape(work.batch, work.timesteps, spec.input_size, spec.hidden_size)
    rest = work.timesteps * rest_of_timestep(shape, uses(work.mode, work.gradients)) / rate
    return Point(shape, row.time, chain, row.roofs.get("launch_s", 0.0), rest)


# Telling it


def _sheet(found: Sequence[Told]) -> Sheet:
    return Sheet.of(
        [
            Column("backend", names=True),
            Column("predicted time of a step", right=True),
            Column("error, median", right=True),
            Column("error, worst", right=True),
            Column("missed most", names=True),
            Column("shapes", right=True),
        ],
        [_line(each.backend, each.found) for each in found if each.found is not None],
    )


def _line(backend: str, found: Prediction) -> list[str]:
    shape, worst = found.worst
    return [
        backend,
        seconds(found.seconds),
        f"{found.typical:.0%}",
        f"{worst:+.0%}",
        shape.name,
        str(found.shapes),
    ]


def _deliver(question: Question, found: Sequence[Told], options: argparse.Namespace) -> None:
    title = f"Predicted, not measured: {question.words}"
    reasons = [f"{name(each.backend)}: {clean(each.reason)}" for each in found if each.reason]
    sheet = _sheet(found)

    def terminal(console: Console) -> None:
        console.print(Text(title, style="bold"))
        if sheet.lines:
            console.print(sheet.grid())
        if reasons:
            console.print(Text(f"Not predicted of {count(len(reasons), 'backend')}:"))
        for reason in reasons:
            console.print(Text(f"  {reason}", style="dim"))

    def markdown() -> str:
        listed = [
            f"- {code(each.backend)}: {markdown_text(each.reason)}" for each in found if each.reason
        ]
        blocks = [f"**{title}**", *([sheet.markdown()] if sheet.lines else [])]
        return "\n\n".join([*blocks, *(["\n".join(listed)] if listed else [])]) + "\n"

    kind = options.format or deliver.kind_of(options.output)
    deliver.deliver(
        kind,
        deliver.Target(options.output),
        terminal,
        {
            "markdown": markdown,
            "csv": lambda: _separated(found),
            "json": lambda: json.dumps(_data(question, found), indent=2) + "\n",
        },
    )


COLUMNS = (
    *("backend", "predicted_s", "error_median", "error_worst", "error_worst_shape", "shapes"),
    "reason",
)


def _records(found: Sequence[Told]) -> list[dict[str, object]]:
    return [
        {
            "backend": each.backend,
            "predicted_s": each.found and each.found.seconds,
            "error_median": each.found and each.found.typical,
            "error_worst": each.found and each.found.worst[1],
            "error_worst_shape": each.found and each.found.worst[0].name,
            "shapes": each.found and each.found.shapes,
            "reason": each.reason or None,
        }
        for each in found
    ]


def _separated(found: Sequence[Told]) -> deliver.Text:
    from bench.telling.sheet import records

    return records(COLUMNS, _records(found))


def _data(question: Question, found: Sequence[Told]) -> dict[str, object]:
    asked = {size: getattr(question.shape, size) for size in SIZES}
    alike = {key: getattr(question, key) for key in ("mode", "device", "dtype", "gradients")}
    return {"predicted": True, "question": asked | alike, "backends": _records(found)}


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m bench.predict",
        description="What would a shape take that was not measured, and how sure is that?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command_line.add_result_paths(parser)
    for option, words, required in (
        ("--batch", "sequences", True),
        ("--steps", "timesteps", True),
        ("--hidden", "units", True),
        ("--input", "features of a timestep (default: as many as units)", False),
    ):
        parser.add_argument(
            option, metavar="N", type=arguments.whole(1, 999_999_999), required=required, help=words
        )
    parser.add_argument("--mode", choices=MODES, default=MODES[0], help="(default: %(default)s)")
    parser.add_argument(
        "--gradients",
        choices=GRADIENTS,
        default=GRADIENTS[0],
        help="what training differentiates (default: %(default)s)",
    )
    parser.add_argument("--dtype", choices=tuple(PRECISIONS), default="float32")
    parser.add_argument("--device", default="cpu", help="cpu, gpu:0, ... (default: %(default)s)")
    arguments.add_output(parser, FORMATS, by_name=True)
    filters.add(parser, ("backend",))
    return parser


if __name__ == "__main__":
    command_line.end(main)
