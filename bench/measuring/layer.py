"""The layer of this library beside Keras's own, measured in one process."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.judging.comparison import Comparison
from bench.judging.intervals import case_interval
from bench.judging.ratios import compare
from bench.judging.within import RunSamples
from bench.measuring.clock import Clock, first_use
from bench.measuring.series import Broken, Plan, Series
from bench.measuring.timing import measure
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.step import Step

BASELINE = "keras.layers.LSTM"
SHAPES = ("b64-t25-i512-h512", "b1-t150-i256-h256", "b32-t100-i128-h128")
MODES = ("training", "inference")

FIT_BATCHES = 10
"""Batches in one call of ``fit``: its own cost at the start and end of an epoch, about 10 ms, is
then shared as it is in a short epoch."""

_SHAPE = re.compile(r"b(?P<batch>\d+)-t(?P<timesteps>\d+)-i(?P<inputs>\d+)-h(?P<hidden>\d+)")


@dataclass(frozen=True)
class Shape:
    """The sizes of a case: input ``[batch, timesteps, inputs]`` and ``hidden`` units."""

    batch: int
    timesteps: int
    inputs: int
    hidden: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """The shape spelled ``b64-t25-i512-h512``. Raises ValueError for anything else."""
        match = _SHAPE.fullmatch(text)
        if match is None or "0" in match.groups():
            raise ValueError(f"{text!r} is no shape; expected one such as {SHAPES[0]}")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"b{self.batch}-t{self.timesteps}-i{self.inputs}-h{self.hidden}"


@dataclass(frozen=True)
class Question:
    """What one process is asked to measure, once for each shape and mode.

    backends: ids for our layer. through: ``step``, a traced step over tensors of known sizes, or
    ``fit`` (``predict`` in inference), which does not know the batch size when it is traced.
    masked: with sequences of different lengths, padded on the right. seconds: for each shape and
    mode, for all layers together.
    """

    shapes: tuple[str, ...]
    modes: tuple[str, ...]
    backends: tuple[str, ...]
    through: str
    dtype: str
    masked: bool
    seconds: float
    seed: int


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
    baseline = _Subject(question, shape, None)
    steps: dict[str, Step] = {BASELINE: baseline.step(training)}
    known: dict[str, dict[str, Any]] = {
        name: {"shape": str(shape), "mode": mode, "layer": name, "failed": "", "picked": ""}
        for name in (BASELINE, *question.backends)
    }
    subjects = {}
    for name in question.backends:
        try:
            subjects[name] = _Subject(question, shape, name)
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
    plan = Plan(seconds=question.seconds, precision=0.005, seed=question.seed)
    for name, result in measure(steps, plan, clock).items():
        known[name] |= _plain(result)
    for name, subject in subjects.items():
        if not known[name]["failed"]:
            known[name]["picked"] = subject.picked(training)
    return list(known.values())


def _plain(result: Series | Broken) -> dict[str, Any]:
    if isinstance(result, Broken):
        return {"failed": f"{type(result.error).__name__} {result.during}: {result.error}"}
    return {
        "samples": list(result.samples),
        "rounds": list(result.rounds),
        "steady": result.steady,
    }


class _Subject:
    """One layer in a model, with its data: the thing that is timed. backend None is Keras's."""

    def __init__(self, question: Question, shape: Shape, backend: str | None) -> None:
        import keras
        import tensorflow as tf

        import lstm_impl.keras

        self._question, self._shape = question, shape
        self._tf = tf
        arguments: dict[str, Any] = {
            "units": shape.hidden,
            "return_sequences": True,
            "dtype": question.dtype,
        }
        self.layer = (
            keras.layers.LSTM(**arguments)
            if backend is None
            else lstm_impl.keras.LSTM(**arguments, backend=backend)
        )
        rng = np.random.default_rng(question.seed)
        sizes = (shape.batch, shape.timesteps)
        self._x = rng.standard_normal((*sizes, shape.inputs)).astype(np.float32)
        self._target = rng.standard_normal((*sizes, shape.hidden)).astype(np.float32)
        lengths = np.linspace(shape.timesteps, max(1, shape.timesteps // 2), shape.batch).round()
        self._mask = np.arange(shape.timesteps)[None] < lengths[:, None]
        x = keras.Input((shape.timesteps, shape.inputs))
        mask = keras.Input((shape.timesteps,), dtype="bool")
        inputs = [x, mask] if question.masked else [x]
        y = self.layer(x, mask=mask) if question.masked else self.layer(x)
        self._model = keras.Model(inputs, y)
        self._model.compile(keras.optimizers.SGD(1e-3), "mse")

    def difference(self, baseline: _Subject) -> str:
        """Where outputs or gradients are not Keras's, in words, or an empty string."""
        from lstm_impl.keras import entrants

        shape = self._shape
        spec = LSTMSpec(shape.inputs, shape.hidden, dtype=self._question.dtype)
        ours, theirs = self._results(), baseline._results()
        return entrants.difference(ours, theirs, spec, shape.batch, shape.timesteps)

    def _results(self) -> Mapping[str, Any]:
        from lstm_impl.keras import entrants

        mask = self._tf.constant(self._mask) if self._question.masked else None
        return entrants.results(self.layer, self._tf.constant(self._x), mask)

    def step(self, training: bool) -> Step:
        """What is timed."""
        tf, model = self._tf, self._model
        data = (self._x, self._mask) if self._question.masked else (self._x,)
        wait = tf.test.experimental.sync_devices
        if self._question.through == "fit":
            rows = tuple(np.tile(part, (FIT_BATCHES,) + (1,) * (part.ndim - 1)) for part in data)
            target = np.tile(self._target, (FIT_BATCHES, 1, 1))
            batches = tf.data.Dataset.from_tensor_slices((rows, target)).batch(self._shape.batch)
            if training:
                return Step(
                    lambda: model.fit(batches, shuffle=False, verbose=0), wait, lambda: None
                )
            return Step(lambda: model.predict(batches, verbose=0), wait, lambda: None)
        x = tuple(map(tf.constant, data))
        if not training:
            infer = tf.function(lambda *x: model(list(x), training=False), autograph=False)
            return Step(lambda: infer(*x), wait, lambda: infer.get_concrete_function(*x))
        target = tf.constant(self._target)
        train = tf.function(lambda *data: model.train_step(data), autograph=False)
        return Step(lambda: train(x, target), wait, lambda: train.get_concrete_function(x, target))

    def picked(self, training: bool) -> str:
        """The backends that computed the calls of this mode."""
        made = self.layer.explain().choices
        return ", ".join(
            sorted({choice.backend for call, choice in made if call.training == training})
        )


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
    by_key: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for records in answers:
        for record in records:
            by_key.setdefault((record["shape"], record["mode"], record["layer"]), []).append(record)
    table, problems = [], []
    for (shape, mode, layer), records in sorted(by_key.items()):
        if layer == BASELINE:
            continue
        base = by_key[shape, mode, BASELINE]
        if failed := [record["failed"] for record in (*records, *base) if record["failed"]]:
            problems.append(f"{layer}, {shape}, {mode}: {failed[0]}")
            continue
        runs = [
            [
                RunSamples(str(number), np.array(side["samples"]), np.array(side["rounds"]))
                for number, side in enumerate(sides)
            ]
            for sides in (records, base)
        ]
        picked = ", ".join(sorted({record["picked"] for record in records}))
        keras_seconds = case_interval([record["samples"] for record in base]).mid
        table.append(Row(shape, mode, layer, picked, keras_seconds, compare(*runs)))
    return table, problems
