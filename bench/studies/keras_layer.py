"""``python -m bench.run keras-layer``: this library's layer against ``keras.layers.LSTM``.

Both layers have the same weights and get the same input. What is timed is what a user runs: a whole
training step of a model that holds the layer and nothing else (forward pass, mean squared error,
gradients, update), traced as Keras's ``fit`` traces it, ``fit`` itself or ``train_on_batch``; or
the forward pass. With ``KERAS_BACKEND=torch`` or ``jax`` it is the layers there. Before a layer is
timed, its outputs and gradients are compared with Keras's on these very shapes.
"""

from __future__ import annotations

import abc
import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.case.cases import SPELLING, Shape
from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.cli.output import CommandOutput
from bench.render import quantities
from bench.render.escape import LONGEST_NAME
from bench.render.labels import RATIO_INTERVAL
from bench.render.messages import basis_text
from bench.render.table import Column, Sheet, numbers
from bench.studies import comparisons, processes
from bench.studies.comparisons import SideComparison
from bench.worker.timing import Clock, first_use, recorded
from lstm_impl.backends.keras.environment import DEFAULT, keras_backend
from lstm_impl.registry import get_backend
from lstm_impl.spec import PRECISIONS, LSTMSpec, UnsupportedError
from lstm_impl.step import Step

BASELINE = "keras.layers.LSTM"
MODES = ("training", "inference")
SHAPES = (SPELLING, "b1-t150-i256-h256", "b32-t100-i128-h128")

FIT_BATCHES = 10
"""Batches in one call of ``fit``: its own cost at the start and end of an epoch, about 10 ms, is
then shared as it is in a short epoch."""


@dataclass(frozen=True)
class LayerRequest:
    """What one process is asked to measure, once for each shape and mode.

    backends: ids for our layer. through: ``step``, a traced step over tensors of known sizes;
    ``fit`` (``predict`` in inference), which does not know the batch size when it is traced; or
    ``batch``, ``train_on_batch`` and ``predict_on_batch``, whichever backend Keras runs on.
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


def subject(question: LayerRequest, shape: Shape, backend: str | None) -> Subject:
    """The layer as ``question.through`` calls it; all but ``batch`` need Keras on TensorFlow."""
    kind = Called if question.through == "batch" else Traced
    return kind(question, shape, backend)


class Subject(abc.ABC):
    """One layer in a model, with its data: the thing that is timed. backend None is Keras's."""

    def __init__(self, question: LayerRequest, shape: Shape, backend: str | None) -> None:
        import keras

        import lstm_impl.keras

        self._question, self._shape = question, shape
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

    @property
    def _data(self) -> tuple[Any, ...]:
        return (self._x, self._mask) if self._question.masked else (self._x,)

    def difference(self, baseline: Subject) -> str:
        """Where outputs or gradients are not Keras's, in words, or an empty string."""
        from lstm_impl.keras import alike

        shape = self._shape
        spec = LSTMSpec(shape.inputs, shape.hidden, dtype=self._question.dtype)
        ours, theirs = self.results(), baseline.results()
        return alike.difference(ours, theirs, spec, shape.batch, shape.timesteps)

    @abc.abstractmethod
    def results(self) -> Mapping[str, Any]:
        """Outputs and gradients by name, in float64."""

    @abc.abstractmethod
    def step(self, training: bool) -> Step:
        """What is timed."""

    def picked(self, training: bool) -> str:
        """The backends that computed the calls of this mode."""
        made = self.layer.explain().choices
        return ", ".join(
            sorted({choice.backend for call, choice in made if call.training == training})
        )


class Traced(Subject):
    """A traced step of TensorFlow's, or ``fit`` and ``predict`` over a dataset of its."""

    def results(self) -> Mapping[str, Any]:
        """Outputs, and gradients of a loss of them."""
        import tensorflow as tf

        from lstm_impl.keras import entrants

        mask = tf.constant(self._mask) if self._question.masked else None
        return entrants.results(self.layer, tf.constant(self._x), mask)

    def step(self, training: bool) -> Step:
        """What is timed."""
        import tensorflow as tf

        model = self._model
        data = self._data
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


class Called(Subject):
    """``train_on_batch`` and ``predict_on_batch``, on whichever backend Keras runs."""

    def results(self) -> Mapping[str, Any]:
        """The outputs, and the gradients as one step of gradient descent shows them."""
        import keras

        from lstm_impl.keras.alike import PARAMETERS

        before = self.layer.get_weights()
        # The loss is a mean over all outputs: so long a step keeps clear of the weights' rounding.
        rate = float(self._target.size)
        self._model.compile(keras.optimizers.SGD(rate), "mse")
        y = self._model.predict_on_batch(self._given)
        self._model.train_on_batch(self._given, self._target)
        after = self.layer.get_weights()
        self.layer.set_weights(before)
        self._model.compile(keras.optimizers.SGD(1e-3), "mse")
        moved = [old - new for old, new in zip(before, after, strict=True)]
        found = dict(zip(("y", *PARAMETERS), (y, *moved), strict=True))
        return {name: np.asarray(array, np.float64) for name, array in found.items()}

    @property
    def _given(self) -> Any:
        return list(self._data) if self._question.masked else self._x

    def step(self, training: bool) -> Step:
        """What is timed; both return what they computed, so that there is nothing to wait for."""
        model, given, target = self._model, self._given, self._target
        if training:
            return Step(lambda: model.train_on_batch(given, target), lambda: None, lambda: None)
        return Step(lambda: model.predict_on_batch(given), lambda: None, lambda: None)


# -- in a fresh process


def answer(question: LayerRequest) -> list[dict[str, Any]]:
    """Measure every shape and mode in an order of its own: one plain record a layer."""
    cases = [(shape, mode) for shape in question.shapes for mode in question.modes]
    random.Random(question.seed).shuffle(cases)
    return [
        record
        for shape, mode in cases
        for record in _measure_case(question, Shape.parse(shape), mode)
    ]


def _measure_case(question: LayerRequest, shape: Shape, mode: str) -> list[dict[str, Any]]:
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


# -- in the process that asks


def rows(answers: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[list[SideComparison], list[str]]:
    """Our layers against Keras's, over all processes, and why what is missing was not measured."""
    table, missing = comparisons.rows(
        comparisons.fields(answers), ("shape", "mode"), "layer", BASELINE
    )
    problems = [
        f"{', '.join((gap.side, *gap.key))}: {gap.why}"
        for gap in sorted(missing, key=lambda gap: (gap.key, gap.side))
        if gap.side != BASELINE  # which is the reason of all next to it then
    ]
    return sorted(table, key=lambda each: (each.key, each.side)), problems


def picked(
    answers: Sequence[Sequence[Mapping[str, Any]]],
) -> dict[tuple[str, ...], str]:
    """The backends that computed a layer, by shape, mode and layer: of several processes, all."""
    found: dict[tuple[str, ...], set[str]] = {}
    for record in (record for records in answers for record in records):
        key = record["shape"], record["mode"], record["layer"]
        found.setdefault(key, set()).add(record["picked"])
    return {key: ", ".join(sorted(each)) for key, each in found.items()}


# -- the command

EPILOG = """\
A shape is spelled b<batch>-t<timesteps>-i<input features>-h<hidden units>, as in the suite's case
ids. A ratio is ours / Keras's: below 1, ours is faster. With 6 processes or more the interval comes
from the processes themselves; with fewer, from an allowance for how processes differ.

exit codes: 0 all was measured; 1 something was not (a line says why); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return processes.run(_parser(), LayerRequest, answer, _keras_layer, words)


def _keras_layer(options: argparse.Namespace) -> int:
    answers = processes.asked_anew("bench.studies.keras_layer", _question(options), options)
    return 1 if answers is None else _show(answers, options)


def _question(options: argparse.Namespace) -> LayerRequest:
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
    return LayerRequest(
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
            f"Keras on {keras_backend()}; "
            f"{basis_text(table[0].comparison.basis)}; times as fast: ours as "
            "Keras's, above 1 is faster"
        )
        CommandOutput((), (("", sheet),), (how,), heading=LONGEST_NAME).deliver(options)
    return processes.missing(problems)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "run keras-layer",
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
    processes.add_processes(parser, 6.0, "timing a shape and mode")
    return parser


if __name__ == "__main__":
    command_line.end(main)
