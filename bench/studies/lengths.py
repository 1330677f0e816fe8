"""``python -m bench.run lengths``: what batches of sequences whose lengths differ cost.

A stream of batches is padded or bucketed in several ways and computed in several: traced again for
each shape, with ``reduce_retracing``, for any length at once, compiled, packed. The first pass over
all batches is timed as it comes, new shapes counted in; later passes take turns. Each of several
fresh processes does all of it, in an order of its own.
"""

from __future__ import annotations

import argparse
import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.cli.lengths import SPELLING, source
from bench.cli.output import CommandOutput
from bench.machine.fields import Field
from bench.records.study import Study
from bench.render import labels, quantities
from bench.render.labels import TIME_INTERVAL
from bench.render.table import Cell, Column, Sheet, numbers
from bench.stats import recommend as plans
from bench.stats.intervals import CaseInterval, case_interval
from bench.stats.recommend import BatchPlan, Lengths
from bench.studies import processes
from bench.studies.comparisons import SideComparison, rows, runs
from bench.worker.timing import Clock, recorded
from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, UnsupportedError, get_backend, reference
from lstm_impl.model import given_step
from lstm_impl.proof.comparison import bounds, compare, named
from lstm_impl.proof.judge import few_threads
from lstm_impl.spec import FloatArray
from lstm_impl.step import Step
from lstm_impl.weights import LSTMGradients
from lstm_impl.workload import SEQUENCE_MODES, Inputs

OWN = "own"
"""A backend as it is, through its own traced step."""

TENSORFLOW = ("tf.function", "reduce_retracing", "signature", "xla")
"""How a TensorFlow model is traced: again for each shape, as ``tf.function`` does by itself; with
``reduce_retracing=True``; for any number of timesteps at once; or compiled for each shape."""

PADDED = "padded"
"""``torch.nn.LSTM`` on the padded batch as if it were whole: outputs past a sequence's end are to
be ignored, and the final state is not that of its last valid timestep."""


@dataclass(frozen=True)
class LengthsRequest:
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
class PolicyStream:
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


def inputs_of(question: LengthsRequest, timesteps: int, rows: Sequence[int]) -> Inputs:
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


def stream(way: Way, question: LengthsRequest, data: Sequence[Inputs]) -> PolicyStream:
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


def spec_of(question: LengthsRequest) -> LSTMSpec:
    """One layer."""
    return LSTMSpec(question.inputs, question.hidden)


def _own(model: Any, way: Way, question: LengthsRequest, data: Sequence[Inputs]) -> PolicyStream:
    padded = way.caller == PADDED
    given = [replace(each, lengths=None) if padded else each for each in data]
    steps = [given_step(model, each, question.mode) for each in given]
    counts = getattr(model, "trace_count", lambda: None)
    return PolicyStream(
        lambda number: steps[number].run(),
        model._host_results,
        model.synchronize,
        counts,
        whole_state=not padded,
    )


def _in_tensorflow(
    model: Any, caller: str, question: LengthsRequest, data: Sequence[Inputs]
) -> PolicyStream:
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

    return PolicyStream(
        lambda number: function(*placed[number]),
        results,
        tf.test.experimental.sync_devices,
        function.experimental_get_tracing_count,
    )


# -- the check


def difference(found: PolicyStream, question: LengthsRequest, data: Sequence[Inputs]) -> str:
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


def answer(question: LengthsRequest) -> list[dict[str, Any]]:
    """A plain record for each way and policy."""
    warm_up(question)
    records: dict[tuple[str, str], dict[str, Any]] = {}
    streams: dict[tuple[str, str], tuple[PolicyStream, int]] = {}
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


def warm_up(question: LengthsRequest) -> None:
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


def first_pass(found: PolicyStream, count: int, limit: float, clock: Clock) -> list[float]:
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
    streams: Mapping[tuple[str, str], tuple[PolicyStream, int]],
    question: LengthsRequest,
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


def _pass(found: PolicyStream, count: int) -> Step:
    def run() -> Any:
        left = None
        for number in range(count):
            left = found.run(number)
        return left

    return Step(run, found.synchronize, lambda: None)


# -- the command

POLICIES = ("longest", "batch", "buckets:4")
WAYS = (
    *("keras/tf.function", "keras/reduce_retracing", "keras/signature", "keras/xla"),
    *("torch/padded", "torch/own"),
)

EPILOG = """\
policies: longest, batch, buckets:K (K buckets whose edges make the least padding), equal:K (of
equal counts). ways: BACKEND/CALLER; of a TensorFlow backend the caller is tf.function,
reduce_retracing, signature (any number of timesteps) or xla; torch/padded ignores the lengths,
torch/own packs; own is a backend's own traced step. The first way with the first policy
is what others are held against.

`python -m bench.recommend --lengths` answers from recorded times which buckets to take.

exit codes: 0 all was measured; 1 something was not measured (told in a line); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    work = functools.partial(processes.ended, "lengths", measure, command_output)
    return processes.run(_parser(), LengthsRequest, answer, work, words)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "run lengths", "Time batches of sequences whose lengths differ.", EPILOG
    )
    parser.add_argument(
        "lengths", nargs="?", default="lognormal:60,0.6,200", help=f"{SPELLING} (%(default)s)"
    )
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="%(default)s")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), help="%(default)s")
    arguments.add_usual(
        parser,
        ("batch", "N", arguments.SIZE, 16, "sequences in a batch"),
        ("input", "N", arguments.SIZE, 32, "features of a timestep"),
        ("hidden", "N", arguments.SIZE, 64, "units"),
        ("batches", "N", arguments.SIZE, 16, "in a pass"),
        ("limit", "TIME", arguments.seconds, 10.0, "of a first pass"),
    )
    arguments.add_choice(parser, "mode", SEQUENCE_MODES, usual="training")
    processes.add_study(parser)
    processes.add_processes(parser, 0.4, "later passes of each")
    return parser


def measure(options: argparse.Namespace) -> processes.Answers | None:
    """What ``bench.run lengths`` asks, and what fresh processes answer; None if one died."""
    question = _question(options)
    answers = processes.asked_anew("bench.studies.lengths", question, options, quiet=True)
    # A file's keys are sorted, and the first policy is what the others are compared with.
    policies = list(question.batches)
    requested = {**asdict(question), "policies": policies, "source": options.lengths}
    return None if answers is None else (requested, answers)


def _question(options: argparse.Namespace) -> LengthsRequest:
    ways = tuple(str(Way.parse(each)) for each in options.ways)
    lengths = source(options.lengths).draw(options.batch * options.batches, options.seed)
    chosen = {each: planned(each, lengths, options.batch) for each in options.policies}
    return LengthsRequest(
        options.batch,
        options.input,
        options.hidden,
        options.mode,
        tuple(lengths.tolist()),
        {
            policy: [(batch.timesteps, batch.sequences) for batch in plans.arranged(lengths, plan)]
            for policy, plan in chosen.items()
        },
        ways,
        options.seconds,
        options.limit,
        options.seed,
    )


def planned(policy: str, lengths: Lengths, batch: int) -> BatchPlan:
    """The batches of a policy as the command spells it. Raises UsageError for none."""
    kind, _, number = policy.partition(":")
    if policy == "longest":
        return plans.longest(lengths, batch)
    if policy == "batch":
        return plans.per_batch(lengths, batch)
    if kind in ("buckets", "equal") and number.isdecimal() and 1 <= int(number[:9]) <= 1_000:
        if kind == "equal":
            edges = plans.equal_edges(lengths, int(number))
        else:
            # The least padding: as if a batch cost nothing but its timesteps.
            found = plans.optimal_edges(lengths, batch, plans.BatchCost(0.0, 1.0), int(number))
            edges = found[max(found)]
        return plans.bucketed(lengths, batch, edges, kind)
    raise UsageError(
        f"--policies {policy}: expected longest, batch, buckets:K or equal:K, K from 1 to 1000"
    )


@dataclass(frozen=True)
class StreamLine:
    """One way on one policy's batches.

    shapes: different numbers of timesteps. padding: the part of what is computed. first: seconds of
    the whole first pass, new shapes among them; later: of a pass when all were seen. traces: of the
    first pass, None where nobody counts. next to: against the baseline; None for that itself.
    """

    way: str
    policy: str
    batches: int
    shapes: int
    padding: float
    first: CaseInterval
    later: CaseInterval
    traces: int | None
    beside: SideComparison | None

    @property
    def new_shape(self) -> float:
        """Seconds that the first pass took over a later one, for each shape."""
        return (self.first.mid - self.later.mid) / self.shapes


def lines(found: Study) -> tuple[list[StreamLine], list[str], str]:
    """A line for each way and policy, why what is missing was not measured, and the baseline.

    The baseline is the first way that was requested, with the first policy. Raises ResultError.
    """
    policies = _policies(found.question)
    ways = [each.label() for each in found.question["ways"].items()]
    baseline = f"{ways[0]} {next(iter(policies))}"
    table, problems = rows(found.answers, (), "stream", baseline)
    comparison = {each.side: each for each in table}
    records: dict[str, list[tuple[int, Field]]] = {}
    for number, answered in enumerate(found.answers):
        for record in answered:
            records.setdefault(record["stream"].label(), []).append((number, record))
    made = []
    for way in ways:
        for policy, batches in policies.items():
            stream = f"{way} {policy}"
            if stream in comparison or (stream == baseline and table):
                made.append(
                    _line(
                        way,
                        policy,
                        batches,
                        records[stream],
                        found.question,
                        comparison.get(stream),
                    )
                )
    return made, list(map(str, problems)), baseline


def _policies(question: Field) -> dict[str, list[Field]]:
    found = {
        policy: question["batches"][policy].items()
        for policy in (
            [each.label() for each in question["policies"].items()]
            if question["policies"].given
            else question["batches"].mapping()
        )
    }
    if not found or not all(found.values()) or not question["ways"].items():
        raise question.error("ways and policies with batches", "asks for nothing")
    return found


def _line(
    way: str,
    policy: str,
    batches: Sequence[Field],
    records: Sequence[tuple[int, Field]],
    question: Field,
    comparison: SideComparison | None,
) -> StreamLine:
    steps = [batch.items()[0].integer(1) for batch in batches]
    computed = sum(steps) * question["batch"].integer(1)
    valid = sum(question["lengths"].integers(1))
    traces = [each["traces"].integer(0) for _, each in records if each["traces"].given]
    return StreamLine(
        way,
        policy,
        len(batches),
        len(set(steps)),
        max(0.0, 1.0 - valid / computed),
        case_interval([np.array([sum(_first(each))]) for _, each in records]),
        case_interval([each.samples for each in runs(records)]),
        max(traces) if traces else None,
        comparison,
    )


def _first(record: Field) -> list[float]:
    found = record["first"].times()
    if not found:
        raise record["first"].error("the seconds of each batch", "is empty")
    return found


# -- as a table


def sheet(found: Sequence[StreamLine]) -> Sheet:
    """A line a way and policy."""
    batches = found[0].batches if len({line.batches for line in found}) == 1 else None
    first = "first pass" if batches is None else f"first {batches} batches"
    return Sheet.of(
        [
            Column("way", names=True, least=22),
            Column("padded to"),
            *numbers("shapes", "padding", first, "a later pass", "times as fast", "traces"),
            *numbers("a new shape"),
        ],
        [_cells(line) for line in found],
    ).without_empty()


def _cells(line: StreamLine) -> list[Cell | str]:
    ratio = line.beside.comparison if line.beside else None
    return [
        line.way,
        _policy(line.policy),
        str(line.shapes),
        f"{line.padding:.0%}",
        _time(line.first),
        _time(line.later),
        Cell(quantities.times_as_fast(ratio.ratio.mid), str(ratio.verdict)) if ratio else "",
        "" if line.traces is None else str(line.traces),
        quantities.seconds(line.new_shape) if line.new_shape > 0 else "none",
    ]


POLICY_WORDS: Mapping[str, str] = {
    "longest": "longest",
    "batch": "batch",
    "buckets": "{} buckets",
    "equal": "{} equal",
}
"""Of each policy, by its name before the colon."""


def _policy(text: str) -> str:
    """A policy in words; of a file it may be any text, and then is that."""
    kind, _, number = text.partition(":")
    words = POLICY_WORDS.get(kind)
    return text if words is None else words.format(number)


def _time(interval: CaseInterval) -> Cell:
    # Of one process's one pass there are no bounds.
    bounds = quantities.seconds_range(interval.low, interval.high, interval.mid)
    return Cell(quantities.seconds(interval.mid), bounds if interval.high > interval.low else "")


def command_output(found: Study) -> tuple[CommandOutput, list[str]]:
    """The table, with what stands above and below it, and what is not in it and why."""
    table, problems, baseline = lines(found)
    processes.check(table, problems)
    first, *rest = _notes(found, baseline)
    return CommandOutput((), ((first, sheet(table)),), tuple(rest)), problems


def _notes(found: Study, baseline: str) -> list[str]:
    """What was measured, where, and what the columns mean."""
    question = found.question
    sizes = (
        f"batch {question['batch'].integer(1)}, {question['inputs'].integer(1)} in, "
        f"{question['hidden'].integer(1)} hidden, {labels.name(question['mode'].label())}"
    )
    lengths = question["lengths"].integers(1)
    return [
        f"{sizes}; {len(lengths):,} sequences of {min(lengths)} to {max(lengths)} timesteps "
        f"({labels.name(question['source'].label())}); "
        f"{quantities.count(len(found.answers), 'process')} "
        f"on {labels.name(found.run.machine)}, {found.run.started:%Y-%m-%d %H:%M} UTC",
        f"Below a time, or in brackets, its {TIME_INTERVAL}. Times as fast: a later pass against "
        f"that of {labels.name(baseline)}, from alternating passes. A new "
        "shape: what the first pass took over a later one, for each of its shapes; it is the first "
        "of its function, in a process that has computed one small batch.",
        "Padded to the longest of all, the longest of the batch, or the edges of buckets of least "
        "padding (equal: of equal counts).",
    ]


if __name__ == "__main__":
    command_line.end(main)
