"""Compare the chunks of a stream, by the step that is timed, with one pass of the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lstm_impl.model import Model
from lstm_impl.proof.comparison import Errors, bounds, compare, gains
from lstm_impl.proof.judge import Judge
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.step import Results
from lstm_impl.stream import InputSets
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs, Workload

SEVERAL = 8
"""Chunks that are judged as one sequence. The state is carried seven times; an LSTM of random
weights has not yet forgotten its start then."""


def streamed(
    model: Model, judge: Judge, weights: LSTMWeights, workload: Workload, seed: int
) -> tuple[Errors, Errors]:
    """Return errors and bounds of the first chunks of a stream, named ``streamed NAME``."""
    step = model.prepare(workload, seed)
    assert step.results is not None
    outputs = []
    for _ in range(SEVERAL):
        outputs.append(step.run())
        step.synchronize()
    ours = joined([step.results(each) for each in outputs])
    sets = InputSets(model.spec, workload, seed)
    theirs = judge.run(weights, joined_inputs(sets, range(SEVERAL), sets.first.state), None)
    pair = _compared(model.spec, workload, ours, theirs)
    found, allowed = ({f"streamed {name}": each for name, each in of.items()} for of in pair)
    return found, allowed


def joined(results: Sequence[Results]) -> dict[str, FloatArray]:
    """Return the results of consecutive calls as of one sequence: all outputs, the last state."""
    y = np.concatenate([each["y"] for each in results])
    return {"y": y, "h": results[-1]["h"], "c": results[-1]["c"]}


def joined_inputs(sets: InputSets, numbers: Sequence[int], state: LSTMState) -> Inputs:
    """Return the inputs of consecutive calls as one sequence that begins with this state."""
    x = np.concatenate([sets(number).x for number in numbers])
    return replace(sets.first, x=x, state=state)


def gone_on(
    judge: Judge,
    spec: LSTMSpec,
    weights: LSTMWeights,
    workload: Workload,
    seed: int,
    numbers: Sequence[int],
    results: Sequence[Results],
) -> tuple[Errors, Errors]:
    """Return errors and bounds of the calls that continued a stream after it was timed."""
    begun = LSTMState(*(np.asarray(results[0][name]) for name in ("h", "c")))
    inputs = joined_inputs(InputSets(spec, workload, seed), numbers[1:], begun)
    theirs = judge.run(weights, inputs, None)
    return _compared(spec, workload, joined(results[1:]), theirs)


def _compared(
    spec: LSTMSpec,
    workload: Workload,
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
) -> tuple[Errors, Errors]:
    found = compare(ours, theirs)
    allowed = bounds(spec, workload.batch, len(theirs["y"]), list(found))
    more, most = gains(spec, ours, theirs, workload.batch)
    return found | more, allowed | most
