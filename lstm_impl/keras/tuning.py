"""Race the backends for the layers of a Keras model, and remember the fastest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import lstm_impl.keras.choice as choice
from lstm_impl.call import Step
from lstm_impl.keras.base import BackendLayer, forget_traces
from lstm_impl.keras.choice import AUTO, KERAS, LayerCall, Sizes, obstacle
from lstm_impl.keras.layer import TensorFlowLayer
from lstm_impl.proof import comparison
from lstm_impl.registry import get_backend
from lstm_impl.spec import FloatArray, UnsupportedError
from lstm_impl.tuning.decision import Decision, TuningRequest
from lstm_impl.tuning.models import CANDIDATES, SECONDS, find_answer, remember, start_progress
from lstm_impl.tuning.race import print_progress
from lstm_impl.workload import Workload

SEED = 0
"""The seed of dropout in all compared layers, so that they drop the same units."""


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
    print_fn: Callable[[str], object] | None = print_progress,
) -> list[Decision]:
    """Race backends for the layers of a model that have ``backend="auto"``.

    Candidates whose outputs and gradients equal those of Keras's loop are timed in alternating
    blocks. From then on, ``auto`` uses the fastest one that can compute a call. This holds at once
    in this model, which forgets its traced graphs. It also holds in layers that are made later on
    this machine with the same versions, at sizes within ``NEAR`` of these.

    Parameters
    ----------
    model
        A Keras model whose layers are built, or a single layer.
    batch_size, steps
        The sizes of later batches. They are used if the sizes of a call are unknown, as in ``fit``.
    min_length
        The valid timesteps of the shortest sequence. With it, the decisions hold for calls with a
        mask.
    modes
        The modes to race: ``training``, ``inference`` or both.
    candidates
        The ids of backends. None takes those that were fastest for some shape.
    seconds
        The seconds of each race. There is one race for each layer and mode.
    again
        Whether to race even if there is a decision.
    print_fn
        A function that is called with one line for each candidate of a layer and mode, when it
        starts to race or with the reason why it does not, and with one line for the decision. By
        default, the lines go to standard error if that is a terminal. None prints nothing.

    Returns
    -------
    list of Decision
        The decisions, one for each layer and mode.

    Raises
    ------
    ValueError
        If the model has no such layer, if a layer is not built, or if a size is wrong.
    UnsupportedError
        If there is no backend with the name of a candidate.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; expected a positive number")
    sizes = Sizes(batch_size, steps, min_length)
    for name in candidates or ():
        get_backend(name)
    found = []
    for layer in _to_choose(model):
        for mode in modes:
            question, rule, names = request(layer, mode == "training", sizes, candidates)
            known = None if again else find_answer(question, names)
            if known is None:
                what = f"{layer.name}, {mode}"
                tell = start_progress(what, len(names), seconds, print_fn)
                entered = enter(layer, question, names)
                known = remember(question, *entered, rule, seconds, 0, "lstm_impl.keras.tune", tell)
            found.append(known)
        layer._expect(sizes)
    forget_traces(model)
    return found


def _to_choose(model: Any) -> list[TensorFlowLayer]:
    # These include the layers in wrappers and nested models.
    inside = model._flatten_layers() if isinstance(model, keras.Layer) else ()
    layers = [each for each in inside if isinstance(each, TensorFlowLayer) and each.backend == AUTO]
    if not layers:
        raise ValueError(
            "the model has no lstm_impl.keras.LSTM or GRU with backend='auto'; Keras's own layers "
            "and layers with a named backend have nothing to choose"
        )
    for layer in layers:
        if not layer.built:
            raise ValueError(f"layer {layer.name!r} is not built yet: call the model once")
    return layers


def request(
    layer: TensorFlowLayer, training: bool, sizes: Sizes, candidates: Sequence[str] | None = None
) -> tuple[TuningRequest, str, list[str]]:
    """Return the request for a layer in one mode, the rule's choice, and the backends to race."""
    arguments = layer._arguments()
    shape = sizes.batch, sizes.timesteps, features(layer)
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
        names.remove(KERAS)  # Here it is Keras's loop, which cannot compete with cuDNN.
    return question, rule, names if rule in names else [*names, rule]


def enter(
    layer: TensorFlowLayer, question: TuningRequest, names: Sequence[str]
) -> tuple[dict[str, Step], dict[str, str]]:
    """Return the steps of the backends that race, and the reasons why the others do not.

    A backend races if a clone of the layer that it computes has the results of Keras's layer.
    """
    arguments, work = layer._arguments(), question.workload
    sizes = work.batch, work.timesteps
    x = sample(*sizes, question.spec.input_size, arguments.compute_dtype)
    mask = padding(work)
    # This mask has padding on both sides. A backend that ignores masks may be right if all padding
    # is on the right.
    around = padding(work, around=True)

    def results(backend: str) -> Mapping[str, FloatArray]:
        # Gradients are compared in inference too, where nothing is dropped.
        made = clone(layer, backend, dropout=work.dropout, seed=SEED)
        return layer_results(made, x, around)

    truth = results(KERAS)
    allowed = comparison.compute_bounds(question.spec, *sizes, list(truth))

    def problem(name: str) -> str:
        try:
            backend = get_backend(name)
            if reason := obstacle(backend, arguments):
                return reason
            if not (available := backend.availability(layer._device())):
                return str(available)
            if name == KERAS:
                return ""
            return difference(results(name), truth, allowed)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    problems = {name: found for name in names if (found := problem(name))}
    able = [name for name in names if name not in problems]
    steps = {name: layer_step(clone(layer, name), x, mask, work.training) for name in able}
    return steps, problems


PARAMETERS = ("dlayer0.forward.kernel", "dlayer0.forward.recurrent", "dlayer0.forward.bias")
"""The names of the gradients of a layer's variables, under which their bounds are known."""


def clone(layer: TensorFlowLayer, backend: str, **changed: Any) -> TensorFlowLayer:
    """Return a copy of a layer that another backend computes, with some arguments changed."""
    alone = {"name": None, "stateful": False, "return_state": False}
    # This configuration includes what an accelerated layer leaves out of a file.
    config = BackendLayer.get_config(layer) | alone | {"backend": backend} | changed
    made: TensorFlowLayer = type(layer).from_config(config)
    made.build((None, None, features(layer)))
    made.set_weights(layer.get_weights())
    made.supports_masking = True  # Without this, Keras 3.16 warns of each mask.
    return made


def features(layer: TensorFlowLayer) -> int:
    """Return the number of input features of a built layer."""
    return int(layer.cell.kernel.shape[0])


def layer_results(layer: Any, x: Any, mask: Any = None) -> dict[str, FloatArray]:
    """Return the outputs and gradients of a traced call by name, in float64."""
    y, gradients = _traced(lambda: _trained(layer, x, mask, _target))()
    arrays = dict(zip(("y", "dx", *PARAMETERS), (y, *gradients), strict=False))
    return {name: np.asarray(tf.cast(array, tf.float64)) for name, array in arrays.items()}


def _target(y: Any) -> Any:
    """Return a gradient for an output. It depends only on the shape."""
    shape = [size if size is not None else 1 for size in y.shape]
    return tf.ones_like(y) * tf.cast(np.random.default_rng(0).standard_normal(shape), y.dtype)


def _trained(layer: Any, x: Any, mask: Any, flow: Callable[[Any], Any]) -> tuple[Any, list[Any]]:
    """Return the outputs, and the gradients of the input and of the variables.

    ``flow`` returns the gradient of given outputs.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, mask=mask, training=True)
    wanted = [x, *(each.value for each in layer.trainable_variables)]
    return y, tape.gradient(y, wanted, output_gradients=flow(y))


def layer_step(layer: TensorFlowLayer, x: Any, mask: Any, training: bool) -> Step:
    """Return the step to time, which is a traced call of the layer with an input ``[B, T, in]``."""
    given = (x,) if mask is None else (x, mask)

    def forward(x: Any, mask: Any = None) -> Any:
        return layer(x, mask=mask, training=False)

    def train(x: Any, mask: Any = None) -> Any:
        return _trained(layer, x, mask, tf.ones_like)[1]

    traced = functools.cache(lambda: _traced(train if training else forward, *given))
    return Step(lambda: traced()(*given), tf.test.experimental.sync_devices, traced)


def _traced(function: Any, *arguments: Any) -> Any:
    """Trace a graph for the given arguments only, without a warning about retracing."""
    return tf.function(function, autograph=False).get_concrete_function(*arguments)


def difference(
    ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray], allowed: Mapping[str, float]
) -> str:
    """Return where results differ from those of Keras's layer, in words, or an empty string."""
    for name, error in comparison.compare(ours, theirs).items():
        # Both sides are rounded, and each may differ by the bound.
        if not error <= 2 * allowed[name]:
            return (
                f"{name} differs from Keras's by {error:.1e} of its largest value, "
                f"{2 * allowed[name]:.1e} allowed"
            )
    return ""


def padding(workload: Workload, *, around: bool = False) -> Any:
    """Return the mask ``[B, T]`` for the lengths of a workload, or None if it has none.

    With ``around``, padding is on both sides of a sequence, and otherwise on the right.
    """
    lengths = workload.lengths()
    if lengths is None:
        return None
    before = (workload.timesteps - lengths + 1) // 2 if around else np.zeros_like(lengths)
    step = np.arange(workload.timesteps)[None] - before[:, None]
    return tf.constant((step >= 0) & (step < lengths[:, None]))


def sample(batch: int, timesteps: int, width: int, dtype: str, seed: int = 0) -> Any:
    """Draw an input ``[batch, timesteps, width]`` of the given dtype."""
    x = np.random.default_rng(seed).standard_normal((batch, timesteps, width))
    return tf.constant(x.astype(np.float32), dtype=dtype)
