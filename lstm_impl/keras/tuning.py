"""``lstm_impl.keras.tune``: race the backends for the layers of a model, and remember who won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

import lstm_impl.keras.choice as choice
import lstm_impl.keras.entrants as entrants
from lstm_impl.keras.choice import AUTO, KERAS, LayerCall, Sizes, obstacle
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
    outputs and gradients (one that differs does not race), then in alternating blocks with the
    others. From then on ``auto`` takes the fastest that can serve a call: at once in this model,
    which forgets the graphs that it has traced, and in every layer made later, on this machine with
    these versions, at these sizes or within ``NEAR`` of them. A decision that is known is returned
    without a race, unless ``again``.

    model: a Keras model whose layers are built, or a layer. batch_size, steps: of the batches that
    will come; where a call's own sizes are not known, as in ``fit``, these hold in this model.
    min_length: valid steps of the shortest sequence, where the layers get a mask: they race with
    one, and what is found is for calls with a mask, of any lengths; else for calls without. A
    training step with dropout is a race of its own too. candidates: backends' ids, None for those
    that were fastest somewhere. seconds: for each layer and mode, comparing not counted.

    Raises ValueError if the model has no such layer, or one that is not built, or for sizes that
    are none; UnsupportedError if there is no such candidate.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; expected a positive number")
    require_positive_integer("batch_size", batch_size)
    require_positive_integer("steps", steps)
    if min_length is not None:
        require_positive_integer("min_length", min_length)
        if min_length > steps:
            raise ValueError(f"min_length is {min_length}; expected at most the {steps} steps")
    sizes = Sizes(batch_size, steps, min_length)
    for name in candidates or ():
        get_backend(name)
    found = []
    for layer in _to_choose(model):
        for mode in modes:
            question, rule, names = request(layer, mode == "training", sizes, candidates)
            known = None if again else answered(question, names)
            if known is None:
                entered = enter(layer, question, names)
                known = remember(question, *entered, rule, seconds, 0, "lstm_impl.keras.tune")
            found.append(known)
        layer._expect(sizes)
    if isinstance(model, keras.Model):
        # what was traced has the old choice in it
        model.train_function = model.test_function = model.predict_function = None
    return found


def _to_choose(model: Any) -> list[LSTM]:
    layers = [layer for layer in _lstms(model) if layer.backend == AUTO]
    if not layers:
        raise ValueError(
            "the model has no lstm_impl.keras.LSTM with backend='auto'; keras.layers.LSTM and "
            "layers with a named backend have nothing to choose"
        )
    for layer in layers:
        if not layer.built:
            raise ValueError(f"layer {layer.name!r} is not built yet: call the model once")
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


def request(
    layer: LSTM, training: bool, sizes: Sizes, candidates: Sequence[str] | None = None
) -> tuple[TuningRequest, str, list[str]]:
    """What is to be decided of a layer in one mode, what the rule picks, and who is to race."""
    arguments = layer._arguments()
    shape = sizes.batch, sizes.timesteps, entrants.features(layer)
    masked = sizes.min_length is not None
    call = LayerCall(layer._device(), training, True, False, *shape, masked)
    question = choice.request(arguments, call, layer._machine(), sizes)
    if question is None:
        raise UnsupportedError(
            f"layer {layer.name!r} computes in {arguments.compute_dtype!r}; "
            "the backends compute in float32, float64, float16 and bfloat16"
        )
    rule = choice.choose(arguments, call, layer._fused()).backend
    names = list(candidates or CANDIDATES[question.workload.mode])
    if call.device == "gpu" and candidates is None:
        names.remove(KERAS)  # from auto it is Keras's loop, which is no candidate next to cuDNN
    return question, rule, names if rule in names else [*names, rule]


def enter(
    layer: LSTM, question: TuningRequest, names: Sequence[str]
) -> tuple[dict[str, Step], dict[str, str]]:
    """Steps of clones of a layer that compute what Keras's does; and why others do not race."""
    arguments, work = layer._arguments(), question.workload
    sizes = work.batch, work.timesteps
    x = entrants.sample(*sizes, question.spec.input_size, arguments.compute_dtype)
    mask = entrants.padding(work)
    # Who ignores a mask is right on sequences padded on the right, and on no others.
    around = entrants.padding(work, around=True)

    def results(backend: str) -> Mapping[str, FloatArray]:
        # In inference nothing is dropped, but the gradients are compared there, too.
        made = entrants.clone(layer, backend, dropout=work.dropout, seed=SEED)
        return entrants.results(made, x, around)

    truth = results(KERAS)

    def problem(name: str) -> str:
        try:
            backend = get_backend(name)
            if reason := obstacle(backend, arguments):
                return reason
            if not (available := backend.availability(layer._device())):
                return str(available)
            if name == KERAS:
                return ""
            return entrants.difference(results(name), truth, question.spec, *sizes)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    problems = {name: found for name in names if (found := problem(name))}
    able = [name for name in names if name not in problems]
    steps = {
        name: entrants.step(entrants.clone(layer, name), x, mask, work.training) for name in able
    }
    return steps, problems
