"""The layer of this library beside Keras's own, measured in one process."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.judging import beside
from bench.judging.comparison import Comparison
from bench.measuring.clock import Clock, first_use
from bench.measuring.layer_subjects import Question, subject
from bench.measuring.timing import recorded
from bench.suites.sizes import Shape
from lstm_impl.spec import UnsupportedError
from lstm_impl.step import Step

BASELINE = "keras.layers.LSTM"
MODES = ("training", "inference")


# -- in a fresh process


def answer(question: Question) -> list[dict[str, Any]]:
    """Measure every shape and mode in an order of its own: one plain record a layer."""
    cases = [(shape, mode) for shape in question.shapes for mode in question.modes]
    random.Random(question.seed).shuffle(cases)
    return [
        record
        for shape, mode in cases
        for record in _measure_case(question, Shape.parse(shape), mode)
    ]


def _measure_case(question: Question, shape: Shape, mode: str) -> list[dict[str, Any]]:
    training = mode == "training"
    baseline = subject(question, shape, None)
    steps: dict[str, Step] = {BASELINE: baseline.step(training)}
    known: dict[str, dict[str, Any]] = {
        name: {"shape": str(shape), "mode": mode, "layer": name, "failed": "", "picked": ""}
        for name in (BASELINE, *question.backends)
    }
    subjects = {}
    for name in question.backends:
        try:
            subjects[name] = subject(question, shape, name)
            subjects[name].layer.set_weights(baseline.layer.get_weights())
            known[name]["failed"] = subjects[name].difference(baseline)
            # forget what was picked for the comparison, whose sizes are all known
            subjects[name].layer.backend = name
            if not known[name]["failed"]:
                steps[name] = subjects[name].step(training)
        except UnsupportedError as error:
            known[name]["failed"] = str(error)
    clock = Clock.system()
    for name, step in steps.items():
        known[name]["first_call"] = first_use(step, clock).first_call
    for name, record in recorded(steps, question.seconds, question.seed, clock).items():
        known[name] |= record
    for name, each in subjects.items():
        if not known[name]["failed"]:
            known[name]["picked"] = each.picked(training)
    return list(known.values())


@dataclass(frozen=True)
class Row:
    """A line of the table: one of our layers against Keras's, over all processes."""

    shape: str
    mode: str
    layer: str
    picked: str
    keras_seconds: float
    comparison: Comparison


def rows(answers: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[list[Row], list[str]]:
    """The table, and why what is not in it could not be measured."""
    table, missing = beside.rows(beside.fields(answers), ("shape", "mode"), "layer", BASELINE)
    picked: dict[tuple[str, str, str], set[str]] = {}
    for record in (record for records in answers for record in records):
        key = record["shape"], record["mode"], record["layer"]
        picked.setdefault(key, set()).add(record["picked"])
    made = [
        Row(
            *(shape, mode, each.side, ", ".join(sorted(picked[shape, mode, each.side]))),
            *(each.base_seconds, each.comparison),
        )
        for each in sorted(table, key=lambda each: (each.key, each.side))
        for shape, mode in (each.key,)
    ]
    problems = [
        f"{', '.join((gap.side, *gap.key))}: {gap.why}"
        for gap in sorted(missing, key=lambda gap: (gap.key, gap.side))
        if gap.side != BASELINE  # which is the reason of all beside it then
    ]
    return made, problems
