"""``python -m bench.lengths``: what batches of sequences whose lengths differ cost.

A stream of batches is padded or bucketed in several ways and computed in several: traced anew for
each shape, with ``reduce_retracing``, for any length at once, compiled, packed. New shapes are
counted in: the first pass over all batches is timed as it comes, then passes over shapes that were
seen take turns. Each of several fresh processes does all of it, in an order of its own.
The command; ``measuring.lengths`` measures, ``batching`` makes the batches and tells.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence

from bench.batching.lengths import SPELLING
from bench.batching.measured import asked, told
from bench.cli import arguments, command_line, studies
from bench.worker.lengths import Question, answer
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


if __name__ == "__main__":
    command_line.end(main)
