"""What a shape would take that was not measured: predicted from a report's rows, and told.

This room asks ``judging.predicting`` for each backend, and lays out what it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from bench.case.cases import SIZES, Shape
from bench.render.headings import name
from bench.render.inert import clean, code
from bench.render.inert import markdown as escaped
from bench.render.quantities import count, seconds
from bench.render.sheet import Column, Sheet, json_text, numbers, records
from bench.stats.predicting import NoPredictionError, Point, Prediction, predict, rest_of_timestep
from bench.stats.rows import NothingToReportError, Report, Row
from lstm_impl.workload import GRADIENTS, MODES

COLUMNS = (
    *("backend", "predicted_s", "error_median", "error_worst", "error_worst_shape", "shapes"),
    "reason",
)
ALIKE = ("mode", "device", "dtype", "gradients")
"""Of a question, what all that answers it has in common."""


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
    def words(self) -> str:
        """What is predicted, in a line."""
        asked = f", gradients of {self.gradients}" if self.mode == MODES[1] else ""
        return f"{self.shape}, {self.mode}{asked}, {self.dtype}, {self.device}"


def uses(mode: str, gradients: str) -> int:
    """How often the input stands in a product: forward, for the weights, and for itself."""
    if mode != MODES[1]:
        return 1
    return 2 if gradients == GRADIENTS[0] else 3


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
        used = uses(question.mode, question.gradients)
        return Told(backend, predict(points, question.shape, used))
    except NoPredictionError as error:
        return Told(backend, None, str(error))


def _point(row: Row) -> Point | None:
    """A row as the model takes it; None without roofs."""
    work = row.case.workload
    chain, rate = row.roofs.get("chain_s", 0.0), row.roofs.get("matmul_per_s", 0.0)
    if chain <= 0 or rate <= 0:
        return None
    shape = row.case.sizes
    rest = work.timesteps * rest_of_timestep(shape, uses(work.mode, work.gradients)) / rate
    return Point(shape, row.time, chain, row.roofs.get("launch_s", 0.0), rest)


def _sheet(found: Sequence[Told]) -> Sheet:
    return Sheet.of(
        [
            Column("backend", names=True),
            *numbers("predicted time of a step", "error, median", "error, worst"),
            Column("missed most", names=True),
            Column("shapes", right=True),
        ],
        [
            [
                each.backend,
                seconds(each.found.seconds),
                f"{each.found.typical:.0%}",
                f"{each.found.worst[1]:+.0%}",
                str(each.found.worst[0]),
                str(each.found.shapes),
            ]
            for each in found
            if each.found is not None
        ],
    )


@dataclass(frozen=True)
class Predicted:
    """What is said to a question, in each form."""

    question: Question
    found: Sequence[Told]

    @property
    def title(self) -> str:
        """What it is."""
        return f"Predicted, not measured: {self.question.words}"

    def terminal(self, console: Console) -> None:
        """As a terminal shows it."""
        reasons = [each for each in self.found if each.reason]
        sheet = _sheet(self.found)
        console.print(Text(self.title, style="bold"))
        if sheet.lines:
            console.print(sheet.grid())
        if reasons:
            console.print(Text(f"Not predicted of {count(len(reasons), 'backend')}:"))
        for each in reasons:
            console.print(Text(f"  {name(each.backend)}: {clean(each.reason)}", style="dim"))

    def markdown(self) -> str:
        """In GitHub's dialect."""
        sheet = _sheet(self.found)
        listed = [
            f"- {code(each.backend)}: {escaped(each.reason)}" for each in self.found if each.reason
        ]
        blocks = [f"**{self.title}**", *([sheet.markdown()] if sheet.lines else [])]
        return "\n\n".join([*blocks, *(["\n".join(listed)] if listed else [])]) + "\n"

    def comma_separated(self) -> Iterator[str]:
        """A row a backend."""
        return records(COLUMNS, self._records())

    def as_json(self) -> str:
        """The question and the same rows."""
        asked = {size: getattr(self.question.shape, size) for size in SIZES}
        alike = {key: getattr(self.question, key) for key in ALIKE}
        return json_text(
            {"predicted": True, "question": asked | alike, "backends": self._records()}
        )

    def _records(self) -> list[dict[str, object]]:
        return [
            {
                "backend": each.backend,
                "predicted_s": each.found and each.found.seconds,
                "error_median": each.found and each.found.typical,
                "error_worst": each.found and each.found.worst[1],
                "error_worst_shape": each.found and str(each.found.worst[0]),
                "shapes": each.found and each.found.shapes,
                "reason": each.reason or None,
            }
            for each in self.found
        ]
