"""``lstm_impl.keras.tune``: race the backends for the layers of a model, and remember who won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

import lstm_impl.keras.alike as alike
import lstm_impl.keras.decided as decided
import lstm_impl.keras.entrants as entrants
from lstm_impl.keras.auto import choose
from lstm_impl.keras.choice import AUTO, KERAS, LayerCall, obstacle
from lstm_impl.keras.decided import Sizes
from lstm_impl.keras.layer import LSTM
from lstm_impl.registry import get_backend
from lstm_impl.spec import FloatArray, UnsupportedError, require_positive_integer
from lstm_impl.step import Step
from lstm_impl.tuning.decision import Decision, TuningRequest
from lstm_impl.tuning.models import CANDIDATES, SECONDS, answered, remember

SEED = 0
"""Of the dropout of all layers that are compared, which then drop the same."""

WRAPPED = ("layer", "forward_layer", "backward_layer")
"""Where Keras's wrappers have what they wrap."""


def tune(
    model: Any,
    batch_size: int,
    steps: int,
    *,
    min_length: int | None = None,
    modes: Sequence[str] = ("training", "inference"),
    candidates: Sequence[str] | None = None,
    seconds: float = SECONDS,
    again: bool = False,
) -> list[Decision]:
    """Race backends for each ``lstm_impl.keras.LSTM`` of ``model`` with ``backend="auto"``.

    Each candidate computes a clone of the layer, first to be compared with Keras's own loop in
    outputs and gradients (who differs does not race), then in alternating blocks with the others.
    From then on ``auto`` takes the fastest that can serve a call: at once in this model, which
    forgets the graphs that it has traced, and in every layer made later, on this machine with
    these versions, at these sizes or within ``NEAR`` of them. ``layer.explain()`` says so. A
    decision that is known is returned without a race, unless ``again``.

    model: a Keras model whose layers are built, or a layer. batch_size, steps: of the batches that
    will come; where a call's own sizes are not known, as in ``fit``, these hold in this model.
    min_length: valid steps of the shortest sequence, where the layers get a mask: they race with
    one, of lengths spread evenly from it to ``steps``, and what is found is for calls with a mask,
    of any lengths; else for calls without. Likewise a training step with dropout is a race of its
    own. candidates: backends' ids, None for those that were fastest somewhere. seconds: for each
    layer and mode, comparing not counted.

    Raises ValueError if the model has no such layer, or one that is not built, or for sizes that
    are none; UnsupportedError if there is no such candidate.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; expected a positive number")
    sizes = _checked(batch_size, steps, min_length)
    for name in candidates or ():
        get_backend(name)
    layers = _to_choose(model)
    found = []
    for layer in layers:
        for mode in modes:
            found.append(_tune(layer, mode == "training", sizes, candidates, seconds, again))
        layer._expect(sizes)
    if isinstance(model, keras.Model):
        # what was traced has the old choice in it
        model.train_function = model.test_function = model.predict_function = None
    return found


def _checked(batch_size: int, steps: int, min_length: int | None) -> Sizes:
    """Raises ValueError for what is no size."""
    require_positive_integer("batch_size", batch_size)
    require_positive_integer("steps", steps)
    if min_length is not None:
        require_positive_integer("min_length", min_length)
        if min_length > steps:
            raise ValueError(f"min_length is {min_length}; expected at most the {steps} steps")
    return Sizes(batch_size, steps, min_length)


def _to_choose(model: Any) -> list[LSTM]:
    """The layers of a model that have a choice. Raises ValueError if none has, or is not built."""
    layers = [layer for layer in _lstms(model) if layer.backend == AUTO]
    if not layers:
        raise ValueError(
            "the model has no lstm_impl.keras.LSTM with backend='auto'; keras.layers.LSTM and "
            "layers with a named backend have nothing to choose"
        )
    for layer in layers:
        if not layer.built:
            raise ValueError(
                f"layer {layer.name!r} is not built yet: call the model once, then tune"
            )
    return layers


def _lstms(model: Any) -> list[LSTM]:
    """The layers of this library in a model, in wrappers and in models inside it, each once."""
    found: list[LSTM] = []
    seen: set[int] = set()
    left = [model]
    while left:
        each = left.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, LSTM):
            found.append(each)
            continue
        wrapped = (getattr(each, name, None) for name in WRAPPED)
        layers = [layer for layer in wrapped if isinstance(layer, keras.layers.Layer)]
        left[:0] = [*getattr(each, "layers", ()), *layers]
    return found


@dataclass(frozen=True)
class Entrants:
    """Who may race for a layer: their steps, why the others may not, and the rule's pick."""

    question: TuningRequest
    rule: str
    steps: Mapping[str, Step]
    problems: Mapping[str, str]


def request(
    layer: LSTM, training: bool, sizes: Sizes, candidates: Sequence[str] | None = None
) -> tuple[TuningRequest, str, list[str]]:
    """What is asked of a built layer in one mode, what the rule picks, and who is to race.

    Raises UnsupportedError for a layer that computes in a type that no backend has.
    """
    arguments = layer._arguments()
    shape = sizes.batch, sizes.timesteps, entrants.features(layer)
    masked = sizes.min_length is not None
    call = LayerCall(layer._device(), training, True, False, *shape, masked)
    question = decided.question(arguments, call, layer._machine(), sizes)
    if question is None:
        raise UnsupportedError(
            f"layer {layer.name!r} computes in {arguments.compute_dtype!r}; "
            "the backends compute in float32, float64, float16 and bfloat16"
        )
    rule = choose(arguments, call, layer._fused()).backend
    names = list(candidates or CANDIDATES[question.workload.mode])
    if call.device == "gpu" and candidates is None:
        names.remove(KERAS)  # from auto it is Keras's loop, which is no candidate next to cuDNN
    return question, rule, names if rule in names else [*names, rule]


def enter(layer: LSTM, question: TuningRequest, rule: str, names: Sequence[str]) -> Entrants:
    """Clones of a layer, those that compute what Keras's does, ready to race.

    They are compared with a mask if they race with one, and in training with the layer's dropout.
    """
    arguments, work = layer._arguments(), question.workload
    x = entrants.sample(
        work.batch, work.timesteps, question.spec.input_size, arguments.compute_dtype
    )
    mask = entrants.padding(work)
    # Who ignores a mask is right on sequences padded on the right, and on no others.
    compared = _Compared(layer, question, x, entrants.padding(work, around=True))
    steps: dict[str, Step] = {}
    problems: dict[str, str] = {}
    for name in names:
        if problem := compared.problem(name):
            problems[name] = problem
        else:
            steps[name] = entrants.step(entrants.clone(layer, name), x, mask, work.training)
    return Entrants(question, rule, steps, problems)


def _tune(
    layer: LSTM,
    training: bool,
    sizes: Sizes,
    candidates: Sequence[str] | None,
    seconds: float,
    again: bool,
) -> Decision:
    question, rule, names = request(layer, training, sizes, candidates)
    if not again and (known := answered(question, names)):
        return known
    field = enter(layer, question, rule, names)
    return remember(question, field.steps, field.problems, rule, seconds, 0, "lstm_impl.keras.tune")


class _Compared:
    """Keras's own loop on the data of a race, and whether a candidate computes what it does."""

    def __init__(self, layer: LSTM, question: TuningRequest, x: Any, mask: Any) -> None:
        self._layer, self._question = layer, question
        self._x, self._mask = x, mask
        self._truth = self._results(KERAS)

    def _results(self, backend: str) -> Mapping[str, FloatArray]:
        # In inference nothing is dropped, but the gradients are compared there, too.
        dropout = self._question.workload.dropout
        made = entrants.clone(self._layer, backend, dropout=dropout, seed=SEED)
        return entrants.results(made, self._x, self._mask)

    def problem(self, name: str) -> str:
        """Why a candidate does not race, or an empty string."""
        work = self._question.workload
        try:
            if reason := obstacle(get_backend(name), self._layer._arguments()):
                return reason
            if not (available := get_backend(name).availability(self._layer._device())):
                return str(available)
            if name == KERAS:
                return ""
            return alike.difference(
                self._results(name), self._truth, self._question.spec, work.batch, work.timesteps
            )
        except Exception as error:
            return f"{type(error).__name__}: {error}"
