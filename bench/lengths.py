"""``python -m bench.lengths``: what batches of sequences whose lengths differ cost.

A stream of batches is padded or bucketed in several ways and computed in several: traced anew for
each shape, with ``reduce_retracing``, for any length at once, compiled, packed. New shapes are
counted in: the first pass over all batches is timed as it comes, then passes over shapes that were
seen take turns. Each of several fresh processes does all of it, in an order of its own.
``measuring.lengths`` measures and ``batching`` makes the batches; this room knows the command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from bench.batching import measured, plans
from bench.batching.lengths import SPELLING, Lengths, source
from bench.batching.plans import Line, Plan
from bench.measuring.lengths import Question, Way, answer
from bench.results.study import Study
from bench.telling import arguments, command_line, studies
from bench.telling.command_line import UsageError
from bench.telling.told import Told
from lstm_impl.workload import SEQUENCE_MODES

KIND = "lengths"
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
    return studies.run(_parser(), Question, answer, _lengths, words)


def _lengths(options: argparse.Namespace) -> int:
    return studies.ended(
        KIND, options, lambda: _asked(options), lambda found: _show(found, options)
    )


def _asked(options: argparse.Namespace) -> studies.Asked | None:
    question = _question(options)
    seeds = range(question.seed, question.seed + options.processes)
    questions = [{**asdict(question), "seed": seed} for seed in seeds]
    answers = studies.asked_in_turn("bench.lengths", questions, quiet=True)
    if answers is None:
        return None
    return {**asdict(question), "source": options.lengths}, answers


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


def planned(policy: str, lengths: Lengths, batch: int) -> Plan:
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
            found = plans.optimal_edges(lengths, batch, Line(0.0, 1.0), int(number))
            edges = found[max(found)]
        return plans.bucketed(lengths, batch, edges, kind)
    raise UsageError(
        f"--policies {policy}: expected longest, batch, buckets:K or equal:K, K from 1 to 1000"
    )


def _show(found: Study, options: argparse.Namespace) -> list[str]:
    """Deliver the table and return what is not in it and why; the notes below it say so, too."""
    table, problems, baseline = measured.lines(found)
    if not table:
        raise UsageError(f"nothing was measured: {problems[0] if problems else 'no records'}")
    first, *rest = measured.notes(found, baseline, problems)
    Told((), ((first, measured.sheet(table)),), tuple(rest)).deliver(options)
    return problems


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "lengths", "Time batches of sequences whose lengths differ, new shapes counted in.", EPILOG
    )
    parser.add_argument(
        "lengths", nargs="?", default="lognormal:60,0.6,200", help=f"{SPELLING} (%(default)s)"
    )
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="%(default)s")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), help="%(default)s")
    for option, default, text in (
        ("--batch", 16, "sequences in a batch"),
        ("--input", 32, "features of a timestep"),
        ("--hidden", 64, "units"),
        ("--batches", 16, "in a pass"),
    ):
        parser.add_argument(
            option,
            type=arguments.whole(1, 999_999_999),
            default=default,
            help=f"{text} (%(default)s)",
        )
    parser.add_argument("--mode", choices=SEQUENCE_MODES, default="training")
    parser.add_argument(
        "--limit", type=arguments.seconds, default=10.0, help="of a first pass (%(default)s)"
    )
    studies.add_study(parser)
    studies.add_processes(parser, 0.4, "later passes of each")
    return parser


if __name__ == "__main__":
    command_line.end(main)
