"""A stream, chunk by chunk through the step that is timed, against the reference of the whole.

One call can be right and the stream wrong: a state that is not kept, kept of the wrong chunk, or
kept in fewer digits, shows only in the calls that follow. So several are made in a row and judged
as one sequence, outputs and final state, by the bounds that hold for that many timesteps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lstm_impl.call import Tensor
from lstm_impl.model import Model
from lstm_impl.proof.comparison import Errors, bounds, compare
from lstm_impl.proof.judge import Judge
from lstm_impl.proof.structure import gains
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.step import INPUTS, Results, Step
from lstm_impl.stream import ring_inputs
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Workload

SEVERAL = 8
"""Chunks that are judged as one sequence. The state is carried seven times, and an LSTM of random
weights has then not yet forgotten where it began."""

RINGS = (INPUTS, *range(INPUTS))
"""Of which chunks are judged once a stream was timed, ``SEVERAL`` of each: one that nothing was fed
from before, and all those that were timed."""

BEGUN = "begun "
"""Before the names of the state that judged calls went on from, in what they computed."""


def streamed(
    model: Model, judge: Judge, weights: LSTMWeights, workload: Workload, seed: int
) -> tuple[Errors, Errors]:
    """Errors and bounds of the first chunks of a stream, named ``streamed NAME``."""
    step = model.prepare(workload, seed)
    assert step.results is not None
    outputs = []
    for _ in range(SEVERAL):
        outputs.append(step.run())
        step.synchronize()
    ours = joined([step.results(each) for each in outputs])
    inputs = ring_inputs(model.spec, workload, seed)
    fed = inputs.window(slice(0, SEVERAL * workload.timesteps))
    pair = _held_against(model.spec, workload, ours, judge.run(weights, fed, None))
    found, allowed = ({f"streamed {name}": each for name, each in of.items()} for of in pair)
    return found, allowed


def joined(results: Sequence[Results]) -> dict[str, FloatArray]:
    """What calls in a row computed, as of one sequence: all outputs, and the last state."""
    y = np.concatenate([each["y"] for each in results])
    return {"y": y, "h": results[-1]["h"], "c": results[-1]["c"]}


def continued(first: Results, rest: Sequence[Results]) -> dict[str, FloatArray]:
    """The same of the calls after the first, with the state that the first left: ``BEGUN``."""
    return joined(rest) | {f"{BEGUN}{name}": first[name] for name in ("h", "c")}


def going_on(step: Step) -> Iterator[Tensor]:
    """Calls with which a stream goes on after it was timed, made one by one as they are asked for.

    First chunks that were never fed before, of which nothing can be remembered; then, with the
    state that these leave, chunks of each ring that may have been timed (which one a block takes
    nobody can foretell), of which what is remembered is wrong.
    """
    assert step.use is not None
    step.use(INPUTS)
    yield step.run()
    for ring in RINGS:
        if ring != INPUTS:
            step.use(ring)
        for _ in range(SEVERAL):
            yield step.run()


def gone_on(
    judge: Judge,
    spec: LSTMSpec,
    weights: LSTMWeights,
    workload: Workload,
    seed: int,
    ours: Mapping[str, FloatArray],
) -> tuple[Errors, Errors]:
    """Errors and bounds of what a stream computed in the calls of ``going_on``: ``continued``.

    What the state before them should have been nobody knows after so many calls; from where it was,
    the rest must follow.
    """
    begun = LSTMState(*(np.asarray(ours[f"{BEGUN}{name}"]) for name in ("h", "c")))
    found = {name: ours[name] for name in ("y", "h", "c")}
    length = workload.timesteps
    fresh, *timed = (ring_inputs(spec, workload, seed, number) for number in RINGS)
    several = SEVERAL * length
    x = [fresh.x[length : length + several], *(ring.x[:several] for ring in timed)]
    inputs = replace(fresh, x=np.concatenate(x), state=begun)
    return _held_against(spec, workload, found, judge.run(weights, inputs, None))


def _held_against(
    spec: LSTMSpec,
    workload: Workload,
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
) -> tuple[Errors, Errors]:
    found = compare(ours, theirs)
    allowed = bounds(spec, workload.batch, len(theirs["y"]), list(found))
    more, most = gains(spec, ours, theirs)
    return found | more, allowed | most
