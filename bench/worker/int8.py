"""An LSTM in int8 beside float32 in the same runtime, measured in one process.

Not the same function, so no gate and no place among the backends: beside each time stands what was
lost against the float64 reference.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.case.cases import Shape
from bench.stats import beside
from bench.stats.beside import Beside
from bench.worker.timing import recorded
from lstm_impl import reference
from lstm_impl.int8 import int8_backends
from lstm_impl.registry import get_backend
from lstm_impl.spec import FloatArray, LSTMSpec, UnsupportedError
from lstm_impl.step import Step
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

SHAPES = ("b1-t150-i256-h256", "b32-t100-i128-h128", "b64-t25-i512-h512", "b5-t15-i1-h4")
RUNTIMES = ("torch", "onnxruntime")


@dataclass(frozen=True)
class Question:
    """What one process is asked. seconds: for each shape, for all of its models together."""

    shapes: tuple[str, ...]
    runtimes: tuple[str, ...]
    seconds: float
    seed: int


# -- in a fresh process


def answer(question: Question) -> list[dict[str, Any]]:
    """Every shape in an order of its own: one plain record a runtime and precision."""
    shapes = list(question.shapes)
    random.Random(question.seed).shuffle(shapes)
    return [each for shape in shapes for each in _measure_shape(question, Shape.parse(shape))]


def _measure_shape(question: Question, shape: Shape) -> list[dict[str, Any]]:
    spec = LSTMSpec(shape.inputs, shape.hidden)
    weights = LSTMWeights.random(spec, seed=question.seed)
    workload = Workload(shape.batch, shape.timesteps)
    inputs = workload.inputs(spec, question.seed)
    wanted, _ = reference.forward(spec, weights, inputs.x, inputs.state)
    records: list[dict[str, Any]] = []
    # Each runtime by itself: its threads go on spinning for a moment after each call, and would
    # take the processors from the other's.
    for runtime in question.runtimes:
        made: dict[str, dict[str, Any]] = {}
        steps: dict[str, Step] = {}
        for precision, backend in (
            ("float32", get_backend(runtime)),
            ("int8", int8_backends()[runtime]),
        ):
            record = made[precision] = {
                "shape": str(shape),
                "runtime": runtime,
                "precision": precision,
                "failed": "",
            }
            try:
                if not (available := backend.availability("cpu")):
                    raise UnsupportedError(str(available))
                model = backend.build(spec, weights)
                found, _ = model.forward(inputs.x, inputs.state)
                record["loss"] = relative_error(found, wanted)
                steps[precision] = model.prepare(workload, question.seed)
                steps[precision].run()
            except UnsupportedError as error:
                record["failed"] = str(error)
        share = question.seconds / len(question.runtimes)
        for precision, times in recorded(steps, share, question.seed).items():
            made[precision] |= times
        records += made.values()
    return records


def relative_error(found: FloatArray, wanted: FloatArray) -> float:
    """The root mean square of the difference over that of what was wanted."""
    difference = np.asarray(found, np.float64) - wanted
    return float(np.sqrt(np.mean(difference**2) / np.mean(wanted**2)))


# -- in the process that asks


def rows(answers: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[list[Beside], list[str]]:
    """int8 against float32 in the same runtime, and why what is missing was not measured."""
    table, missing = beside.rows(
        beside.fields(answers), ("shape", "runtime"), "precision", "float32"
    )
    problems: dict[tuple[str, ...], str] = {}
    for gap in sorted(missing, key=lambda gap: gap.key):
        # Where float32 failed, int8 has nothing beside it: one reason is enough.
        shape, runtime = gap.key
        problems.setdefault(gap.key, f"{runtime} {gap.side}, {shape}: {gap.why}")
    return sorted(table, key=lambda each: each.key), list(problems.values())


def losses(answers: Sequence[Sequence[Mapping[str, Any]]]) -> dict[tuple[str, ...], float]:
    """The largest error against float64 that was seen, by shape, runtime and precision."""
    found: dict[tuple[str, ...], float] = {}
    for record in (record for records in answers for record in records):
        key = record["shape"], record["runtime"], record["precision"]
        found[key] = max(found.get(key, 0.0), record.get("loss", 0.0))
    return found
