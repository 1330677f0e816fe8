"""A stream of batches whose lengths differ, by each way of computing them, in this process.

Each way meets each policy's batches as a user's program would: in their order, from a model whose
function is new, so that every shape is traced or compiled when it first comes. That first pass is
timed batch by batch; then passes over batches that were all seen before take turns. Before its
times count, a way's outputs, and in training its gradients, are held against the float64 reference
on the shortest, the longest and another batch. This room knows models and clocks; which batches
there are it is told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.worker.clock import Clock
from bench.worker.timing import recorded
from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, UnsupportedError, get_backend, reference
from lstm_impl.proof.comparison import bounds, compare, named
from lstm_impl.proof.judge import few_threads
from lstm_impl.spec import FloatArray
from lstm_impl.step import Step
from lstm_impl.stream import given_step
from lstm_impl.weights import LSTMGradients
from lstm_impl.workload import Inputs

OWN = "own"
"""A backend as it is, through its own traced step."""

TENSORFLOW = ("tf.function", "reduce_retracing", "signature", "xla")
"""How a TensorFlow model is traced: anew for each shape, as ``tf.function`` does by itself; with
``reduce_retracing=True``; for any number of timesteps at once; or compiled for each shape."""

PADDED = "padded"
"""``torch.nn.LSTM`` on the padded batch as if it were whole: outputs past a sequence's end are to
be ignored, and the final state is not that of its last valid timestep."""


@dataclass(frozen=True)
class Question:
    """What one process is asked.

    lengths: of all sequences. batches: by policy, each batch's timesteps and sequences. ways:
    ``BACKEND/CALLER``. limit: seconds after which a first pass ends. seconds: of later passes, for
    each way and policy.
    """

    batch: int
    inputs: int
    hidden: int
    mode: str
    lengths: tuple[int, ...]
    batches: Mapping[str, Sequence[tuple[int, Sequence[int]]]]
    ways: tuple[str, ...]
    seconds: float
    limit: float
    seed: int

    @property
    def training(self) -> bool:
        """Whether gradients are part of the work."""
        return self.mode == "training"


@dataclass(frozen=True)
class Way:
    """A backend and who calls it."""

    backend: str
    caller: str

    @classmethod
    def parse(cls, text: str) -> Way:
        """``keras/tf.function``, ``torch/own``. Raises UnsupportedError for anything else."""
        backend, _, caller = text.partition("/")
        known = get_backend(backend)
        caller = caller or OWN
        callers = [OWN]
        if known.framework == "tensorflow":
            callers += TENSORFLOW
        if known.strategy == "torch":
            callers.append(PADDED)
        if caller not in callers:
            raise UnsupportedError(
                f"{backend} is called by {', '.join(callers)}; not by {caller!r}"
            )
        return cls(known.name, caller)

    def __str__(self) -> str:
        return f"{self.backend}/{self.caller}"


Run = Callable[[int], Any]
"""Computes the batch of a number and returns what it computed, not waited for."""


@dataclass(frozen=True)
class Stream:
    """One way on one policy's batches.

    run: a batch by its number. results: of one, on the host. traces: so far, None where nobody
    counts. whole_state: whether the final state is that of each sequence's end.
    """

    run: Run
    results: Callable[[Any], Mapping[str, FloatArray]]
    synchronize: Callable[[], None]
    traces: Callable[[], int | None]
    whole_state: bool = True


# -- data


def inputs_of(question: Question, timesteps: int, rows: Sequence[int]) -> Inputs:
    """A padded batch: random inputs, zeros past each sequence's end; empty rows have one step."""
    lengths = np.ones(question.batch, np.int32)
    lengths[: len(rows)] = [question.lengths[row] for row in rows]
    rng = np.random.default_rng((question.seed, timesteps, *rows[:1]))
    valid = np.arange(timesteps)[:, None] < lengths[None, :]
    shape = (timesteps, question.batch)
    x = rng.standard_normal((*shape, question.inputs)).astype(np.float32) * valid[:, :, None]
    dy = rng.standard_normal((*shape, question.hidden)).astype(np.float32) * valid[:, :, None]
    zeros = np.zeros((1, question.batch, question.hidden), np.float32)
    return Inputs(x, dy, LSTMState(zeros, zeros), lengths, None)


# -- ways


def stream(way: Way, question: Question, data: Sequence[Inputs]) -> Stream:
    """The way on these batches, with a model and a function of its own."""
    backend = get_backend(way.backend)
    if not (available := backend.availability("cpu")):
        raise UnsupportedError(str(available))
    spec = spec_of(question)
    weights = LSTMWeights.random(spec, question.seed)
    model = backend.build(spec, weights, "cpu", batch_major=way.caller in TENSORFLOW)
    if way.caller in TENSORFLOW:
        return _in_tensorflow(model, way.caller, question, data)
    return _own(model, way, question, data)


def spec_of(question: Question) -> LSTMSpec:
    """One layer."""
    return LSTMSpec(question.inputs, question.hidden)


def _own(model: Any, way: Way, question: Question, data: Sequence[Inputs]) -> Stream:
    padded = way.caller == PADDED
    given = [replace(each, lengths=None) if padded else each for each in data]
    steps = [given_step(model, each, question.mode) for each in given]
    counts = getattr(model, "trace_count", lambda: None)
    return Stream(
        lambda number: steps[number].run(),
        model._host_results,
        model.synchronize,
        counts,
        whole_state=not padded,
    )


def _in_tensorflow(model: Any, caller: str, question: Question, data: Sequence[Inputs]) -> Stream:
    import tensorflow as tf

    def infer(x: Any, lengths: Any) -> Any:
        return model(x, None, lengths, training=False)

    def train(x: Any, lengths: Any, dy: Any) -> Any:
        with tf.GradientTape() as tape:
            y, state = model(x, None, lengths)
        return y, state, tape.gradient(y, model.variables, output_gradients=dy)

    options: dict[str, Any] = {"autograph": False}
    if caller == "reduce_retracing":
        options["reduce_retracing"] = True
    elif caller == "xla":
        options["jit_compile"] = True
    elif caller == "signature":
        signature = [
            tf.TensorSpec([question.batch, None, question.inputs], tf.float32),
            tf.TensorSpec([question.batch], tf.int32),
        ]
        if question.training:
            outputs = [question.batch, None, question.hidden]
            signature.append(tf.TensorSpec(outputs, tf.float32))
        options["input_signature"] = signature
    function = tf.function(train if question.training else infer, **options)
    placed = []
    for each in data:
        arrays = [tf.constant(np.swapaxes(each.x, 0, 1)), tf.constant(each.lengths)]
        if question.training:
            arrays.append(tf.constant(np.swapaxes(each.dy, 0, 1)))
        placed.append(arrays)

    def results(found: Any) -> Mapping[str, FloatArray]:
        y, (h, c), *gradients = found
        made = {"y": np.swapaxes(y.numpy(), 0, 1), "h": h.numpy(), "c": c.numpy()}
        if gradients:
            weights = model._host_weights(gradients[0])
            names = (f"d{name}" for name in weights.names())
            made |= dict(zip(names, weights.arrays(), strict=True))
        return made

    return Stream(
        lambda number: function(*placed[number]),
        results,
        tf.test.experimental.sync_devices,
        function.experimental_get_tracing_count,
    )


# -- the check


def difference(found: Stream, question: Question, data: Sequence[Inputs]) -> str:
    """Where three of the batches are not the reference's, in words, or an empty string."""
    spec = spec_of(question)
    weights = LSTMWeights.random(spec, question.seed)
    by_length = sorted(range(len(data)), key=lambda number: data[number].x.shape[0])
    for number in dict.fromkeys((by_length[0], by_length[-1], len(data) // 2)):
        given = data[number]
        theirs = expected(spec, weights, given, question.training)
        ours = dict(found.results(found.run(number)))
        if not found.whole_state:
            theirs = {name: each for name, each in theirs.items() if name not in ("h", "c")}
            assert given.lengths is not None
            valid = np.arange(given.x.shape[0])[:, None] < given.lengths[None, :]
            ours["y"] = ours["y"] * valid[:, :, None]
        missing = [name for name in theirs if name not in ours]
        if missing:
            return f"it returns no {missing[0]}"
        off = compare(ours, theirs)
        allowed = bounds(spec, question.batch, given.x.shape[0], list(off))
        for name, each in off.items():
            if not each <= allowed[name]:
                return (
                    f"it does not compute what the reference computes: {name} is off by {each:.2g} "
                    f"at {given.x.shape[0]} timesteps"
                )
    return ""


_known: dict[int, tuple[Inputs, dict[str, FloatArray]]] = {}
"""What the reference said of a batch, which it is asked once: every way is held against it."""


def expected(
    spec: LSTMSpec, weights: LSTMWeights, given: Inputs, training: bool
) -> dict[str, FloatArray]:
    """The float64 reference's outputs and final state, and in training the weights' gradients."""
    if id(given) not in _known:
        with few_threads(spec, given.x.shape[1]):
            if training:
                y, state, found = reference.forward_and_gradients(
                    spec,
                    weights,
                    given.x,
                    given.dy,
                    given.state,
                    lengths=given.lengths,
                    of="weights",
                )
                said = named(y, state, LSTMGradients(None, found.weights, None))
            else:
                y, state = reference.forward(spec, weights, given.x, given.state, given.lengths)
                said = named(y, state, None)
        _known[id(given)] = (given, said)
    return _known[id(given)][1]


# -- measuring


def answer(question: Question) -> list[dict[str, Any]]:
    """A plain record for each way and policy."""
    warm_up(question)
    records: dict[tuple[str, str], dict[str, Any]] = {}
    streams: dict[tuple[str, str], tuple[Stream, int]] = {}
    pairs = [(way, policy) for way in question.ways for policy in question.batches]
    random.Random(question.seed).shuffle(pairs)
    data = {
        policy: [inputs_of(question, timesteps, rows) for timesteps, rows in batches]
        for policy, batches in question.batches.items()
    }
    clock = Clock.system()
    for way, policy in pairs:
        record: dict[str, Any] = {"way": way, "policy": policy, "stream": f"{way} {policy}"}
        record |= {"samples": [], "rounds": [], "first": [], "traces": None, "failed": ""}
        records[way, policy] = record
        try:
            found = stream(Way.parse(way), question, data[policy])
            record["first"] = first_pass(found, len(data[policy]), question.limit, clock)
            record["traces"] = found.traces()
            if not (failed := difference(found, question, data[policy])):
                streams[way, policy] = found, len(record["first"])
            record["failed"] = failed
        except UnsupportedError as error:
            record["failed"] = str(error)
    take_turns(records, streams, question, clock)
    return list(records.values())


def warm_up(question: Question) -> None:
    """Have each backend compute one small batch: its framework starts, and starts once."""
    small = replace(question, batch=1, lengths=(1,), batches={})
    for way in question.ways:
        try:
            data = [inputs_of(small, 1, (0,))]
            found = stream(Way.parse(way), small, data)
            found.run(0)
            found.synchronize()
        except UnsupportedError:
            continue  # told where it is measured


def first_pass(found: Stream, count: int, limit: float, clock: Clock) -> list[float]:
    """Seconds of each batch, from the first on, as many as begin before ``limit`` seconds."""
    seconds: list[float] = []
    begun = clock.now()
    for number in range(count):
        start = clock.now()
        if start - begun > limit:
            break
        found.run(number)
        found.synchronize()
        seconds.append(clock.now() - start)
    return seconds


def take_turns(
    records: Mapping[tuple[str, str], dict[str, Any]],
    streams: Mapping[tuple[str, str], tuple[Stream, int]],
    question: Question,
    clock: Clock,
) -> None:
    """Later passes, all ways and policies in alternating blocks; what broke says so."""
    names = {f"{way} {policy}": (way, policy) for way, policy in streams}
    steps = {}
    for name, key in names.items():
        found, count = streams[key]
        if count == len(question.batches[key[1]]):
            steps[name] = _pass(found, count)
        else:
            records[key]["failed"] = (
                f"its first pass was at batch {count} of {len(question.batches[key[1]])} when "
                f"{question.limit:g} s were over"
            )
    if not steps:
        return
    for name, record in recorded(steps, question.seconds, question.seed, clock).items():
        records[names[name]] |= record


def _pass(found: Stream, count: int) -> Step:
    def run() -> Any:
        left = None
        for number in range(count):
            left = found.run(number)
        return left

    return Step(run, found.synchronize, lambda: None)
