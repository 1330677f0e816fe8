"""``python -m bench.lengths``: what batches of sequences whose lengths differ cost.

A stream of batches is padded or bucketed in several ways and computed in several: traced anew for
each shape, with ``reduce_retracing``, for any length at once, compiled, packed. New shapes are
counted in: the first pass over all batches is timed as it comes, then passes over shapes that were
seen take turns. Each of several fresh processes does all of it, in an order of its own.
The command; ``worker.lengths`` measures.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.cli import arguments, command_line, studies
from bench.cli.command_line import UsageError
from bench.cli.lengths import SPELLING, source
from bench.cli.output import Told
from bench.machine.fields import Field
from bench.records.study import Study
from bench.render import quantities
from bench.render.labels import name
from bench.render.marks import TIME_INTERVAL
from bench.render.table import Cell, Column, Sheet, numbers
from bench.stats import batching as plans
from bench.stats.batching import BatchPlan, Lengths
from bench.stats.beside import Beside, rows, runs
from bench.stats.intervals import CaseInterval, case_interval
from bench.worker.lengths import Question, Way, answer
from lstm_impl.workload import SEQUENCE_MODES

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

exit codes: 0 all was measured, or shown; 1 something was not measured (told in a line); 2 bad input
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    work = functools.partial(studies.ended, "lengths", asked, told)
    return studies.run(_parser(), Question, answer, work, words)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "lengths", "Time batches of sequences whose lengths differ, new shapes counted in.", EPILOG
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
    studies.add_study(parser)
    studies.add_processes(parser, 0.4, "later passes of each")
    return parser


def asked(options: argparse.Namespace) -> studies.Asked | None:
    """What ``bench.lengths`` asks, and what fresh processes answer; None if one died."""
    question = _question(options)
    answers = studies.asked_anew("bench.lengths", question, options, quiet=True)
    asked = {**asdict(question), "source": options.lengths}
    return None if answers is None else (asked, answers)


def _question(options: argparse.Namespace) -> Question:
    ways = tuple(str(Way.parse(each)) for each in options.ways)
    lengths = source(options.lengths).draw(options.batch * options.batches, options.seed)
    chosen = {each: planned(each, lengths, options.batch) for each in options.policies}
    return Question(
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
    first pass, None where nobody counts. beside: against the baseline; None for that itself.
    """

    way: str
    policy: str
    batches: int
    shapes: int
    padding: float
    first: CaseInterval
    later: CaseInterval
    traces: int | None
    beside: Beside | None

    @property
    def new_shape(self) -> float:
        """Seconds that the first pass took over a later one, for each shape."""
        return (self.first.mid - self.later.mid) / self.shapes


def lines(found: Study) -> tuple[list[StreamLine], list[str], str]:
    """A line for each way and policy, why what is missing was not measured, and the baseline.

    The baseline is the first way that was asked for, with the first policy. Raises ResultError.
    """
    policies = _policies(found.question)
    ways = [each.label() for each in found.question["ways"].items()]
    baseline = f"{ways[0]} {next(iter(policies))}"
    table, problems = rows(found.answers, (), "stream", baseline)
    beside = {each.side: each for each in table}
    records: dict[str, list[tuple[int, Field]]] = {}
    for number, answered in enumerate(found.answers):
        for record in answered:
            records.setdefault(record["stream"].label(), []).append((number, record))
    made = []
    for way in ways:
        for policy, batches in policies.items():
            stream = f"{way} {policy}"
            if stream in beside or (stream == baseline and table):
                made.append(
                    _line(way, policy, batches, records[stream], found.question, beside.get(stream))
                )
    return made, list(map(str, problems)), baseline


def _policies(question: Field) -> dict[str, list[Field]]:
    found = {
        policy: question["batches"][policy].items() for policy in question["batches"].mapping()
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
    beside: Beside | None,
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
        beside,
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


def told(found: Study) -> tuple[Told, list[str]]:
    """The table, with what stands above and below it, and what is not in it and why."""
    table, problems, baseline = lines(found)
    studies.check(table, problems)
    first, *rest = _notes(found, baseline)
    return Told((), ((first, sheet(table)),), tuple(rest)), problems


def _notes(found: Study, baseline: str) -> list[str]:
    """What was measured, where, and what the columns mean."""
    question = found.question
    sizes = (
        f"batch {question['batch'].integer(1)}, {question['inputs'].integer(1)} in, "
        f"{question['hidden'].integer(1)} hidden, {name(question['mode'].label())}"
    )
    lengths = question["lengths"].integers(1)
    return [
        f"{sizes}; {len(lengths):,} sequences of {min(lengths)} to {max(lengths)} timesteps "
        f"({name(question['source'].label())}); {quantities.count(len(found.answers), 'process')} "
        f"on {name(found.run.host)}, {found.run.started:%Y-%m-%d %H:%M} UTC",
        f"Below a time, or in brackets, its {TIME_INTERVAL}. Times as fast: a later pass against "
        f"that of {name(baseline)}, from alternating passes. A new "
        "shape: what the first pass took over a later one, for each of its shapes; it is the first "
        "of its function, in a process that has computed one small batch.",
        "Padded to the longest of all, the longest of the batch, or the edges of buckets of least "
        "padding (equal: of equal counts).",
    ]


if __name__ == "__main__":
    command_line.end(main)
