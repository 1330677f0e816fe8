"""What a layer with ``backend="auto"`` knows from races: the decisions that fit one of its calls.

Pure functions of decisions, arguments and a call. Nothing is measured here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lstm_impl.backends.fused_cpu.backend import FusedCpu
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.keras.auto import NOT_COMPILED, may_be_saved, not_static
from lstm_impl.keras.choice import Arguments, Choice, LayerCall, can_be_compiled, obstacle
from lstm_impl.registry import get_backend
from lstm_impl.spec import PRECISIONS, LSTMSpec, UnsupportedError
from lstm_impl.tuning.decision import Decision, TunedMachine, TuningRequest
from lstm_impl.tuning.store import nearest
from lstm_impl.workload import GRADIENTS, OPTIMIZERS, Workload

LAYERS_GRADIENTS = "weights+input"
"""What a layer's training step is raced with: the gradients of any layer but a model's first."""


@dataclass(frozen=True)
class Sizes:
    """What a user said that calls of unknown size will have.

    min_length: None if no call has a mask; else the valid steps of the shortest sequence.
    """

    batch: int
    timesteps: int
    min_length: int | None = None


def question(
    arguments: Arguments, call: LayerCall, machine: TunedMachine, sizes: Sizes | None
) -> TuningRequest | None:
    """What to look for in the decisions for a call; None where its sizes are not known.

    sizes: taken where the call's own are not known yet. A mask makes another question, and so does
    a dropout that acts: the rate is that of the layer's input here, between layers in a model.
    """
    batch = call.batch or (sizes and sizes.batch)
    timesteps = call.timesteps or (sizes and sizes.timesteps)
    if not (batch and timesteps and call.features and arguments.compute_dtype in PRECISIONS):
        return None
    work = Workload(batch, timesteps)
    if call.masked:
        # A call does not say how long its sequences are, and a decision holds for any lengths.
        shortest = (sizes and sizes.min_length) or 1
        work = replace(work, min_length=min(shortest, timesteps))
    if call.training:
        # At 1 Keras's layer drops nothing.
        dropout = arguments.dropout if arguments.dropout < 1 else 0.0
        work = replace(work, mode="training", dropout=dropout, gradients=LAYERS_GRADIENTS)
    spec = LSTMSpec(call.features, arguments.units, dtype=arguments.compute_dtype)
    return TuningRequest(spec, work, "keras", machine)


def decision(requested: TuningRequest, decisions: Sequence[Decision]) -> Decision | None:
    """The nearest decision: of a race of layers, else of one of models on the same work."""
    return next(
        (found for each in _alike(requested) if (found := nearest(each, list(decisions)))), None
    )


def other_work(requested: TuningRequest, decisions: Sequence[Decision]) -> str:
    """Why the newest decision for such sizes is not for this call: its race had a mask or dropout
    and the call has none, or the other way round. Empty if there is no such decision.
    """
    plain = _plain(requested)
    work = requested.workload
    for found in reversed(decisions):
        if decision(plain, [replace(found, question=_plain(found.question))]) is None:
            continue
        theirs, differs = found.question.workload, []
        if (theirs.min_length is None) != (work.min_length is None):
            differs.append("with a mask" if theirs.min_length is None else "without a mask")
        if bool(theirs.dropout) != bool(work.dropout):
            differs.append("with dropout" if work.dropout else "without dropout")
        return (
            f"what was raced at {found.question.sizes} ({found.backend} was the fastest; "
            f"{found.made}, {found.by}): this call is "
            f"{' and '.join(differs) or 'of another kind'}, which was not raced"
        )
    return ""


def _plain(requested: TuningRequest) -> TuningRequest:
    """The question as if there were neither mask nor dropout."""
    return replace(requested, workload=replace(requested.workload, min_length=None, dropout=0.0))


def _alike(requested: TuningRequest) -> Iterator[TuningRequest]:
    yield requested
    work = requested.workload
    if work.dropout:
        return  # a model drops between its layers, which is nothing in a network of one
    if not work.training:
        yield replace(requested, through="model")
        return
    for gradients in (work.gradients, *GRADIENTS):
        for optimizer in (None, *OPTIMIZERS):
            same = replace(work, gradients=gradients, optimizer=optimizer)
            yield replace(requested, through="model", workload=same)


def choice(found: Decision, arguments: Arguments, call: LayerCall, rule: Choice) -> Choice | None:
    """The fastest of a race that can serve the call; None if none of them can.

    rule: what would be picked without a race.
    """

    @functools.cache
    def obstacle_to(name: str) -> str:
        return _obstacle(name, arguments, call)

    name = found.best(lambda name: not obstacle_to(name))
    if not name:
        return None
    why = (
        f"it was the fastest of {sum(1 for each in found.raced if not each.problem)} raced "
        f"at {found.question.sizes} ({found.made}, {found.by})"
    )
    ours, theirs = found.result_of(name), found.result_of(rule.backend)
    if name == rule.backend:
        why += ", or alike: the rule would have picked it too"
    elif ours and theirs and not theirs.problem:
        why += f", {theirs.ratio / ours.ratio:.2f} times as fast as the rule's {rule.backend}"
        if ours.ratio == 1.0:
            why += f" ({theirs.low:.2f} to {theirs.high:.2f})"
    else:
        why += f"; the rule would have picked {rule.backend}"
    faster = []
    for each in found.raced:
        if each.backend == name or each.problem:
            break
        if reason := obstacle_to(each.backend):
            faster.append(f"{each.backend}: {reason}")
    return Choice(name, why, tuple(faster))


def _obstacle(name: str, arguments: Arguments, call: LayerCall) -> str:
    """Why a backend that raced cannot serve this call, or an empty string."""
    try:
        backend = get_backend(name)
    except UnsupportedError as error:
        return str(error)
    if reason := obstacle(backend, arguments):
        return reason
    if call.compiled and not can_be_compiled(backend):
        return NOT_COMPILED
    if isinstance(backend, FusedCpu) and (reason := may_be_saved(call)):
        return reason
    if isinstance(backend, TensorFlowBackend) and backend.xla and not call.static:
        return not_static(call)
    if not (available := backend.availability(call.device)):
        return str(available)
    return ""
